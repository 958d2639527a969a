//! A crate's modules, as its sources declare them.

use std::{collections::BTreeMap, fs, path::Path};

use syn::{Attribute, Item, ItemMod, Meta, Token, UseTree, Visibility, punctuated::Punctuated};

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
        };
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
                    if item.leading_colon.is_none() {
                        leaves(&item.tree, &[], &mut |path, name| {
                            module.names.push(Used { name, path, public });
                        });
                    }
                    module.items.push(Item::Use(item));
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
        if is_test(&child.attrs) || name == "tests" {
            return;
        }
        let path = [parent, std::slice::from_ref(&name)].concat();
        let folder = format!("{folder}/{name}");
        if let Some((_, items)) = child.content {
            self.add(sources, path.clone(), file, &folder, items);
        } else {
            let beside = format!("{folder}.rs");
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
