//! What the functions' code reads from its environment, by its text.

use super::project::root;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The names of the binaries in `handlers`.
pub(crate) fn names() -> BTreeSet<String> {
    let files = files(&root().join("handlers/src/bin"));
    let names = files.iter().map(|path| path.file_stem().unwrap());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The variables that a binary reads, itself or by some type's `from_env`.
pub(crate) fn variables(binary: &str) -> BTreeSet<String> {
    let path = root().join(format!("handlers/src/bin/{binary}.rs"));
    let Ok(text) = fs::read_to_string(path) else {
        return BTreeSet::new();
    };
    let types = types();
    let mut variables = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut bodies = vec![text];
    while let Some(body) = bodies.pop() {
        for call in ["var(", "var_like(", "used(", "used_url(", "number_if_set("] {
            variables.extend(quoted_after(&body, call));
        }
        for name in words_before(&body, "::from_env(") {
            if seen.insert(name.clone()) {
                let body = types.get(&name);
                bodies.extend(body.cloned());
            }
        }
    }
    variables
}

/// Each type that has a `from_env`, with that function's text.
fn types() -> BTreeMap<String, String> {
    let mut types = BTreeMap::new();
    for folder in ["handlers/src", "lib/surehand/src"] {
        for path in files(&root().join(folder)) {
            let text = fs::read_to_string(path).unwrap();
            let mut owner = "";
            let mut rest = text.as_str();
            while let Some(line) = rest.lines().next() {
                if let Some(name) = line.strip_prefix("impl") {
                    let name = name.split_once("> ").map_or(name, |(_, name)| name);
                    owner = name.trim_start().split([' ', '<']).next().unwrap();
                }
                if line.contains("fn from_env(") || line.contains("fn from_env<") {
                    // Up to the brace that closes a method.
                    let end = rest.find("\n    }").unwrap();
                    let previous = types.insert(owner.to_owned(), rest[..end].to_owned());
                    assert_eq!(previous, None, "two types are called {owner}");
                }
                rest = rest[line.len()..].trim_start_matches(['\r', '\n']);
            }
        }
    }
    types
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// `X` of each `call("X"`.
fn quoted_after(text: &str, call: &str) -> Vec<String> {
    let after = text.split(call).skip(1);
    let names = after.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
    names.map(str::to_owned).collect()
}

/// `X` of each `X::from_env(`.
fn words_before(text: &str, call: &str) -> Vec<String> {
    let mut before: Vec<&str> = text.split(call).collect();
    before.pop();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let words = before
        .into_iter()
        .filter_map(|text| text.rsplit(|c| !is_part(c)).next());
    words.map(str::to_owned).collect()
}
