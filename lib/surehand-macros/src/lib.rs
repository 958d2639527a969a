//! The derives of `surehand`, which re-exports them: depend on that crate instead.

mod attribute;
mod document;
mod entity;
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

/// Makes a struct an entity: its values are items of a DynamoDB table.
///
/// ```ignore
/// #[derive(Serialize, Deserialize, Entity)]
/// #[entity(
///     table = "SHOP_TABLE",
///     key(pk = "CUSTOMER#{customer_id}", sk = "ORDER#{order_id}"),
///     index(by_status, name = "by-status", key(status, placed_at)),
/// )]
/// #[serde(rename_all = "camelCase")]
/// pub struct Order {
///     pub customer_id: String,
///     pub order_id: String,
///     pub status: String,
///     pub placed_at: u64,
///     #[entity(version)]
///     pub version: u64,
/// }
/// ```
///
/// It is configured by `#[entity(…)]` on the type, in one attribute or in several:
///
/// | Key | Meaning | Default |
/// |---|---|---|
/// | `table = "SHOP_TABLE"` | the environment variable that has the table's name | required |
/// | `key(…)` | the table's key: its partition key, and its sort key if it has one | required |
/// | `index(by_status, name = "by-status", key(…))` | a secondary index: the function that queries it, its name, and its key; as often as there are indexes | no index; the function's name |
///
/// and by `#[entity(version)]` on the field, a `u64` or `u32`, that counts the changes of an item. A put
/// then replaces only the version that it was made from.
///
/// # Keys
///
/// Each attribute of a key is one of these:
///
/// - **a field**, as in `key(order_id)`. Its type is a [`KeyValue`]: a text, an integer or bytes.
/// - **composed**, as in `key(pk = "ORDER#{order_id}")`: a text with the names of fields in braces, which
///   must implement `Display`; `{{` and `}}` stand for single braces. The attribute is written to each item
///   beside the fields, so no field can have its name. A name that is not an identifier is written as a
///   text: `key("gsi1-pk" = "…")`.
///
/// Two different items must not get the same key. So there must be a text between two fields, and a field
/// must not contain the text that follows it: with `{order_id}#{position}`, an order's id cannot contain
/// `#`. This is checked when the key is made, and fails the read or the commit that uses the key. Entities
/// that share a table are kept apart by the texts that their keys begin with.
///
/// Composed attributes are sorted as texts, so 10 comes before 9. To sort by a number, make the field a sort
/// key by itself, or give it a type whose `Display` has a fixed width.
///
/// The fields of the table's key cannot be an `Option`. Those of an index's can: the index leaves out an
/// item for which one of them is `None`.
///
/// # What it writes
///
/// - `impl Entity for Order` and `impl Document for Order`.
/// - `struct OrderFields`, which the closures of conditions and updates get: a [`Field`] for each field, under
///   its name. The fields of the table's key, those that an index's key is composed of, and the version are
///   [`KeyField`]s, which an update cannot change. A field with `#[serde(skip)]`, `flatten` or `with` is left
///   out, because the item does not have it as its type is written.
/// - `Order::key(customer_id, order_id)`, which returns the [`Key`] of an item. It takes each field of the
///   key, in the order in which they first appear.
/// - `Order::partition(customer_id)`, if there is a sort key, which returns a [`Partition`] of the table. It
///   takes the fields of the partition key.
/// - `Order::by_status(status)` for each index, which returns a partition of the index.
///
/// The functions take `impl Into<T>` for a field of type `T`, and an integer, `bool` or `char` as it is, so
/// that a literal can be passed. They have the struct's visibility; the fields of `OrderFields` have that of
/// the struct's.
///
/// # Serde
///
/// The attributes of an item are those that serde's derives write, under the names that `rename` and
/// `rename_all` give them; these must be the same for writing and reading. `tag`, `untagged`, `transparent`,
/// `from`, `try_from`, `into` and `remote` are refused, since they change the map of fields that an item is.
/// A [`Set`] needs `#[serde(default)]`, because DynamoDB does not keep empty sets.
///
/// A struct inside an entity derives [`Document`](macro@Document), so that conditions and updates can name
/// its fields.
///
/// [`Field`]: ../surehand/tables/struct.Field.html
/// [`Key`]: ../surehand/tables/struct.Key.html
/// [`KeyField`]: ../surehand/tables/struct.KeyField.html
/// [`KeyValue`]: ../surehand/tables/trait.KeyValue.html
/// [`Partition`]: ../surehand/tables/struct.Partition.html
/// [`Set`]: ../surehand/tables/struct.Set.html
#[proc_macro_derive(Entity, attributes(entity))]
pub fn derive_entity(input: TokenStream) -> TokenStream {
    entity::derive(&parse_macro_input!(input as DeriveInput)).into()
}

/// Lets conditions and updates of an entity name the fields of a struct inside it.
///
/// ```ignore
/// #[derive(Serialize, Deserialize, Document)]
/// pub struct Address {
///     pub city: String,
///     #[serde(rename = "zip")]
///     pub postal_code: String,
/// }
/// ```
///
/// It writes `impl Document for Address`, and `struct AddressFields` with a
/// [`Field`](../surehand/tables/struct.Field.html) for each field, so that a condition on an order can be
/// `order.address.city.eq("Bern")`. What serde's attributes mean is told at
/// [`Entity`](macro@Entity), which writes the same for the entity itself.
#[proc_macro_derive(Document)]
pub fn derive_document(input: TokenStream) -> TokenStream {
    document::derive(&parse_macro_input!(input as DeriveInput)).into()
}
