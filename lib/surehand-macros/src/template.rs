//! Texts with the names of fields in braces.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use std::mem;
use syn::{Error, Fields, Ident, LitStr, Result, ext::IdentExt};

/// A text such as `order/{order_id}`.
#[derive(Debug)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
    span: Span,
}

/// A piece of a text. No text is empty, and none follows another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// A field's name, without `r#`.
    Field(String),
}

impl Template {
    pub(crate) fn new(literal: &LitStr) -> Result<Self> {
        let (text, span) = (literal.value(), literal.span());
        let error = |message: String| Error::new(span, message);
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            let (before, found) = rest.split_at(at);
            literal.push_str(before);
            if found.starts_with("{{") || found.starts_with("}}") {
                literal.push_str(&found[..1]);
                rest = &found[2..];
                continue;
            }
            let Some(inner) = found.strip_prefix('{') else {
                return Err(error(
                    "`}` without `{`: write `}}` for a brace in the text".into(),
                ));
            };
            let Some((name, after)) = inner.split_once('}') else {
                return Err(error(
                    "`{` without `}`: write `{{` for a brace in the text".into(),
                ));
            };
            if let Some((field, format)) = name.split_once(':') {
                return Err(error(format!(
                    "`{{{field}}}` must not have a format (`:{format}`): fields are written unformatted"
                )));
            }
            if syn::parse_str::<Ident>(&format!("r#{name}")).is_err() {
                return Err(error(format!("`{{{name}}}` does not name a field")));
            }
            if !literal.is_empty() {
                pieces.push(Piece::Text(mem::take(&mut literal)));
            }
            pieces.push(Piece::Field(name.to_owned()));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces, span })
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns where the text is written.
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// Returns where the text is written, for what is generated from it: a field that is not
    /// `Display` is reported there.
    pub(crate) fn generated_span(&self) -> Span {
        self.span.resolved_at(Span::call_site())
    }

    /// Refuses the first name that is none of these fields'.
    pub(crate) fn check(&self, names: &[String]) -> Result<()> {
        let unknown = |piece: &Piece| match piece {
            Piece::Field(name) => (!names.contains(name)).then(|| name.clone()),
            Piece::Text(_) => None,
        };
        match self.pieces.iter().find_map(unknown) {
            Some(unknown) => Err(no_field(&unknown, names, self.span)),
            None => Ok(()),
        }
    }

    /// Writes the expression, of type `String`, that fills the text from `self`.
    pub(crate) fn fill(&self, fields: &Fields) -> Result<TokenStream> {
        let names: Vec<String> = fields
            .iter()
            .filter_map(|field| Some(field.ident.as_ref()?.unraw().to_string()))
            .collect();
        self.check(&names)?;
        let span = self.generated_span();
        let mut format = String::new();
        let mut values = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    format.push_str(&text.replace('{', "{{").replace('}', "}}"));
                }
                Piece::Field(name) => {
                    format.push_str("{}");
                    let mut idents = fields.iter().filter_map(|field| field.ident.as_ref());
                    values.extend(idents.find(|ident| ident.unraw() == name).map(|ident| {
                        let mut ident = ident.clone();
                        ident.set_span(span);
                        ident
                    }));
                }
            }
        }
        let format = LitStr::new(&format, span);
        Ok(quote_spanned!(span=> ::std::format!(#format, #(self.#values),*)))
    }
}

/// The error of a name that none of the struct's fields has.
pub(crate) fn no_field(name: &str, names: &[String], span: Span) -> Error {
    let hint = match names {
        [] => "the struct has no named fields".to_owned(),
        names => format!("the struct has `{}`", names.join("`, `")),
    };
    Error::new(span, format!("no field `{name}`: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template> {
        Template::new(&LitStr::new(text, Span::call_site()))
    }

    #[track_caller]
    fn refused(text: &str, why: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }

    #[test]
    fn fields_and_escaped_braces_are_told_apart() {
        let template = parse("{{a}}/{b}{type}-ü").unwrap();
        let text = |text: &str| Piece::Text(text.into());
        let field = |name: &str| Piece::Field(name.into());
        let pieces = [text("{a}/"), field("b"), field("type"), text("-ü")];
        assert_eq!(template.pieces, pieces);
    }

    #[test]
    fn texts_that_name_no_field_say_why() {
        refused("{a", "`{` without `}`");
        refused("a}", "`}` without `{`");
        refused("{a:>5}", "must not have a format (`:>5`)");
        refused("{a:?}", "must not have a format (`:?`)");
        refused("{}", "`{}` does not name a field");
        refused("{0}", "`{0}` does not name a field");
        refused("{a.b}", "`{a.b}` does not name a field");
        refused("{ a}", "`{ a}` does not name a field");
    }

    #[test]
    fn a_raw_identifier_is_named_without_its_prefix_and_a_brace_stays_one() {
        let fields: syn::FieldsNamed = syn::parse_quote!({ r#type: u8 });
        let filled = parse("{{{type}").unwrap().fill(&fields.into()).unwrap();
        let expected = r#""{{{}" , self . r#type"#;
        assert!(filled.to_string().contains(expected), "{filled}");
    }
}
