//! Ten orders in transactions of their own, and in one for all of them: what a store that groups
//! commits would send. There is nothing around it, so the difference is the most that it could save.

use super::{
    flow::effects,
    orders::{RECORDS, number, order, text},
};
use aws_sdk_dynamodb::{
    Client,
    operation::transact_write_items::TransactWriteItemsError,
    types::{Put, TransactWriteItem},
};
use futures_util::future::join_all;

/// A quantity above the stock, so that the condition of this order does not hold.
const TOO_MANY: u64 = u64::MAX;

pub(crate) struct Grouped {
    client: Client,
}

impl Grouped {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Commits each order by a call of its own, concurrently.
    pub(crate) async fn alone(&self, batch: u64, refused: bool) {
        let orders =
            (0..RECORDS).map(|index| commit(&format!("alone-{refused}"), batch, index, refused));
        let sent = orders.map(|actions| self.send(actions));
        let done = join_all(sent).await;
        let bad = done.iter().filter(|refused| !refused.is_empty()).count();
        assert_eq!(bad, usize::from(refused));
    }

    /// Commits all orders by one call and, if it was cancelled, those without a failed condition by
    /// another one.
    pub(crate) async fn together(&self, batch: u64, refused: bool) {
        let mode = format!("together-{refused}");
        let mut orders: Vec<_> = (0..RECORDS)
            .map(|index| commit(&mode, batch, index, refused))
            .collect();
        let of_each = orders[0].len();
        let bad = self.send(orders.concat()).await;
        assert_eq!(bad.len(), usize::from(refused));
        if let Some(action) = bad.first() {
            orders.remove(action / of_each);
            assert!(self.send(orders.concat()).await.is_empty());
        }
    }

    /// Which of the actions were refused.
    async fn send(&self, actions: Vec<TransactWriteItem>) -> Vec<usize> {
        let request = self.client.transact_write_items();
        let Err(error) = request.set_transact_items(Some(actions)).send().await else {
            return Vec::new();
        };
        match error.into_service_error() {
            TransactWriteItemsError::TransactionCanceledException(cancelled) => {
                let reasons = cancelled.cancellation_reasons().iter().enumerate();
                let is_refused = |code: Option<&str>| code == Some("ConditionalCheckFailed");
                reasons
                    .filter_map(|(index, reason)| is_refused(reason.code()).then_some(index))
                    .collect()
            }
            error => panic!("{error:?}"),
        }
    }
}

/// The claim and the effects of one order.
fn commit(mode: &str, batch: u64, index: u64, refused: bool) -> Vec<TransactWriteItem> {
    let id = format!("{mode}-{batch:08}-{index:04}");
    let mut order = order(id.clone(), index);
    if refused && index == RECORDS / 2 {
        order.quantity = TOO_MANY;
    }
    let claim = Put::builder()
        .table_name("idempotency")
        .item("id", text(&id))
        .item("status", text("COMPLETED"))
        .item("expiration", number(1_800_000_000))
        .item("validation", text(&"0".repeat(64)))
        .item("owner", text("0190a7c4-7e5b-7c3d-9f10-0190a7c47e5b"))
        .item("attempted_at", number(1_780_000_000_000))
        .item("event", text(&"x".repeat(400)))
        .condition_expression("attribute_not_exists(id)");
    let claim = TransactWriteItem::builder()
        .put(claim.build().unwrap())
        .build();
    [&[claim], &effects(&order)[..]].concat()
}
