//! A crate's modules, as its sources declare them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{
    Attribute, Item, ItemMod, ItemUse, Meta, Token, UseTree, Visibility, punctuated::Punctuated,
};

/// The path of a module from the crate's root, which itself has the empty one.
pub(super) type ModulePath = Vec<String>;

/// Files by their path from the crate's folder, such as `src/record.rs`.
#[derive(Default)]
pub(super) struct Sources(BTreeMap<String, String>);

impl Sources {
    /// All of `src`.
    pub(super) fn read(folder: &Path) -> Self {
        let mut sources = Self::default();
        sources.add(folder, "src");
        sources
    }

    fn add(&mut self, folder: &Path, relative: &str) {
        let path = folder.join(relative);
        let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for entry in entries {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let relative = format!("{relative}/{name}");
            let path = folder.join(&relative);
            if path.is_dir() {
                self.add(folder, &relative);
            } else if name.ends_with(".rs") {
                self.0.insert(relative, fs::read_to_string(&path).unwrap());
            }
        }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Sources {
    fn from(files: [(&str, &str); N]) -> Self {
        let owned = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        Self(owned.into())
    }
}

/// A crate without its tests.
pub(super) struct Crate {
    /// As paths name it: with underscores.
    pub(super) name: String,
    pub(super) modules: BTreeMap<ModulePath, Module>,
    /// The files that no `mod` item leads to, and that are no test and no binary. They would be read by
    /// `include!` or from a macro, where their imports are not seen.
    pub(super) strays: BTreeSet<String>,
}

/// A module: a file, or a part of one.
pub(super) struct Module {
    pub(super) file: String,
    /// Whether its parent declares it `pub`, and with which attributes.
    pub(super) is_public: bool,
    pub(super) attributes: Vec<Attribute>,
    /// Without the modules in it.
    pub(super) items: Vec<Item>,
    /// What its `use` items bring into it.
    pub(super) names: Vec<Used>,
}

/// One name that a `use` brings in.
pub(super) struct Used {
    /// `None` for a glob.
    pub(super) name: Option<String>,
    pub(super) path: Vec<String>,
    /// Whether it is there for others too.
    pub(super) public: bool,
}

impl Crate {
    /// Follows the `mod` items from `lib.rs`, or `main.rs`. Tests are left out.
    pub(super) fn parse(name: &str, sources: &Sources) -> Self {
        let mut krate = Self {
            name: name.replace('-', "_"),
            modules: BTreeMap::new(),
            strays: sources.0.keys().cloned().collect(),
        };
        krate.strays.retain(|file| !file.starts_with("src/bin/"));
        for root in ["src/lib.rs", "src/main.rs"] {
            if sources.0.contains_key(root) {
                krate.add_file(sources, Vec::new(), root, "src");
                return krate;
            }
        }
        panic!("{name}: src has neither lib.rs nor main.rs");
    }

    /// `folder` is where the files of the module's children are.
    fn add_file(&mut self, sources: &Sources, path: ModulePath, file: &str, folder: &str) {
        self.strays.remove(file);
        let text = &sources.0[file];
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        self.add(sources, path, file, folder, parsed.items);
    }

    fn add(
        &mut self,
        sources: &Sources,
        path: ModulePath,
        file: &str,
        folder: &str,
        items: Vec<Item>,
    ) {
        let mut module = Module {
            file: file.to_owned(),
            is_public: false,
            attributes: Vec::new(),
            items: Vec::new(),
            names: Vec::new(),
        };
        for item in items {
            match item {
                Item::Mod(child) => self.add_child(sources, &path, file, folder, child),
                Item::Use(item) if !is_test(&item.attrs) => {
                    let public = !matches!(item.vis, Visibility::Inherited);
                    leaves(&item.tree, &start(&item), &mut |path, name| {
                        module.names.push(Used { name, path, public });
                    });
                    module.items.push(Item::Use(item));
                }
                Item::ExternCrate(item) if item.ident == "self" => {
                    let alias = item.rename.map(|(_, name)| name.to_string());
                    let alias = alias.unwrap_or_default();
                    assert!(
                        alias == self.name,
                        "{file} names the crate `{alias}`, which no path is followed for"
                    );
                }
                item => module.items.push(item),
            }
        }
        let before = self.modules.insert(path, module);
        assert!(before.is_none(), "{file} is a module that was there before");
    }

    fn add_child(
        &mut self,
        sources: &Sources,
        parent: &[String],
        file: &str,
        folder: &str,
        child: ItemMod,
    ) {
        let name = child.ident.to_string();
        let path = [parent, std::slice::from_ref(&name)].concat();
        let folder = format!("{folder}/{name}");
        let beside = format!("{folder}.rs");
        if is_test(&child.attrs) {
            let within = format!("{folder}/");
            self.strays
                .retain(|it| *it != beside && !it.starts_with(&within));
            return;
        }
        // With the one a module is in another file, and with the other its macros need no import.
        for hiding in ["path", "macro_use"] {
            assert!(
                !child.attrs.iter().any(|it| it.path().is_ident(hiding)),
                "{file} declares `mod {name}` with `{hiding}`, which hides imports"
            );
        }
        if let Some((_, items)) = child.content {
            self.add(sources, path.clone(), file, &folder, items);
        } else {
            assert!(
                sources.0.contains_key(&beside),
                "{file} declares `mod {name}`, but {beside} does not exist"
            );
            self.add_file(sources, path.clone(), &beside, &folder);
        }
        if let Some(module) = self.modules.get_mut(&path) {
            module.is_public = matches!(child.vis, Visibility::Public(_));
            module.attributes = child.attrs;
        }
    }
}

/// What the paths of a `use` begin with: `::` names a crate, and may name this one.
pub(super) fn start(item: &ItemUse) -> Vec<String> {
    item.leading_colon
        .map_or_else(Vec::new, |_| vec![CRATES.to_owned()])
}

/// What stands for the `::` in front of a path, which is no module's name.
pub(super) const CRATES: &str = "::";

/// Calls back with each path of a `use` and the name that it gives, `None` for a glob.
pub(super) fn leaves(
    tree: &UseTree,
    prefix: &[String],
    leaf: &mut dyn FnMut(Vec<String>, Option<String>),
) {
    let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
    // `a::{self}` names `a`.
    let named = |path: Vec<String>| match path.last() {
        Some(last) if last == "self" && path.len() > 1 => path[..path.len() - 1].to_vec(),
        _ => path,
    };
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), leaf),
        UseTree::Name(name) => {
            let path = named(with(&name.ident));
            let last = path.last().cloned();
            leaf(path, last);
        }
        UseTree::Rename(rename) => {
            leaf(named(with(&rename.ident)), Some(rename.rename.to_string()))
        }
        UseTree::Glob(_) => leaf(prefix.to_vec(), None),
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, prefix, leaf);
            }
        }
    }
}

/// Whether an item is there for tests only.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<Meta>().is_ok_and(|it| tests(&it))
    })
}

/// Whether a condition holds in tests alone.
fn tests(condition: &Meta) -> bool {
    let parts = || {
        let list = condition.require_list().ok()?;
        let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        parts.ok()
    };
    if condition.path().is_ident("all") {
        parts().is_some_and(|parts| parts.iter().any(tests))
    } else if condition.path().is_ident("any") {
        parts().is_some_and(|parts| parts.iter().all(tests))
    } else {
        condition.path().is_ident("test")
    }
}
