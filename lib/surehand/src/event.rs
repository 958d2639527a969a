//! Event types: their names, their versions, and how they are read.
//!
//! Derive [`Event`](derive@Event) for each event that you publish or handle. The derive implements the trait
//! [`Event`](trait@Event), and with it [`Payload`], which is what an [`Envelope`](crate::Envelope) can hold; an
//! event of any type is read as `Envelope<serde_json::Value>`.

#[doc(inline)]
pub use surehand_macros::Event;

use crate::{Error, Metadata, Result, redact};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

/// A type of event: its name on the bus, its version, and how its older versions are read.
///
/// Derive it:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use surehand::Event;
///
/// #[derive(Debug, Serialize, Deserialize, Event)]
/// #[event(source = "shop.orders", detail_type = "OrderPlaced", version = 2, upcast(1 = add_currency))]
/// #[event(subject = "order/{order_id}", partition_key = "{customer_id}")]
/// pub struct OrderPlaced {
///     pub order_id: String,
///     pub customer_id: String,
///     pub currency: String,
/// }
///
/// /// From version 1 to version 2: prices had no currency then.
/// fn add_currency(mut data: serde_json::Value) -> surehand::Result<serde_json::Value> {
///     data["currency"] = "EUR".into();
///     Ok(data)
/// }
///
/// assert_eq!(OrderPlaced::DETAIL_TYPE, "OrderPlaced");
/// ```
///
/// Serde's derives decide the shape of `data`. An additive change (a new field with
/// `#[serde(default)]`) needs no new version. Any other change needs the next version and an
/// upcaster from the previous one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    note = "derive it: `#[derive(Serialize, Deserialize, Event)] #[event(source = \"shop.orders\", detail_type = \"OrderPlaced\")]`"
)]
pub trait Event: Serialize + DeserializeOwned {
    /// The publisher: EventBridge's `source`, for example `shop.orders`.
    const SOURCE: &'static str;
    /// What happened: EventBridge's `detail-type`, at most 128 characters, for example `OrderPlaced`.
    const DETAIL_TYPE: &'static str;
    /// The version that this type reads and writes, from 1.
    const VERSION: u32 = 1;

    /// Turns the data of version `from` into that of version `from + 1`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) if the version has no upcaster, and
    /// the upcaster's own error.
    fn upcast(from: u32, data: Value) -> Result<Value> {
        let _ = data;
        Err(no_upcaster::<Self>(from))
    }

    /// Returns what the event is about, for example `order/42`: the CloudEvents `subject`.
    fn subject(&self) -> Option<String> {
        None
    }

    /// Returns the partition key: the CloudEvents `partitionkey`, and the message group on an SQS
    /// FIFO queue. Events of one partition key are handled in order if the transport keeps one.
    fn partition_key(&self) -> Option<String> {
        None
    }
}

/// An event type's name, in a form that constants can hold.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct EventName {
    pub(crate) source: &'static str,
    pub(crate) detail_type: &'static str,
    pub(crate) version: u32,
}

impl EventName {
    pub(crate) const fn of<E: Event>() -> Self {
        Self {
            source: E::SOURCE,
            detail_type: E::DETAIL_TYPE,
            version: E::VERSION,
        }
    }
}

/// Makes the error of [`Event::upcast`] for a version that has no upcaster.
#[doc(hidden)]
pub fn no_upcaster<E: Event>(from: u32) -> Error {
    Error::malformed(format!(
        "{} version {from} is older than version {} and has no upcaster: add one with `#[event(upcast({from} = …))]`",
        E::DETAIL_TYPE,
        E::VERSION
    ))
}

/// What an [`Envelope`](crate::Envelope) can hold: an [`Event`], or any JSON as a [`Value`].
#[diagnostic::on_unimplemented(
    message = "`Envelope<{Self}>` cannot be read: `{Self}` is not an event",
    note = "derive `Event` for `{Self}`, or take `Envelope<serde_json::Value>` for an event of any type",
    note = "for a request that is not an event, as in a direct invocation, take `Json<{Self}>`"
)]
pub trait Payload: Sized {
    /// The only type of event that it can be read from; none if it can be read from any.
    #[doc(hidden)]
    const NAME: Option<EventName> = None;

