use super::*;
use crate::{
    DynamoDbStore, Envelope, Error, Event, Sqs, Transaction,
    testing::{Message, sqs_event},
};
use aws_sdk_dynamodb::types::{AttributeValue, Put, Update};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Serialize, Deserialize, Event)]
#[event(source = "test", detail_type = "Ordered")]
struct Ordered {
    sku: String,
}

async fn take(order: Envelope<Ordered>, tx: Transaction) -> crate::Result<()> {
    if order.data.sku == "gone" {
        return Err(Error::rejected("sku `gone` does not exist"));
    }
    let put = |pk: String| {
        Put::builder()
            .table_name("shop")
            .item("pk", AttributeValue::S(pk))
    };
    match &*order.data.sku {
        "many" => (0..99).for_each(|n| {
            tx.stage(put(n.to_string()));
        }),
        "large" => {
            tx.stage(put("x".repeat(409_608)));
        }
        _ => {}
    }
    let take = Update::builder()
        .table_name("shop")
        .key("pk", AttributeValue::S(order.data.sku.clone()))
        .update_expression("SET n = n - :one")
        .condition_expression("n >= :one")
        .expression_attribute_values(":one", AttributeValue::N("1".into()));
    tx.stage(take).or_else(|item| {
        let n = item.and_then(|mut item| item.remove("n"));
        Error::rejected(format!("out of stock: {n:?}"))
    });
    tx.publish(&order.data);
    Ok(())
}

async fn lend(order: Envelope<Ordered>) -> crate::Result<()> {
    assert_ne!(order.data.sku, "boom", "a panic is a failure");
    Ok(())
}

fn trial(messages: &[Message]) -> Trial {
    Trial {
        event: serde_json::to_value(sqs_event("orders", messages.to_vec())).unwrap(),
        timeout_ms: 5_000,
        answers: true,
        token: None,
    }
}

fn ordered(sku: &str) -> Message {
    Message::event(&Ordered { sku: sku.into() })
}

/// A store whose service does not answer: a rehearsal must not call it.
fn unreachable() -> DynamoDbStore {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
        .build();
    DynamoDbStore::new(aws_sdk_dynamodb::Client::from_conf(config), "nowhere")
}

#[tokio::test]
async fn a_transaction_is_described_and_not_committed() {
    let function = Function::new(Sqs, take, ()).idempotent(unreachable());
    let first = ordered("book");
    let trial = trial(&[
        first.clone().id("a"),
        first.id("b"),
        ordered("gone").id("c"),
        Message::body("{").id("d"),
    ]);
    let findings = function
        .try_out(trial, &RehearsalStore::default(), false)
        .await;
    let verdicts: Vec<_> = findings
        .iter()
        .map(|it| (it.record.as_deref().unwrap_or_default(), it.verdict))
        .collect();
    assert_eq!(
        verdicts,
        [
            ("a", Ending::Handled),
            ("b", Ending::Duplicate),
            ("c", Ending::Failed),
            ("d", Ending::Failed),
        ]
    );
    assert_eq!(
        findings[0].staged,
        [
            r#"update shop {pk: "book"}: SET n = n - 1 if n >= 1"#,
            r#"publish Ordered {"sku":"book"}"#,
        ]
    );
    let conditions: Vec<_> = findings.iter().map(|it| it.conditions).collect();
    assert_eq!(conditions, [1, 0, 0, 0]);
    let failure = findings[2].failure.as_ref().unwrap();
    assert_eq!(failure.message, "sku `gone` does not exist");
    assert_eq!(
        (failure.kind.as_str(), failure.handler.as_str()),
        ("rejected", "take")
    );
    assert_eq!(findings[3].failure.as_ref().unwrap().kind, "malformed");
}

/// Rehearses two messages of one event, and says how each ended, with its failure's kind and message.
async fn twice(ask: fn(Proposal) -> Result<Ruling>) -> Vec<(Ending, Option<String>)> {
    let function = Function::new(Sqs, take, ()).idempotent(unreachable());
    let first = ordered("book");
    let trial = trial(&[first.clone().id("a"), first.id("b")]);
    let store = RehearsalStore::default().asking(Some(Arc::new(ask)));
    let findings = function.try_out(trial, &store, false).await;
    assert_eq!(findings[0].staged.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|it| it.conditions == 0), "{findings:?}");
    let said = |it: FailureNote| format!("{} {}: {}", it.kind, it.condition, it.message);
    findings
        .into_iter()
        .map(|it| (it.verdict, it.failure.map(said)))
        .collect()
}

