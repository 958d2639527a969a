//! The check that runs every function in Lambda's container needs Docker. Where it cannot have that it
//! says so and counts as skipped, which is neither passed nor failed.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::{fs, path::Path, process::Command};
use surehand_test_support::cargo;

#[test]
fn without_docker_the_check_is_skipped() {
    // With an empty PATH there is no Docker, and no program to install it.
    let nothing = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty");
    fs::create_dir_all(&nothing).unwrap();
    let output = Command::new(cargo::tools().join("bin/python"))
        .arg("infra/local/check.py")
        .current_dir(cargo::workspace())
        .env("PATH", nothing)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said,
        "skipped: there is no Docker, and installing it needs root on a Debian system\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(77));
}
