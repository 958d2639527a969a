//! What an entity is: its key, its indexes and its version.

use super::{
    attribute::{Attributes, IndexList, version},
    key::{Composed, Key, Part, Purpose, Struct},
};
use crate::{
    attribute::Problems,
    document::{Field, Form, is},
};
use syn::{DeriveInput, Error, LitStr, spanned::Spanned};

/// What is known of an entity. What could not be read is left out.
pub(crate) struct Schema<'a> {
    pub(crate) input: &'a DeriveInput,
    pub(crate) fields: &'a [Field<'a>],
    pub(crate) table: Option<&'a LitStr>,
    pub(crate) key: Option<Key<'a>>,
    pub(crate) indexes: Vec<(&'a IndexList, Key<'a>)>,
    pub(crate) version: Option<&'a Field<'a>>,
}

impl<'a> Schema<'a> {
    pub(crate) fn new(
        input: &'a DeriveInput,
        attributes: &'a Attributes,
        fields: Option<&'a [Field<'a>]>,
        problems: &mut Problems,
    ) -> Self {
        let is_struct = fields.is_some();
        let fields = fields.unwrap_or_default();
        let version = find_version(fields, problems);
        let of = Struct {
            fields,
            version: version.map(|field| field.ident),
        };
        let mut key = |list, purpose| Key::new(list, purpose, of, problems);
        let mut schema = Self {
            input,
            fields,
            version,
            table: attributes.table.as_ref(),
            key: None,
            indexes: Vec::new(),
        };
        // What is not a struct has been refused already.
        if is_struct {
            schema.key = attributes
                .key
                .as_ref()
                .and_then(|list| key(list, Purpose::Table));
            let indexes = attributes.indexes.iter();
            let indexes = indexes.filter_map(|it| Some((it, key(&it.key, Purpose::Index)?)));
            schema.indexes = indexes.collect();
            schema.check_contradictions(problems);
        }
        schema
    }

    fn keys(&self) -> impl Iterator<Item = &Key<'a>> {
        self.key
            .iter()
            .chain(self.indexes.iter().map(|(_, key)| key))
    }

    /// Returns every composed attribute of the key and the indexes once.
    pub(crate) fn composed(&self) -> Vec<&Composed<'a>> {
        let mut all: Vec<&Composed<'_>> = Vec::new();
        for composed in self.keys().flat_map(Key::parts).filter_map(Part::composed) {
            if !all.iter().any(|it| it.name == composed.name) {
                all.push(composed);
            }
        }
        all
    }

    fn check_contradictions(&self, problems: &mut Problems) {
        let first = self.composed();
        for composed in self.keys().flat_map(Key::parts).filter_map(Part::composed) {
            if first.iter().any(|it| it.contradicts(composed)) {
                problems.add(composed.error(format!(
                    "`{}` is composed of another text before: use the same text, or another name",
                    composed.name
                )));
            }
        }
    }

    /// Returns whether a field is changed by no update: it would not change what is composed of it, or
    /// is counted up itself.
    pub(crate) fn is_fixed(&self, field: &Field<'_>) -> bool {
        let in_key = self.key.iter().flat_map(Key::fields);
        let composed = self.composed();
        let mut fixed = in_key
            .chain(composed.iter().flat_map(|it| it.fields.iter().copied()))
            .chain(self.version);
        fixed.any(|it| it.ident == field.ident)
    }
}

/// Finds the field with `#[entity(version)]`.
fn find_version<'a>(fields: &'a [Field<'a>], problems: &mut Problems) -> Option<&'a Field<'a>> {
    let mut found: Option<&Field<'_>> = None;
    for field in fields {
        let Some(span) = version(&field.syntax.attrs, problems) else {
            continue;
        };
        if let Some(first) = found {
            problems.add(Error::new(
                span,
                format!("`{}` is already the version: remove one", first.name),
            ));
            continue;
        }
        found = Some(field);
        if !is(&field.syntax.ty, "u64") && !is(&field.syntax.ty, "u32") {
            problems.add(Error::new(
                field.syntax.ty.span(),
                "the version counts the changes of an item: make it a `u64` or `u32`",
            ));
        }
        if field.form != Form::Plain || field.left_out {
            problems.add(Error::new(
                span,
                "every item has its version: remove the serde attributes that leave it out or change it",
            ));
        }
    }
    found
}
