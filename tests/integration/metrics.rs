//! What functions count and measure. That every record is counted as what it was, `check` looks at
//! in every case.

use super::check::{context_at, read_event, virtual_clock};
use lambda_runtime::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use surehand::{
    Clock, Envelope, Error, Event, Function, Metrics, Record, Result, Router, Sqs,
    metrics::Unit,
    testing::{self, Message, RecordedDeadLetters, RecordedMetrics},
};
use surehand_test_support::emf::{self, Sums};

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderPlaced")]
struct OrderPlaced {
    order_id: String,
}

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(source = "shop.orders", detail_type = "OrderCancelled")]
struct OrderCancelled {
    order_id: String,
}

/// Takes the order's number in milliseconds.
async fn take(order: Envelope<OrderPlaced>) -> Result<()> {
    match order.data.order_id.as_str() {
        "reject" => Err(Error::rejected("no")),
        "fail" => Err(Error::transient("not now")),
        "panic" => panic!("a bug"),
        "hang" => std::future::pending().await,
        number => {
            tokio::time::sleep(Duration::from_millis(number.parse()?)).await;
            Ok(())
        }
    }
}

async fn cancel(_: Envelope<OrderCancelled>) -> Result<()> {
    Ok(())
}

/// Orders whose events happened this many milliseconds before the clock's time.
fn placed(clock: &Clock, id: &str, order: &str, ago_ms: i64) -> Message {
    message(clock, id, "OrderPlaced", order, ago_ms)
}

fn message(clock: &Clock, id: &str, detail_type: &str, order: &str, ago_ms: i64) -> Message {
    let now = jiff::Timestamp::try_from(clock.now()).unwrap();
    let time = now - jiff::SignedDuration::from_millis(ago_ms);
    let body = json!({
        "id": id, "source": "shop.orders", "detail-type": detail_type,
        "detail": {
            "metadata": { "id": id, "time": time.to_string() },
            "data": { "order_id": order }
        }
    });
    Message::body(body.to_string()).id(id)
}

fn paused() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// The lines, which are as CloudWatch wants them, and the sums in them.
fn read(metrics: &RecordedMetrics) -> (Vec<Value>, Sums) {
    let lines = metrics.lines();
    let lines: Vec<Value> = lines
        .iter()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let mut sums = Sums::new();
    for line in &lines {
        emf::add(&mut sums, line);
    }
    (lines, sums)
}

#[test]
fn an_invocation_is_one_line() {
    paused().block_on(async {
        let (clock, metrics) = (virtual_clock(), RecordedMetrics::new());
        let function = Function::new(Sqs, take, ())
            .clock(clock.clone())
            .metrics(metrics.emf("Shop").service("shop"));
        let event = testing::sqs_event(
            "orders",
            [
                placed(&clock, "m-1", "5", 1_000),
                placed(&clock, "m-2", "7", 250),
                placed(&clock, "m-3", "fail", 0),
            ],
        );
        let mut context = context_at(&clock, TIMEOUT);
        context.request_id = "r-1".into();
        function.invoke(event, context).await.unwrap();

        let (lines, _) = read(&metrics);
        let count = |name: &str| json!({"Name": name, "Unit": "Count"});
        let base = json!(["service", "function"]);
        let expected = json!({
            "_aws": {
                "Timestamp": 1_795_255_200_000_u64,
                "CloudWatchMetrics": [
                    {
                        "Namespace": "Shop", "Dimensions": [base],
                        "Metrics": [
                            count("ColdStart"), count("BatchSize"), count("RecordsProcessed"),
                            count("Duplicates"), count("Parked"),
                            {"Name": "HandlerDuration", "Unit": "Milliseconds"},
                        ],
                    },
                    {
                        "Namespace": "Shop",
                        "Dimensions": [base, ["service", "function", "kind"]],
                        "Metrics": [count("RecordsFailed")],
                    },
                    {
                        "Namespace": "Shop",
                        "Dimensions": [base, ["service", "function", "event_type"]],
                        "Metrics": [{"Name": "EventLag", "Unit": "Milliseconds"}],
                    },
                ],
            },
            "service": "shop", "function": "test-function", "kind": "transient",
            "event_type": "OrderPlaced", "function_request_id": "r-1",
            "ColdStart": 0, "BatchSize": 3, "RecordsProcessed": 2, "Duplicates": 0, "Parked": 0,
            "RecordsFailed": 1, "HandlerDuration": [0, 5, 7], "EventLag": [0, 1_000, 250],
        });
        assert_eq!(lines, [expected]);
    });
}

