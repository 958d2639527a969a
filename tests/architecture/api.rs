//! What each library exports, as a text that a change of it is seen in.

use std::{collections::BTreeSet, env, fs, path::Path};

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use similar::TextDiff;
use syn::{
    Attribute, Fields, ImplItem, Item, ItemImpl, ItemUse, Meta, TraitItem, Type, Visibility,
    parse_quote,
    visit::{self, Visit},
};

use super::{
    imports::{Definition, definitions},
    krate::{Crate, ModulePath, Sources, is_test, leaves, start},
};

/// If this variable is set, the test rewrites the files.
const BLESS: &str = "SUREHAND_BLESS";

fn holds(name: &str, folder: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let krate = Crate::parse(name, &Sources::read(&root.join(folder)));
    let text = exports(&krate);
    let file = format!("tests/data/api/{name}.txt");
    let path = root.join(&file);
    if env::var_os(BLESS).is_some() {
        return fs::write(path, text).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    let diff = TextDiff::from_lines(&expected, &text);
    assert!(
        expected == text,
        "{name} exports something else than {file} says. If that is meant, have it written anew with \
         `{BLESS}=1 cargo test --workspace --test architecture`.\n{}",
        diff.unified_diff()
            .context_radius(2)
            .header(&file, "the sources")
    );
}

#[test]
fn of_surehand() {
    holds("surehand", "lib/surehand");
}

#[test]
fn of_surehand_redrive() {
    holds("surehand-redrive", "lib/surehand-redrive");
}

#[test]
fn of_surehand_macros() {
    holds("surehand-macros", "lib/surehand-macros");
}

/// The public items of the root and of each public module, in Rust without bodies, private fields and
/// documentation. Only the compiler knows what macros write, and which types are `Send`.
pub(super) fn exports(krate: &Crate) -> String {
    let mut page = Page {
        krate,
        implementations: implementations(krate),
        told: BTreeSet::new(),
        implemented: BTreeSet::new(),
        modules: Vec::new(),
        text: String::new(),
    };
    page.module(&Vec::new());
    page.text
}

struct Page<'a> {
    krate: &'a Crate,
    implementations: Vec<Implementation<'a>>,
    /// The items that are already on the page.
    told: BTreeSet<*const Item>,
    /// Those whose implementations are, by the module that defines them. A name may have several items, where
    /// conditions decide.
    implemented: BTreeSet<(ModulePath, String)>,
    /// Modules that a private one declares, and that are re-exported.
    modules: Vec<ModulePath>,
    text: String,
}

/// An `impl`, where it is, and for what.
struct Implementation<'a> {
    module: &'a ModulePath,
    item: &'a ItemImpl,
    of: Vec<Definition>,
}

fn implementations(krate: &Crate) -> Vec<Implementation<'_>> {
    let items = krate
        .modules
        .iter()
        .flat_map(|(path, module)| module.items.iter().map(move |item| (path, item)));
    let all = items.filter_map(|(module, item)| {
        let Item::Impl(item) = item else { return None };
        (!is_test(&item.attrs)).then(|| Implementation {
            module,
            item,
            of: implemented(krate, module, item),
        })
    });
    all.collect()
}

/// What an `impl` is listed with: the type that it is for, or else the first of the crate's items that its type
/// and its trait name, as in `impl From<Error> for Response` and `impl<T: Event> FromRecord for Vec<T>`.
fn implemented(krate: &Crate, module: &ModulePath, item: &ItemImpl) -> Vec<Definition> {
    if let Type::Path(of) = &*item.self_ty {
        let of = definitions(krate, module, &names(&of.path));
        if !of.is_empty() {
            return of;
        }
    }
    let mut paths = Paths(Vec::new());
    paths.visit_type(&item.self_ty);
    if let Some((_, of, _)) = &item.trait_ {
        paths.visit_path(of);
    }
    let found = paths.0.iter().map(|path| definitions(krate, module, path));
    found
        .into_iter()
        .find(|of| !of.is_empty())
        .unwrap_or_default()
}

struct Paths(Vec<Vec<String>>);

impl<'a> Visit<'a> for Paths {
    fn visit_path(&mut self, path: &'a syn::Path) {
        self.0.push(names(path));
        visit::visit_path(self, path);
    }
}

fn names(path: &syn::Path) -> Vec<String> {
    let names = path.segments.iter().map(|it| it.ident.to_string());
    names.collect()
}

