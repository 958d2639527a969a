//! SQS's calls that move messages, which this emulator does not know.

use super::{dev::Dev, shop::Shop};
use aws_sdk_sqs::Client;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use surehand_test_support::proxy::{self, Fate};
use tokio::runtime::Handle;

/// Starts what answers them, and returns its endpoint. What is moved is a new message, with a new id and time, and
/// keeps its body and attributes, as AWS says:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html>
pub(crate) fn start(dev: &Dev, shop: &Shop) -> String {
    let (sqs, runtime) = (shop.sqs.clone(), Handle::current());
    let tasks = Mutex::new(BTreeMap::<String, Value>::new());
    proxy::start(&dev.stack.endpoint, move |call| {
        let is_start = match &*call.action {
            "StartMessageMoveTask" => true,
            "ListMessageMoveTasks" => false,
            _ => return Fate::Pass,
        };
        let asked: Value = serde_json::from_str(&call.body).unwrap();
        let arn = |name: &str| asked[name].as_str().unwrap().to_owned();
        let from = arn("SourceArn");
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match is_start {
            true => {
                let moved = runtime.block_on(move_all(&sqs, &from, &arn("DestinationArn")));
                let task = json!({
                    "SourceArn": from, "Status": "COMPLETED", "StartedTimestamp": 0,
                    "ApproximateNumberOfMessagesMoved": moved,
                    "ApproximateNumberOfMessagesToMove": moved,
                });
                tasks.insert(from, task);
                json!({ "TaskHandle": "task" })
            }
            false => json!({ "Results": [tasks[&from]] }),
        };
        Fate::Answer(200, answer.to_string())
    })
}

async fn move_all(sqs: &Client, from: &str, to: &str) -> usize {
    let url = async |arn: &str| {
        let named = sqs
            .get_queue_url()
            .queue_name(arn.rsplit(':').next().unwrap());
        named.send().await.unwrap().queue_url.unwrap()
    };
    let (from, to) = (url(from).await, url(to).await);
    let mut moved = 0;
    loop {
        let request = sqs.receive_message().queue_url(&from);
        let request = request.message_attribute_names("All");
        let received = request.send().await.unwrap().messages.unwrap_or_default();
        let Some(message) = received.first() else {
            return moved;
        };
        let send = sqs.send_message().queue_url(&to);
        let send = send.message_body(message.body().unwrap());
        let send = send.set_message_attributes(message.message_attributes.clone());
        send.send().await.unwrap();
        let delete = sqs.delete_message().queue_url(&from);
        let delete = delete.receipt_handle(message.receipt_handle().unwrap());
        delete.send().await.unwrap();
        moved += 1;
    }
}