    /// Decodes the data of an event with this metadata.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed), saying which field is wrong.
    fn decode(metadata: &Metadata, data: &str) -> Result<Self>;
}

impl<T: Event> Payload for T {
    const NAME: Option<EventName> = Some(EventName::of::<T>());

    fn decode(metadata: &Metadata, data: &str) -> Result<Self> {
        check_type::<T>(metadata)?;
        if metadata.version >= T::VERSION {
            return parse(metadata, data);
        }
        let mut value: Value = parse(metadata, data)?;
        for version in metadata.version..T::VERSION {
            value = T::upcast(version, value)?;
        }
        redact::decoded_value(value).map_err(|problem| {
            malformed(
                metadata,
                format_args!(
                    "does not decode after upcasting from version {} to {}: {problem}",
                    metadata.version,
                    T::VERSION,
                ),
            )
        })
    }
}

impl Payload for Value {
    fn decode(metadata: &Metadata, data: &str) -> Result<Self> {
        parse(metadata, data)
    }
}

impl Payload for Box<RawValue> {
    fn decode(metadata: &Metadata, data: &str) -> Result<Self> {
        parse(metadata, data)
    }
}

fn parse<T: DeserializeOwned>(metadata: &Metadata, data: &str) -> Result<T> {
    redact::decoded(data).map_err(|problem| {
        let hint = foreign(data).unwrap_or_default();
        malformed(metadata, format_args!("does not decode: {problem}{hint}"))
    })
}

/// What is to be said of data that is another program's envelope, and was not unwrapped.
fn foreign(data: &str) -> Option<&'static str> {
    #[derive(serde::Deserialize)]
    struct Shape<'a> {
        #[serde(borrow)]
        metadata: Option<&'a RawValue>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(borrow)]
        specversion: Option<&'a RawValue>,
    }
    let shape: Shape<'_> = serde_json::from_str(data).ok()?;
    if shape.specversion.is_some() {
        return Some(
            "; the data is a CloudEvent, which is unwrapped if it has `specversion` 1.0, `id`, `source` and `type`, and is the message or EventBridge's `detail`: send it so, or take it with its `data`",
        );
    }
    shape.metadata.and(shape.data)?;
    Some(
        "; the data is an envelope, whose `metadata` is not Surehand's: that has text in `id`, and a number in `version` if it has one",
    )
}

/// A record that names its type must name ours; one that names none is accepted.
fn check_type<T: Event>(metadata: &Metadata) -> Result<()> {
    let other = |theirs: &Option<String>, ours: &str| theirs.as_ref().is_some_and(|t| t != ours);
    if other(&metadata.detail_type, T::DETAIL_TYPE) || other(&metadata.source, T::SOURCE) {
        return Err(malformed(
            metadata,
            format_args!(
                "is not a {} from {}: add a handler for its type, or correct the rule that delivers it",
                T::DETAIL_TYPE,
                T::SOURCE
            ),
        ));
    }
    Ok(())
}

