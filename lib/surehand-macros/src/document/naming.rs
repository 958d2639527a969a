//! What serde's attributes say of an attribute's name and form.

use proc_macro2::{Span, TokenTree};
use syn::{Attribute, Ident, LitStr, Result, Token, ext::IdentExt, meta::ParseNestedMeta};

/// A name for writing and one for reading, as in `rename(serialize = "a", deserialize = "b")`.
#[derive(Default)]
struct Both {
    written: Option<LitStr>,
    read: Option<LitStr>,
}

/// What serde's attributes on a struct say.
#[derive(Default)]
pub(crate) struct OfStruct {
    rename_all: Both,
    /// Whether what is missing is a default.
    pub(crate) default: bool,
    /// The first attribute that makes something other than a map of fields of the struct.
    pub(crate) reshaped: Option<(String, Span)>,
}

/// What serde's attributes on a field say.
#[derive(Default)]
pub(crate) struct OfField {
    rename: Both,
    /// Whether the field is a default if it is missing.
    pub(crate) default: bool,
    /// Whether the field may be missing.
    pub(crate) optional: bool,
    pub(crate) form: Form,
}

/// How a field is in an item. Of several, the last here is the one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// As its type is written.
    #[default]
    Plain,
    /// Written, and not read.
    Unread,
    /// Written by a function of its own.
    Custom,
    /// As attributes beside those of the struct.
    Flat,
    /// Not at all.
    Skipped,
}

/// The names under which a field is written and read.
pub(crate) struct Names {
    pub(crate) written: String,
    pub(crate) read: String,
    /// Where they are decided.
    pub(crate) span: Span,
}

impl OfStruct {
    pub(crate) fn read(attributes: &[Attribute]) -> Self {
        let mut read = Self::default();
        each(attributes, |key, meta| {
            match key {
                "rename_all" => read.rename_all = both(meta)?,
                "default" => read.default = true,
                "transparent" | "tag" | "content" | "untagged" | "into" | "from" | "try_from"
                | "remote" => {
                    let span = meta.path.segments[0].ident.span();
                    read.reshaped.get_or_insert_with(|| (key.to_owned(), span));
                }
                _ => {}
            }
            Ok(())
        });
        read
    }

    /// Returns the names of a field of this struct.
    pub(crate) fn names(&self, ident: &Ident, field: &OfField) -> Names {
        let name = |renamed: &Option<LitStr>, all: &Option<LitStr>| match (renamed, all) {
            (Some(renamed), _) => renamed.value(),
            (None, Some(rule)) => apply(&rule.value(), &ident.unraw().to_string()),
            (None, None) => ident.unraw().to_string(),
        };
        let literals = [&field.rename, &self.rename_all];
        let mut literals = literals.into_iter().flat_map(|it| [&it.written, &it.read]);
        Names {
            written: name(&field.rename.written, &self.rename_all.written),
            read: name(&field.rename.read, &self.rename_all.read),
            span: literals
                .find_map(|it| it.as_ref())
                .map_or_else(|| ident.span(), LitStr::span),
        }
    }
}

impl OfField {
    pub(crate) fn read(attributes: &[Attribute]) -> Self {
        let mut read = Self::default();
        each(attributes, |key, meta| {
            match key {
                "rename" => read.rename = both(meta)?,
                "default" => read.default = true,
                "skip_serializing_if" => read.optional = true,
                "skip" | "skip_serializing" => read.is(Form::Skipped),
                "flatten" => read.is(Form::Flat),
                "with" | "serialize_with" => read.is(Form::Custom),
                "skip_deserializing" => read.is(Form::Unread),
                _ => {}
            }
            Ok(())
        });
        read
    }

    fn is(&mut self, form: Form) {
        self.form = self.form.max(form);
    }
}

