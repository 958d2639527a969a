//! What the payload of a letter is asked for.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fmt, str::FromStr};
use surehand::Error;

/// A condition on the payload: `PATH=VALUE` for a field of JSON, or `~TEXT` for a text anywhere in it.
///
/// A path is `detail.data.sku`, with numbers for the elements of lists, or a JSON pointer such as `/detail/a.b`.
/// A field meets the condition if it is that string, or that JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter {
    text: String,
    /// The field's JSON pointer; without one the whole payload is meant.
    pointer: Option<String>,
    wanted: String,
}

impl Filter {
    /// Whether a payload meets it; `value` is the payload's JSON, null if it is none.
    pub(crate) fn is_met(&self, payload: &str, value: &Value) -> bool {
        let Some(pointer) = &self.pointer else {
            return payload.contains(&self.wanted);
        };
        match value.pointer(pointer) {
            None => false,
            Some(Value::String(text)) if *text == self.wanted => true,
            Some(value) => serde_json::from_str::<Value>(&self.wanted).is_ok_and(|it| it == *value),
        }
    }
}

impl FromStr for Filter {
    type Err = Error;

    /// # Errors
    /// If it is of neither form.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (pointer, wanted) = match (text.strip_prefix('~'), text.split_once('=')) {
            (Some(wanted), _) if !wanted.is_empty() => (None, wanted),
            (None, Some((path, wanted))) if path.starts_with('/') => {
                (Some(path.to_owned()), wanted)
            }
            (None, Some((path, wanted))) if path.split('.').all(|part| !part.is_empty()) => {
                let path = path.replace('~', "~0").replace('/', "~1");
                (Some(format!("/{}", path.replace('.', "/"))), wanted)
            }
            _ => {
                return Err(Error::malformed(
                    "use PATH=VALUE, such as detail.data.sku=book, or ~TEXT for a text anywhere",
                ));
            }
        };
        Ok(Self {
            text: text.to_owned(),
            wanted: wanted.to_owned(),
            pointer,
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Filter {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_a_string_or_json_and_a_text_is_anywhere() {
        let payload = r#"{"detail":{"data":{"sku":"book","n":12345678901234567890,"on":true,
            "lines":[{"a.b":"x"}]}}}"#;
        let value = serde_json::from_str(payload).unwrap();
        let is_met = |text: &str| text.parse::<Filter>().unwrap().is_met(payload, &value);
        for met in [
            "detail.data.sku=book",
            "detail.data.n=12345678901234567890",
            "detail.data.on=true",
            "/detail/data/lines/0/a.b=x",
            r#"detail.data.lines=[{"a.b": "x"}]"#,
            "~:true",
        ] {
            assert!(is_met(met), "{met}");
        }
        for unmet in [
            "detail.data.sku=Book",
            "detail.data.sku=",
            "detail.data.on=yes",
            "detail.data.lines.1=x",
            "sku=book",
            "~false",
        ] {
            assert!(!is_met(unmet), "{unmet}");
        }
        for wrong in ["", "~", "sku", "=book", "a..b=c"] {
            assert!(wrong.parse::<Filter>().is_err(), "{wrong}");
        }
    }
}
