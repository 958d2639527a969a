//! What `#[entity(…)]` says.

use crate::{
    attribute::{Problems, set, text},
    template::Template,
};
use proc_macro2::Span;
use syn::{
    Attribute, Error, Ident, LitStr, Result, Token,
    ext::IdentExt,
    meta::ParseNestedMeta,
    parenthesized,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

/// The values of all `#[entity(…)]` attributes of a type.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) table: Option<LitStr>,
    pub(crate) key: Option<KeyList>,
    pub(crate) indexes: Vec<IndexList>,
}

/// What `key(…)` lists: a partition key, and a sort key if there are two.
pub(crate) struct KeyList {
    pub(crate) span: Span,
    pub(crate) partition: Listed,
    pub(crate) sort: Option<Listed>,
}

/// An attribute of a key.
pub(crate) enum Listed {
    /// A field that is an attribute by itself.
    Field(Ident),
    /// An attribute that is composed of fields.
    Composed {
        name: String,
        span: Span,
        text: Template,
    },
}

/// What `index(…)` lists.
pub(crate) struct IndexList {
    pub(crate) function: Ident,
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) key: KeyList,
}

/// The names that an index's function cannot have, because the entity's own functions have them.
const TAKEN: [&str; 5] = ["key", "partition", "to_key", "composed", "fields"];

impl Attributes {
    /// Reads the attributes. It reads on after a mistake, so that one mistake is not reported as
    /// two.
    pub(crate) fn read(attributes: &[Attribute], problems: &mut Problems) -> Self {
        let mut read = Self::default();
        for attribute in ours(attributes) {
            problems.take(attribute.parse_nested_meta(|meta| read.key(&meta)));
        }
        problems.take(read.check());
        read
    }

    fn key(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let key = meta.path.get_ident().map(ToString::to_string);
        match key.unwrap_or_default().as_str() {
            "table" => set(&mut self.table, meta, text),
            "key" => set(&mut self.key, meta, key_list),
            "index" => {
                let index = IndexList::read(meta)?;
                self.check_index(&index)?;
                self.indexes.push(index);
                Ok(())
            }
            "version" => Err(meta.error("`version` belongs on the field that counts the changes")),
            _ => Err(meta.error("unknown key: use `table`, `key` or `index`")),
        }
    }

    /// Refuses an index that has the name of another.
    fn check_index(&self, index: &IndexList) -> Result<()> {
        let (function, name) = (&index.function, &index.name);
        if self.indexes.iter().any(|it| it.function == *function) {
            return Err(Error::new(
                function.span(),
                format!("another index has the function `{function}`: rename one"),
            ));
        }
        if self.indexes.iter().any(|it| it.name == *name) {
            return Err(Error::new(
                index.name_span,
                format!("another index has the name `{name}`: remove one"),
            ));
        }
        Ok(())
    }

    /// Checks what the parser of each value does not.
    fn check(&self) -> Result<()> {
        if let Some(table) = &self.table
            && !is_variable(&table.value())
        {
            return Err(Error::new(
                table.span(),
                "`table` is the name of an environment variable, made of capitals, digits and `_`, that has the table's name",
            ));
        }
        Ok(())
    }
}

impl IndexList {
    /// `(by_status, name = "by-status", key(status))`
    fn read(meta: &ParseNestedMeta<'_>) -> Result<Self> {
        let (mut function, mut name, mut key) = (None, None, None);
        meta.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") && meta.input.peek(Token![=]) {
                set(&mut name, &meta, text)
            } else if meta.path.is_ident("key") && !ends(&meta) {
                set(&mut key, &meta, key_list)
            } else if let Some(ident) = meta.path.get_ident()
                && ends(&meta)
            {
                set(&mut function, &meta, |_| function_name(ident))
            } else {
                Err(meta.error(
                    "unknown key: use the name of a function, `name` and `key`, as in `index(by_status, name = \"by-status\", key(status))`",
                ))
            }
        })?;
        let missing = |message| meta.error(message);
        let function: Ident = function.ok_or_else(|| {
            missing("the index needs the name of a function, as in `index(by_status, key(status))`")
        })?;
        let key = key.ok_or_else(|| {
            missing("the index needs a `key`, as in `index(by_status, key(status))`")
        })?;
        let (name, name_span) = match name {
            Some(name) => (name.value(), name.span()),
            None => (function.unraw().to_string(), function.span()),
        };
        if !is_index_name(&name) {
            return Err(Error::new(
                name_span,
                format!(
                    "`{name}` cannot be the name of an index: DynamoDB takes 3 to 255 letters, digits, `_`, `-` and `.`"
                ),
            ));
        }
        Ok(Self {
            function,
            name,
            name_span,
            key,
        })
    }
}

