//! Small crates, each with one thing that is wrong, or only looks so.

use super::{
    api::exports,
    floors::{Floors, faults},
    krate::{Crate, Sources},
};

const PAGE: &str = "\
# House

## Floors

### house

1. `error` — needs nothing
2. `record`, `event` — what comes, and what it says;
   neither needs the other
3. `batch`

### another

1. `roof`

## Invariants
";

fn faults_of<const N: usize>(files: [(&str, &str); N]) -> Vec<String> {
    let floors = Floors::read(PAGE, "house").unwrap();
    let krate = Crate::parse("house", &Sources::from(files));
    faults("house", &krate, &floors)
}

/// Returns the faults of a crate in order, with one of its files replaced.
fn with(file: &str, text: &str) -> Vec<String> {
    let mut files = [
        (
            "src/lib.rs",
            "mod batch; mod error; mod event; mod record;\n\
             pub use batch::Verdict; pub use error::Error; pub use record::Record;",
        ),
        ("src/error.rs", "pub struct Error;"),
        ("src/event.rs", "use crate::error::Error;"),
        (
            "src/record.rs",
            "use crate::Error;\npub struct Record(Error);",
        ),
        (
            "src/batch.rs",
            "use crate::{Record, event};\npub struct Verdict;",
        ),
    ];
    let place = files.iter_mut().find(|(name, _)| *name == file).unwrap();
    place.1 = text;
    faults_of(files)
}

#[test]
fn a_house_in_order_has_no_faults() {
    assert_eq!(with("src/event.rs", ""), [""; 0]);
}

#[test]
fn an_import_that_goes_up_is_reported_with_its_place() {
    let told = |text: &str| with("src/record.rs", text);
    let arrow = "house: floor 2 `record` imports `batch` from floor 3: src/record.rs:";
    let record = "pub struct Record;\n";
    for (line, text) in [
        ("2 use crate::batch::Verdict", "use crate::batch::Verdict;"),
        (
            "3 use crate::batch::Verdict",
            "use crate::{error,\n  batch::Verdict};",
        ),
        ("2 use super::batch", "use super::batch;"),
        // By the root's re-export, and by the crate's name.
        ("2 use crate::Verdict", "use crate::Verdict;"),
        (
            "2 use house::batch::Verdict",
            "use house::batch::Verdict as V;",
        ),
        ("2 use crate::batch", "use crate::batch::*;"),
        // Without a `use`.
        (
            "2 crate::batch::settle",
            "fn f() { crate::batch::settle() }",
        ),
        ("2 super::Verdict", "struct Of(Option<super::Verdict>);"),
        ("2 crate::batch::Verdict", "impl crate::batch::Verdict {}"),
        (
            "2 crate::batch::name",
            "fn f() { println!(\"{}\", crate::batch::name()) }",
        ),
        (
            "2 crate::batch::Verdict",
            "macro_rules! m { () => { $crate::batch::Verdict } }",
        ),
        // By the crate's name, as from outside.
        (
            "2 use ::house::batch::Verdict",
            "use ::house::batch::Verdict;",
        ),
        (
            "2 ::house::batch::settle",
            "fn f() { ::house::batch::settle() }",
        ),
        (
            "2 ::house::batch::name",
            "fn f() { println!(\"{}\", ::house::batch::name()) }",
        ),
        (
            "2 use crate::batch::Verdict",
            "mod tests { use crate::batch::Verdict; }",
        ),
        (
            "2 crate::batch",
            "#[derive(Deserialize)] struct S { #[serde(with = \"crate::batch\")] a: u8 }",
        ),
    ] {
        assert_eq!(told(&format!("{record}{text}")), [format!("{arrow}{line}")]);
    }
}

#[test]
fn modules_of_one_floor_do_not_import_each_other() {
    assert_eq!(
        with("src/event.rs", "use crate::record::Record;"),
        [
            "house: floor 2 `event` imports `record` from the same floor: src/event.rs:1 use crate::record::Record"
        ]
    );
}

