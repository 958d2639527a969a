//! Sends what is planned: requests to place-order, and events to the bus behind its back.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::primitives::Blob;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::Value;

use super::{
    clients::Clients,
    plan::{Fate, Order, Plan},
    witness::Sighting,
};
use crate::{commands::publish, progress::Step};

/// How many requests are sent concurrently.
const CONCURRENCY: usize = 8;

/// How often a request is sent if its reply is an error; the request id makes that safe.
const ATTEMPTS: u64 = 3;

/// How long it may take until the mail's function receives its event.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// The reply of place-order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Placed {
    pub(crate) order_id: String,
    pub(crate) total_cents: u64,
}

/// The replies, by request id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Replies {
    pub(crate) first: BTreeMap<String, Placed>,
    /// The replies to the same request, sent once more.
    pub(crate) second: BTreeMap<String, Placed>,
    /// Why there is no reply.
    pub(crate) errors: BTreeMap<String, String>,
}

/// Writes the stock for the orders.
pub(crate) async fn seed(clients: &Clients, plan: &Plan) -> Result<()> {
    let rows = plan
        .stock
        .iter()
        .map(|(sku, available)| (sku, AttributeValue::N(available.to_string())))
        .chain([(&plan.corrupt, AttributeValue::S("plenty".to_owned()))]);
    for (sku, available) in rows {
        clients.put_stock(sku, available).await?;
    }
    Ok(())
}

/// Places every order, and then repeats some of the requests.
pub(crate) async fn place(clients: &Clients, plan: &Plan, step: &Step) -> Replies {
    let mut replies = Replies::default();
    let first = || {
        plan.orders
            .iter()
            .filter(|order| order.fate != Fate::Struck)
    };
    let total = (first().count() + plan.repeated.len()) as u64;
    let mut done = 0;
    let repeated = plan
        .repeated
        .iter()
        .map(|index| (&plan.orders[*index], true));
    let all = first().map(|order| (order, false)).chain(repeated);
    let mut outcomes = stream::iter(all)
        .map(|(order, again)| async move { (order, again, invoke(clients, order).await) })
        // The order is kept, so that a request is repeated long after its first reply, not
        // concurrently with it.
        .buffered(CONCURRENCY);
    while let Some((order, again, outcome)) = outcomes.next().await {
        done += 1;
        step.count(done, total, "");
        let id = order.request_id.clone();
        match outcome {
            Ok(reply) if again => drop(replies.second.insert(id, reply)),
            Ok(reply) => drop(replies.first.insert(id, reply)),
            Err(error) => drop(replies.errors.insert(id, format!("{error:#}"))),
        }
    }
    replies
}

/// Places the orders at whose mail the process dies, one after the other, so that each has its
/// batch to itself and does not fail because of another one.
pub(crate) async fn place_struck(
    clients: &Clients,
    plan: &Plan,
    replies: &mut Replies,
) -> Result<()> {
    let queue_url = clients.queue("NotifyCustomerQueue")?;
    for (taken, order) in (0..).zip(plan.struck()) {
        let reply = invoke(clients, order).await?;
        replies.first.insert(order.request_id.clone(), reply);
        let placed = Instant::now();
        // A message is in flight once a function has received it, until it answers.
        while clients.queue_info(queue_url).await?.in_flight <= taken {
            if placed.elapsed() > TAKEN_WITHIN {
                // It then shares a batch with earlier ones, which the accounts allow.
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

async fn invoke(clients: &Clients, order: &Order) -> Result<Placed> {
    let mut attempt = 1;
    loop {
        match invoke_once(clients, order).await {
            Err(_) if attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(200 * attempt)).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn invoke_once(clients: &Clients, order: &Order) -> Result<Placed> {
    let output = clients
        .lambda
        .invoke()
        .function_name(&clients.place_order)
        .payload(Blob::new(order.request().to_string()))
        .send()
        .await?;
    let reply = output.payload().map(Blob::as_ref).unwrap_or_default();
    if output.function_error().is_some() {
        anyhow::bail!("{}", String::from_utf8_lossy(reply));
    }
    serde_json::from_slice(reply).context("the reply is not that of a placed order")
}

/// Publishes some of the `OrderPlaced` events once more, as they were, and events that do not decode.
pub(crate) async fn disturb(clients: &Clients, plan: &Plan, seen: &[Sighting]) -> Result<()> {
    let again = seen
        .iter()
        .filter(|sighting| sighting.detail_type == ORDER_PLACED)
        .take(plan.republished)
        .map(|sighting| &sighting.detail);
    let events: Vec<publish::Event> = again
        .chain(&plan.malformed)
        .enumerate()
        .map(|(index, detail)| event(index + 1, detail))
        .collect();
    publish::send(&clients.eventbridge, &clients.bus, &events, |_| ()).await
}

pub(crate) const ORDER_PLACED: &str = "OrderPlaced";
pub(crate) const ORDER_SOURCE: &str = "shop.orders";

fn event(line: usize, detail: &Value) -> publish::Event {
    publish::Event {
        line,
        source: ORDER_SOURCE.to_owned(),
        detail_type: ORDER_PLACED.to_owned(),
        detail: detail.to_string(),
        time: None,
        resources: Vec::new(),
    }
}
