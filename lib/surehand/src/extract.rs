//! What a handler can take as an argument.
//!
//! | Argument | What it is |
//! |---|---|
//! | [`Envelope<T>`] | the event as a `T`, with its metadata |
//! | [`Json<T>`] | the data as a `T`, whatever its type is called: a request, or JSON without an envelope |
//! | [`State<T>`] | the function's state, or a part of it ([`FromRef`]) |
//! | [`Metadata`], [`Delivery`] | what is known of the event, and of its delivery |
//! | [`Deadline`] | the time that the invocation has left |
//! | [`IdempotencyKey`] | the key of the record's claim, for services that deduplicate by one |
//! | [`Transaction`](crate::Transaction) | stages effects and events that are committed with the claim |
//! | [`Publisher`](crate::Publisher) | the publisher in the function's state, bound to this record |
//! | [`Metrics`] | counts and measures |
//! | [`Change`](crate::Change) | the change of a DynamoDB item, of a stream |
//! | [`Record`], [`lambda_runtime::Context`] | all of it |
//! | `Option<T>`, `Result<T>` | any of these, where the handler runs without it |
//!
//! An argument of your own implements [`FromRecord`]. It is made anew for each record, and synchronously: the
//! body is in memory, and what needs IO belongs in the handler. An error of it is the record's error, and the
//! handler does not run.

use crate::{
    Deadline, Delivery, Envelope, Error, ErrorKind, IdempotencyKey, Metadata, Metrics, Record,
    Result,
    event::{EventName, Payload},
    redact,
};
use serde::de::DeserializeOwned;

/// A value that a handler takes from a record or from the function's state.
///
/// It is synchronous: the body is here already, and what needs IO belongs in the handler.
///
/// An implementation is called anew in each attempt, within the record's claim if it is leased; for a
/// [key](crate::Idempotency::key) it is called before the claim. It promises to be quick, and to do nothing that another attempt may not
/// repeat. Its error is the record's, and the error's kind decides what becomes of the record:
/// [malformed](crate::Error::malformed) is parked, and any other error by `?` is tried again.
///
/// ```
/// # #[cfg(not(feature = "testing"))] fn main() {}
/// # #[cfg(feature = "testing")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> surehand::Result<()> {
/// use surehand::{
///     Error, Function, Record, Result, Sqs, extract::FromRecord, record::AttributeValue,
///     testing::{self, Message, RecordedDeadLetters},
/// };
///
/// struct Tenant(String);
///
/// impl<S> FromRecord<S> for Tenant {
///     fn from_record(record: &Record, _state: &S) -> Result<Self> {
///         let attribute = record.delivery().attributes.get("tenant");
///         match attribute.map(|attribute| &attribute.value) {
///             Some(AttributeValue::Text(name)) => Ok(Self(name.clone())),
///             _ => Err(Error::malformed("the message has no attribute `tenant`")),
///         }
///     }
/// }
///
/// async fn greet(Tenant(name): Tenant) -> Result<()> {
///     println!("welcome, {name}");
///     Ok(())
/// }
///
/// let dead_letters = RecordedDeadLetters::new();
/// let function = Function::new(Sqs, greet, ()).dead_letters(dead_letters.clone());
/// let event = testing::sqs_event("greetings", [
///     Message::body("{}").id("good").attribute("tenant", "ada"),
///     Message::body("{}").id("bad"),
/// ]);
/// function.invoke(event, testing::context()).await?;
/// assert_eq!(dead_letters.kinds(), [("bad".into(), "malformed".into())]);
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    label = "not something that can be taken from a record",
    note = "a handler takes `Envelope<T>`, `Json<T>`, `State<T>`, `Transaction`, `Publisher`, `Metrics`, `Metadata`, `Delivery`, `Deadline`, `IdempotencyKey`, `Change`, `Record`, `Option<T>` or `Result<T>` of these, or your own `FromRecord` type",
    note = "to take an event, wrap it: `Envelope<{Self}>`; to take a part of the state: `State(value): State<{Self}>`"
)]
pub trait FromRecord<S>: Sized {
    /// True for an argument by which the record's claim is committed together with the handler's
    /// effects.
    #[doc(hidden)]
    const COMMITS: bool = false;

    /// The only type of event that it can be taken from; none if it can be taken from any.
    #[doc(hidden)]
    const CONSUMES: Option<EventName> = None;

    /// Takes the value from the record or the state.
    ///
    /// # Errors
    /// If the value cannot be taken: the record fails with the error, and the handler does not run.
    fn from_record(record: &Record, state: &S) -> Result<Self>;
}

/// A part of the state that handlers can take as [`State`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a part of the function's state `{T}`",
    label = "not in the state",
    note = "say how to take it: `impl FromRef<{T}> for {Self}`"
)]
pub trait FromRef<T> {
    /// Takes the part from the whole.
    fn from_ref(whole: &T) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(whole: &T) -> Self {
        whole.clone()
    }
}

/// The function's state, or a part of it.
#[derive(Debug, Clone, Copy)]
pub struct State<T>(pub T);

impl<S, T: FromRef<S>> FromRecord<S> for State<T> {
    fn from_record(_record: &Record, state: &S) -> Result<Self> {
        Ok(Self(T::from_ref(state)))
    }
}

/// The data of the record as a `T`, without a check of the event's type.
///
/// Use it for the requests of direct invocations, and for JSON without an envelope.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<S, T: DeserializeOwned> FromRecord<S> for Json<T> {
    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        let event = record.event()?;
        redact::decoded(&event.data).map(Self).map_err(|problem| {
            Error::malformed(format!(
                "record {} does not decode: {problem}",
                redact::name(&event.metadata.id),
            ))
        })
    }
}

impl<S, T: Payload> FromRecord<S> for Envelope<T> {
    const CONSUMES: Option<EventName> = T::NAME;

    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        let raw = record.event()?;
        Ok(Self {
            data: T::decode(&raw.metadata, &raw.data)?,
            metadata: raw.metadata.clone(),
        })
    }
}

impl<S> FromRecord<S> for IdempotencyKey {
    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        record.companion().key.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::Invocation,
                "the handler takes an `IdempotencyKey`, but the function is not idempotent: add `.idempotent(…)` to the function",
            )
        })
    }
}

impl<S> FromRecord<S> for Metadata {
    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        Ok(record.event()?.metadata.clone())
    }
}

impl<S> FromRecord<S> for Delivery {
    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        Ok(record.delivery().clone())
    }
}

impl<S> FromRecord<S> for Deadline {
    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        Ok(record.deadline().clone())
    }
}

impl<S> FromRecord<S> for Metrics {
    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        Ok(record.companion().metrics.clone())
    }
}

impl<S> FromRecord<S> for Record {
    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        Ok(record.clone())
    }
}

impl<S> FromRecord<S> for lambda_runtime::Context {
    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        Ok(record.context().clone())
    }
}

impl<S, T: FromRecord<S>> FromRecord<S> for Option<T> {
    const COMMITS: bool = T::COMMITS;

    fn from_record(record: &Record, state: &S) -> Result<Self> {
        Ok(T::from_record(record, state).ok())
    }
}

impl<S, T: FromRecord<S>> FromRecord<S> for Result<T> {
    const COMMITS: bool = T::COMMITS;

    fn from_record(record: &Record, state: &S) -> Result<Self> {
        Ok(T::from_record(record, state))
    }
}