#[test]
fn the_root_is_above_all() {
    let lib = "mod batch; mod error; mod event; mod record;\n\
               pub use batch::Verdict; pub use error::Error; pub use record::Record;\n\
               pub struct Roof; pub mod attic { pub struct Box; }";
    assert_eq!(with("src/lib.rs", lib), [""; 0]);
    for path in ["crate::Roof", "crate::attic::Box"] {
        let faults = faults_of([
            ("src/lib.rs", lib),
            ("src/error.rs", "pub struct Error;"),
            ("src/event.rs", ""),
            ("src/record.rs", "pub struct Record;"),
            ("src/batch.rs", &format!("pub struct Verdict({path});")),
        ]);
        assert_eq!(
            faults,
            [format!(
                "house: `batch` imports the crate's root: src/batch.rs:1 {path}"
            )]
        );
    }
}

#[test]
fn tests_and_documentation_are_not_imports() {
    for text in [
        "#[cfg(test)] mod tests { use crate::batch::Verdict; }",
        "#[cfg(test)] mod tests;",
        "#[cfg(test)] use crate::batch::Verdict;",
        "#[cfg(all(test, feature = \"a\"))] fn f() { crate::batch::settle() }",
        "/// Belongs to a [`crate::batch::Verdict`].\nstruct S;",
        "pub(in crate::batch) struct S;",
        "fn f() { let batch = 1; ::batch::settle(batch) }",
        "fn f(text: &str) { assert_eq!(text, \"crate::batch::Verdict\") }",
    ] {
        let text = format!("pub struct Record;\n{text}");
        assert_eq!(with("src/record.rs", &text), [""; 0], "{text}");
    }
    let text = "pub struct Record;\n#[cfg(any(test, feature = \"a\"))] use crate::batch::Verdict;";
    assert_eq!(with("src/record.rs", text).len(), 1);
}

#[test]
fn what_would_hide_an_import_is_refused() {
    let refused = |text: &str| {
        let text = format!("pub struct Record;\n{text}");
        std::panic::catch_unwind(|| with("src/record.rs", &text)).is_err()
    };
    for text in [
        "fn f() { mod inner { use crate::batch::Verdict; } }",
        "const _: () = { mod inner { use crate::batch::Verdict; } };",
        "#[path = \"batch.rs\"] mod inner;",
        "#[macro_use] mod inner {}",
        "extern crate self as home; use home::batch::Verdict;",
    ] {
        assert!(refused(text), "{text}");
    }
    assert!(!refused("fn f() { #[cfg(test)] mod inner {} }"));
    assert!(!refused("extern crate self as house;"));
}

#[test]
fn each_file_is_a_module_a_test_or_a_binary() {
    let faults = |text: &str| {
        faults_of([
            ("src/lib.rs", "mod batch; mod error; mod event; mod record;"),
            ("src/error.rs", ""),
            ("src/event.rs", ""),
            ("src/record.rs", text),
            ("src/record/inner.rs", "use crate::batch::Verdict;"),
            ("src/record/inner/more.rs", ""),
            ("src/batch.rs", "pub struct Verdict;"),
            ("src/bin/house.rs", ""),
        ])
    };
    assert_eq!(faults("#[cfg(test)] mod inner;"), [""; 0]);
    assert_eq!(
        faults("include!(\"record/inner.rs\");"),
        ["inner.rs", "inner/more.rs"].map(|file| format!(
            "house: src/record/{file} is no module's: declare it with `mod`, or delete it"
        ))
    );
}

#[test]
fn methods_are_beside_their_type() {
    let text = "use crate::Record;\npub struct Verdict;\n";
    let told = |more: &str| with("src/batch.rs", &format!("{text}{more}"));
    for name in ["Record", "crate::Record", "super::record::Record"] {
        assert_eq!(
            told(&format!("impl {name} {{ fn settle(&self) {{}} }}")),
            [format!(
                "house: `batch` adds methods to a type of `record`: src/batch.rs:3 impl {name}"
            )]
        );
    }
    assert_eq!(told("impl Verdict {}"), [""; 0]);
    assert_eq!(told("impl Settle for Record {}"), [""; 0]);
}

