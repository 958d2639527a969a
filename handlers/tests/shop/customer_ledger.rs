use crate::shop_table::ShopTable;
use shop::{
    customer_ledger::customer_ledger,
    events::OrderCharged,
    ledger::{Balance, Entry, Ledger},
};
use surehand::{
    Function, MemoryStore, Sqs,
    testing::{self, Message},
};

fn function(table: &ShopTable) -> Function<Sqs> {
    let ledger = Ledger::new(table.table());
    Function::new(Sqs, customer_ledger, ledger).idempotent(MemoryStore::new())
}

fn charge(customer_id: &str, order: i64) -> Message {
    let charge = OrderCharged {
        order_id: format!("o-{order}"),
        customer_id: customer_id.to_owned(),
        amount_cents: 100 * order,
    };
    Message::event(&charge)
        .id(format!("{customer_id}-{order}"))
        .group(customer_id)
}

async fn handle(function: &Function<Sqs>, messages: impl IntoIterator<Item = Message>) {
    let event = testing::sqs_event("customer-ledger.fifo", messages);
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert!(testing::failed_ids(&response).is_empty());
}

async fn entry(table: &ShopTable, customer_id: &str, order: i64) -> Entry {
    let (pk, sk) = (
        format!("CUSTOMER#{customer_id}"),
        format!("ENTRY#o-{order}"),
    );
    table.get(&pk, &sk).await.unwrap()
}

#[tokio::test]
async fn charges_are_booked_in_each_customers_order() {
    let table = ShopTable::create().await;
    let orders = [4, 1, 3, 2];
    let messages = orders.map(|order| [charge("ada", order), charge("ben", 10 * order)]);
    handle(&function(&table), messages.into_iter().flatten()).await;

    for (customer_id, factor) in [("ada", 1), ("ben", 10)] {
        let mut balance_cents = 0;
        for (order, position) in orders.into_iter().zip(1..) {
            let amount_cents = 100 * order * factor;
            balance_cents += amount_cents;
            let expected = Entry {
                amount_cents,
                position,
                balance_cents,
            };
            assert_eq!(entry(&table, customer_id, order * factor).await, expected);
        }
        let balance: Balance = table
            .get(&format!("CUSTOMER#{customer_id}"), "BALANCE")
            .await
            .unwrap();
        assert_eq!(
            balance,
            Balance {
                balance_cents,
                entries: 4
            }
        );
    }
}

#[tokio::test]
async fn a_charge_is_booked_once_however_often_it_is_tried() {
    let table = ShopTable::create().await;
    let messages = [charge("ada", 1), charge("ada", 2)];
    // The second function knows nothing of the first, as if that had ended before its claims.
    handle(&function(&table), messages.clone()).await;
    handle(&function(&table), messages).await;
    assert_eq!(entry(&table, "ada", 1).await.position, 1);
    let balance = Ledger::new(table.table()).balance("ada").await.unwrap();
    assert_eq!(
        balance,
        Balance {
            balance_cents: 300,
            entries: 2
        }
    );
}

#[tokio::test]
async fn charges_that_race_against_each_other_all_count() {
    let table = ShopTable::create().await;
    let ledger = Ledger::new(table.table());
    let book = |order: i64| {
        let ledger = &ledger;
        async move {
            let charge = OrderCharged {
                order_id: format!("o-{order}"),
                customer_id: "ada".into(),
                amount_cents: order,
            };
            // As redeliveries would.
            while ledger.book(&charge).await.is_err() {}
        }
    };
    tokio::join!(book(1), book(10), book(100), book(1_000));
    let balance = ledger.balance("ada").await.unwrap();
    assert_eq!(
        balance,
        Balance {
            balance_cents: 1_111,
            entries: 4
        }
    );
}
