//! What `#[event(…)]` says.

use crate::{
    attribute::{Problems, set, text},
    template::Template,
};
use proc_macro2::Span;
use std::fmt::Display;
use syn::{
    Attribute, Error, LitInt, LitStr, Path, Result, Token, meta::ParseNestedMeta, parenthesized,
    punctuated::Punctuated,
};

/// The values of all `#[event(…)]` attributes of a type.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) source: Option<LitStr>,
    pub(crate) detail_type: Option<LitStr>,
    pub(crate) version: Option<Version>,
    pub(crate) upcasters: Option<Vec<Upcaster>>,
    pub(crate) subject: Option<Template>,
    pub(crate) partition_key: Option<Template>,
}

/// A version number, from 1.
pub(crate) struct Version {
    pub(crate) number: u32,
    pub(crate) span: Span,
}

/// The function that turns data of one version into that of the next.
pub(crate) struct Upcaster {
    pub(crate) from: Version,
    pub(crate) function: Path,
}

/// The longest `detail-type` that EventBridge takes, in characters.
const MAX_DETAIL_TYPE: usize = 128;

impl Attributes {
    /// Reads the attributes. It reads on after a mistake, so that one mistake is not reported as
    /// two.
    pub(crate) fn read(attributes: &[Attribute], problems: &mut Problems) -> Self {
        let mut read = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("event")) {
            problems.take(attribute.parse_nested_meta(|meta| read.key(&meta)));
        }
        problems.take(read.check());
        read
    }

    fn key(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let key = meta
            .path
            .get_ident()
            .map(ToString::to_string)
            .unwrap_or_default();
        match key.as_str() {
            "source" => set(&mut self.source, meta, text),
            "detail_type" => set(&mut self.detail_type, meta, text),
            "version" => set(&mut self.version, meta, |meta| {
                Version::new(&meta.value()?.parse::<LitInt>()?)
            }),
            "upcast" => set(&mut self.upcasters, meta, upcasters),
            "subject" => set(&mut self.subject, meta, |meta| Template::new(&text(meta)?)),
            "partition_key" => set(&mut self.partition_key, meta, |meta| {
                Template::new(&text(meta)?)
            }),
            _ => Err(meta.error(
                "unknown key: use `source`, `detail_type`, `version`, `upcast`, `subject` or \
                 `partition_key`",
            )),
        }
    }

    /// Checks what needs several values.
    fn check(&self) -> Result<()> {
        if let Some(detail_type) = &self.detail_type {
            let length = detail_type.value().chars().count();
            if length > MAX_DETAIL_TYPE {
                return Err(Error::new(
                    detail_type.span(),
                    format!(
                        "the `detail_type` has {length} characters, but EventBridge takes at most {MAX_DETAIL_TYPE}"
                    ),
                ));
            }
        }
        let version = self.version.as_ref().map_or(1, |version| version.number);
        let mut seen = Vec::new();
        for Upcaster { from, .. } in self.upcasters.iter().flatten() {
            if from.number >= version {
                return Err(from.error(format!(
                    "the type has version {version}: upcasters are for earlier versions"
                )));
            }
            if seen.contains(&from.number) {
                return Err(from.error(format!(
                    "version {} already has an upcaster: remove one",
                    from.number
                )));
            }
            seen.push(from.number);
        }
        Ok(())
    }
}

impl Version {
    fn new(literal: &LitInt) -> Result<Self> {
        let version = Self {
            number: literal.base10_parse()?,
            span: literal.span(),
        };
        match version.number {
            0 => Err(version.error("versions count from 1")),
            _ => Ok(version),
        }
    }

    fn error(&self, message: impl Display) -> Error {
        Error::new(self.span, message)
    }
}

/// `(1 = path::to_fn, 2 = another)`
fn upcasters(meta: &ParseNestedMeta<'_>) -> Result<Vec<Upcaster>> {
    let content;
    parenthesized!(content in meta.input);
    let pairs = Punctuated::<_, Token![,]>::parse_terminated_with(&content, |input| {
        let from = Version::new(&input.parse()?)?;
        input.parse::<Token![=]>()?;
        Ok(Upcaster {
            from,
            function: input.parse()?,
        })
    })?;
    Ok(pairs.into_iter().collect())
}
