//! Effects and events that are committed together with the claim on their record.
//!
//! A handler that takes a [`Transaction`] does nothing by itself: it stages writes to DynamoDB and events to
//! publish, and returns. Surehand commits them with the claim, in one TransactWriteItems. The events are published
//! by the [`outbox`](crate::outbox) afterwards. `docs/exactly-once.md` walks through it.

mod publishable;
mod size;
mod write;

pub(crate) use size::{
    MAX_ACTIONS, MAX_EVENT_BYTES, MAX_ITEM_BYTES, MAX_TRANSACTION_BYTES, item_bytes, write_bytes,
};

pub use crate::stage::Item;
pub use write::{Updating, Write};

use crate::{
    Error, ErrorKind, Event, Record,
    envelope::Outgoing,
    extract::FromRecord,
    lineage::Lineage,
    stage::{Refused, Stage, StagedWrite},
};
use aws_sdk_dynamodb::{
    error::BuildError,
    types::{
        Put, TransactWriteItem,
        builders::{ConditionCheckBuilder, DeleteBuilder, PutBuilder, UpdateBuilder},
    },
};
use serde::Serialize;

/// What a handler wants to happen: writes to DynamoDB and events to publish.
///
/// A handler that takes one does nothing by itself. It stages, and when it returns `Ok` everything
/// is committed in one TransactWriteItems, together with the claim on the record: all of it happens,
/// once, or none of it. When the handler returns an error, nothing does. A program that is no Lambda
/// function gets one from [`Idempotency::once`](crate::Idempotency::once).
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use surehand::{Entity, Envelope, Error, Event, State, Tables, Transaction};
///
/// #[derive(Serialize, Deserialize, Entity)]
/// #[entity(table = "STOCK_TABLE", key(sku))]
/// struct StockRow { sku: String, available: i64 }
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(source = "shop.orders", detail_type = "OrderPlaced")]
/// struct OrderPlaced { order_id: String, sku: String }
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(source = "shop.stock", detail_type = "StockReserved")]
/// struct StockReserved { order_id: String }
///
/// async fn reserve(order: Envelope<OrderPlaced>, State(shop): State<Tables>, tx: Transaction) -> surehand::Result<()> {
///     tx.update(&shop, StockRow::key(order.data.sku))
///         .subtract(|row| row.available, 1)
///         .only_if(|row| row.available.ge(1))
///         .or(Error::rejected("out of stock"));
///     tx.publish(&StockReserved { order_id: order.data.order_id });
///     Ok(())
/// }
/// ```
///
/// DynamoDB takes 100 actions and 4 MB a transaction, 400 KB an item, and each item once. One action
/// is the claim's. An event has 384 KiB at most, since it waits in an item, no character that SQS does not take (U+FFFE and U+FFFF)
/// and no integer that EventBridge does not take (beyond 64 bits with a sign). What cannot be committed
/// or published is rejected before anything is sent.
#[derive(Debug)]
pub struct Transaction {
    staged: Stage,
    lineage: Lineage,
    /// The function or service, which events name as their producer.
    producer: String,
}

/// A write that was staged, to say what its failed condition means.
#[derive(Debug)]
pub struct StagedCondition<'a> {
    stage: &'a Stage,
    index: Option<usize>,
}

impl StagedCondition<'_> {
    /// The record fails with `error` if the condition does not hold.
    ///
    /// Without it the record is tried again, and parked in the end.
    pub fn or(self, error: impl Into<Error>) {
        let error = error.into();
        self.set(Refused::new(move |_| error));
    }

    /// The record fails with the error that `make` makes of the item as it was: `None` if there was
    /// none.
    pub fn or_else(self, make: impl FnOnce(Option<Item>) -> Error + Send + 'static) {
        if let Some(index) = self.index {
            let mut staged = self.stage.lock();
            if let Some(write) = staged.writes.get_mut(index) {
                write.return_old_item();
            }
        }
        self.set(Refused::new(make));
    }

    fn set(self, refused: Refused) {
        if let Some(index) = self.index
            && let Some(write) = self.stage.lock().writes.get_mut(index)
        {
            write.refused = Some(refused);
        }
    }
}

