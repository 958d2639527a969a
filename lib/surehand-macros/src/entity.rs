//! What `#[derive(Entity)]` expands to.

mod attribute;
mod functions;
mod key;
mod schema;

use self::{
    attribute::Attributes,
    functions::{functions, write_key},
    key::Key,
    schema::Schema,
};
use crate::{
    attribute::Problems,
    document::{self, Field, Form, can_be_written},
};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, LitStr, ext::IdentExt};

/// Writes the `impl Entity` and the functions for keys, with the errors that say what is wrong.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut problems = Problems::default();
    let attributes = Attributes::read(&input.attrs, &mut problems);
    if problems.is_empty() {
        check_presence(input, &attributes, &mut problems);
    }
    let fields = document::fields(input, "an entity", &mut problems);
    let schema = Schema::new(input, &attributes, fields.as_deref(), &mut problems);

    let errors = problems.into_error().map(|error| error.to_compile_error());
    if !can_be_written(input) {
        return quote!(#errors);
    }
    // The impls are written despite errors: otherwise each use of the entity would be another error.
    let document = document::document(input, schema.fields, |field| schema.is_fixed(field));
    let impls = [implementation(&schema), functions(&schema)];
    quote!(#errors #document #(#impls)*)
}

fn check_presence(input: &DeriveInput, attributes: &Attributes, problems: &mut Problems) {
    if attributes.table.is_none() {
        problems.add(Error::new(
            input.ident.span(),
            "the entity needs a `table`, the environment variable that has the table's name, as in `#[entity(table = \"SHOP_TABLE\")]`",
        ));
    }
    if attributes.key.is_none() {
        problems.add(Error::new(
            input.ident.span(),
            "the entity needs a `key`: the fields that are the table's key, as in `#[entity(key(order_id))]`, or texts composed of fields, as in `#[entity(key(pk = \"ORDER#{order_id}\"))]`",
        ));
    }
}

/// Writes the `impl Entity`.
fn implementation(schema: &Schema<'_>) -> TokenStream {
    let ident = &schema.input.ident;
    let name = ident.unraw().to_string();
    let table = schema.table.map_or_else(String::new, LitStr::value);
    let key = schema.key.as_ref().map_or_else(
        || {
            quote!(::surehand::tables::KeySchema {
                partition: ::surehand::tables::KeyAttribute {
                    name: "",
                    kind: ::surehand::tables::KeyKind::Text,
                    prefix: "",
                    is_whole: false,
                },
                sort: ::std::option::Option::None,
            })
        },
        Key::schema,
    );
    let indexes = schema.indexes.iter().map(|(index, key)| {
        let (name, key) = (&index.name, key.schema());
        quote!(::surehand::tables::IndexSchema { name: #name, key: #key })
    });
    let attributes = schema.fields.iter();
    let attributes = attributes
        .filter(|field| !matches!(field.form, Form::Skipped | Form::Flat))
        .map(|field| &field.attribute);
    let optional = schema.fields.iter();
    let optional = optional
        .filter(|field| !matches!(field.form, Form::Skipped | Form::Flat))
        .filter(|field| document::optional(&field.syntax.ty).is_some())
        .map(|field| &field.attribute);
    let mut unnamed = schema.fields.iter();
    let has_unnamed = unnamed.any(|field| matches!(field.form, Form::Skipped | Form::Flat));
    let version = match schema.version {
        Some(Field { attribute, .. }) => quote!(::std::option::Option::Some(#attribute)),
        None => quote!(::std::option::Option::None),
    };
    let to_key = match &schema.key {
        Some(key) => write_key(schema, key, |field| {
            let ident = field.ident;
            quote!(self.#ident)
        }),
        None => quote!(::std::unreachable!()),
    };
    let composed = schema.composed();
    let parts = composed.iter().map(|composed| composed.of_self());
    let count = composed.len();
    quote! {
        #[automatically_derived]
        impl ::surehand::tables::Entity for #ident {
            const NAME: &'static str = #name;
            const TABLE: &'static str = #table;
            const KEY: ::surehand::tables::KeySchema = #key;
            const INDEXES: &'static [::surehand::tables::IndexSchema] = &[#(#indexes),*];
            const ATTRIBUTES: &'static [&'static str] = &[#(#attributes),*];
            const OPTIONAL: &'static [&'static str] = &[#(#optional),*];
            const HAS_UNNAMED: bool = #has_unnamed;
            const VERSION: ::std::option::Option<&'static str> = #version;

            fn to_key(&self) -> ::surehand::tables::Key<Self> {
                #to_key
            }

            fn composed(&self) -> ::std::vec::Vec<::surehand::tables::KeyPart> {
                let parts: [::std::option::Option<::surehand::tables::KeyPart>; #count] =
                    [#(#parts),*];
                ::std::iter::Iterator::collect(::std::iter::IntoIterator::into_iter(parts).flatten())
            }
        }
    }
}

#[cfg(test)]
mod tests;