/// Calls the function for each key in `#[serde(…)]`. What does not parse is serde's to report.
fn each(attributes: &[Attribute], mut take: impl FnMut(&str, &ParseNestedMeta<'_>) -> Result<()>) {
    for attribute in attributes.iter().filter(|a| a.path().is_ident("serde")) {
        _ = attribute.parse_nested_meta(|meta| {
            if let Some(key) = meta.path.get_ident() {
                take(&key.to_string(), &meta)?;
            }
            while !meta.input.is_empty() && !meta.input.peek(Token![,]) {
                meta.input.parse::<TokenTree>()?;
            }
            Ok(())
        });
    }
}

/// `= "a"` or `(serialize = "a", deserialize = "b")`
fn both(meta: &ParseNestedMeta<'_>) -> Result<Both> {
    if meta.input.peek(Token![=]) {
        let value: LitStr = meta.value()?.parse()?;
        return Ok(Both {
            written: Some(value.clone()),
            read: Some(value),
        });
    }
    let mut both = Both::default();
    meta.parse_nested_meta(|meta| {
        let value = meta.value()?.parse()?;
        if meta.path.is_ident("serialize") {
            both.written = Some(value);
        } else {
            both.read = Some(value);
        }
        Ok(())
    })?;
    Ok(both)
}

/// Applies a rule of `rename_all`. A rule that serde does not have is serde's to report.
fn apply(rule: &str, field: &str) -> String {
    match rule {
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => field.to_ascii_uppercase(),
        "kebab-case" => field.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => field.to_ascii_uppercase().replace('_', "-"),
        "PascalCase" => words(field).collect(),
        "camelCase" => {
            let mut words = words(field);
            let first = words.next().map(|first| first.to_ascii_lowercase());
            first.into_iter().chain(words).collect()
        }
        // `lowercase` and `snake_case` as well: a field is taken to be both.
        _ => field.to_owned(),
    }
}

/// Returns the characters of a name, with each word's first as a capital.
fn words(field: &str) -> impl Iterator<Item = char> {
    let mut start = true;
    field.chars().filter_map(move |character| {
        let first = std::mem::replace(&mut start, character == '_');
        match character {
            '_' => None,
            _ if first => Some(character.to_ascii_uppercase()),
            _ => Some(character),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of_struct: &[Attribute], field: &syn::Field) -> (String, String) {
        let of_field = OfField::read(&field.attrs);
        let ident = field.ident.as_ref().unwrap();
        let names = OfStruct::read(of_struct).names(ident, &of_field);
        (names.written, names.read)
    }

    #[test]
    fn a_name_follows_each_rule_as_serde_does() {
        for (rule, expected) in [
            ("lowercase", "order_line_2"),
            ("UPPERCASE", "ORDER_LINE_2"),
            ("PascalCase", "OrderLine2"),
            ("camelCase", "orderLine2"),
            ("snake_case", "order_line_2"),
            ("SCREAMING_SNAKE_CASE", "ORDER_LINE_2"),
            ("kebab-case", "order-line-2"),
            ("SCREAMING-KEBAB-CASE", "ORDER-LINE-2"),
        ] {
            assert_eq!(apply(rule, "order_line_2"), expected, "{rule}");
        }
        assert_eq!(apply("camelCase", "_id"), "id");
        assert_eq!(apply("camelCase", "__"), "");
    }

    #[test]
    fn a_name_of_the_field_overrides_the_rule_of_the_struct() {
        let all = [syn::parse_quote!(#[serde(deny_unknown_fields, rename_all = "camelCase")])];
        let name = |field| names(&all, &field).0;
        assert_eq!(name(syn::parse_quote!(order_id: u8)), "orderId");
        assert_eq!(name(syn::parse_quote!(r#type: u8)), "type");
        let renamed = syn::parse_quote!(#[serde(alias = "n", rename = "order")] order_id: u8);
        assert_eq!(name(renamed), "order");
    }

    #[test]
    fn names_for_writing_and_reading_are_told_apart() {
        let written = syn::parse_quote!(#[serde(rename(serialize = "id"))] order_id: u8);
        assert_eq!(names(&[], &written), ("id".into(), "order_id".into()));
        let all = [syn::parse_quote!(#[serde(rename_all(deserialize = "camelCase"))])];
        let field = syn::parse_quote!(order_id: u8);
        assert_eq!(names(&all, &field), ("order_id".into(), "orderId".into()));
    }

    #[test]
    fn a_field_is_read_with_what_else_serde_says_of_it() {
        let read = |field: syn::Field| OfField::read(&field.attrs);
        let field = read(syn::parse_quote!(
            #[serde(bound(serialize = "T: A"), default = "a::b", skip_serializing_if = "c")] a: u8
        ));
        assert!(field.default && field.optional);
        for (form, field) in [
            (
                Form::Plain,
                syn::parse_quote!(#[serde(deserialize_with = "f")] a: u8),
            ),
            (
                Form::Unread,
                syn::parse_quote!(#[serde(skip_deserializing)] a: u8),
            ),
            (Form::Custom, syn::parse_quote!(#[serde(with = "f")] a: u8)),
            (Form::Flat, syn::parse_quote!(#[serde(flatten)] a: u8)),
            (Form::Skipped, syn::parse_quote!(#[serde(skip)] a: u8)),
            (
                Form::Skipped,
                syn::parse_quote!(#[serde(skip_deserializing, skip_serializing)] a: u8),
            ),
        ] {
            assert_eq!(read(field).form, form);
        }
    }
}
