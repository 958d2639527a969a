//! An event in EventBridge's form, as far as it can be put on a bus again.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What PutEvents takes of an event. The rest, its `id` among it, is EventBridge's to give.
#[derive(Debug, Deserialize)]
pub(crate) struct BusEvent<'a> {
    #[serde(borrow)]
    pub(crate) source: Cow<'a, str>,
    #[serde(borrow, rename = "detail-type")]
    pub(crate) detail_type: Cow<'a, str>,
    /// As it was, byte by byte.
    #[serde(borrow)]
    pub(crate) detail: &'a RawValue,
    #[serde(default)]
    pub(crate) time: Option<jiff::Timestamp>,
    #[serde(default)]
    pub(crate) resources: Vec<String>,
}

impl<'a> BusEvent<'a> {
    /// # Errors
    /// Why it is none, in one line.
    pub(crate) fn of(body: &'a str) -> Result<Self, String> {
        let event: Self = serde_json::from_str(body)
            .map_err(|error| format!("it is not an event that a bus takes: {error}"))?;
        if !event.detail.get().starts_with('{') {
            return Err(
                "it is not an event that a bus takes: its `detail` is not an object".into(),
            );
        }
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_as_they_are_and_anything_else_is_not() {
        let body = r#"{"version": "0", "id": "b", "source": "shop", "detail-type": "Pl\u0061ced",
            "time": "2026-11-21T10:00:00Z", "resources": ["r"], "detail": {"n": 1.50, "a":  2}}"#;
        let event = BusEvent::of(body).unwrap();
        assert_eq!((&*event.source, &*event.detail_type), ("shop", "Placed"));
        assert_eq!(event.detail.get(), r#"{"n": 1.50, "a":  2}"#);
        assert!(event.time.is_some() && event.resources == ["r"]);
        for (body, expected) in [
            ("no JSON", "expected"),
            ("{}", "missing field `source`"),
            (
                r#"{"source": "s", "detail-type": "d"}"#,
                "missing field `detail`",
            ),
            (
                r#"{"source": "s", "detail-type": "d", "detail": []}"#,
                "not an object",
            ),
        ] {
            let problem = BusEvent::of(body).unwrap_err();
            assert!(problem.contains(expected), "{body}: {problem}");
        }
    }
}
