//! The envelope around an event: what it is, where it came from, what caused it.

mod read;
mod write;

pub use read::RawEvent;
pub(crate) use read::{Fallback, read};
pub use write::Outgoing;

use crate::Metadata;

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
