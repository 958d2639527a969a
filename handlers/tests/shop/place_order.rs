use crate::shop_tables;
use serde_json::{Value, json};
use shop::{
    events::{OrderCharged, OrderPlaced},
    orders::{Orders, PlaceOrder, Placed},
    place_order::place_order,
};
use surehand::{
    Direct, Error, ErrorKind, Function, Idempotency, Json,
    testing::{self, DynamoDb},
};

fn function(dynamo: &DynamoDb) -> Function<Direct> {
    let once = Idempotency::new(dynamo.store())
        .key(|request: Json<PlaceOrder>| request.0.idempotency_key());
    Function::new(
        Direct,
        place_order,
        Orders::new(dynamo.tables_for(Orders::access())),
    )
    .idempotent(once)
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
    let dynamo = shop_tables().await;
    let placed = place(&function(&dynamo), &request()).await.unwrap();
    assert_eq!(placed.total_cents, 2_599);

    let stored = dynamo
        .get(OrderPlaced::key(&placed.order_id))
        .await
        .unwrap();
    assert_eq!(stored.order_id, placed.order_id);
    assert_eq!(stored.lines.len(), 2);

    let claims = dynamo.claims().await;
    assert_eq!(claims.len(), 1);
    let waiting = claims[0]["outbox"].as_l().unwrap();
    assert_eq!(waiting.len(), 2, "committed with the order, to be relayed");
    let events = dynamo.publish().await;
    assert_eq!(events.of_type::<OrderPlaced>(), [stored]);
    assert_eq!(
        events.of_type::<OrderCharged>(),
        [OrderCharged {
            order_id: placed.order_id,
            customer_id: "c-1".into(),
            amount_cents: 2_599,
        }]
    );
    let charge = events.sent().remove(1);
    assert_eq!(charge.metadata().partition_key.as_deref(), Some("c-1"));
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_reply() {
    let dynamo = shop_tables().await;
    let first = place(&function(&dynamo), &request()).await.unwrap();
    // A second function stands for another process, which has nothing in its memory.
    assert_eq!(place(&function(&dynamo), &request()).await.unwrap(), first);
    assert_eq!(dynamo.all::<OrderPlaced>().await.len(), 1);
    assert_eq!(dynamo.publish().await.sent().len(), 2);

    let mut other = request();
    other["lines"][0]["quantity"] = 3.into();
    let error = place(&function(&dynamo), &other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyReused);
}

#[tokio::test]
async fn a_request_that_is_forgotten_does_not_place_its_order_again() {
    let dynamo = shop_tables().await;
    let placed = place(&function(&dynamo), &request()).await.unwrap();
    dynamo.forget_claims().await;
    let error = place(&function(&dynamo), &request()).await.unwrap_err();
    assert!(error.is_rejected(), "{error:?}");
    let expected = format!("order `{}` was placed before", placed.order_id);
    assert_eq!(error.to_string(), expected);
    assert!(dynamo.claims().await.is_empty(), "no claim, and no event");
}

#[tokio::test]
async fn an_invalid_request_is_rejected_and_leaves_nothing() {
    let line = |quantity: i64, cents: i64| json!([{"sku": "book", "quantity": quantity, "unit_price_cents": cents}]);
    let twice = |quantity: i64, cents: i64| {
        let line = line(quantity, cents)[0].take();
        json!([line, line])
    };
    let cases = [
        ("lines", json!([]), "the order has 0 lines: send 1 to 98"),
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
    let dynamo = shop_tables().await;
    let function = function(&dynamo);
    for (field, value, expected) in cases {
        let mut request = request();
        request[field] = value;
        let error = place(&function, &request).await.unwrap_err();
        assert!(error.is_rejected(), "{expected}: {error:?}");
        assert_eq!(error.to_string(), expected);
    }
    assert!(dynamo.all::<OrderPlaced>().await.is_empty());
    assert!(dynamo.claims().await.is_empty(), "no claim, and no event");

    // The refused request was not placed, so it can be corrected under its id.
    assert!(place(&function, &request()).await.is_ok());
}

#[tokio::test]
async fn two_customers_may_use_one_request_id() {
    let dynamo = shop_tables().await;
    let function = function(&dynamo);
    let first = place(&function, &request()).await.unwrap();
    let mut other = request();
    other["customer_id"] = "c-2".into();
    let second = place(&function, &other).await.unwrap();
    assert_ne!(first.order_id, second.order_id);
}
