//! Rehearsals: what is staged meets the items of the tables as they are, and nothing comes of it.

use super::world::{self, Said, said};
use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, Delete, GlobalSecondaryIndex,
        KeySchemaElement, KeyType, Projection, ProjectionType, Put, ScalarAttributeType, Update,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use surehand::{
    DynamoDbStore, Envelope, Error, Event, Function, Idempotency, IdempotencyKey, MemoryStore,
    Metadata, Sqs, Transaction,
    idempotency::{Claim, ClaimRequest, Store as _},
    record::{Attribute, AttributeValue as Text},
    testing::{Message, context, failed_ids, sqs_event},
};
use surehand_redrive::Letter;
use surehand_test_support::{
    dynamodb,
    proxy::{self, Call, Fate, Moment},
};
use tempfile::TempDir;

/// What the command builds: it starts the executable that its environment names, which is this one.
const MAIN: &str = r#"
use std::{env, os::unix::process::CommandExt, process::Command};

fn main() {
    let mut function = Command::new(env::var("EXECUTABLE").unwrap());
    let test = ["--exact", "dlq::rehearsals::function", "--ignored", "--nocapture"];
    panic!("{}", function.args(test).exec());
}
"#;

const MANIFEST: &str = r#"
[package]
name = "app"
version = "0.0.0"
edition = "2024"

[[bin]]
name = "reserve"
path = "main.rs"

[workspace]
"#;

const TEMPLATE: &str = "
Resources:
  Reserve:
    Type: AWS::Serverless::Function
    Metadata:
      BuildMethod: rust-cargolambda
      BuildProperties:
        Binary: reserve
";

/// The table's other name, which AWS takes as well, and the embedded DynamoDB does not.
const ARN: &str = "arn:aws:dynamodb:dynoxide:000000000000:table/shop";

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    order_id: String,
    sku: String,
    quantity: u32,
    /// Where the stock is.
    table: String,
    /// What the reservation has as `rank`, which is the key of an index.
    rank: AttributeText,
}

/// A number if it is one, and else a text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum AttributeText {
    Number(u32),
    Text(String),
}

async fn reserve(order: Envelope<OrderPlaced>, tx: Transaction) -> surehand::Result<()> {
    let order = order.data;
    if order.sku == "bomb" {
        std::process::abort();
    }
    println!("{}", order.sku);
    if order.sku == "nothing" {
        return Ok(());
    }
    let take = Update::builder()
        .table_name(&order.table)
        .key("pk", text(&format!("STOCK#{}", order.sku)))
        .key("sk", text("STOCK"))
        .update_expression("SET #n = #n - :n")
        .condition_expression("#n >= :n")
        .expression_attribute_names("#n", "available")
        .expression_attribute_values(":n", AttributeValue::N(order.quantity.to_string()));
    tx.stage(take).or(Error::rejected("out of stock"));
    let rank = match order.rank {
        AttributeText::Number(rank) => AttributeValue::N(rank.to_string()),
        AttributeText::Text(rank) => text(&rank),
    };
    let put = Put::builder()
        .table_name("shop")
        .item("pk", text(&format!("ORDER#{}", order.order_id)))
        .item("sk", text("RESERVATION"))
        .item("rank", rank)
        .condition_expression("attribute_not_exists(pk)");
    tx.stage(put).or_else(|item| {
        let item = item.unwrap_or_default();
        Error::rejected(format!("it has the rank {:?}", item["rank"]))
    });
    let cart = Delete::builder()
        .table_name("shop")
        .key("pk", text(&format!("CART#{}", order.order_id)))
        .key("sk", text("CART"));
    tx.stage(cart);
    Ok(())
}

