use crate::shop_table::ShopTable;
use serde_json::{Value, json};
use shop::{
    events::{OrderCharged, OrderPlaced},
    orders::{Orders, PlaceOrder, Placed},
    place_order::{Checkout, place_order},
};
use surehand::{
    Direct, Error, ErrorKind, Function, Idempotency, Json, MemoryStore, Publisher,
    testing::{self, RecordedEvents},
};

struct Shop {
    table: ShopTable,
    events: RecordedEvents,
    charges: RecordedEvents,
}

impl Shop {
    async fn open() -> Self {
        Self {
            table: ShopTable::create().await,
            events: RecordedEvents::new(),
            charges: RecordedEvents::new(),
        }
    }

    fn function(&self, store: MemoryStore) -> Function<Direct> {
        let checkout = Checkout {
            orders: Orders::new(self.table.table()),
            events: Publisher::new(self.events.clone()),
            ledger: Publisher::new(self.charges.clone()),
        };
        let once = Idempotency::new(store).key(|request: Json<PlaceOrder>| request.0.request_id);
        Function::new(Direct, place_order, checkout).idempotent(once)
    }
}

fn request() -> Value {
    json!({
        "request_id": "r-1", "customer_id": "c-1", "email": "ada@example.com",
        "lines": [
            {"sku": "book", "quantity": 2, "unit_price_cents": 1_200},
            {"sku": "pen", "quantity": 1, "unit_price_cents": 199},
        ]
    })
}

async fn place(function: &Function<Direct>, request: &Value) -> Result<Placed, Error> {
    let event = testing::direct_event(request);
    let reply = function.invoke(event, testing::context()).await?;
    Ok(serde_json::from_str(reply.get()).unwrap())
}

#[tokio::test]
async fn an_order_is_stored_announced_and_charged() {
    let shop = Shop::open().await;
    let placed = place(&shop.function(MemoryStore::new()), &request())
        .await
        .unwrap();
    assert_eq!(placed.total_cents, 2_599);

    let pk = format!("ORDER#{}", placed.order_id);
    let stored: OrderPlaced = shop.table.get(&pk, "ORDER").await.unwrap();
    assert_eq!(stored.order_id, placed.order_id);
    assert_eq!(stored.lines.len(), 2);
    assert_eq!(shop.events.of_type::<OrderPlaced>(), [stored]);
    assert_eq!(
        shop.charges.of_type::<OrderCharged>(),
        [OrderCharged {
            order_id: placed.order_id,
            customer_id: "c-1".into(),
            amount_cents: 2_599,
        }]
    );
    let charge = shop.charges.sent().remove(0);
    assert_eq!(charge.metadata().partition_key.as_deref(), Some("c-1"));
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_reply() {
    let shop = Shop::open().await;
    let function = shop.function(MemoryStore::new());
    let first = place(&function, &request()).await.unwrap();
    assert_eq!(place(&function, &request()).await.unwrap(), first);
    assert_eq!(shop.table.len().await, 1);
    assert_eq!(shop.events.sent().len(), 1);

    let mut other = request();
    other["lines"][0]["quantity"] = 3.into();
    let error = place(&function, &other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyReused);
}

#[tokio::test]
async fn an_attempt_after_a_crash_places_the_same_order() {
    let shop = Shop::open().await;
    // With a new store nothing is known of the first attempt, as if it had ended before its reply.
    let first = place(&shop.function(MemoryStore::new()), &request())
        .await
        .unwrap();
    let second = place(&shop.function(MemoryStore::new()), &request())
        .await
        .unwrap();
    assert_eq!(first, second);
    assert_eq!(shop.table.len().await, 1);
    for sent in [shop.events.sent(), shop.charges.sent()] {
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0].id(), sent[1].id(), "consumers see one event");
        assert_eq!(sent[0].data(), sent[1].data());
    }
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_rejected_and_leaves_nothing() {
    let line = |quantity: i64, cents: i64| json!([{"sku": "book", "quantity": quantity, "unit_price_cents": cents}]);
    let twice = |quantity: i64, cents: i64| {
        let line = line(quantity, cents)[0].take();
        json!([line, line])
    };
    let cases = [
        ("lines", json!([]), "0 lines, and an order has 1 to 99"),
        (
            "lines",
            line(0, 100),
            "quantity 0 of `book` is not positive",
        ),
        (
            "lines",
            line(-1, 100),
            "quantity -1 of `book` is not positive",
        ),
        ("lines", line(1, -1), "unit price -1 of `book` is negative"),
        (
            "lines",
            line(2, i64::MAX),
            "quantities or prices are too large to be added up",
        ),
        (
            "lines",
            twice(1, i64::MAX),
            "quantities or prices are too large to be added up",
        ),
        (
            "lines",
            twice(i64::MAX, 0),
            "quantities or prices are too large to be added up",
        ),
        ("email", json!("ada"), "e-mail address `ada` has no @"),
        (
            "customer_id",
            json!("c 1"),
            "customer id `c 1` must be 1 to 128 ASCII letters, digits and punctuation marks",
        ),
    ];
    let shop = Shop::open().await;
    let function = shop.function(MemoryStore::new());
    for (field, value, expected) in cases {
        let mut request = request();
        request[field] = value;
        let error = place(&function, &request).await.unwrap_err();
        assert!(error.is_rejected(), "{expected}: {error:?}");
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(shop.table.len().await, 0);
    assert!(shop.events.sent().is_empty() && shop.charges.sent().is_empty());

    // What was refused was not placed: the request can be corrected under its id.
    assert!(place(&function, &request()).await.is_ok());
}