/// Each value of a dimension has a price, and a type is the sender's text.
#[test]
fn types_that_no_handler_names_are_one_dimension() {
    async fn any(_: Record) -> Result<()> {
        Ok(())
    }
    paused().block_on(async {
        let (clock, metrics) = (virtual_clock(), RecordedMetrics::new());
        let function = Function::new(Sqs, Router::new().on(take).otherwise(any), ())
            .clock(clock.clone())
            .metrics(metrics.emf("Shop").service("shop"));
        let mut messages = vec![placed(&clock, "m", "3", 10)];
        for n in 0..30 {
            let (id, kind) = (format!("u-{n}"), format!("Type{n}"));
            messages.push(message(&clock, &id, &kind, "", 20));
        }
        let event = testing::sqs_event("orders", messages);
        let context = context_at(&clock, TIMEOUT);
        function.invoke(event, context).await.unwrap();
        let (_, sums) = read(&metrics);
        let lags = sums.iter().filter(|(name, _)| name.contains("event_type="));
        let lags: Vec<(&str, f64)> = lags.map(|(name, sum)| (name.as_str(), *sum)).collect();
        let base = "function=test-function,service=shop";
        let (known, unknown) = (
            format!("EventLag{{event_type=OrderPlaced,{base}}}"),
            format!("EventLag{{event_type=unknown,{base}}}"),
        );
        assert_eq!(lags, [(&*known, 10.0), (&*unknown, 600.0)]);
    });
}

#[test]
fn a_published_version_has_figures_of_its_own() {
    paused().block_on(async {
        let (clock, metrics) = (virtual_clock(), RecordedMetrics::new());
        let function = Function::new(Sqs, Router::new().on(take).on(cancel), ())
            .clock(clock.clone())
            .dead_letters(RecordedDeadLetters::new())
            .metrics(metrics.emf("Shop").service("shop"));
        for version in ["7", "8", "$LATEST", ""] {
            let orders = ["0", "fail", "reject"].map(|order| placed(&clock, order, order, 0));
            let mut context = context_at(&clock, TIMEOUT);
            let mut config = (*context.env_config).clone();
            version.clone_into(&mut config.version);
            context.env_config = config.into();
            let event = testing::sqs_event("orders", orders);
            function.invoke(event, context).await.unwrap();
        }
        let (lines, sums) = read(&metrics);
        for version in ["7", "8"] {
            let sum = |metric: &str| {
                sums[&format!("{metric}{{function=test-function,service=shop,version={version}}}")]
            };
            assert_eq!(sum("VersionRecords"), 3.0);
            // Retried and parked.
            assert_eq!(sum("VersionFailures"), 2.0);
        }
        let all = json!(lines).to_string();
        assert!(!all.contains("$LATEST"));
        // There is no total of all versions, which would be one more metric to pay.
        assert!(!sums.contains_key("VersionRecords{function=test-function,service=shop}"));
    });
}

