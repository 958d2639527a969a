//! The list of known failures and the tests that must fail for them belong together.

use std::{collections::BTreeMap, fs, path::Path};

use surehand_test_support::known_failures;
use syn::{
    Expr, ExprCall, ExprLit, ExprPath, Lit,
    visit::{self, Visit},
};

/// Where a fault's id is named in a test, by id.
struct Tests {
    file: String,
    places: BTreeMap<String, Vec<String>>,
}

impl<'a> Visit<'a> for Tests {
    fn visit_expr_call(&mut self, call: &'a ExprCall) {
        visit::visit_expr_call(self, call);
        let Expr::Path(ExprPath { path, .. }) = &*call.func else {
            return;
        };
        if path
            .segments
            .last()
            .is_some_and(|it| it.ident == "known_failure")
            && let Some(Expr::Lit(ExprLit {
                lit: Lit::Str(id), ..
            })) = call.args.first()
        {
            let place = format!("{}:{}", self.file, id.span().start().line);
            self.places.entry(id.value()).or_default().push(place);
        }
    }
}

impl Tests {
    fn read(&mut self, root: &Path, folder: &str) {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            if root.join(&path).is_dir() {
                // What does not compile, and what others have compiled.
                if !matches!(name.as_str(), "ui" | "target" | "templates") {
                    self.read(root, &path);
                }
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(root.join(&path)).unwrap();
                let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
                self.file = path;
                self.visit_file(&file);
            }
        }
    }
}

#[test]
fn each_known_failure_has_a_test_and_each_of_these_tests_a_fault() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut tests = Tests {
        file: String::new(),
        places: BTreeMap::new(),
    };
    for folder in ["lib", "handlers", "tests"] {
        tests.read(root, folder);
    }
    let mut wrong = Vec::new();
    let mut listed = BTreeMap::new();
    for (id, sentence) in known_failures() {
        if listed.insert(id, sentence).is_some() {
            wrong.push(format!("{id} is twice on tests/known_failures.txt"));
        }
        if !tests.places.contains_key(id) {
            wrong.push(format!(
                "{id} is on tests/known_failures.txt, and no test is `known_failure(\"{id}\", …)`"
            ));
        }
    }
    for (id, places) in &tests.places {
        if !listed.contains_key(id.as_str()) {
            wrong.push(format!(
                "{id} is not on tests/known_failures.txt: take `known_failure` off its test at {}",
                places.join(", ")
            ));
        }
        if places.len() > 1 {
            wrong.push(format!("{id} has several tests: {}", places.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