impl Parse for Listed {
    /// `order_id` or `pk = "ORDER#{order_id}"`
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        // A composed attribute can have any name: one that is not an identifier is written as a text.
        if input.peek(LitStr) {
            let name: LitStr = input.parse()?;
            return Self::composed(name.value(), name.span(), input);
        }
        let ident = Ident::parse_any(input)?;
        match input.peek(Token![=]) {
            true => Self::composed(ident.unraw().to_string(), ident.span(), input),
            false => Ok(Self::Field(ident)),
        }
    }
}

impl Listed {
    fn composed(name: String, span: Span, input: ParseStream<'_>) -> Result<Self> {
        input.parse::<Token![=]>()?;
        let literal: LitStr = input.parse()?;
        if literal.value().is_empty() {
            return Err(Error::new(
                literal.span(),
                "an attribute of a key must not be empty: compose it of text and fields, as in `\"ORDER#{order_id}\"`",
            ));
        }
        Ok(Self::Composed {
            name,
            span,
            text: Template::new(&literal)?,
        })
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Field(ident) => ident.span(),
            Self::Composed { span, .. } => *span,
        }
    }
}

/// Returns where a field is marked as `#[entity(version)]`.
pub(crate) fn version(attributes: &[Attribute], problems: &mut Problems) -> Option<Span> {
    let mut version = None;
    for attribute in ours(attributes) {
        problems.take(attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("version") {
                return Err(meta.error("unknown key: use `version`, or move it to the type"));
            }
            set(&mut version, &meta, |meta| {
                Ok(meta.path.segments[0].ident.span())
            })
        }));
    }
    version
}

/// Returns those of the attributes that are `#[entity(…)]`.
fn ours(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|it| it.path().is_ident("entity"))
}

/// `(order_id)` or `(pk = "CUSTOMER#{customer_id}", sk = "ORDER#{order_id}")`
fn key_list(meta: &ParseNestedMeta<'_>) -> Result<KeyList> {
    let content;
    parenthesized!(content in meta.input);
    let listed = Punctuated::<Listed, Token![,]>::parse_terminated(&content)?;
    let mut listed = listed.into_iter();
    let partition = listed.next().ok_or_else(|| {
        meta.error("the key is empty: name a field, as in `key(order_id)`, or compose an attribute, as in `key(pk = \"ORDER#{order_id}\")`")
    })?;
    let sort = listed.next();
    match listed.next() {
        Some(third) => Err(Error::new(
            third.span(),
            "a key has at most two attributes: compose one of several fields, as in `sk = \"{order_id}#{position}\"`",
        )),
        None => Ok(KeyList {
            span: meta.path.segments[0].ident.span(),
            partition,
            sort,
        }),
    }
}

fn function_name(ident: &Ident) -> Result<Ident> {
    let name = ident.to_string();
    let problem = if TAKEN.contains(&name.as_str()) {
        format!(
            "every entity has a function `{name}`: give the index's another name, such as `by_{name}`"
        )
    } else if syn::parse_str::<Ident>(&name).is_err() {
        format!("`{name}` is a keyword: give the function another name, such as `by_{name}`")
    } else {
        return Ok(ident.clone());
    };
    Err(Error::new(ident.span(), problem))
}

/// Returns whether nothing follows a key but the next.
fn ends(meta: &ParseNestedMeta<'_>) -> bool {
    meta.input.is_empty() || meta.input.peek(Token![,])
}

fn is_variable(name: &str) -> bool {
    let is_first = |it: char| it.is_ascii_uppercase() || it == '_';
    name.starts_with(is_first) && name.chars().all(|it| is_first(it) || it.is_ascii_digit())
}

fn is_index_name(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || "_-.".contains(it))
}
