use crate::shop_tables;
use shop::{
    customer_ledger::customer_ledger,
    events::OrderCharged,
    ledger::{Balance, Entry, Ledger},
};
use surehand::{
    Function, Sqs,
    testing::{self, DynamoDb, Message, RecordedDeadLetters},
};

fn function(dynamo: &DynamoDb) -> Function<Sqs> {
    let ledger = Ledger::new(dynamo.tables_for(Ledger::access()));
    Function::new(Sqs, customer_ledger, ledger).idempotent(dynamo.store())
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

/// Returns true if no message is to be retried.
async fn handle(function: &Function<Sqs>, messages: impl IntoIterator<Item = Message>) -> bool {
    let event = testing::sqs_event("customer-ledger.fifo", messages);
    let response = function.invoke(event, testing::context()).await.unwrap();
    testing::failed_ids(&response).is_empty()
}

async fn balance(dynamo: &DynamoDb, customer_id: &str) -> Balance {
    dynamo.get(Balance::key(customer_id)).await.unwrap()
}

async fn entry(dynamo: &DynamoDb, customer_id: &str, order: i64) -> Entry {
    let key = Entry::key(customer_id, format!("o-{order}"));
    dynamo.get(key).await.unwrap()
}

#[tokio::test]
async fn charges_are_booked_in_each_customers_order() {
    let dynamo = shop_tables().await;
    let orders = [4, 1, 3, 2];
    let messages = orders.map(|order| [charge("ada", order), charge("ben", 10 * order)]);
    assert!(handle(&function(&dynamo), messages.into_iter().flatten()).await);

    for (customer_id, factor) in [("ada", 1), ("ben", 10)] {
        let mut balance_cents = 0;
        for (order, position) in orders.into_iter().zip(1..) {
            let amount_cents = 100 * order * factor;
            balance_cents += amount_cents;
            let expected = Entry {
                customer_id: customer_id.to_owned(),
                order_id: format!("o-{}", order * factor),
                amount_cents,
                position,
                balance_cents,
            };
            assert_eq!(entry(&dynamo, customer_id, order * factor).await, expected);
        }
        assert_eq!(
            balance(&dynamo, customer_id).await,
            Balance {
                customer_id: customer_id.to_owned(),
                balance_cents,
                entries: 4
            }
        );
    }
}

#[tokio::test]
async fn a_charge_is_booked_once_however_often_it_is_tried() {
    let dynamo = shop_tables().await;
    let messages = [charge("ada", 1), charge("ada", 2)];
    assert!(handle(&function(&dynamo), messages.clone()).await);
    assert!(handle(&function(&dynamo), messages.clone()).await);
    dynamo.forget_claims().await;
    assert!(handle(&function(&dynamo), messages).await);
    assert_eq!(entry(&dynamo, "ada", 1).await.position, 1);
    assert_eq!(
        balance(&dynamo, "ada").await,
        Balance {
            customer_id: "ada".into(),
            balance_cents: 300,
            entries: 2
        }
    );
}

#[tokio::test]
async fn charges_that_race_against_each_other_all_count() {
    let dynamo = shop_tables().await;
    let book = |order: i64| {
        let function = function(&dynamo);
        async move {
            // Retries as redeliveries would.
            while !handle(&function, [charge("ada", order)]).await {}
        }
    };
    tokio::join!(book(1), book(10), book(100), book(1_000));
    assert_eq!(
        balance(&dynamo, "ada").await,
        Balance {
            customer_id: "ada".into(),
            balance_cents: 111_100,
            entries: 4
        }
    );
}

#[tokio::test]
async fn a_charge_that_cannot_be_counted_is_parked_and_leaves_nothing() {
    let dynamo = shop_tables().await;
    let too_much = OrderCharged {
        order_id: "o-2".into(),
        customer_id: "ada".into(),
        amount_cents: i64::MAX,
    };
    let dead_letters = RecordedDeadLetters::new();
    let function = function(&dynamo).dead_letters(dead_letters.clone());
    let messages = [
        charge("ada", 1),
        Message::event(&too_much).group("ada").id("too-much"),
    ];
    assert!(handle(&function, messages).await);
    assert_eq!(
        dead_letters.kinds(),
        [("too-much".into(), "rejected".into())]
    );
    assert_eq!(balance(&dynamo, "ada").await.entries, 1);
    assert_eq!(dynamo.all::<Entry>().await.len(), 1);
}