#[test]
fn what_one_line_cannot_hold_is_in_further_ones_and_the_sums_stay() {
    paused().block_on(async {
        let (clock, metrics) = (virtual_clock(), RecordedMetrics::new());
        let function = Function::new(Sqs, Router::new().on(take).on(cancel), ())
            .clock(clock.clone())
            .concurrency(1_000)
            .dead_letters(RecordedDeadLetters::new())
            .metrics(metrics.emf("Shop").service("shop"));
        let mut messages: Vec<Message> = (0..240)
            .map(|n| placed(&clock, &format!("m-{n}"), "3", 10))
            .collect();
        for n in 0..5 {
            messages.push(message(&clock, &format!("c-{n}"), "OrderCancelled", "", 20));
        }
        for what in ["reject", "fail", "panic", "hang"] {
            messages.push(placed(&clock, what, what, 1_000));
        }
        messages.push(message(&clock, "u-1", "NobodyKnows", "", 1_000_000));
        let event = testing::sqs_event("orders", messages);
        let response = function.invoke(event, context_at(&clock, TIMEOUT)).await;
        assert_eq!(
            testing::failed_ids(&response.unwrap()),
            ["fail", "panic", "hang"]
        );

        let (lines, sums) = read(&metrics);
        assert!((4..=6).contains(&lines.len()), "{}", lines.len());
        let base = "function=test-function,service=shop";
        let mut expected = Sums::from(
            [
                ("BatchSize", 250.0),
                ("ColdStart", 0.0),
                ("Duplicates", 0.0),
                // Only records that reached a handler are counted: the one of an unknown type did
                // not.
                ("EventLag", 240.0 * 10.0 + 5.0 * 20.0 + 4.0 * 1_000.0),
                ("Parked", 2.0),
                ("RecordsFailed", 5.0),
                ("RecordsProcessed", 245.0),
            ]
            .map(|(name, sum)| (format!("{name}{{{base}}}"), sum)),
        );
        for kind in ["rejected", "transient", "panicked", "deadline", "malformed"] {
            let key = format!("RecordsFailed{{function=test-function,kind={kind},service=shop}}");
            expected.insert(key, 1.0);
        }
        for (event_type, lag) in [("OrderPlaced", 6_400.0), ("OrderCancelled", 100.0)] {
            expected.insert(format!("EventLag{{event_type={event_type},{base}}}"), lag);
        }
        let mut sums = sums;
        let durations = sums.remove(&format!("HandlerDuration{{{base}}}")).unwrap();
        assert_eq!(sums, expected);
        // The one that hangs runs until the margin: 30 s less 5 %.
        assert_eq!(durations, 240.0 * 3.0 + 28_500.0);
        assert_eq!(metrics.values("HandlerDuration", None).len(), 250);
    });
}

#[test]
fn a_producer_whose_clock_is_ahead_has_no_lag() {
    paused().block_on(async {
        let (clock, metrics) = (virtual_clock(), RecordedMetrics::new());
        let function = Function::new(Sqs, take, ())
            .clock(clock.clone())
            .metrics(metrics.emf("Shop"));
        let event = testing::sqs_event("orders", [placed(&clock, "m-1", "1", -5_000)]);
        function
            .invoke(event, context_at(&clock, TIMEOUT))
            .await
            .unwrap();
        let of_type = Some(("event_type", "OrderPlaced"));
        assert_eq!(metrics.values("EventLag", of_type), [0.0]);
    });
}

#[test]
fn an_event_that_is_refused_and_an_invocation_that_is_given_up_have_their_lines() {
    paused().block_on(async {
        let (clock, metrics) = (virtual_clock(), RecordedMetrics::new());
        let function = Function::new(Sqs, take, ())
            .clock(clock.clone())
            .metrics(metrics.emf("Shop").service("shop"));
        let event = serde_json::from_str(&read_event("sqs-no-message-id")).unwrap();
        let refused = function.invoke(event, context_at(&clock, TIMEOUT)).await;
        assert!(refused.is_err());
        let (lines, sums) = read(&metrics);
        assert_eq!(lines.len(), 1);
        assert_eq!(
            sums.keys().collect::<Vec<_>>(),
            ["ColdStart{function=test-function,service=shop}"]
        );

        let event = testing::sqs_event("orders", [placed(&clock, "m-1", "hang", 0)]);
        let invoked = function.invoke(event, context_at(&clock, TIMEOUT));
        let given_up = tokio::time::timeout(Duration::from_secs(1), invoked).await;
        assert!(given_up.is_err());
        let (lines, _) = read(&metrics);
        assert_eq!(lines.len(), 2);
        assert_eq!(metrics.sum("BatchSize", None), 1.0);
        assert_eq!(metrics.values("HandlerDuration", None), [1_000.0]);
    });
}

