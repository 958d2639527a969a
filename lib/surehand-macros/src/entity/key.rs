//! Keys: what their attributes are made of, and what is written of them.

use super::attribute::{KeyList, Listed};
use crate::{
    attribute::Problems,
    document::{Field, Form, optional},
    template::{Piece, Template, no_field},
};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Error, Ident, LitStr, Result, Type, ext::IdentExt, spanned::Spanned};

/// The key of a table or an index.
pub(crate) struct Key<'a> {
    /// Where it is written.
    pub(crate) span: Span,
    pub(crate) partition: Part<'a>,
    pub(crate) sort: Option<Part<'a>>,
}

/// An attribute of a key.
pub(crate) enum Part<'a> {
    Field(&'a Field<'a>),
    Composed(Composed<'a>),
}

/// An attribute that is a text composed of fields.
pub(crate) struct Composed<'a> {
    pub(crate) name: &'a str,
    text: &'a Template,
    /// In the order of the text, as often as they are in it.
    pub(crate) fields: Vec<&'a Field<'a>>,
}

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Table,
    Index,
}

/// What keys are made from.
#[derive(Clone, Copy)]
pub(crate) struct Struct<'a> {
    pub(crate) fields: &'a [Field<'a>],
    /// The field that counts the changes.
    pub(crate) version: Option<&'a Ident>,
}

impl<'a> Key<'a> {
    /// Finds the fields of a key. It returns `None` if an attribute is refused.
    pub(crate) fn new(
        list: &'a KeyList,
        purpose: Purpose,
        of: Struct<'a>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let partition = problems.take(Part::new(&list.partition, purpose, of));
        let sort = list.sort.as_ref();
        let sort = sort.map(|sort| (problems.take(Part::new(sort, purpose, of)), sort.span()));
        let (sort, span) = sort.unzip();
        let key = Self {
            span: list.span.resolved_at(Span::call_site()),
            partition: partition?,
            sort: match sort {
                Some(sort) => Some(sort?),
                None => None,
            },
        };
        if let (Some(sort), Some(span)) = (&key.sort, span)
            && sort.name() == key.partition.name()
        {
            problems.add(Error::new(
                span,
                format!(
                    "the attribute `{}` is both the partition key and the sort key: remove one",
                    sort.name()
                ),
            ));
        }
        Some(key)
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part<'a>> {
        [&self.partition].into_iter().chain(&self.sort)
    }

    pub(crate) fn fields(&self) -> Vec<&'a Field<'a>> {
        distinct(self.parts().flat_map(Part::fields))
    }

