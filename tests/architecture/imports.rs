//! What the modules of a crate import from each other: by `use`, and by paths anywhere else.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};
use syn::{
    Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, Meta, Path, TraitItem, UseTree, Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};

use super::krate::{CRATES, Crate, Module, ModulePath, is_test, leaves, start};

/// That one module names something of another.
#[derive(Clone, Debug)]
pub(super) struct Import {
    pub(super) from: ModulePath,
    /// The module that has what is named, also where another re-exports it.
    pub(super) to: ModulePath,
    /// Whether `from` only re-exports an item of one of its own modules, and does not use it itself.
    pub(super) hands_on: bool,
    pub(super) file: String,
    pub(super) line: usize,
    /// As it is written, without what else the same `use` names.
    pub(super) text: String,
}

/// A path somewhere in a module's code.
struct Mention {
    path: Vec<String>,
    line: usize,
    /// Whether a `use` names it, and whether that one is public.
    used: Option<bool>,
}

/// All imports of one module of a crate from another.
pub(super) fn imports(krate: &Crate) -> Vec<Import> {
    let resolver = Resolver { krate, stops: true };
    let mut imports = Vec::new();
    for (from, module) in &krate.modules {
        let Collector { mentions, names } = collect(module);
        for mention in mentions {
            let Mention { path, line, used } = mention;
            let ends = match used {
                Some(_) => resolver.resolve(from, &path, 0),
                None => resolver.resolve_in_code(from, &path),
            };
            for to in ends.into_iter().map(Definition::module) {
                if to == *from {
                    continue;
                }
                let is_needed = || {
                    let used = module.names.iter().filter(|it| it.path == path);
                    used.into_iter().any(|it| match &it.name {
                        Some(name) => names.contains(name),
                        None => names.iter().any(|it| defines(&krate.modules[&to], it)),
                    })
                };
                let hands_on = used == Some(true) && to.starts_with(from) && !is_needed();
                let path = path.join("::").replacen("::::", "::", 1);
                imports.push(Import {
                    hands_on,
                    from: from.clone(),
                    to,
                    file: module.file.clone(),
                    line,
                    text: match used {
                        Some(_) => format!("use {path}"),
                        None => path,
                    },
                });
            }
        }
    }
    imports.sort_by(|a, b| (&a.file, a.line, &a.text).cmp(&(&b.file, b.line, &b.text)));
    imports.dedup_by(|a, b| (&a.file, a.line, &a.to) == (&b.file, b.line, &b.to));
    imports
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    Module(ModulePath),
    /// An item, or what is in it, by the module that has it.
    Item(ModulePath, String),
}

impl Definition {
    fn module(self) -> ModulePath {
        match self {
            Self::Module(module) | Self::Item(module, _) => module,
        }
    }
}

/// The crate's own modules and items that a path in a module names, through all re-exports.
pub(super) fn definitions(krate: &Crate, from: &[String], path: &[String]) -> Vec<Definition> {
    let resolver = Resolver {
        krate,
        stops: false,
    };
    let mut found = resolver.resolve(from, path, 0);
    if found.is_empty() {
        found = resolver.walk(from, path, 0);
    }
    found.retain(|it| match it {
        Definition::Module(_) => true,
        Definition::Item(module, name) => defines(&krate.modules[module], name),
    });
    found
}

/// The inherent implementations, as an import of what they are for.
pub(super) fn extensions(krate: &Crate) -> Vec<Import> {
    let mut found = Vec::new();
    for (from, module) in &krate.modules {
        for item in &module.items {
            let Item::Impl(item) = item else { continue };
            let syn::Type::Path(of) = &*item.self_ty else {
                continue;
            };
            if item.trait_.is_some() || is_test(&item.attrs) {
                continue;
            }
            let path = segments(&of.path);
            let of = definitions(krate, from, &path).into_iter();
            found.extend(of.map(Definition::module).map(|to| Import {
                from: from.clone(),
                to,
                hands_on: false,
                file: module.file.clone(),
                line: item.span().start().line,
                text: format!("impl {}", path.join("::")),
            }));
        }
    }
    found
}

struct Resolver<'a> {
    krate: &'a Crate,
    /// Whether a module that hands on what another top-level module has stands for it. The root never does.
    stops: bool,
}