/// Records every metric that CloudWatch would not take, and those that it does.
async fn own(_: Envelope<OrderPlaced>, metrics: Metrics) -> Result<()> {
    metrics.count("Parcels", 2);
    metrics.count("Parcels", 3);
    let by_post = metrics.with("carrier", "rail").with("carrier", "post");
    by_post.count("Parcels", 4);
    metrics.with("carrier", "cürier\n").count("Parcels", 1);
    metrics.with("carrier", "").count("Parcels", 1);
    metrics.record("Weight", 1.5, Unit::Kilobytes);
    metrics.record("Weight", -0.25, Unit::Kilobytes);
    metrics.record("kind", 1.0, Unit::None);
    for value in [f64::NAN, f64::INFINITY] {
        metrics.record("Weight", value, Unit::Kilobytes);
    }
    let long = "x".repeat(256);
    for name in [
        "", " ", "Ümlaut", ":colon", "service", "_aws", "Parked", &long,
    ] {
        metrics.count(name, 1);
        metrics.with(name, "a").count("Left", 1);
    }
    metrics.with("Left", "a").count("Left", 1);
    let many = (0..29).fold(metrics.clone(), |it, n| it.with(&format!("d{n}"), "a"));
    many.count("Left", 1);
    let most = (0..28).fold(metrics.clone(), |it, n| it.with(&format!("d{n}"), "a"));
    most.count("Wide", 1);
    for n in 0..150 {
        metrics.count(&format!("Many{n}"), 1);
    }
    for n in 0..1_000 {
        metrics.with("order", &n.to_string()).count("PerOrder", 1);
    }
    Err(Error::transient("what was counted stays"))
}

#[test]
fn a_handler_has_metrics_of_its_own_within_limits() {
    paused().block_on(async {
        let (clock, metrics) = (virtual_clock(), RecordedMetrics::new());
        let function = Function::new(Sqs, own, ())
            .clock(clock.clone())
            .metrics(metrics.emf("Shop").service("shop"));
        let event = testing::sqs_event("orders", [placed(&clock, "m-1", "1", 0)]);
        function
            .invoke(event, context_at(&clock, TIMEOUT))
            .await
            .unwrap();

        let (_, sums) = read(&metrics);
        let base = "function=test-function,service=shop";
        let sum = |name: &str, dimension: &str| {
            sums.get(&format!("{name}{{{dimension}{base}}}")).copied()
        };
        assert_eq!(sum("Parcels", ""), Some(5.0));
        assert_eq!(sum("Parcels", "carrier=post,"), Some(4.0));
        assert_eq!(sum("Parcels", "carrier=c_rier_,"), Some(1.0));
        assert_eq!(sum("Parcels", "carrier=unknown,"), Some(1.0));
        assert_eq!(sum("Parcels", "carrier=rail,"), None);
        assert_eq!(sum("Weight", ""), Some(1.25));
        assert_eq!(sum("kind", ""), Some(1.0));
        assert_eq!(
            (0..150)
                .filter_map(|n| sum(&format!("Many{n}"), ""))
                .sum::<f64>(),
            150.0
        );
        assert_eq!(sum("RecordsFailed", ""), Some(1.0));
        assert!(!sums.keys().any(|key| key.starts_with("Left{")), "{sums:?}");
        assert_eq!(
            sums.keys().filter(|key| key.starts_with("Wide{")).count(),
            1
        );
        let per_order = sums
            .keys()
            .filter(|key| key.starts_with("PerOrder{"))
            .count();
        // 500 in all, with the 157 before.
        assert_eq!(per_order, 500 - 157);
    });
}

#[test]
fn where_there_are_no_metrics_a_handler_counts_for_nobody() {
    paused().block_on(async {
        let clock = virtual_clock();
        let function = Function::new(Sqs, own, ()).clock(clock.clone());
        let event = testing::sqs_event("orders", [placed(&clock, "m-1", "1", 0)]);
        let response = function.invoke(event, Context::default()).await;
        assert_eq!(testing::failed_ids(&response.unwrap()), ["m-1"]);
    });
}

/// CloudWatch takes values from -2^360 to 2^360, and silently drops all others.
#[tokio::test(start_paused = true)]
async fn a_value_that_cloudwatch_would_drop_is_not_written() {
    async fn far_out(_: Envelope<OrderPlaced>, metrics: Metrics) -> Result<()> {
        metrics.record("Distance", 1e308, Unit::None);
        Ok(())
    }
    let (clock, metrics) = (virtual_clock(), RecordedMetrics::new());
    let function = Function::new(Sqs, far_out, ())
        .clock(clock.clone())
        .metrics(metrics.emf("Shop"));
    let event = testing::sqs_event("orders", [placed(&clock, "m-1", "1", 0)]);
    function
        .invoke(event, context_at(&clock, TIMEOUT))
        .await
        .unwrap();
    assert_eq!(
        metrics.values("Distance", None),
        [0.0; 0],
        "a value beyond CloudWatch's range must not be written"
    );
}