    /// Writes the `KeySchema`.
    pub(crate) fn schema(&self) -> TokenStream {
        let partition = self.partition.schema();
        let sort = match &self.sort {
            Some(sort) => {
                let sort = sort.schema();
                quote!(::std::option::Option::Some(#sort))
            }
            None => quote!(::std::option::Option::None),
        };
        quote!(::surehand::tables::KeySchema { partition: #partition, sort: #sort })
    }
}

impl<'a> Part<'a> {
    fn new(listed: &'a Listed, purpose: Purpose, of: Struct<'a>) -> Result<Self> {
        match listed {
            Listed::Field(ident) => {
                let name = ident.unraw().to_string();
                let Some(field) = of.fields.iter().find(|field| field.name == name) else {
                    let error = no_field(&name, &names(of.fields), ident.span());
                    return Err(Error::new(
                        ident.span(),
                        format!(
                            "{error}; to compose an attribute of fields, write `{name} = \"…\"`, with the fields in braces"
                        ),
                    ));
                };
                check(field, purpose, ident.span())?;
                if purpose == Purpose::Table {
                    check_fixed(field, of, ident.span())?;
                }
                Ok(Self::Field(field))
            }
            Listed::Composed { name, span, text } => {
                Composed::new(name, *span, text, purpose, of).map(Self::Composed)
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Field(field) => &field.attribute,
            Self::Composed(composed) => composed.name,
        }
    }

    pub(crate) fn fields(&self) -> Vec<&'a Field<'a>> {
        match self {
            Self::Field(field) => vec![field],
            Self::Composed(composed) => distinct(composed.fields.iter().copied()),
        }
    }

    pub(crate) fn composed(&self) -> Option<&Composed<'a>> {
        match self {
            Self::Field(_) => None,
            Self::Composed(composed) => Some(composed),
        }
    }

    fn schema(&self) -> TokenStream {
        let name = self.name();
        let (kind, prefix, is_whole) = match self {
            Self::Field(field) => {
                let ty = value_type(field);
                // What cannot be a key is reported at the field's type.
                let kind = quote_spanned! {ty.span()=>
                    <#ty as ::surehand::tables::KeyValue>::KIND
                };
                (kind, "", false)
            }
            Self::Composed(composed) => {
                let prefix = match composed.text.pieces().first() {
                    Some(Piece::Text(text)) => text,
                    _ => "",
                };
                let is_whole = composed.fields.is_empty();
                (quote!(::surehand::tables::KeyKind::Text), prefix, is_whole)
            }
        };
        quote! {
            ::surehand::tables::KeyAttribute { name: #name, kind: #kind, prefix: #prefix, is_whole: #is_whole }
        }
    }

    /// Writes the `KeyPart`, of the fields' values as `access` writes them.
    pub(crate) fn value(&self, access: impl Fn(&Field<'_>) -> TokenStream) -> TokenStream {
        match self {
            Self::Field(field) => {
                let (name, value) = (&field.attribute, access(field));
                quote!(::surehand::tables::KeyPart::field(#name, &#value))
            }
            Self::Composed(composed) => composed.value(access),
        }
    }

    /// Returns the type with which a query compares this as a sort key.
    pub(crate) fn sort_type(&self) -> TokenStream {
        match self {
            Self::Field(field) => {
                let ty = value_type(field);
                quote!(#ty)
            }
            Self::Composed(_) => quote!(::std::string::String),
        }
    }
}

impl<'a> Composed<'a> {
    fn new(
        name: &'a str,
        name_span: Span,
        text: &'a Template,
        purpose: Purpose,
        of: Struct<'a>,
    ) -> Result<Self> {
        text.check(&names(of.fields))?;
        let is_attribute = |field: &&Field<'_>| {
            field.attribute == name && !matches!(field.form, Form::Skipped | Form::Flat)
        };
        if let Some(field) = of.fields.iter().find(is_attribute) {
            return Err(Error::new(
                name_span,
                format!(
                    "`{name}` is already the attribute of the field `{}`: give the composed attribute another name",
                    field.name
                ),
            ));
        }
        if let Some((one, two)) = adjacent(text.pieces()) {
            return Err(Error::new(
                text.span(),
                format!(
                    "two items could have the same key, since nothing separates `{{{one}}}` from `{{{two}}}`: write a text between them, as in `{{{one}}}#{{{two}}}`"
                ),
            ));
        }
        let fields = text.pieces().iter().filter_map(|piece| match piece {
            Piece::Field(name) => of.fields.iter().find(|field| field.name == *name),
            Piece::Text(_) => None,
        });
        let fields: Vec<_> = fields.collect();
        for field in &fields {
            check(field, purpose, text.span())?;
            check_fixed(field, of, text.span())?;
        }
        Ok(Self { name, text, fields })
    }

    /// Returns whether the attribute is composed differently there.
    pub(crate) fn contradicts(&self, other: &Self) -> bool {
        self.name == other.name && self.text.pieces() != other.text.pieces()
    }

    pub(crate) fn error(&self, message: String) -> Error {
        Error::new(self.text.span(), message)
    }

    pub(crate) fn value(&self, access: impl Fn(&Field<'_>) -> TokenStream) -> TokenStream {
        // A field that is not `Display` is reported at the text.
        let span = self.text.generated_span();
        let mut fields = self.fields.iter();
        let pieces = self.text.pieces().iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(quote!(::surehand::tables::Piece::Literal(#text))),
            Piece::Field(name) => {
                let value = access(fields.next()?).into_iter().map(|mut token| {
                    token.set_span(span);
                    token
                });
                let value = quote_spanned!(span=> ::std::format!("{}", #(#value)*));
                Some(quote!(::surehand::tables::Piece::Field(#name, #value)))
            }
        });
        let name = LitStr::new(self.name, Span::call_site());
        quote!(::surehand::tables::KeyPart::composed(#name, &[#(#pieces),*]))
    }

    /// Writes the `Option<KeyPart>` of `self`. It is none if a field is, so that an index leaves the item out.
    pub(crate) fn of_self(&self) -> TokenStream {
        let is_optional = |field: &Field<'_>| optional(&field.syntax.ty).is_some();
        let absent = self
            .fields
            .iter()
            .copied()
            .filter(|field| is_optional(field));
        let absent: Vec<_> = distinct(absent).iter().map(|field| field.ident).collect();
        let value = self.value(|field| {
            let ident = field.ident;
            match is_optional(field) {
                true => quote!(#ident),
                false => quote!(self.#ident),
            }
        });
        let some = quote!(::std::option::Option::Some(#value));
        if absent.is_empty() {
            return some;
        }
        quote! {
            match (#(&self.#absent,)*) {
                (#(::std::option::Option::Some(#absent),)*) => #some,
                _ => ::std::option::Option::None,
            }
        }
    }
}

/// Returns the type of a field's value in a key: an item without one is not in the index.
pub(crate) fn value_type<'a>(field: &Field<'a>) -> &'a Type {
    optional(&field.syntax.ty).unwrap_or(&field.syntax.ty)
}

/// Refuses a field that a key cannot be made of.
fn check(field: &Field<'_>, purpose: Purpose, span: Span) -> Result<()> {
    let name = &field.name;
    let problem = match field.form {
        Form::Skipped => "is not written to the item",
        Form::Unread => "is not read from the item",
        Form::Flat => "is written as several attributes, by `#[serde(flatten)]`",
        Form::Custom => "is not written as its type is, by `#[serde(with)]`",
        Form::Plain if purpose == Purpose::Index => return Ok(()),
        Form::Plain if optional(&field.syntax.ty).is_some() => "is an `Option`",
        Form::Plain if field.left_out => "can be left out, by `#[serde(skip_serializing_if)]`",
        Form::Plain => return Ok(()),
    };
    let (whose, remedy) = match purpose {
        Purpose::Table => ("the table's key", "every item needs its whole key"),
        Purpose::Index => (
            "an index's key",
            "take a field that is written and read as its type is",
        ),
    };
    Err(Error::new(
        span,
        format!("`{name}` {problem}, so it cannot be part of {whose}: {remedy}"),
    ))
}

/// Refuses the version, which changes with each write, where what it is part of does not.
fn check_fixed(field: &Field<'_>, of: Struct<'_>, span: Span) -> Result<()> {
    match of.version {
        Some(version) if version == field.ident => Err(Error::new(
            span,
            format!(
                "`{}` is the version, which changes with each write: take another field for the key",
                field.name
            ),
        )),
        _ => Ok(()),
    }
}

/// Returns the first two fields with nothing between them.
fn adjacent(pieces: &[Piece]) -> Option<(&str, &str)> {
    pieces.windows(2).find_map(|pair| match pair {
        [Piece::Field(one), Piece::Field(two)] => Some((one.as_str(), two.as_str())),
        _ => None,
    })
}

/// Returns each field once, in the order in which they come first.
fn distinct<'a>(fields: impl Iterator<Item = &'a Field<'a>>) -> Vec<&'a Field<'a>> {
    let mut distinct: Vec<&Field<'_>> = Vec::new();
    for field in fields {
        if !distinct.iter().any(|it| it.ident == field.ident) {
            distinct.push(field);
        }
    }
    distinct
}

fn names(fields: &[Field<'_>]) -> Vec<String> {
    fields.iter().map(|field| field.name.clone()).collect()
}
