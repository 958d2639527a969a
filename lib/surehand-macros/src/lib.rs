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
/// and by `#[entity(version)]` on the field, a `u64` or `u32`, that counts the changes of an item. Each
/// write then replaces only the version that it knows.
///
/// # Keys
///
/// Each attribute of a key is one of these:
///
/// - **a field**, as in `key(order_id)`. Its type is a [`KeyValue`]: a text, an integer or bytes.
/// - **composed**, as in `key(pk = "ORDER#{order_id}")`: a text with the names of fields in braces, which
///   must implement `Display`; `{{` and `}}` stand for single braces. The attribute is written to each item
///   besides the fields, so none of them can have its name. A name that is no identifier is written as a
///   text: `key("gsi1-pk" = "…")`.
///
/// Two items must not have one key by accident. So there is a text between two fields, and no field may
/// contain the text that ends it: with `{order_id}#{position}`, an order's id has no `#`. That is checked
/// when the key is made, and is the error of the read or the commit that it is for. Entities that share a
/// table keep apart by the texts that their keys begin with.
///
/// Composed attributes are sorted as texts, in which 10 comes before 9. What is to be sorted as a number is
/// a sort key by itself, or a field whose text always has the same length.
///
/// The fields of the table's key are no `Option`s. An item is in an index only if it has the index's key:
/// if one of its fields is `None`, the index leaves the item out.
///
/// # What it writes
///
/// - `impl Entity for Order` and `impl Document for Order`.
/// - `struct OrderFields`, which conditions and updates get: a [`Field`] for each field, under its name.
///   It is a [`KeyField`], which an update cannot change, for those of the table's key, for those that an
///   index's key is composed of, and for the version. A field with `#[serde(skip)]`, `flatten` or `with` has
///   none: what the item has of it is not what its type is written as.
/// - `Order::key(customer_id, order_id)`, the [`Key`] of an item: of all fields of the key, in the order in
///   which they come first.
/// - `Order::partition(customer_id)`, if there is a sort key: the [`Partition`] of the table, of the fields of
///   the partition key alone.
/// - `Order::by_status(status)` for each index: a partition of it.
///
/// The functions take what can be turned `Into` the field's type, and a number, `bool` or `char` as it is. They
/// have the struct's visibility, and the fields their own.
///
/// # Serde
///
/// The attributes of an item are those that serde's derives write, under the names that `rename` and
/// `rename_all` give them, which must be the same for writing and reading. The type is written as its named
/// fields are, without `tag`, `transparent`, `from` or `into`. A [`Set`] has `#[serde(default)]`, because
/// DynamoDB keeps no empty set.
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
