//! Texts with the names of fields in braces.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::{Error, Fields, Ident, LitStr, Result, ext::IdentExt};

/// A text such as `order/{order_id}`.
#[derive(Debug)]
pub(crate) struct Template {
    /// The text for `format!`, with `{}` where a field goes.
    format: String,
    fields: Vec<String>,
    span: Span,
}

impl Template {
    pub(crate) fn new(literal: &LitStr) -> Result<Self> {
        let (text, span) = (literal.value(), literal.span());
        let error = |message: String| Error::new(span, message);
        let mut template = Self {
            format: String::new(),
            fields: Vec::new(),
            span,
        };
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            let (before, found) = rest.split_at(at);
            template.format.push_str(before);
            if found.starts_with("{{") || found.starts_with("}}") {
                template.format.push_str(&found[..2]);
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
            template.format.push_str("{}");
            template.fields.push(name.to_owned());
            rest = after;
        }
        template.format.push_str(rest);
        Ok(template)
    }

    /// Writes the expression, of type `String`, that fills the text from `self`.
    pub(crate) fn fill(&self, fields: &Fields) -> Result<TokenStream> {
        let names: Vec<String> = fields
            .iter()
            .filter_map(|field| Some(field.ident.as_ref()?.unraw().to_string()))
            .collect();
        if let Some(unknown) = self.fields.iter().find(|name| !names.contains(name)) {
            let hint = match names.as_slice() {
                [] => "the struct has no named fields".to_owned(),
                names => format!("the struct has `{}`", names.join("`, `")),
            };
            return Err(Error::new(
                self.span,
                format!("no field `{unknown}`: {hint}"),
            ));
        }
        // The whole expression has the literal's span, so that a field that is not `Display` is
        // reported there.
        let span = self.span.resolved_at(Span::call_site());
        let format = LitStr::new(&self.format, span);
        let idents = fields.iter().filter_map(|field| field.ident.as_ref());
        let values = self.fields.iter().filter_map(|name| {
            let mut ident = idents.clone().find(|ident| ident.unraw() == name)?.clone();
            ident.set_span(span);
            Some(ident)
        });
        Ok(quote_spanned!(span=> ::std::format!(#format, #(self.#values),*)))
    }
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
        assert_eq!(template.format, "{{a}}/{}{}-ü");
        assert_eq!(template.fields, ["b", "type"]);
    }

    #[test]
    fn texts_that_name_no_field_say_why() {
        refused("{a", "`{` without `}`");
        refused("a}", "`}` without `{`");
        refused("{a:>5}", "without `:>5`");
        refused("{a:?}", "without `:?`");
        refused("{}", "`{}` does not name a field");
        refused("{0}", "`{0}` does not name a field");
        refused("{a.b}", "`{a.b}` does not name a field");
        refused("{ a}", "`{ a}` does not name a field");
    }

    #[test]
    fn a_raw_identifier_is_named_without_its_prefix() {
        let fields: syn::FieldsNamed = syn::parse_quote!({ r#type: u8 });
        let filled = parse("{type}").unwrap().fill(&fields.into()).unwrap();
        assert!(filled.to_string().contains("self . r#type"), "{filled}");
    }
}