#[tokio::test]
async fn what_is_proposed_is_what_dynamodb_would_get() {
    fn ask(proposal: Proposal) -> Result<Ruling> {
        let expected = json!([{"Update": {
            "TableName": "shop", "Key": {"pk": {"S": "book"}}, "UpdateExpression": "SET n = n - :one",
            "ConditionExpression": "n >= :one", "ExpressionAttributeValues": {":one": {"N": "1"}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }}]);
        assert_eq!(serde_json::to_value(&proposal.writes)?, expected);
        assert!(proposal.key.contains("rehearsal"), "{proposal:?}");
        Ok(Ruling::Committed)
    }
    let expected = [(Ending::Handled, None), (Ending::Duplicate, None)];
    assert_eq!(twice(ask).await, expected);
}

/// Nothing is committed by it, so that another message of the event is no duplicate.
#[tokio::test]
async fn a_refused_condition_is_the_error_that_the_handler_makes_of_it() {
    fn ask(_: Proposal) -> Result<Ruling> {
        let item = json!({"pk": {"S": "book"}, "n": {"N": "0"}});
        let item = Some(item);
        Ok(Ruling::Refused { write: 0, item })
    }
    let said = r#"rejected true: out of stock: Some(N("0"))"#.to_owned();
    let failed = (Ending::Failed, Some(said));
    assert_eq!(twice(ask).await, [failed.clone(), failed]);
}

/// Nobody is asked: the real store would not send it.
#[tokio::test]
async fn what_is_beyond_dynamodbs_limits_fails_as_its_commit_would() {
    let function = Function::new(Sqs, take, ()).idempotent(unreachable());
    let ask = |_| panic!("the transaction is too large");
    let store = RehearsalStore::default().asking(Some(Arc::new(ask)));
    let trial = trial(&[ordered("many"), ordered("large")]);
    let findings = function.try_out(trial, &store, false).await;
    let said = findings.iter().map(|it| {
        let failure = it.failure.as_ref().unwrap();
        format!("{}: {}", failure.kind, failure.message)
    });
    let said: Vec<_> = said.collect();
    let expected =
        "rejected: 101 actions with the claim's, and DynamoDB takes 100 in a transaction";
    assert_eq!(said[0], expected);
    let expected = "rejected: staged write 1 has 409610 bytes, and DynamoDB takes 409600 an item";
    assert_eq!(said[1], expected);
}

#[tokio::test]
async fn what_is_not_known_is_not_handled() {
    fn unknown(_: Proposal) -> Result<Ruling> {
        let reason = "no right to read".to_owned();
        Ok(Ruling::Unknown { reason })
    }
    fn wrong(_: Proposal) -> Result<Ruling> {
        Ok(Ruling::Refused {
            write: 1,
            item: None,
        })
    }
    for (ask, said) in [
        (
            unknown as fn(Proposal) -> Result<Ruling>,
            "store false: no right to read",
        ),
        (
            wrong,
            "store false: the ruling is about write 1, and 1 were proposed",
        ),
    ] {
        let failed = (Ending::Failed, Some(said.to_owned()));
        assert_eq!(twice(ask).await, [failed.clone(), failed]);
    }
}

#[tokio::test]
async fn a_handler_whose_effects_cannot_be_held_back_runs_only_when_asked_to() {
    let function = Function::new(Sqs, lend, ()).idempotent(unreachable());
    let trial = trial(&[ordered("book"), ordered("boom")]);
    for (with_effects, expected) in [
        (false, [Ending::NotRun, Ending::NotRun]),
        (true, [Ending::Handled, Ending::Failed]),
    ] {
        let store = RehearsalStore::default();
        let findings = function.try_out(trial.clone(), &store, with_effects);
        let verdicts: Vec<_> = findings.await.iter().map(|it| it.verdict).collect();
        assert_eq!(verdicts, expected);
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_split_is_a_finding() {
    let function = Function::new(Sqs, take, ());
    let trial = Trial {
        event: serde_json::json!({"Records": 7}),
        timeout_ms: 1_000,
        answers: true,
        token: None,
    };
    let findings = function
        .try_out(trial, &RehearsalStore::default(), false)
        .await;
    assert_eq!((findings.len(), findings[0].verdict), (1, Ending::Failed));
}
