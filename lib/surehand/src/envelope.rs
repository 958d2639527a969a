//! The envelope around an event: what it is, where it came from, what caused it.
//!
//! A handler takes an [`Envelope`], with the [`Metadata`]. [`RawEvent`] is the same with its data unread: what a
//! [`Source`](crate::source::Source) of your own makes of a body, in whichever form the event arrived. [`Outgoing`]
//! is an event on its way out: what a [`Transport`](crate::publish::Transport) sends.
//!
//! Read are, and the first that fits counts:
//!
//! | Form | The event is | and its identity |
//! |---|---|---|
//! | [CloudEvents 1.0](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md) in binary mode: message attributes `ce_specversion`, `ce_id`, `ce_source`, `ce_type` and so on, also with `ce-` or `cloudEvents_` in front | the body, whole | `ce_source`, `ce_type`, `ce_id` |
//! | `{"metadata": {"id": …}, "data": …}`, which [`Publisher`](crate::Publisher) writes, alone or as EventBridge's `detail` | `data` | `source`, `type` and `id` in `metadata` |
//! | CloudEvents 1.0 in structured JSON, alone or as EventBridge's `detail` | `data` | `source`, `type`, `id` |
//! | any other event from EventBridge | `detail` | `source`, `detail-type`, `id` |
//! | an SNS notification around any of these, or around another one | that in `Message` | that event's; else `MessageId` |
//! | other JSON | the body, whole | the message's id |
//!
//! In a `detail`, source and type are EventBridge's, which has allowed them to the sender, and has routed by them. What
//! the event itself names, if it is another source or type, is part of its identity
//! ([`Metadata::own_source`], [`Metadata::own_type`]): a bridge may put the events of several sources on a bus under
//! one, and each numbers its own.
//!
//! EventBridge's `detail` may be JSON text, as EventBridge Scheduler writes it. A notification that SNS delivers
//! raw has its attributes on the message. A CloudEvent with `data_base64` is malformed.

mod destination;
mod read;
mod write;

pub use destination::Destination;
pub use read::RawEvent;
pub(crate) use read::{Fallback, read};
pub use write::Outgoing;

pub use crate::metadata::Metadata;

/// An event with its metadata.
///
/// As a handler's argument it reads every [form](self) in which events arrive: the form that
/// [`Publisher`](crate::Publisher) writes, plain EventBridge events, CloudEvents 1.0, SNS notifications
/// around any of these, and other JSON.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use surehand::{Envelope, Event};
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(source = "shop.orders", detail_type = "OrderPlaced")]
/// # struct OrderPlaced { order_id: String }
/// async fn log(order: Envelope<OrderPlaced>) -> surehand::Result<()> {
///     println!("{} says that {} was placed", order.metadata.id, order.data.order_id);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<T> {
    /// The event's id, type and origin.
    pub metadata: Metadata,
    /// The event's data.
    pub data: T,
}
