//! The workspace's own crates.

use std::{fs, path::Path};

use super::{
    floors::{Floors, faults},
    krate::{Crate, Sources},
};

fn holds(name: &str, folder: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let floors = Floors::read(&page, name).unwrap_or_else(|error| panic!("{error}"));
    let krate = Crate::parse(name, &Sources::read(&root.join(folder)));
    let faults = faults(name, &krate, &floors);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn surehand() {
    holds("surehand", "lib/surehand");
}

#[test]
fn surehand_redrive() {
    holds("surehand-redrive", "lib/surehand-redrive");
}

#[test]
fn surehand_cli() {
    holds("surehand-cli", "lib/surehand-cli");
}

#[test]
fn surehand_macros() {
    holds("surehand-macros", "lib/surehand-macros");
}

#[test]
fn shop() {
    holds("shop", "handlers");
}
