//! The envelope around an event: what it is, where it came from, what caused it.
//!
//! A handler takes an [`Envelope`], with the [`Metadata`]. [`RawEvent`] is the same with its data unread: what a
//! [`Source`](crate::source::Source) of your own makes of a body, in whichever form the event arrived. [`Outgoing`]
//! is an event on its way out: what a [`Transport`](crate::publish::Transport) sends.

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
/// As a handler's argument it reads every form in which events arrive: the form that
/// [`Publisher`](crate::Publisher) writes, plain EventBridge events, CloudEvents 1.0 in structured
/// JSON, SNS notifications around any of these, and other JSON.
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
