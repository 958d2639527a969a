//! `#[derive(Event)]` for `surehand`, which re-exports it: depend on that crate instead.

mod attribute;
mod document;
mod event;
mod template;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a type an event: its name on the bus, its version, and how its older versions are read.
///
/// All of it is configured by `#[event(…)]` on the type, in one attribute or in several:
///
/// | Key | Meaning | Default |
/// |---|---|---|
/// | `source = "shop.orders"` | EventBridge's `source` | required |
/// | `detail_type = "OrderPlaced"` | EventBridge's `detail-type`, at most 128 characters | required |
/// | `version = 2` | the version that the type reads and writes, from 1 | 1 |
/// | `upcast(1 = path::to_fn)` | functions that take the data of that version to the next one: `fn(serde_json::Value) -> surehand::Result<serde_json::Value>` | none |
/// | `subject = "order/{order_id}"` | what the event is about, with the struct's fields in braces | none |
/// | `partition_key = "{customer_id}"` | events of one key are handled in order | none |
///
/// The braces of `subject` and `partition_key` hold the names of fields, which must implement
/// `Display`; `{{` and `}}` stand for single braces. Data of a version without an upcaster is
/// malformed.
///
/// The type is a struct, or an enum without `subject` and `partition_key`. It cannot be generic: a
/// `detail-type` names one shape of data.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    event::derive(&parse_macro_input!(input as DeriveInput)).into()
}
