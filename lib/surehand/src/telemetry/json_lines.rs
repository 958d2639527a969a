//! A log line as one JSON object without nesting.

use super::settings::Settings;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{JsonFields, Writer},
    },
    registry::LookupSpan,
};

/// `tracing`'s own JSON nests the fields of spans, and its flat form writes a key twice when an event
/// and a span have it. This one reads what [`JsonFields`] wrote for each and merges it.
pub(super) struct JsonLines {
    /// The same in every line.
    constant: Map<String, Value>,
}

/// Keys that log readers rely on, so that no field can take their place.
const RESERVED: [&str; 3] = ["timestamp", "level", "target"];
/// What comes first in a line, for people who read it.
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
        let mut fields = self.constant.clone();
        for span in ctx.event_scope().into_iter().flat_map(|s| s.from_root()) {
            if let Some(of_span) = span.extensions().get::<FormattedFields<JsonFields>>() {
                merge(&mut fields, of_span);
            }
        }
        let mut own = String::new();
        ctx.format_fields(Writer::new(&mut own), event)?;
        merge(&mut fields, &own);
        let line = line(event, &fields).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

fn merge(fields: &mut Map<String, Value>, json: &str) {
    let Ok(more) = serde_json::from_str::<Map<String, Value>>(json) else {
        return;
    };
    for (key, value) in more {
        // These are for traces.
        if key.starts_with("otel.") {
            continue;
        }
        let key = if RESERVED.contains(&key.as_str()) {
            format!("fields.{key}")
        } else {
            key
        };
        fields.insert(key, value);
    }
}

fn line(event: &Event<'_>, fields: &Map<String, Value>) -> serde_json::Result<String> {
    let mut json = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::new(&mut json);
    let mut map = serializer.serialize_map(None)?;
    let now = jiff::Timestamp::now();
    map.serialize_entry("timestamp", &format_args!("{now:.3}"))?;
    map.serialize_entry("level", event.metadata().level().as_str())?;
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
    map.serialize_entry("target", event.metadata().target())?;
    SerializeMap::end(map)?;
    Ok(String::from_utf8_lossy(&json).into_owned())
}