#[test]
fn each_module_has_one_floor() {
    let lib = "mod batch; mod error; mod event; mod record; mod roof;";
    let faults = faults_of([
        ("src/lib.rs", lib),
        ("src/error.rs", ""),
        ("src/event.rs", ""),
        ("src/record.rs", ""),
        ("src/batch.rs", ""),
        ("src/roof.rs", ""),
    ]);
    assert_eq!(faults, ["house: `roof` has no floor in ARCHITECTURE.md"]);

    let faults = faults_of([
        ("src/lib.rs", "mod error; mod event; mod record;"),
        ("src/error.rs", ""),
        ("src/event.rs", ""),
        ("src/record.rs", ""),
    ]);
    assert_eq!(
        faults,
        ["house: `batch` has a floor in ARCHITECTURE.md, but is not a module of the crate"]
    );

    let refused = |page: &str| Floors::read(page, "house").err().unwrap();
    assert_eq!(
        refused("# House"),
        "ARCHITECTURE.md has no section `## Floors`"
    );
    assert_eq!(
        refused("# A\n\n## Floors\n\n### another\n"),
        "ARCHITECTURE.md has no `### house` in its section `## Floors`"
    );
    let twice = "# A\n\n## Floors\n\n### house\n\n1. `error`\n2. `error`\n";
    assert!(refused(twice).contains("`error` has two floors"));
    let skipped = "# A\n\n## Floors\n\n### house\n\n1. `error`\n3. `event`\n";
    assert!(refused(skipped).contains("floor 2 has another number"));
}

/// A tree under `batch`, which is imported by nothing.
fn tree(parent: &str, lane: &str, settle: &str) -> Vec<String> {
    faults_of([
        ("src/lib.rs", "mod batch; mod error; mod event; mod record;"),
        ("src/error.rs", ""),
        ("src/event.rs", ""),
        ("src/record.rs", ""),
        ("src/batch.rs", parent),
        ("src/batch/lane.rs", lane),
        ("src/batch/settle.rs", settle),
    ])
}

#[test]
fn a_circle_within_a_tree_is_reported_import_by_import() {
    let faults = tree(
        "mod lane; mod settle;",
        "use super::settle::settle;\npub struct Lane;",
        "use crate::batch::lane::Lane;\npub fn settle() {}",
    );
    assert_eq!(
        faults,
        ["house: the files of `batch` import each other in a circle:\
          \n    src/batch/lane.rs:1 use super::settle::settle (src/batch/settle.rs)\
          \n    src/batch/settle.rs:1 use crate::batch::lane::Lane (src/batch/lane.rs)"]
    );

    let faults = tree(
        "mod lane; mod settle;\nuse lane::Lane;\npub struct Batch(Lane);",
        "use super::Batch;\npub struct Lane;",
        "",
    );
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("src/batch.rs:2 use lane::Lane (src/batch/lane.rs)"));
}

#[test]
fn a_parent_that_hands_on_what_its_children_have_makes_no_circle() {
    for handed in ["pub use", "pub(crate) use"] {
        let faults = tree(
            &format!(
                "mod lane; mod settle; {handed} lane::Lane; {handed} settle::*; pub struct Batch;"
            ),
            "use super::{Batch, settle::settle};\npub struct Lane;",
            "use super::Batch;\npub fn settle() {}",
        );
        assert_eq!(faults, [""; 0]);
    }
    // What the parent needs itself is an import.
    for parent in [
        "mod lane; mod settle; pub use lane::Lane; pub struct Batch(Lane);",
        "mod lane; mod settle; pub(crate) use lane::*; pub struct Batch(Lane);",
        "mod lane; mod settle; pub use lane::Lane as L; pub struct Batch; fn f() { L::new() }",
    ] {
        let faults = tree(parent, "use super::Batch;\npub struct Lane;", "");
        assert_eq!(faults.len(), 1, "{parent}: {faults:?}");
    }
    // By the parent's re-export, a child imports its sibling.
    let faults = tree(
        "mod lane; mod settle; pub use lane::Lane; pub use settle::*;",
        "use super::settle;\npub struct Lane;",
        "use super::Lane;\npub fn settle() {}",
    );
    assert_eq!(faults.len(), 1, "{faults:?}");
}

/// What a crate of one file exports, besides the module of its name.
fn exported<const N: usize>(files: [(&str, &str); N]) -> String {
    exports(&Crate::parse("house", &Sources::from(files)))
}