impl Resolver<'_> {
    /// Where a path of a `use` may lead. There are several ends where features decide, and none for a path
    /// out of the crate.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Vec<Definition> {
        let Some((first, mut rest)) = path.split_first() else {
            return vec![Definition::Module(from.to_vec())];
        };
        let child = [from, std::slice::from_ref(first)].concat();
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.to_vec(),
            "super" => parent(from),
            _ if self.krate.modules.contains_key(&child) => child,
            name if name == self.krate.name => Vec::new(),
            CRATES if rest.first() == Some(&self.krate.name) => {
                rest = &rest[1..];
                Vec::new()
            }
            _ => return Vec::new(),
        };
        while let Some((next, after)) = rest.split_first() {
            if next != "super" {
                break;
            }
            (at, rest) = (parent(&at), after);
        }
        self.walk(&at, rest, depth)
    }

    /// Where a path in code may lead: its first name may also be of a module that a `use` brought in. What
    /// else it brought in is the import of that `use` already.
    fn resolve_in_code(&self, from: &[String], path: &[String]) -> Vec<Definition> {
        let used = self.krate.modules[from].names.iter();
        let used = used.filter(|it| it.name.as_ref() == path.first() && it.path != path[..1]);
        let named = used.flat_map(|it| self.resolve(from, &it.path, 0));
        let mut found = Vec::new();
        for module in named {
            if let Definition::Module(module) = module {
                found.extend(self.walk(&module, &path[1..], 0));
            }
        }
        if found.is_empty() {
            found = self.resolve(from, path, 0);
        }
        found
    }

    /// Goes on from a module: into its modules, and through its re-exports.
    fn walk(&self, at: &[String], rest: &[String], depth: usize) -> Vec<Definition> {
        let Some((next, after)) = rest.split_first() else {
            return vec![Definition::Module(at.to_vec())];
        };
        let child = [at, std::slice::from_ref(next)].concat();
        if self.krate.modules.contains_key(&child) {
            return self.walk(&child, after, depth);
        }
        let module = &self.krate.modules[at];
        let mut found = Vec::new();
        // Globs may go in circles.
        let used = module.names.iter().filter(|_| depth < 20);
        for used in used {
            // What a glob brings in is looked for where it points to.
            let path = match &used.name {
                Some(name) if name == next => [&used.path, after].concat(),
                None if !defines(module, next) => [&used.path, rest].concat(),
                _ => continue,
            };
            for end in self.resolve(at, &path, depth + 1) {
                let is_there = match &end {
                    Definition::Item(module, name) if used.name.is_none() => {
                        defines(&self.krate.modules[module], name)
                    }
                    _ => true,
                };
                let is_elsewhere = at.first() != end.clone().module().first();
                let stands = self.stops && !at.is_empty() && used.public && is_elsewhere;
                if is_there && !stands {
                    found.push(end);
                }
            }
        }
        if found.is_empty() {
            found.push(Definition::Item(at.to_vec(), next.clone()));
        }
        found
    }
}

fn parent(path: &[String]) -> ModulePath {
    path[..path.len().saturating_sub(1)].to_vec()
}

/// Whether a module has an item of this name itself.
fn defines(module: &Module, name: &str) -> bool {
    module.items.iter().any(|item| match item {
        Item::Const(it) => it.ident == name,
        Item::Enum(it) => it.ident == name,
        Item::Fn(it) => it.sig.ident == name,
        Item::Static(it) => it.ident == name,
        Item::Struct(it) => it.ident == name,
        Item::Trait(it) => it.ident == name,
        Item::Type(it) => it.ident == name,
        Item::Union(it) => it.ident == name,
        Item::Macro(it) => it.ident.as_ref().is_some_and(|ident| ident == name),
        _ => false,
    })
}

fn collect(module: &Module) -> Collector {
    let mut collector = Collector::default();
    for item in &module.items {
        collector.visit_item(item);
    }
    collector
}

/// What a module's items name.
#[derive(Default)]
struct Collector {
    /// Paths, in the order of the module's text.
    mentions: Vec<Mention>,
    /// What paths begin with, without those of a `use`.
    names: BTreeSet<String>,
}

impl Collector {
    fn code(&mut self, path: Vec<String>, span: Span) {
        self.names.extend(path.first().cloned());
        if path.len() > 1 {
            self.mentions.push(Mention {
                path,
                line: span.start().line,
                used: None,
            });
        }
    }