fn malformed(metadata: &Metadata, problem: std::fmt::Arguments<'_>) -> Error {
    let kind = metadata.detail_type.as_deref().unwrap_or("event");
    let source = metadata.source.as_deref().unwrap_or("an unnamed source");
    let [kind, id, source] = [kind, &metadata.id, source].map(redact::name);
    Error::malformed(format!("{kind} {id} from {source} {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Paid {
        cents: u64,
        currency: String,
    }
    impl Event for Paid {
        const SOURCE: &'static str = "shop.pay";
        const DETAIL_TYPE: &'static str = "Paid";
        const VERSION: u32 = 3;
        fn upcast(from: u32, data: Value) -> Result<Value> {
            match from {
                1 => Ok(json!({ "cents": data["euros"].as_u64().unwrap_or(0) * 100 })),
                2 => Ok(json!({ "cents": data["cents"], "currency": "EUR" })),
                _ => Err(Error::malformed("no such version")),
            }
        }
    }

    fn metadata(version: u32) -> Metadata {
        Metadata {
            detail_type: Some("Paid".into()),
            source: Some("shop.pay".into()),
            version,
            ..Metadata::new("e-1")
        }
    }

    #[test]
    fn older_versions_go_through_every_upcaster_between() {
        let new = Paid {
            cents: 700,
            currency: "EUR".into(),
        };
        let old = Paid::decode(&metadata(1), r#"{"euros":7}"#).unwrap();
        assert_eq!(old, new);
        let recent = Paid::decode(&metadata(2), r#"{"cents":700}"#).unwrap();
        assert_eq!(recent, new);
    }

    #[test]
    fn newer_versions_are_tried_as_they_are() {
        let data = r#"{"cents":1,"currency":"USD","tip":2}"#;
        assert_eq!(Paid::decode(&metadata(9), data).unwrap().cents, 1);
        let error = Paid::decode(&metadata(9), r#"{"amount":1}"#).unwrap_err();
        assert!(error.is_malformed());
        assert!(
            error.to_string().contains("missing field `cents`"),
            "{error}"
        );
    }

    #[test]
    fn a_record_of_another_type_is_malformed() {
        let mut other = metadata(3);
        other.detail_type = Some("Refunded".into());
        let error = Paid::decode(&other, r#"{"cents":1,"currency":"EUR"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Refunded e-1 from shop.pay is not a Paid from shop.pay: add a handler for its type, or correct the rule that delivers it"
        );
    }

    #[test]
    fn envelopes_of_others_are_recognized_when_they_do_not_decode() {
        for (data, hint) in [
            (
                r#"{"metadata":{"id":"1","version":"2"},"data":{"cents":1}}"#,
                "is an envelope",
            ),
            (
                r#"{"specversion":"1.0","data":{"cents":1}}"#,
                "is a CloudEvent",
            ),
        ] {
            let error = Paid::decode(&metadata(3), data).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
        let error = Paid::decode(&metadata(3), r#"{"data":1}"#).unwrap_err();
        assert!(error.to_string().ends_with("column 10"), "{error}");
    }

    #[derive(Serialize, Deserialize, crate::Event)]
    #[event(source = "shop.orders", detail_type = "Moved", version = 4)]
    #[event(upcast(1 = add_to, 3 = steps::same))]
    #[event(subject = "{{{type}}}/{id}", partition_key = "{id}")]
    struct Moved {
        id: u32,
        r#type: String,
        to: String,
    }
    fn add_to(mut data: Value) -> Result<Value> {
        data["to"] = "here".into();
        Ok(data)
    }
    mod steps {
        pub(super) fn same(data: super::Value) -> crate::Result<super::Value> {
            Ok(data)
        }
    }

    #[derive(Serialize, Deserialize, crate::Event)]
    #[event(source = "shop.orders", detail_type = "Ended")]
    enum Ended {
        Well,
    }

    #[test]
    fn derived_events_say_what_their_attributes_say() {
        let event = Moved {
            id: 7,
            r#type: "box".into(),
            to: "there".into(),
        };
        assert_eq!(Moved::VERSION, 4);
        assert_eq!(event.subject().as_deref(), Some("{box}/7"));
        assert_eq!(event.partition_key().as_deref(), Some("7"));
        assert_eq!(Moved::upcast(1, json!({})).unwrap()["to"], "here");
        assert_eq!(Moved::upcast(3, json!(1)).unwrap(), 1);
        let error = Moved::upcast(2, json!({})).unwrap_err();
        assert!(error.is_malformed(), "{error}");
        assert_eq!(
            error.to_string(),
            "Moved version 2 is older than version 4 and has no upcaster: add one with `#[event(upcast(2 = …))]`"
        );
        assert_eq!((Ended::VERSION, Ended::Well.subject()), (1, None));
    }
}
