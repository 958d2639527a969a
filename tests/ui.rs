//! What the compiler says to a mistaken event, entity or handler. `TRYBUILD=overwrite` writes it anew.

#[test]
fn mistakes_are_explained_in_our_words() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/derive/*.rs");
    cases.compile_fail("ui/handler/*.rs");
    cases.compile_fail("ui/tables/*.rs");
}
