//! Orders of every kind, from the request to the mail.

use super::{
    books::Books,
    dev::Dev,
    order::{self, BOOK_CENTS, LAMP_CENTS, line},
    shop::Shop,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const CUSTOMERS: [&str; 3] = ["ada", "bob", "cem"];
pub(crate) const ORDERS: usize = 12;
const BOOKS: i64 = 100;
/// The stock of lamps, fewer than are ordered.
const LAMPS: i64 = 2;

/// An order that place-order took.
struct Placed {
    order_id: String,
    customer: &'static str,
    email: String,
    books: i64,
    lamps: i64,
}

impl Placed {
    fn total_cents(&self) -> i64 {
        self.books * BOOK_CENTS + self.lamps * LAMP_CENTS
    }
}

pub(crate) async fn check(dev: &Dev, shop: &Shop) {
    shop.stock("book", BOOKS).await;
    shop.stock("lamp", LAMPS).await;
    let orders = place(dev, shop).await;
    check_refusals(dev, shop).await;

    let is_done = |books: &Books| {
        let is_decided = |order: &Placed| books.reservations.contains_key(order.order_id.as_str());
        let is_audited = |order: &Placed| books.events_of(&order.order_id).len() >= 2;
        orders.iter().all(|it| is_decided(it) && is_audited(it))
    };
    let books = shop.settled("orders", is_done).await;
    check_books(&books, &orders);
    check_mails(shop, &books, &orders).await;
    assert_eq!(shop.take_dead_letters().await.len(), 0);

    publish(dev, shop, &books, &orders[0]).await;
    let books = shop.books().await;
    check_books(&books, &orders);
    check_mails(shop, &books, &orders).await;
}

/// Places each order twice, as a caller that got no reply does.
async fn place(dev: &Dev, shop: &Shop) -> Vec<Placed> {
    let mut orders = Vec::new();
    for index in 0..ORDERS {
        let customer = CUSTOMERS[index % CUSTOMERS.len()];
        let (books, lamps) = (1 + index as i64 % 2, i64::from(index % 3 == 0));
        let mut lines = vec![line("book", books, BOOK_CENTS)];
        lines.extend((lamps > 0).then(|| line("lamp", lamps, LAMP_CENTS)));
        let request = order::request(&format!("flow-{index}"), customer, &lines);

        let first = match index % 4 {
            0 => invoke(dev, &request).unwrap(),
            _ => shop.place(&request).await.unwrap(),
        };
        let again = shop.place(&request).await.unwrap();
        assert_eq!(first, again);
        let order = Placed {
            order_id: first["order_id"].as_str().unwrap().to_owned(),
            customer,
            email: request["email"].as_str().unwrap().to_owned(),
            books,
            lamps,
        };
        assert_eq!(first["total_cents"], order.total_cents());
        orders.push(order);
    }
    orders
}

/// Requests that have no effect and an error as their reply.
async fn check_refusals(dev: &Dev, shop: &Shop) {
    let empty = order::request("flow-empty", "ada", &[]);
    let error = invoke(dev, &empty).unwrap_err();
    assert!(error.contains("0 lines"), "{error}");
    let other = order::request("flow-0", "ada", &[line("book", 50, BOOK_CENTS)]);
    let error = shop.place(&other).await.unwrap_err();
    assert!(error.contains("key_reused"), "{error}");
}

/// Calls place-order with the command, as a user does; the error is the line that it prints.
fn invoke(dev: &Dev, request: &Value) -> Result<Value, String> {
    let output = dev.surehand(
        &["invoke", "place-order", "--event", "-"],
        &request.to_string(),
    );
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    Err(said)
}

fn check_books(books: &Books, orders: &[Placed]) {
    let ids = || orders.iter().map(|order| order.order_id.as_str());
    let unique: BTreeSet<&str> = ids().collect();
    assert_eq!(unique.len(), ORDERS);
    let stored: BTreeSet<&str> = books.orders.iter().map(String::as_str).collect();
    assert_eq!(stored, unique);

    // The first orders for a lamp get one; which they are is not determined.
    let is_reserved = |order: &&Placed| books.reservations[&order.order_id] == "RESERVED";
    let reserved: Vec<&Placed> = orders.iter().filter(is_reserved).collect();
    let lamps: i64 = reserved.iter().map(|order| order.lamps).sum();
    assert_eq!(lamps, LAMPS);
    let without_lamp = orders.iter().filter(|order| order.lamps == 0).count();
    assert_eq!(reserved.len() as i64, without_lamp as i64 + LAMPS);
    let taken: i64 = reserved.iter().map(|order| order.books).sum();
    assert_eq!(books.stock["book"], BOOKS - taken);
    assert_eq!(books.stock["lamp"], 0);

    for customer in CUSTOMERS {
        let charges = orders.iter().filter(|order| order.customer == customer);
        let charges: Vec<(String, i64)> = charges
            .map(|order| (order.order_id.clone(), order.total_cents()))
            .collect();
        books.check_ledger(customer, &charges);
    }
    for order in orders {
        let outcome = match books.reservations[&order.order_id].as_str() {
            "RESERVED" => ["OrderPlaced", "StockReserved"],
            _ => ["OrderPlaced", "OrderRejected"],
        };
        let mut events = books.events_of(&order.order_id);
        events.sort_unstable();
        let mut expected = outcome;
        expected.sort_unstable();
        assert_eq!(events, expected, "{}", order.order_id);
    }
}

/// One mail per order, about that order, with its outcome.
async fn check_mails(shop: &Shop, books: &Books, orders: &[Placed]) {
    let mut mails = BTreeMap::<String, Vec<String>>::new();
    for mail in shop.mails().await {
        mails.entry(mail.to).or_default().push(mail.text);
    }
    for order in orders {
        let [text] = &mails[&order.email][..] else {
            panic!("{}: {:?}", order.email, mails[&order.email]);
        };
        assert!(text.contains(&order.order_id), "{text}");
        let is_rejection = text.contains("not enough in stock of lamp");
        let is_rejected = books.reservations[&order.order_id] == "REJECTED";
        assert_eq!(is_rejection, is_rejected, "{text}");
    }
    assert_eq!(mails.len(), orders.len());
}

/// Publishes events with the command: one that was handled, and some that cannot be handled.
async fn publish(dev: &Dev, shop: &Shop, books: &Books, order: &Placed) {
    let handled = books.audited.iter().find(|event| {
        event.detail_type == "OrderPlaced" && event.data["order_id"] == order.order_id.as_str()
    });
    let handled = handled.unwrap();
    let event = |id: &str, data: &Value| {
        json!({
            "source": "shop.orders",
            "detail-type": "OrderPlaced",
            "metadata": { "id": id },
            "data": data,
        })
    };
    let unknown = order::placed("flow-unknown", &[line("unicorn", 1, 1)]);
    let bare = json!({
        "source": "shop.orders",
        "detail-type": "OrderPlaced",
        "detail": { "greeting": "this is no order" },
    });
    let lines = [
        event(&handled.id, &handled.data),
        event("flow-malformed", &json!({ "order_id": ["no", "id"] })),
        event("flow-unknown", &unknown),
        bare,
    ];
    let input = lines.map(|line| line.to_string()).join("\n");
    let output = dev.surehand(&["publish", "-"], &input);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let takers = said.strip_prefix("4 events shop.orders OrderPlaced: ");
    let are_named = |takers: &str| takers.contains("(reserve-stock)") && takers.contains("(audit)");
    assert!(takers.is_some_and(are_named), "{said}");

    let mistyped = json!({ "source": "shp.orders", "detail-type": "OrderPlaced", "detail": {} });
    let output = dev.surehand(&["publish", "-", "--json"], &mistyped.to_string());
    let taken: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(taken["rules"], json!([]), "{taken}");
    assert_eq!(taken["near"][0]["asked_for"], "shop.orders", "{taken}");
    assert_eq!(
        taken["near"][0]["targets"],
        json!(["reserve-stock"]),
        "{taken}"
    );

    let is_audited = |books: &Books, id: &str| books.audited.iter().any(|event| event.id == id);
    let is_done =
        |books: &Books| is_audited(books, "flow-malformed") && is_audited(books, "flow-unknown");
    shop.settled("published events", is_done).await;
    let log = dev.log();
    let is_duplicate = |line: &&Value| {
        line["function_name"] == "shop-reserve-stock" && line["event_id"] == handled.id.as_str()
    };
    let outcomes: Vec<&Value> = log
        .iter()
        .filter(is_duplicate)
        .map(|line| &line["outcome"])
        // On a busy machine an invocation may run out of time, and the event is then delivered
        // again.
        .filter(|outcome| *outcome != "retry")
        .collect();
    assert_eq!(outcomes, ["ok", "duplicate"]);

    let mut reasons = BTreeMap::<String, Vec<Option<String>>>::new();
    for letter in shop.take_dead_letters().await {
        let note = letter.note.expect("it carries its reason");
        assert_eq!(letter.queue, "ReserveStock");
        assert_eq!(note.function, "shop-reserve-stock");
        assert!(note.handler.ends_with("reserve_stock"), "{note:?}");
        assert_eq!(note.attempts, 1);
        assert_eq!(note.event_type.as_deref(), Some("OrderPlaced"));
        if note.kind == "rejected" {
            assert_eq!(note.message, "sku `unicorn` does not exist");
        }
        // The dead letter is the unchanged event.
        let body: Value = serde_json::from_str(&letter.body).unwrap();
        let own_id = body["detail"]["metadata"]["id"].as_str().map(str::to_owned);
        if own_id.is_some() {
            assert_eq!(note.event_id, own_id);
        }
        reasons.entry(note.kind).or_default().push(own_id);
    }
    let mut expected = BTreeMap::from([
        (
            "malformed".to_owned(),
            vec![None, Some("flow-malformed".to_owned())],
        ),
        ("rejected".to_owned(), vec![Some("flow-unknown".to_owned())]),
    ]);
    for ids in reasons.values_mut().chain(expected.values_mut()) {
        ids.sort();
    }
    assert_eq!(reasons, expected);
}
