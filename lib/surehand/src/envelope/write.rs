//! Writes the form in which events leave.

use super::{Fallback, read};
use crate::{Error, ErrorKind, Event, Metadata, Result};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, time::SystemTime};

/// An event that is ready to be sent: its metadata is complete and its data serialized.
#[derive(Debug, Clone)]
pub struct Outgoing {
    metadata: Metadata,
    source: Cow<'static, str>,
    detail_type: Cow<'static, str>,
    data: Box<RawValue>,
    trace_header: Option<String>,
}

impl Outgoing {
    /// Wraps `event` with a new id: a UUIDv7, so that ids sort by time.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] if the event does not serialize, or its `detail-type` is too long for
    /// EventBridge.
    pub fn new<E: Event>(event: &E) -> Result<Self> {
        const MAX_DETAIL_TYPE: usize = 128;
        let characters = E::DETAIL_TYPE.chars().count();
        if characters > MAX_DETAIL_TYPE {
            return Err(Error::new(
                ErrorKind::Publish,
                format!(
                    "the detail-type `{}` has {characters} characters, but EventBridge takes at most {MAX_DETAIL_TYPE}",
                    E::DETAIL_TYPE,
                ),
            ));
        }
        let data = serde_json::value::to_raw_value(event).map_err(|error| {
            Error::new(
                ErrorKind::Publish,
                format!("a {} does not serialize: {error}", E::DETAIL_TYPE),
            )
        })?;
        Ok(Self {
            metadata: Metadata {
                time: Some(SystemTime::now()),
                source: Some(E::SOURCE.to_owned()),
                detail_type: Some(E::DETAIL_TYPE.to_owned()),
                version: E::VERSION,
                subject: event.subject(),
                partition_key: event.partition_key(),
                ..Metadata::new(uuid::Uuid::now_v7().to_string())
            },
            source: E::SOURCE.into(),
            detail_type: E::DETAIL_TYPE.into(),
            data,
            trace_header: None,
        })
    }

    /// Returns the event's metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the event's id.
    pub fn id(&self) -> &str {
        &self.metadata.id
    }

    /// Returns EventBridge's `source`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns EventBridge's `detail-type`.
    pub fn detail_type(&self) -> &str {
        &self.detail_type
    }

    /// Returns the X-Ray trace header to send with the event.
    pub fn trace_header(&self) -> Option<&str> {
        self.trace_header.as_deref()
    }

    /// Returns the event's data, as JSON.
    pub fn data(&self) -> &str {
        self.data.get()
    }

    /// Returns EventBridge's `detail`: the metadata and the data.
    pub fn detail(&self) -> String {
        to_json(&self.framed())
    }

    /// Returns the event as EventBridge delivers it. A queue without a bus in front of it carries
    /// this form too, so that consumers see only one.
    pub fn body(&self) -> String {
        to_json(&OnTheBus {
            id: self.id(),
            source: &self.source,
            detail_type: &self.detail_type,
            time: self.time(),
            detail: self.framed(),
        })
    }

    /// Reads an event that was written by [`body`](Self::body).
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if it is not such a body.
    pub fn from_body(body: &str) -> Result<Self> {
        let nowhere = Fallback { id: "", time: None };
        let event = read(body, &BTreeMap::new(), &nowhere)?;
        let m = event.metadata;
        let (Some(source), Some(detail_type), false) =
            (m.source.clone(), m.detail_type.clone(), m.id.is_empty())
        else {
            return Err(Error::malformed(
                "the event has no id, source or detail-type",
            ));
        };
        Ok(Self {
            metadata: m,
            source: source.into(),
            detail_type: detail_type.into(),
            data: RawValue::from_string(event.data)?,
            trace_header: None,
        })
    }

    pub(crate) fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    pub(crate) fn set_trace_header(&mut self, header: Option<String>) {
        self.trace_header = header;
    }

    fn time(&self) -> Option<jiff::Timestamp> {
        // Producers agree on milliseconds, and the lag is measured in them.
        jiff::Timestamp::from_millisecond(
            i64::try_from(crate::clock::epoch_ms(self.metadata.time?)).ok()?,
        )
        .ok()
    }

    fn framed(&self) -> Framed<'_> {
        let m = &self.metadata;
        Framed {
            metadata: FramedMetadata {
                id: &m.id,
                time: self.time(),
                version: m.version,
                subject: m.subject.as_deref(),
                partitionkey: m.partition_key.as_deref(),
                correlationid: m.correlation_id(),
                causationid: m.causation_id.as_deref(),
                traceparent: m.traceparent.as_deref(),
                producer: m.producer.as_deref(),
            },
            data: &self.data,
        }
    }
}

/// Serializing strings, numbers and JSON that was serialized before cannot fail.
fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[derive(Serialize)]
struct OnTheBus<'a> {
    id: &'a str,
    source: &'a str,
    #[serde(rename = "detail-type")]
    detail_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<jiff::Timestamp>,
    detail: Framed<'a>,
}

#[derive(Serialize)]
struct Framed<'a> {
    metadata: FramedMetadata<'a>,
    data: &'a RawValue,
}

#[derive(Serialize)]
struct FramedMetadata<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<jiff::Timestamp>,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<&'a str>,
    correlationid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    producer: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize)]
    struct Placed {
        order_id: String,
    }
    impl Event for Placed {
        const SOURCE: &'static str = "shop.orders";
        const DETAIL_TYPE: &'static str = "OrderPlaced";
        const VERSION: u32 = 4;
        fn subject(&self) -> Option<String> {
            Some(format!("order/{}", self.order_id))
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Outgoing::new(&Placed {
            order_id: "42 \"ü\"".into(),
        })
        .unwrap();
        out.metadata_mut().producer = Some("shop.checkout".into());
        let fallback = Fallback {
            id: "m",
            time: None,
        };
        let back = read(&out.body(), &BTreeMap::new(), &fallback).unwrap();
        let mut expected = out.metadata().clone();
        expected.correlation_id = Some(expected.id.clone());
        // Times travel in milliseconds.
        let ms = |m: &Metadata| m.time.map(crate::clock::epoch_ms);
        assert_eq!(ms(&back.metadata), ms(&expected));
        expected.time = back.metadata.time;
        assert_eq!(back.metadata, expected);
        assert_eq!(back.data, out.data());
    }

    #[test]
    fn a_body_is_the_whole_event() {
        let out = Outgoing::new(&Placed {
            order_id: "42".into(),
        })
        .unwrap();
        let back = Outgoing::from_body(&out.body()).unwrap();
        assert_eq!(back.body(), out.body());
        assert_eq!(
            (back.source(), back.detail_type()),
            (out.source(), out.detail_type())
        );
        for other in ["{}", "[]", r#"{"metadata":{"id":"1"},"data":1}"#] {
            assert!(
                Outgoing::from_body(other).unwrap_err().is_malformed(),
                "{other}"
            );
        }
    }

    #[test]
    fn a_detail_type_that_is_too_long_for_eventbridge_is_refused() {
        #[derive(Serialize, Deserialize)]
        struct Long;
        impl Event for Long {
            const SOURCE: &'static str = "s";
            const DETAIL_TYPE: &'static str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";
        }
        let error = Outgoing::new(&Long).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Publish);
        assert!(error.to_string().contains("130 characters"), "{error}");
    }
}