impl Transaction {
    pub(crate) fn new(staged: Stage, lineage: Lineage, producer: impl Into<String>) -> Self {
        Self {
            staged,
            lineage,
            producer: producer.into(),
        }
    }

    /// Stages a write as DynamoDB's own builder has it, for what entities do not say: a
    /// [`PutBuilder`], an [`UpdateBuilder`], a [`DeleteBuilder`] or a [`ConditionCheckBuilder`].
    ///
    /// ```
    /// # use surehand::{Error, Transaction};
    /// # fn raw(tx: &Transaction) {
    /// use aws_sdk_dynamodb::types::{AttributeValue, Update};
    ///
    /// let take_one = Update::builder()
    ///     .table_name("stock")
    ///     .key("sku", AttributeValue::S("book".into()))
    ///     .update_expression("SET available = available - :one")
    ///     .condition_expression("available >= :one")
    ///     .expression_attribute_values(":one", AttributeValue::N("1".into()));
    /// tx.stage(take_one).or(Error::rejected("out of stock"));
    /// # }
    /// ```
    pub fn stage(&self, write: impl RawWrite) -> StagedCondition<'_> {
        let index = match write.build_write() {
            Ok(write) => {
                let mut staged = self.staged.lock();
                staged.writes.push(StagedWrite {
                    write,
                    refused: None,
                });
                Some(staged.writes.len() - 1)
            }
            Err(error) => {
                self.staged
                    .fail(format!("a staged write is incomplete: {error}"));
                None
            }
        };
        StagedCondition {
            stage: &self.staged,
            index,
        }
    }

    /// Stages a put of what serializes as an item, into the table of this name, whatever was there before.
    pub fn put_item(&self, table: impl Into<String>, item: &impl Serialize) {
        match serde_dynamo::to_item(item) {
            Ok(item) => drop(self.stage(Put::builder().table_name(table).set_item(Some(item)))),
            Err(error) => self
                .staged
                .fail(format!("an item does not serialize: {error}")),
        }
    }

    /// Stages an event. It is published after the commit, by the relay, and carries on the record's
    /// story: see [`Publisher`](crate::Publisher).
    pub fn publish<E: Event>(&self, event: &E) {
        match Outgoing::new(event) {
            Ok(mut outgoing) => {
                self.lineage.mark(&mut outgoing);
                outgoing.metadata_mut().producer = Some(self.producer.clone());
                // Where the relay sends it is not known here.
                crate::trace::created(&mut outgoing, None);
                if let Some(problem) = publishable::problem(&outgoing) {
                    return self.staged.fail(problem);
                }
                self.staged.lock().events.push(outgoing);
            }
            Err(error) => self.staged.fail(format!("{error:#}")),
        }
    }
}

/// A builder of DynamoDB's for one write of a transaction.
pub trait RawWrite: sealed::Sealed {
    #[doc(hidden)]
    fn build_write(self) -> Result<TransactWriteItem, BuildError>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! raw_writes {
    ($($builder:ident => $field:ident),+) => {
        $(
            impl sealed::Sealed for $builder {}
            impl RawWrite for $builder {
                fn build_write(self) -> Result<TransactWriteItem, BuildError> {
                    Ok(TransactWriteItem::builder().$field(self.build()?).build())
                }
            }
        )+
    };
}
raw_writes!(PutBuilder => put, UpdateBuilder => update, DeleteBuilder => delete, ConditionCheckBuilder => condition_check);

impl<S> FromRecord<S> for Transaction {
    const COMMITS: bool = true;

    fn from_record(record: &Record, _state: &S) -> crate::Result<Self> {
        let stage = record.companion().stage.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::Invocation,
                "the handler takes a Transaction, but nothing commits it: add `.idempotent(…)` to the function",
            )
        })?;
        let function = &record.context().env_config.function_name;
        Ok(Self::new(stage, Lineage::new(record), function))
    }
}
