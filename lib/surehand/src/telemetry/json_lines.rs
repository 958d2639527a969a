//! A log line as one JSON object without nesting.

use super::{
    names::TARGET,
    settings::{Platform, Settings},
};
use crate::redact::{is_payload, redacted};
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};
use std::fmt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{JsonFields, Writer},
    },
    registry::{LookupSpan, Scope, SpanRef},
};

/// `tracing`'s own JSON nests the fields of spans, and its flat form writes a key twice if an event
/// and a span both have it. This format reads what [`JsonFields`] wrote for each, and merges the
/// fields.
pub(super) struct JsonLines {
    /// The fields that every line has.
    constant: Map<String, Value>,
    payloads: bool,
    platform: Platform,
}

/// The keys that log readers rely on, which no field can replace.
const RESERVED: [&str; 4] = ["timestamp", "level", OWN_LEVEL, "target"];
/// A line's level, where `level` is the higher one that Lambda asks for.
const OWN_LEVEL: &str = "own_level";
/// The keys that come first in a line, for people who read it.
const FIRST: [&str; 3] = ["message", "service", "function_name"];

impl JsonLines {
    pub(super) fn new(settings: &Settings) -> Self {
        let constant = [
            ("service", &settings.service),
            ("function_name", &settings.function_name),
        ];
        let constant = constant
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?.into())));
        Self {
            constant: constant.collect(),
            payloads: settings.payloads,
            platform: settings.platform,
        }
    }
}

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(&self.line(event, ctx.event_scope())?)
    }
}

impl JsonLines {
    /// Writes the event's line, with the fields of the spans that it is in.
    pub(super) fn line<'a, S>(
        &self,
        event: &Event<'_>,
        scope: Option<Scope<'a, S>>,
    ) -> Result<String, fmt::Error>
    where
        S: LookupSpan<'a>,
    {
        let mut fields = self.constant.clone();
        for span in scope.into_iter().flat_map(Scope::from_root) {
            self.merge_span(&mut fields, &span);
        }
        let mut own = String::new();
        JsonFields::new().format_fields(Writer::new(&mut own), event)?;
        self.merge(&mut fields, &own);
        let metadata = event.metadata();
        self.write(*metadata.level(), metadata.target(), &fields)
    }

    /// Writes the line that says how many of a record's lines were dropped.
    pub(super) fn dropped<'a, S>(
        &self,
        record: &SpanRef<'a, S>,
        lines: usize,
    ) -> Result<String, fmt::Error>
    where
        S: LookupSpan<'a>,
    {
        let mut fields = self.constant.clone();
        for span in record.scope().from_root() {
            self.merge_span(&mut fields, &span);
        }
        fields.insert("message".into(), "lines of the record were dropped".into());
        fields.insert("dropped_lines".into(), lines.into());
        self.write(Level::DEBUG, TARGET, &fields)
    }

    fn write(
        &self,
        level: Level,
        target: &str,
        fields: &Map<String, Value>,
    ) -> Result<String, fmt::Error> {
        let raised = self.platform.raised(level);
        line(level, raised, target, fields).map_err(|_| fmt::Error)
    }

    fn merge_span<'a, S: LookupSpan<'a>>(
        &self,
        fields: &mut Map<String, Value>,
        span: &SpanRef<'a, S>,
    ) {
        if let Some(of_span) = span.extensions().get::<FormattedFields<JsonFields>>() {
            self.merge(fields, of_span);
        }
    }

    fn merge(&self, fields: &mut Map<String, Value>, json: &str) {
        let Ok(more) = serde_json::from_str::<Map<String, Value>>(json) else {
            return;
        };
        for (key, value) in more {
            // These keys are for traces.
            if key.starts_with("otel.") {
                continue;
            }
            let value = match value {
                Value::String(text) if !self.payloads && is_payload(&key) => redacted(&text).into(),
                value => value,
            };
            let key = if RESERVED.contains(&key.as_str()) {
                format!("fields.{key}")
            } else {
                key
            };
            fields.insert(key, value);
        }
    }
}

fn line(
    level: Level,
    raised: Option<&str>,
    target: &str,
    fields: &Map<String, Value>,
) -> serde_json::Result<String> {
    let mut json = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::new(&mut json);
    let mut map = serializer.serialize_map(None)?;
    let now = jiff::Timestamp::now();
    map.serialize_entry("timestamp", &format_args!("{now:.3}"))?;
    map.serialize_entry("level", raised.unwrap_or(level.as_str()))?;
    if raised.is_some() {
        map.serialize_entry(OWN_LEVEL, level.as_str())?;
    }
    for key in FIRST {
        if let Some(value) = fields.get(key) {
            map.serialize_entry(key, value)?;
        }
    }
    let rest = fields
        .iter()
        .filter(|(key, _)| !FIRST.contains(&key.as_str()));
    for (key, value) in rest {
        map.serialize_entry(key, value)?;
    }
    map.serialize_entry("target", target)?;
    SerializeMap::end(map)?;
    json.push(b'\n');
    Ok(String::from_utf8_lossy(&json).into_owned())
}
