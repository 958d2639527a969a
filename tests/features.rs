//! What `cargo run` compiles, `cargo test --workspace` can use.
//!
//! Cargo unifies features over what it selects, and a dependency with other features is compiled once
//! more, with all that depends on it: for a feature deep below the AWS SDK these are minutes.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::collections::BTreeSet;
use surehand_test_support::cargo;

/// The packages with their features, as these arguments select them.
fn packages(selection: &[&str]) -> BTreeSet<String> {
    let mut tree = cargo::cargo();
    tree.args(["tree", "--quiet", "--prefix=none", "--format={p} {f}"])
        .args(selection);
    let output = cargo::output_of(&mut tree);
    let lines = output.lines().map(|line| line.trim_end_matches(" (*)"));
    lines.map(str::to_owned).collect()
}

/// If this fails, a feature is enabled only by a development dependency. Enable it also in a
/// dependency of this package, which `cargo run` selects for that purpose.
#[test]
fn the_command_and_the_functions_share_their_dependencies_with_the_tests() {
    let tested = packages(&["--workspace", "--edges=all"]);
    let run = packages(&["--edges=normal,build"]);
    let functions = [
        "--package=shop",
        "--package=surehand-cli",
        "--package=surehand-tests",
    ];
    let built = packages(&[&functions[..], &["--edges=normal,build"]].concat());
    for (what, packages) in [("cargo run", run), ("surehand dev", built)] {
        assert!(!packages.is_empty());
        let others: Vec<&String> = packages.difference(&tested).collect();
        assert!(others.is_empty(), "only {what} has {others:#?}");
    }
}
