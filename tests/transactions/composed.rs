//! Attributes that are composed of an entity's fields.

use super::world::{OrderPlaced, World, order, text};
use serde::{Deserialize, Serialize};
use surehand::{
    Entity, Envelope, Function, Sqs, State, Tables, Transaction,
    tables::Access,
    testing::{self, Message},
};

/// How much a customer has ordered. What is composed is no field of it.
#[derive(Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(
    table = "SHOP_TABLE",
    key(id = "TOTAL#{customer}"),
    index(all, name = "by-kind", key(kind = "TOTAL", "kind-id" = "{customer}"))
)]
#[serde(deny_unknown_fields)]
struct Total {
    customer: String,
    quantity: i64,
}

async fn count(
    order: Envelope<OrderPlaced>,
    State(shop): State<Tables>,
    tx: Transaction,
) -> surehand::Result<()> {
    tx.update(&shop, Total::key(&order.data.customer))
        .add(|total| total.quantity, order.data.quantity)
        .or_create()
        .stage();
    Ok(())
}

#[tokio::test]
async fn an_item_that_an_update_creates_is_read_as_its_entity_and_is_in_its_indexes() {
    let world = World::new().await;
    let access = Access::new().updates::<Total>().reads::<Total>();
    let tables = Tables::new(world.client.clone(), access, |_| "shop".to_owned());
    let function = Function::new(Sqs, count, tables.clone()).idempotent(world.store.clone());
    let orders = [order("1", 3), order("2", 4)].map(|order| Message::event(&order));
    let event = testing::sqs_event("orders", orders);
    let response = function.invoke(event, testing::context()).await.unwrap();
    assert!(testing::failed_ids(&response).is_empty());

    let item = world.item("shop", "TOTAL#c-1").await.unwrap();
    assert_eq!(
        (&item["kind"], &item["kind-id"]),
        (&text("TOTAL"), &text("c-1"))
    );
    let expected = Total {
        customer: "c-1".into(),
        quantity: 7,
    };
    assert_eq!(tables.get(Total::key("c-1")).await.unwrap(), Some(expected));
}