/// The function that is rehearsed, in a process of its own.
#[tokio::test]
#[ignore = "the command starts it, for the other tests"]
async fn function() {
    if std::env::var_os("SUREHAND_REHEARSE").is_some() {
        let function = Function::new(Sqs, reserve, ()).idempotent(MemoryStore::new());
        function.run().await.unwrap();
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// An application, its table, and dead letters of its function.
struct Stage {
    folder: TempDir,
    client: Client,
    endpoint: String,
    /// The keys of the items that the command has read.
    read: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Stage {
    /// What is in stock of the sku `book`. `may_read` says of an action and its request whether it is allowed.
    async fn new(stock: u32, may_read: fn(&str, &str) -> bool) -> Self {
        let (client, url) = dynamodb::embedded().await;
        make_table(&client).await;
        dynamodb::make_idempotency_table(&client, "claims").await;
        let read = Arc::new(Mutex::new(BTreeMap::new()));
        let seen = Arc::clone(&read);
        let executable = std::env::current_exe().unwrap();
        let endpoint = proxy::start(&url, move |call: &Call| {
            if call.moment == Moment::After {
                return Fate::Pass;
            }
            match &*call.action {
                "GET /2015-03-31/functions/reserve/configuration" => {
                    let variables =
                        json!({"EXECUTABLE": executable, "IDEMPOTENCY_TABLE": "claims"});
                    let function = json!({"Timeout": 5, "Environment": {"Variables": variables}});
                    Fate::Answer(200, function.to_string())
                }
                "DescribeTable" | "GetItem" if !may_read(&call.action, &call.body) => {
                    let message = format!(
                        "User: arn:aws:iam::1:user/op is not authorized to perform: dynamodb:{}",
                        call.action
                    );
                    let denied = "com.amazon.coral.service#AccessDeniedException";
                    let error = json!({"__type": denied, "message": message});
                    Fate::Answer(400, error.to_string())
                }
                "DescribeTable" if call.body.contains(ARN) => {
                    let key = |name, kind| json!({"AttributeName": name, "KeyType": kind});
                    let text = |name| json!({"AttributeName": name, "AttributeType": "S"});
                    let table = json!({"Table": {
                        "TableArn": ARN, "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
                        "AttributeDefinitions": [text("pk"), text("sk")],
                    }});
                    Fate::Answer(200, table.to_string())
                }
                "GetItem" if call.body.contains(ARN) => {
                    let request: Value = serde_json::from_str(&call.body).unwrap();
                    let mut item = request["Key"].clone();
                    item["available"] = json!({"N": stock.to_string()});
                    Fate::Answer(200, json!({"Item": item}).to_string())
                }
                "GetItem" if call.body.contains(r#""claims""#) => Fate::Pass,
                "GetItem" => {
                    let request: Value = serde_json::from_str(&call.body).unwrap();
                    assert_eq!(request["ConsistentRead"], true, "{request}");
                    let key = request["Key"]["pk"]["S"].as_str().unwrap().to_owned();
                    *seen.lock().unwrap().entry(key).or_insert(0) += 1;
                    Fate::Pass
                }
                "DescribeTable" => Fate::Pass,
                action => panic!("a rehearsal calls {action}"),
            }
        });
        let stage = Self {
            folder: tempfile::tempdir().unwrap(),
            client,
            endpoint,
            read,
        };
        for (file, text) in [
            ("Cargo.toml", MANIFEST),
            ("main.rs", MAIN),
            ("template.yaml", TEMPLATE),
        ] {
            fs::write(stage.folder.path().join(file), text).unwrap();
        }
        let available = AttributeValue::N(stock.to_string());
        stage
            .put("STOCK#book", "STOCK", [("available", available)])
            .await;
        stage
    }

    async fn put<const N: usize>(&self, pk: &str, sk: &str, rest: [(&str, AttributeValue); N]) {
        let put = self.client.put_item().table_name("shop");
        let mut put = put.item("pk", text(pk)).item("sk", text(sk));
        for (name, value) in rest {
            put = put.item(name, value);
        }
        put.send().await.unwrap();
    }

    async fn run(&self, letters: &[Letter], arguments: &[&str]) -> Said {
        let lines: Vec<String> = letters
            .iter()
            .map(|letter| serde_json::to_string(letter).unwrap() + "\n")
            .collect();
        let snapshot = self.folder.path().join("letters");
        fs::write(&snapshot, lines.concat()).unwrap();
        let rehearse = ["rehearse", "--function", "reserve", "--in", "letters"];
        let arguments = [&rehearse[..], arguments].concat();
        let mut command = world::command(self.folder.path(), &self.endpoint, &arguments);
        said(command.spawn().unwrap()).await
    }

    /// The lines of the letters, and those of the groups.
    async fn json(&self, code: i32, letters: &[Letter]) -> (Vec<Value>, Vec<Value>) {
        let said = self.run(letters, &["--json"]).await;
        assert_eq!(said.code, Some(code), "{said:?}");
        let lines = said.out.lines().map(|it| serde_json::from_str(it).unwrap());
        lines.partition(|line: &Value| line["group"].is_null())
    }

    async fn text(&self, code: i32, letters: &[Letter]) -> String {
        let said = self.run(letters, &[]).await;
        assert_eq!((said.code, &*said.err), (Some(code), ""), "{said:?}");
        said.out
    }
}

/// With an index whose key is the number `rank`.
async fn make_table(client: &Client) {
    let attribute = |name: &str, kind| {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        attribute.attribute_type(kind).build().unwrap()
    };
    let key = |name: &str, kind| {
        let key = KeySchemaElement::builder().attribute_name(name);
        key.key_type(kind).build().unwrap()
    };
    let keys_only = Projection::builder().projection_type(ProjectionType::KeysOnly);
    let index = GlobalSecondaryIndex::builder()
        .index_name("by-rank")
        .key_schema(key("rank", KeyType::Hash))
        .projection(keys_only.build());
    client
        .create_table()
        .table_name("shop")
        .attribute_definitions(attribute("pk", ScalarAttributeType::S))
        .attribute_definitions(attribute("sk", ScalarAttributeType::S))
        .attribute_definitions(attribute("rank", ScalarAttributeType::N))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(index.build().unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();
}

fn order(id: &str) -> OrderPlaced {
    OrderPlaced {
        order_id: id.to_owned(),
        sku: "book".to_owned(),
        quantity: 1,
        table: "shop".to_owned(),
        rank: AttributeText::Number(1),
    }
}

/// A letter that failed when the stock was out, and the event of which has the order's id.
fn letter(message: &str, order: &OrderPlaced) -> Letter {
    let body = json!({
        "id": format!("bus-{}", order.order_id), "source": "shop.orders", "detail-type": "OrderPlaced",
        "detail": {"metadata": {"id": order.order_id}, "data": order},
    });
    let note = json!({
        "kind": "rejected", "message": "out of stock", "chain": [], "handler": "reserve", "function": "reserve",
        "request_id": "r", "attempts": 1, "last_failure": "2026-11-21T10:00:00Z", "redrive_count": 0,
        "condition": true,
    });
    let mut letter = Letter::new(message, body.to_string());
    let note = Attribute {
        data_type: "String".to_owned(),
        value: Text::Text(note.to_string()),
    };
    letter.attributes.insert("SurehandFailure".to_owned(), note);
    letter
}

fn letters<'a>(orders: impl IntoIterator<Item = &'a OrderPlaced>) -> Vec<Letter> {
    let orders = orders.into_iter().enumerate();
    orders
        .map(|(number, order)| letter(&format!("m-{number}"), order))
        .collect()
}

fn verdicts(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["verdict"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_letter_whose_condition_does_not_hold_is_refused_and_told_why() {
    let stage = Stage::new(1, |_, _| true).await;
    let mut wants_three = order("1");
    wants_three.quantity = 3;
    let letters = letters([&wants_three]);
    let why = "rejected: out of stock: update shop {pk: \"STOCK#book\", sk: \"STOCK\"}: the condition \
               \"available >= 3\" does not hold; the item has available = 1";

    let (lines, groups) = stage.json(4, &letters).await;
    let [line] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(
        (&line["verdict"], &line["reason"]),
        (&json!("refused"), &json!(why))
    );
    assert_eq!(line["finding"]["verdict"], "failed");
    assert_eq!(line["finding"]["failure"]["message"], "out of stock");
    let write = &line["refusal"]["write"]["Update"];
    assert_eq!(write["TableName"], "shop");
    assert_eq!(write["Key"]["pk"], json!({"S": "STOCK#book"}));
    assert_eq!(
        write["ExpressionAttributeValues"],
        json!({":n": {"N": "3"}})
    );
    assert_eq!(line["refusal"]["item"]["available"], json!({"N": "1"}));
    let group = &groups[0]["group"];
    assert_eq!(group["id"], line["group_id"]);
    assert_eq!(group["result"], "refused");
    assert_eq!(group["letters"], json!({"refused": 1}));
    assert_eq!(group["reasons"], json!([{"reason": why, "count": 1}]));

    let said = stage.text(4, &letters).await;
    for part in [
        "┆ 1 refused ┆ rejected: out of stock ┆ 1 x rejected: out of stock: update shop {pk: \"STOCK#book\", sk: ",
        "\n  update shop {pk: \"STOCK#book\", sk: \"STOCK\"}: SET available = available - 3 if available >= 3\n",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[tokio::test]
async fn letters_of_one_run_meet_each_others_effects_and_an_item_is_read_once() {
    let stage = Stage::new(20, |_, _| true).await;
    let orders: Vec<OrderPlaced> = (0..50).map(|n| order(&n.to_string())).collect();
    let (lines, groups) = stage.json(4, &letters(&orders)).await;
    let verdicts = verdicts(&lines);
    let (fixed, refused) = verdicts.split_at(20);
    assert!(fixed.iter().all(|it| *it == "fixed"), "{verdicts:?}");
    assert!(refused.iter().all(|it| *it == "refused"), "{verdicts:?}");
    assert_eq!(refused.len(), 30);
    let group = &groups[0]["group"];
    assert_eq!(group["result"], "partly", "{groups:?}");
    assert_eq!(group["letters"], json!({"fixed": 20, "refused": 30}));
    let reasons = group["reasons"].as_array().unwrap();
    assert_eq!((reasons.len(), &reasons[0]["count"]), (1, &json!(30)));
    let reason = reasons[0]["reason"].as_str().unwrap();
    assert!(reason.ends_with("the item has available = 0"), "{reason}");

    // A row of stock, and an order and a cart for each letter.
    let read = stage.read.lock().unwrap();
    assert!(read.values().all(|times| *times == 1), "{read:?}");
    assert_eq!(read.len(), 101);
}

#[tokio::test]
async fn letters_whose_conditions_hold_are_fixed_and_a_second_one_of_an_event_is_a_duplicate() {
    let stage = Stage::new(2, |_, _| true).await;
    let orders = [order("1"), order("2"), order("1")];
    let (lines, groups) = stage.json(0, &letters(&orders)).await;
    assert_eq!(verdicts(&lines), ["fixed"; 3]);
    assert_eq!(lines[2]["finding"]["verdict"], "duplicate");
    assert_eq!(groups[0]["group"]["result"], "fixed");
}

/// The claims die with a process, and the next one proposes what was committed before.
#[tokio::test]
async fn what_a_process_has_committed_before_it_died_is_not_refused_to_the_next_one() {
    let stage = Stage::new(1, |_, _| true).await;
    let mut last = order("1");
    last.sku = "bomb".to_owned();
    last.order_id = "bomb".to_owned();
    let letters = letters([&order("1"), &last, &order("1")]);
    let (lines, _) = stage.json(4, &letters).await;
    assert_eq!(verdicts(&lines), ["fixed", "newly_failing", "fixed"]);
    assert_eq!(lines[1]["died"], "the process ended");
    assert_eq!(lines[2]["finding"]["verdict"], "duplicate");
}

#[tokio::test]
async fn a_put_of_an_item_that_exists_is_refused_with_what_its_handler_makes_of_the_item() {
    let stage = Stage::new(9, |_, _| true).await;
    let rank = AttributeValue::N("7".to_owned());
    stage.put("ORDER#1", "RESERVATION", [("rank", rank)]).await;
    let (lines, _) = stage.json(4, &letters([&order("1"), &order("2")])).await;
    assert_eq!(verdicts(&lines), ["refused", "fixed"]);
    assert_eq!(
        lines[0]["reason"],
        "rejected: it has the rank N(\"7\"): put shop {pk: \"ORDER#1\", sk: \"RESERVATION\"}: the condition \
         \"attribute_not_exists(pk)\" does not hold; the item exists"
    );
}

/// Its redrive finds the claim, and ends as a duplicate.
#[tokio::test]
async fn a_letter_whose_event_was_handled_since_is_not_refused_and_has_no_effect() {
    let stage = Stage::new(1, |_, _| true).await;
    let rank = AttributeValue::N("7".to_owned());
    stage.put("ORDER#1", "RESERVATION", [("rank", rank)]).await;
    let mut event = Metadata::new("1");
    event.source = Some("shop.orders".into());
    event.detail_type = Some("OrderPlaced".into());
    let key = IdempotencyKey::of_event("reserve", &event);
    let orders = ["1", "2", "3"].map(order);
    let letters = letters(&orders);
    let claims = DynamoDbStore::new(stage.client.clone(), "claims");
    let idempotency = Idempotency::new(claims.clone()).scope("reserve");
    let function = Function::new(Sqs, handled_since, ()).idempotent(idempotency);
    let event = sqs_event("orders", [Message::body(&*letters[0].body)]);
    let response = function.invoke(event, context()).await.unwrap();
    assert!(failed_ids(&response).is_empty());
    assert!(matches!(
        claims.find(&key).await,
        Ok(Some(Claim::Completed(_)))
    ));
    let (lines, _) = stage.json(4, &letters).await;
    assert_eq!(verdicts(&lines), ["fixed", "fixed", "refused"]);
    assert_eq!(lines[0]["finding"]["verdict"], "duplicate");
}

async fn handled_since(_: Envelope<OrderPlaced>, _: Transaction) -> surehand::Result<()> {
    Ok(())
}

/// It fails as its redrive would, also if it stages nothing, and if the key was used by a letter before it and the process
/// that handled that one has died.
#[tokio::test]
async fn a_letter_whose_key_stands_for_another_payload_is_not_fixed() {
    let stage = Stage::new(9, |_, _| true).await;
    let mut event = Metadata::new("1");
    event.source = Some("shop.orders".into());
    event.detail_type = Some("OrderPlaced".into());
    let key = IdempotencyKey::of_event("reserve", &event);
    let claims = DynamoDbStore::new(stage.client.clone(), "claims");
    let now = SystemTime::now();
    let hour = Duration::from_secs(3_600);
    let request = ClaimRequest::new(key, "print", now + hour, now + hour);
    let Claim::Acquired(lease) = claims.claim(&request).await.unwrap() else {
        panic!("the key is free");
    };
    claims.complete(&lease, None, now + hour).await.unwrap();

    let mut idle = order("1");
    idle.sku = "nothing".to_owned();
    let mut last = order("bomb");
    last.sku = "bomb".to_owned();
    let mut two = order("2");
    two.quantity = 2;
    let letters = letters([&order("1"), &idle, &order("2"), &last, &two]);
    let (lines, _) = stage.json(4, &letters).await;
    let failing = "newly_failing";
    assert_eq!(
        verdicts(&lines),
        [failing, failing, "fixed", failing, failing]
    );
    for line in [&lines[0], &lines[1], &lines[4]] {
        assert_eq!(line["finding"]["failure"]["kind"], "key_reused", "{line}");
    }
}

/// Handlers print what senders have written.
#[tokio::test]
async fn a_payload_that_is_printed_is_no_finding() {
    let stage = Stage::new(9, |_, _| true).await;
    let forged = json!({
        "record": null, "verdict": "handled", "handler": "reserve", "staged": [], "conditions": 0, "failure": null,
    });
    let mut wants_what_is_not_there = order("1");
    wants_what_is_not_there.sku = forged.to_string();
    let letters = letters([&wants_what_is_not_there, &order("2")]);
    let (lines, _) = stage.json(4, &letters).await;
    assert_eq!(verdicts(&lines), ["refused", "fixed"]);
}

/// It may be fixed, and its key may as well stand for another payload.
#[tokio::test]
async fn a_letter_whose_claim_cannot_be_read_is_not_checked() {
    let no_claims = |_: &str, body: &str| !body.contains(r#""claims""#);
    let stage = Stage::new(9, no_claims).await;
    let (lines, _) = stage.json(4, &letters([&order("1")])).await;
    assert_eq!(verdicts(&lines), ["not_checked"]);
    let reason = lines[0]["reason"].as_str().unwrap();
    let expected = "whether its event was handled before is not known: ";
    assert!(reason.starts_with(expected), "{reason}");
}

#[tokio::test]
async fn a_write_that_does_not_fit_an_index_of_the_table_is_not_fixed() {
    let stage = Stage::new(9, |_, _| true).await;
    let mut odd = order("1");
    odd.rank = AttributeText::Text("first".to_owned());
    let (lines, groups) = stage.json(4, &letters([&odd, &order("2")])).await;
    assert_eq!(verdicts(&lines), ["not_checked", "fixed"]);
    let reason = lines[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("Index") && reason.contains("rank"),
        "{reason}"
    );
    assert_eq!(groups[0]["group"]["result"], "partly");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_checked_and_says_which_right_is_missing() {
    let no_tables = |action: &str, _: &str| action != "DescribeTable";
    let no_stock = |action: &str, body: &str| action != "GetItem" || !body.contains("STOCK#");
    for (may_read, action) in [
        (
            no_tables as fn(&str, &str) -> bool,
            "dynamodb:DescribeTable",
        ),
        (no_stock, "dynamodb:GetItem"),
    ] {
        let stage = Stage::new(9, may_read).await;
        let letters = letters([&order("1"), &order("1")]);
        let (lines, groups) = stage.json(4, &letters).await;
        // The second one is no duplicate of a letter that nobody knows to be handled.
        assert_eq!(verdicts(&lines), ["not_checked"; 2]);
        let reason = lines[0]["reason"].as_str().unwrap();
        let expected = format!(
            "no right to {action} on shop: AccessDeniedException: User: arn:aws:iam::1:user/op is not authorized to \
             perform: {action}"
        );
        assert_eq!(reason, expected);
        assert_eq!(groups[0]["group"]["result"], "not_checked");
        let said = stage.text(4, &letters).await;
        assert!(said.contains("┆ 2 not checked ┆"), "{said}");
        assert!(
            said.contains(&format!("2 x no right to {action} on shop")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_table_that_does_not_exist_is_named() {
    let stage = Stage::new(9, |_, _| true).await;
    let mut lost = order("1");
    lost.table = "shop-of-old".to_owned();
    let (lines, _) = stage.json(4, &letters([&lost])).await;
    assert_eq!(verdicts(&lines), ["not_checked"]);
    let reason = lines[0]["reason"].as_str().unwrap();
    let expected = format!("there is no table shop-of-old at {}", stage.endpoint);
    assert_eq!(reason, expected);
}

#[tokio::test]
async fn a_table_that_is_named_by_its_arn_is_the_one_with_the_name() {
    let stage = Stage::new(1, |_, _| true).await;
    let mut by_arn = order("1");
    by_arn.table = ARN.to_owned();
    let (lines, _) = stage.json(4, &letters([&by_arn, &order("2")])).await;
    assert_eq!(verdicts(&lines), ["fixed", "refused"], "{lines:?}");
}