impl Page<'_> {
    fn module(&mut self, path: &ModulePath) {
        let module = &self.krate.modules[path];
        let mut exported: Vec<(String, Vec<Item>)> = Vec::new();
        for item in &module.items {
            match item {
                Item::Use(item) if is_exported(&item.vis, &item.attrs) => {
                    self.re_exports(path, item, &mut exported);
                }
                item => exported.extend(self.defined(path, item, &[])),
            }
        }
        exported.sort_by(|(a, _), (b, _)| a.cmp(b));
        let name = [std::slice::from_ref(&self.krate.name), &path[..]].concat();
        let conditions = conditions(&module.attributes).map(|it| format!("{} ", tokens(it)));
        let head = format!("// {}{}\n", conditions.collect::<String>(), name.join("::"));
        let items = exported.into_iter().flat_map(|(_, items)| items);
        let file = syn::File {
            shebang: None,
            attrs: Vec::new(),
            items: items.collect(),
        };
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&head);
        self.text.push_str(&prettyplease::unparse(&file));

        let krate = self.krate;
        for (child, module) in &krate.modules {
            let is_child = child.len() == path.len() + 1 && child.starts_with(path);
            if is_child && module.is_public && !is_hidden(&module.attributes) {
                self.module(child);
            }
        }
        for module in std::mem::take(&mut self.modules) {
            self.module(&module);
        }
    }

    /// What a `pub use` hands on: the items themselves, where they are the crate's.
    fn re_exports(&mut self, path: &ModulePath, item: &ItemUse, to: &mut Vec<(String, Vec<Item>)>) {
        let conditions: Vec<Attribute> = conditions(&item.attrs).cloned().collect();
        let mut each = |used: Vec<String>, name: Option<String>| {
            let found = definitions(self.krate, path, &used);
            if found.is_empty() {
                let mut text = used.join("::").replacen("::::", "::", 1);
                match &name {
                    Some(name) if used.last() != Some(name) => text += &format!(" as {name}"),
                    Some(_) => {}
                    None => text += "::*",
                }
                let mut item: ItemUse = syn::parse_str(&format!("pub use {text};")).unwrap();
                item.attrs.clone_from(&conditions);
                to.push((name.clone().unwrap_or_default(), vec![item.into()]));
            }
            for definition in found {
                match (definition, &name) {
                    (Definition::Item(module, defined), Some(name)) => {
                        if *name != defined {
                            let path = path_of(&module, &defined);
                            let name = syn::Ident::new(name, Span::call_site());
                            let item = parse_quote!(#(#conditions)* pub use #path as #name;);
                            to.push((defined.clone(), vec![item]));
                        }
                        let items = &self.krate.modules[&module].items;
                        let items: Vec<&Item> = items
                            .iter()
                            .filter(|it| ident(it).is_some_and(|it| *it == defined))
                            .collect();
                        for item in items {
                            to.extend(self.defined(&module, item, &conditions));
                        }
                    }
                    (Definition::Module(module), None) => {
                        for item in &self.krate.modules[&module].items {
                            match item {
                                Item::Use(item) if is_exported(&item.vis, &item.attrs) => {
                                    self.re_exports(&module, item, to);
                                }
                                item => to.extend(self.defined(&module, item, &conditions)),
                            }
                        }
                    }
                    // A module has its own part of the page.
                    (Definition::Module(module), Some(name)) => {
                        if !is_reachable(self.krate, &module) || module.last() != Some(name) {
                            let item =
                                path_of(&module[..module.len() - 1], &module[module.len() - 1]);
                            let name = syn::Ident::new(name, Span::call_site());
                            let item = parse_quote!(#(#conditions)* pub use #item as #name;);
                            to.push((name.to_string(), vec![item]));
                        }
                        if !is_reachable(self.krate, &module) {
                            self.modules.push(module);
                        }
                    }
                    (Definition::Item(..), None) => {}
                }
            }
        };
        leaves(&item.tree, &start(item), &mut each);
    }

    /// An item with what is implemented for it, in front of which the conditions of its re-export are.
    fn defined(
        &mut self,
        module: &ModulePath,
        item: &Item,
        conditions: &[Attribute],
    ) -> Option<(String, Vec<Item>)> {
        let name = ident(item)?.to_string();
        let mut shown = shown(item)?;
        if !self.told.insert(std::ptr::from_ref(item)) {
            // It is on the page, with all that is implemented.
            let path = path_of(module, &name);
            return Some((name, vec![parse_quote!(#(#conditions)* pub use #path;)]));
        }
        if let Some(attributes) = attributes_mut(&mut shown) {
            attributes.splice(0..0, conditions.iter().cloned());
        }
        let mut items = vec![shown];
        if self.implemented.insert((module.clone(), name.clone())) {
            items.extend(self.implementations(module, &name));
        }
        Some((name, items))
    }

    fn implementations(&self, module: &ModulePath, name: &str) -> Vec<Item> {
        let item = Definition::Item(module.clone(), name.to_owned());
        let its = self
            .implementations
            .iter()
            .filter(|it| it.of.contains(&item));
        let its = its.filter_map(|it| self.implementation(it.module, it.item));
        let mut its: Vec<ItemImpl> = its.collect();
        its.sort_by_key(|item| {
            let of = item.trait_.as_ref().map(|(_, path, _)| tokens(path));
            (of, tokens(&item.generics), tokens(&item.self_ty))
        });
        its.into_iter().map(Item::Impl).collect()
    }

    fn implementation(&self, module: &ModulePath, item: &ItemImpl) -> Option<ItemImpl> {
        let mut item = item.clone();
        let outer = (1..=module.len()).map(|length| &self.krate.modules[&module[..length]]);
        let outer = outer.flat_map(|it| conditions(&it.attributes)).cloned();
        item.attrs = outer.chain(lasting(&item.attrs)).collect();
        let Some((_, of, _)) = &item.trait_ else {
            item.items.retain(|it| match it {
                ImplItem::Const(it) => is_exported(&it.vis, &it.attrs),
                ImplItem::Fn(it) => is_exported(&it.vis, &it.attrs),
                ImplItem::Type(it) => is_exported(&it.vis, &it.attrs),
                _ => false,
            });
            for it in &mut item.items {
                match it {
                    ImplItem::Const(it) => it.attrs = lasting(&it.attrs),
                    ImplItem::Fn(it) => {
                        it.attrs = lasting(&it.attrs);
                        it.block = parse_quote!({});
                        nameless(&mut it.sig);
                    }
                    _ => {}
                }
            }
            return (!item.items.is_empty()).then_some(item);
        };
        // A trait of the crate's own may be private.
        for definition in definitions(self.krate, module, &names(of)) {
            if let Definition::Item(module, name) = definition {
                let items = &self.krate.modules[&module].items;
                let of = items
                    .iter()
                    .find(|it| ident(it).is_some_and(|it| *it == name));
                shown(of?)?;
            }
        }
        item.items.retain(|it| matches!(it, ImplItem::Type(_)));
        Some(item)
    }
}

/// Whether others can name the module by its own path.
fn is_reachable(krate: &Crate, module: &ModulePath) -> bool {
    (1..=module.len()).all(|length| krate.modules[&module[..length]].is_public)
}

/// Where an item is defined.
fn path_of(module: &[String], name: &str) -> syn::Path {
    let names = module.iter().map(String::as_str).chain([name]);
    let names = names.map(|it| syn::Ident::new(it, Span::call_site()));
    parse_quote!(crate::#(#names)::*)
}

/// The item as others see it; none if they do not.
fn shown(item: &Item) -> Option<Item> {
    let mut item = item.clone();
    match &mut item {
        Item::Const(it) if is_exported(&it.vis, &it.attrs) => {}
        Item::Enum(it) if is_exported(&it.vis, &it.attrs) => {
            for variant in &mut it.variants {
                variant.attrs = lasting(&variant.attrs);
                public(&mut variant.fields, true);
            }
        }
        Item::Fn(it) if is_exported(&it.vis, &it.attrs) => {
            *it.block = parse_quote!({});
            nameless(&mut it.sig);
        }
        Item::Static(it) if is_exported(&it.vis, &it.attrs) => {}
        Item::Struct(it) if is_exported(&it.vis, &it.attrs) => public(&mut it.fields, false),
        Item::Trait(it) if is_exported(&it.vis, &it.attrs) => {
            it.items.retain(|it| match it {
                TraitItem::Const(it) => !is_hidden(&it.attrs),
                // Whoever implements the trait has to write it, hidden or not.
                TraitItem::Fn(it) => !is_hidden(&it.attrs) || it.default.is_none(),
                TraitItem::Type(it) => !is_hidden(&it.attrs),
                _ => false,
            });
            for it in &mut it.items {
                match it {
                    TraitItem::Const(it) => it.attrs = lasting(&it.attrs),
                    TraitItem::Fn(it) => {
                        it.attrs = lasting(&it.attrs);
                        it.default = it.default.as_ref().map(|_| parse_quote!({}));
                        nameless(&mut it.sig);
                    }
                    TraitItem::Type(it) => it.attrs = lasting(&it.attrs),
                    _ => {}
                }
            }
        }
        Item::Type(it) if is_exported(&it.vis, &it.attrs) => {}
        Item::Union(it) if is_exported(&it.vis, &it.attrs) => {}
        Item::Macro(it) if is_macro(it) => it.mac.tokens = patterns(&it.mac.tokens),
        _ => return None,
    }
    let attributes = attributes_mut(&mut item)?;
    *attributes = lasting(attributes);
    Some(item)
}

/// A macro that other crates can call.
fn is_macro(item: &syn::ItemMacro) -> bool {
    let is_for_all = item
        .attrs
        .iter()
        .any(|it| it.path().is_ident("macro_export"));
    item.ident.is_some() && is_for_all && !is_hidden(&item.attrs)
}

/// The rules of a macro, without what they become.
fn patterns(rules: &TokenStream) -> TokenStream {
    let mut is_body = false;
    let rules = rules.clone().into_iter().map(|token| match token {
        TokenTree::Group(it) if is_body => {
            is_body = false;
            TokenTree::Group(Group::new(it.delimiter(), TokenStream::new()))
        }
        TokenTree::Punct(it) => {
            is_body = it.as_char() == '>';
            TokenTree::Punct(it)
        }
        other => other,
    });
    rules.collect()
}

/// `mut` before an argument is the body's affair.
fn nameless(signature: &mut syn::Signature) {
    for input in &mut signature.inputs {
        match input {
            syn::FnArg::Receiver(receiver) if receiver.reference.is_none() => {
                receiver.mutability = None;
            }
            syn::FnArg::Typed(argument) => {
                if let syn::Pat::Ident(name) = &mut *argument.pat {
                    name.mutability = None;
                }
            }
            syn::FnArg::Receiver(_) => {}
        }
    }
}

/// Leaves the public fields, and of the private ones that there are any.
fn public(fields: &mut Fields, all: bool) {
    let is_public = |it: &syn::Field| all || matches!(it.vis, Visibility::Public(_));
    match fields {
        Fields::Named(fields) => {
            let private = fields.named.iter().any(|it| !is_public(it));
            fields.named = std::mem::take(&mut fields.named)
                .into_iter()
                .filter(is_public)
                .collect();
            if private {
                let field: syn::FieldsNamed = parse_quote!({ _private: _ });
                fields.named.extend(field.named);
            }
        }
        Fields::Unnamed(fields) => {
            for field in &mut fields.unnamed {
                if !is_public(field) {
                    field.ty = parse_quote!(_);
                    field.vis = Visibility::Inherited;
                }
            }
        }
        Fields::Unit => {}
    }
    for field in fields {
        field.attrs = lasting(&field.attrs);
    }
}

/// Attributes that are a part of the interface.
fn lasting(attributes: &[Attribute]) -> Vec<Attribute> {
    let names = [
        "cfg",
        "cfg_attr",
        "deprecated",
        "derive",
        "macro_export",
        "non_exhaustive",
        "proc_macro_derive",
    ];
    let lasting = attributes
        .iter()
        .filter(|it| names.iter().any(|name| it.path().is_ident(name)));
    lasting.cloned().collect()
}

fn conditions(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|it| it.path().is_ident("cfg"))
}

fn is_exported(visibility: &Visibility, attributes: &[Attribute]) -> bool {
    matches!(visibility, Visibility::Public(_)) && !is_hidden(attributes) && !is_test(attributes)
}

/// What the documentation leaves out is for macros alone.
fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|it| match &it.meta {
        Meta::List(list) if it.path().is_ident("doc") => tokens(&list.tokens) == "hidden",
        _ => conditions(std::slice::from_ref(it)).any(|it| tokens(&it.meta).contains("doctest")),
    })
}

fn ident(item: &Item) -> Option<&syn::Ident> {
    match item {
        Item::Const(it) => Some(&it.ident),
        Item::Enum(it) => Some(&it.ident),
        Item::Fn(it) => Some(&it.sig.ident),
        Item::Static(it) => Some(&it.ident),
        Item::Struct(it) => Some(&it.ident),
        Item::Trait(it) => Some(&it.ident),
        Item::Type(it) => Some(&it.ident),
        Item::Union(it) => Some(&it.ident),
        Item::Macro(it) => it.ident.as_ref(),
        _ => None,
    }
}

fn attributes_mut(item: &mut Item) -> Option<&mut Vec<Attribute>> {
    match item {
        Item::Const(it) => Some(&mut it.attrs),
        Item::Enum(it) => Some(&mut it.attrs),
        Item::Fn(it) => Some(&mut it.attrs),
        Item::Static(it) => Some(&mut it.attrs),
        Item::Struct(it) => Some(&mut it.attrs),
        Item::Trait(it) => Some(&mut it.attrs),
        Item::Type(it) => Some(&mut it.attrs),
        Item::Union(it) => Some(&mut it.attrs),
        Item::Macro(it) => Some(&mut it.attrs),
        _ => None,
    }
}

fn tokens(of: &impl quote::ToTokens) -> String {
    of.to_token_stream().to_string()
}