#[test]
fn each_change_of_what_is_exported_changes_the_text() {
    let root = |text: &str| exported([("src/lib.rs", text)]);
    for (before, after) in [
        // Traits: what is asked of those who implement them, and for what they are implemented.
        (
            "pub trait T { fn f(&self); }",
            "pub trait T { fn f(&self) {} }",
        ),
        (
            "pub trait T {}",
            "pub trait T { #[doc(hidden)] fn f(&self); }",
        ),
        ("pub trait T {}", "pub trait T: Send {}"),
        ("pub trait T {}", "pub trait T {} impl<A: Clone> T for A {}"),
        (
            "pub trait T {}",
            "pub trait T {} impl<A: T> T for Vec<A> {}",
        ),
        (
            "pub trait T {}",
            "pub trait T {} impl<A: T + ?Sized> T for &A {}",
        ),
        (
            "pub trait T {}",
            "pub trait T {} impl<A, B> T for (A, B) {}",
        ),
        ("pub struct S;", "pub struct S; impl From<S> for String {}"),
        (
            "pub struct S;",
            "pub struct S; impl From<Vec<S>> for String {}",
        ),
        ("pub struct S;", "pub struct S; impl Clone for S {}"),
        ("pub struct S;", "#[derive(Clone)] pub struct S;"),
        (
            "pub struct S;",
            "#[cfg_attr(feature = \"a\", derive(Clone))] pub struct S;",
        ),
        // Fields, variants, generics.
        ("pub struct S { a: u8 }", "pub struct S { pub a: u8 }"),
        ("pub struct S {}", "pub struct S { a: u8 }"),
        ("pub struct S(pub u8);", "pub struct S(pub u16);"),
        ("pub struct S<A>(A);", "pub struct S<A: Clone>(A);"),
        ("pub enum E { A }", "#[non_exhaustive] pub enum E { A }"),
        ("pub union U { pub a: u8 }", "pub union U { pub a: i8 }"),
        // Re-exports.
        ("pub use a::B;", "pub use a::B as C;"),
        ("pub use a::b;", "pub use a::b::*;"),
        ("pub use a;", ""),
        (
            "mod a { pub mod b { pub fn f() {} } }",
            "mod a { pub mod b { pub fn f() {} } } pub use a::b;",
        ),
        (
            "mod a { pub mod b { pub fn f() {} } } pub use a::b;",
            "mod a { pub mod b { pub fn g() {} } } pub use a::b;",
        ),
        ("pub mod a {}", "pub mod a {} pub use a as b;"),
        // Conditions, also of the private module that has the implementation.
        ("pub fn f() {}", "#[cfg(feature = \"a\")] pub fn f() {}"),
        (
            "#[cfg(a)] pub fn f() {} #[cfg(not(a))] pub fn f() {}",
            "#[cfg(a)] pub fn f() {} #[cfg(not(a))] pub fn f(a: u8) {}",
        ),
        (
            "pub struct S; mod a { impl super::S { pub fn f() {} } }",
            "pub struct S; #[cfg(a)] mod a { impl super::S { pub fn f() {} } }",
        ),
        // Macros.
        ("", "#[macro_export] macro_rules! m { () => { 1 } }"),
        (
            "#[macro_export] macro_rules! m { () => { 1 } }",
            "#[macro_export] macro_rules! m { ($a:expr) => { 1 } }",
        ),
    ] {
        assert_ne!(root(before), root(after), "{before} -> {after}");
    }
}

#[test]
fn what_nobody_sees_does_not_change_the_text() {
    let root = |text: &str| exported([("src/lib.rs", text)]);
    for (before, after) in [
        (
            "",
            "struct S; impl Clone for S {} fn f() {} mod a { pub fn f() {} }",
        ),
        (
            "pub fn f(a: u8) {}",
            "/// F.\npub fn f(mut a: u8) { a = 1; }",
        ),
        ("pub struct S { a: u8 }", "pub struct S { b: u16, c: u8 }"),
        (
            "pub struct S;",
            "pub struct S; trait T {} impl T for S {} impl S { fn f() {} }",
        ),
        ("", "macro_rules! m { () => { 1 } }"),
        (
            "#[macro_export] macro_rules! m { () => { 1 } }",
            "#[macro_export] macro_rules! m { () => { 2 } }",
        ),
    ] {
        assert_eq!(root(before), root(after), "{before} -> {after}");
    }
}
