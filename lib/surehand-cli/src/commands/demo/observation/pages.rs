//! The emulator's own pages, which show everything and change nothing.

use anyhow::Result;
use serde_json::{Map, Value};

use crate::{commands::demo::clients::Clients, local::emulator};

/// Returns the messages of a queue, including those in flight and delayed ones.
pub(super) async fn messages(clients: &Clients, url: &str) -> Result<Vec<Value>> {
    let path = format!("/_ministack/sqs/messages?QueueUrl={url}");
    let answer = emulator::get(&clients.endpoint, &clients.key, &path).await?;
    let mut found = Vec::new();
    for regions in objects(&answer["messages"]) {
        for queues in objects(regions) {
            for messages in objects(queues) {
                found.extend(messages.as_array().into_iter().flatten().cloned());
            }
        }
    }
    Ok(found)
}

fn objects(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_object().into_iter().flat_map(Map::values)
}

/// Returns the addresses that mails were sent to.
pub(crate) async fn mails(clients: &Clients) -> Result<Vec<String>> {
    let answer = emulator::get(&clients.endpoint, &clients.key, "/_ministack/ses/messages").await?;
    Ok(objects(&answer["messages"])
        .flat_map(|mails| mails.as_array().into_iter().flatten())
        .flat_map(|mail| mail["To"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect())
}