    fn tree(&mut self, tree: &UseTree, start: &[String], public: bool) {
        // A group's members have lines of their own.
        fn each(tree: &UseTree, prefix: &[String], found: &mut Vec<(Vec<String>, Span)>) {
            match tree {
                UseTree::Path(path) => {
                    let prefix = [prefix, &[path.ident.to_string()]].concat();
                    each(&path.tree, &prefix, found);
                }
                UseTree::Group(group) => {
                    for tree in &group.items {
                        each(tree, prefix, found);
                    }
                }
                leaf => leaves(leaf, prefix, &mut |path, _| found.push((path, leaf.span()))),
            }
        }
        let mut found = Vec::new();
        each(tree, start, &mut found);
        for (path, span) in found {
            self.mentions.push(Mention {
                path,
                line: span.start().line,
                used: Some(public),
            });
        }
    }

    /// The input of a macro has no known grammar, but paths look like paths there too.
    fn tokens(&mut self, tokens: TokenStream, prefix: &[String], texts: bool) {
        let mut path: Vec<String> = prefix.to_vec();
        let (mut joined, mut start) = (!prefix.is_empty(), Span::call_site());
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(ident) => {
                    if !joined {
                        self.code(std::mem::take(&mut path), start);
                    }
                    if path.len() == prefix.len() || !joined {
                        start = ident.span();
                    }
                    path.push(ident.to_string());
                    joined = false;
                }
                TokenTree::Punct(punct)
                    if punct.as_char() == ':'
                        && punct.spacing() == Spacing::Joint
                        && matches!(tokens.peek(), Some(TokenTree::Punct(p)) if p.as_char() == ':') =>
                {
                    tokens.next();
                    if path.is_empty() {
                        path.push(CRATES.to_owned());
                        start = punct.span();
                    }
                    joined = true;
                }
                TokenTree::Group(group) => {
                    if joined && group.delimiter() == Delimiter::Brace {
                        let prefix = std::mem::take(&mut path);
                        for part in parts(group.stream()) {
                            self.tokens(part, &prefix, texts);
                        }
                    } else {
                        self.code(std::mem::take(&mut path), start);
                        self.tokens(group.stream(), &[], texts);
                    }
                    joined = false;
                }
                TokenTree::Literal(literal) => {
                    self.code(std::mem::take(&mut path), start);
                    joined = false;
                    // As in `#[serde(with = "crate::time")]`.
                    let text = syn::parse_str::<syn::LitStr>(&literal.to_string());
                    if texts
                        && let Ok(text) = text
                        && let Ok(path) = text.parse::<Path>()
                    {
                        self.code(segments(&path), literal.span());
                    }
                }
                TokenTree::Punct(_) => {
                    self.code(std::mem::take(&mut path), start);
                    joined = false;
                }
            }
        }
        self.code(path, start);
    }
}

/// Returns the parts between a group's commas.
fn parts(tokens: TokenStream) -> Vec<TokenStream> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let parts =
        tokens.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','));
    parts.map(|part| part.iter().cloned().collect()).collect()
}

fn segments(path: &Path) -> Vec<String> {
    let start = path.leading_colon.map(|_| CRATES.to_owned());
    let segments = path.segments.iter().map(|it| it.ident.to_string());
    start.into_iter().chain(segments).collect()
}

impl<'a> Visit<'a> for Collector {
    fn visit_item(&mut self, item: &'a Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'a ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Const(it) => &it.attrs,
            ImplItem::Fn(it) => &it.attrs,
            ImplItem::Type(it) => &it.attrs,
            ImplItem::Macro(it) => &it.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'a TraitItem) {
        let is_test = matches!(item, TraitItem::Fn(it) if is_test(&it.attrs));
        if !is_test {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let public = !matches!(item.vis, Visibility::Inherited);
        self.tree(&item.tree, &start(item), public);
    }

    /// A module is visited for itself. One that is within a function would never be.
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        assert!(
            is_test(&item.attrs),
            "`mod {}` in line {} is within a function: what it imports is not followed",
            item.ident,
            item.span().start().line
        );
    }

    /// `pub(in crate::record)` says which modules may import the item, and is not an import.
    fn visit_visibility(&mut self, _: &'a Visibility) {}

    fn visit_path(&mut self, path: &'a Path) {
        self.code(segments(path), path.span());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, it: &'a Macro) {
        self.visit_path(&it.path);
        self.tokens(it.tokens.clone(), &[], false);
    }

    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        match &attribute.meta {
            _ if attribute.path().is_ident("doc") => {}
            Meta::List(list) => self.tokens(list.tokens.clone(), &[], true),
            Meta::Path(_) | Meta::NameValue(_) => {}
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}
