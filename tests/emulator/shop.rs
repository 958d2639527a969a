//! The deployed shop, through the clients of its operator.

use super::{books::Books, dev::Dev};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::{
    config::{Credentials, SharedCredentialsProvider},
    primitives::Blob,
    types::ScalingConfig,
};
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};
use surehand::dead_letter::FailureNote;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Clients of the account's owner, who has all permissions in the emulator.
pub(crate) struct Shop {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    /// host:port
    address: String,
    /// The owner's access key.
    key: String,
    outputs: BTreeMap<String, String>,
}

/// A mail that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) text: String,
}

/// A message in a dead-letter queue.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    /// The name of the output that holds the queue's URL, without `DeadLetterQueueUrl`.
    pub(crate) queue: String,
    pub(crate) body: String,
    pub(crate) group: Option<String>,
    pub(crate) note: Option<FailureNote>,
}

/// A message to send, with its group where the queue has groups.
#[derive(Default)]
pub(crate) struct Message {
    pub(crate) body: String,
    pub(crate) group: Option<String>,
    /// Of type `String`.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// A function as it is configured.
pub(crate) struct Configured {
    /// The hash of its code.
    pub(crate) code: String,
    pub(crate) variables: HashMap<String, String>,
}

/// How many times in a row all queues must be empty: between two queues an event is in none.
const QUIET: u32 = 4;
/// How long a wait lasts that only a fault makes long. It says nothing of how fast a machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

const INTERVAL: Duration = Duration::from_millis(250);

const GROUP: MessageSystemAttributeName = MessageSystemAttributeName::MessageGroupId;

impl Shop {
    pub(crate) fn new(dev: &Dev) -> Self {
        let key = &dev.stack.key;
        let owner = Credentials::new(&key.id, &key.secret, None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(&dev.stack.endpoint)
            .credentials_provider(SharedCredentialsProvider::new(owner))
            .build();
        let address = dev.stack.endpoint.strip_prefix("http://").unwrap();
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            lambda: aws_sdk_lambda::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            address: address.to_owned(),
            key: key.id.clone(),
            outputs: dev.stack.outputs.clone(),
        }
    }

    pub(crate) fn output(&self, name: &str) -> &str {
        &self.outputs[name]
    }

    /// Calls place-order; an error is the function's own, as JSON.
    pub(crate) async fn place(&self, request: &Value) -> Result<Value, String> {
        self.invoke("PlaceOrderFunctionName", request).await
    }

    /// Calls the function that this output names.
    pub(crate) async fn invoke(&self, name: &str, request: &Value) -> Result<Value, String> {
        let sent = self
            .lambda
            .invoke()
            .function_name(self.output(name))
            .payload(Blob::new(request.to_string()))
            .send()
            .await;
        let output = sent.map_err(|error| format!("{error:?}"))?;
        let reply = output.payload().map(Blob::as_ref).unwrap_or_default();
        if output.function_error().is_some() {
            return Err(String::from_utf8_lossy(reply).into_owned());
        }
        Ok(serde_json::from_slice(reply).unwrap())
    }

    /// Puts a row into the shop's table.
    pub(crate) async fn put(&self, pk: String, sk: &str, name: &str, value: AttributeValue) {
        self.dynamodb
            .put_item()
            .table_name(self.output("ShopTableName"))
            .item("pk", AttributeValue::S(pk))
            .item("sk", AttributeValue::S(sk.to_owned()))
            .item(name, value)
            .send()
            .await
            .unwrap();
    }

    pub(crate) async fn delete(&self, pk: String, sk: &str) {
        self.dynamodb
            .delete_item()
            .table_name(self.output("ShopTableName"))
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk.to_owned()))
            .send()
            .await
            .unwrap();
    }

    pub(crate) async fn stock(&self, sku: &str, available: i64) {
        let available = AttributeValue::N(available.to_string());
        self.stock_row(sku, available).await;
    }

    pub(crate) async fn stock_row(&self, sku: &str, available: AttributeValue) {
        self.dynamodb
            .put_item()
            .table_name(self.output("ShopTableName"))
            .item("pk", AttributeValue::S(format!("STOCK#{sku}")))
            .item("sk", AttributeValue::S("STOCK".to_owned()))
            .item("sku", AttributeValue::S(sku.to_owned()))
            .item("available", available)
            .send()
            .await
            .unwrap();
    }

    pub(crate) async fn books(&self) -> Books {
        let mut books = Books::default();
        let mut items = self
            .dynamodb
            .scan()
            .table_name(self.output("ShopTableName"))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = items.next().await {
            books.add(&item.unwrap());
        }
        books
    }

    pub(crate) async fn mails(&self) -> Vec<Mail> {
        let answer = self.page("/_ministack/ses/messages").await;
        let accounts = answer["messages"].as_object().unwrap();
        let mails = accounts.values().flat_map(|it| it.as_array().unwrap());
        mails
            .map(|mail| Mail {
                to: mail["To"][0].as_str().unwrap().to_owned(),
                text: mail["BodyText"].as_str().unwrap().to_owned(),
            })
            .collect()
    }

    pub(crate) async fn function(&self, output: &str) -> Configured {
        let request = self.lambda.get_function_configuration();
        let request = request.function_name(self.output(output));
        let configuration = request.send().await.unwrap();
        let variables = configuration.environment().and_then(|it| it.variables());
        Configured {
            code: configuration.code_sha256().unwrap().to_owned(),
            variables: variables.unwrap().clone(),
        }
    }

    /// Replaces a function's code by that of a package.
    pub(crate) async fn update(&self, output: &str, zip: Vec<u8>) {
        let request = self.lambda.update_function_code();
        let request = request.function_name(self.output(output));
        request.zip_file(Blob::new(zip)).send().await.unwrap();
    }

    /// Returns a queue's `maxReceiveCount`.
    pub(crate) async fn max_receive_count(&self, queue: &str) -> u64 {
        let request = self.sqs.get_queue_attributes();
        let request = request.queue_url(self.output(queue));
        let request = request.attribute_names(QueueAttributeName::RedrivePolicy);
        let answer = request.send().await.unwrap();
        let policy = &answer.attributes().unwrap()[&QueueAttributeName::RedrivePolicy];
        let policy: Value = serde_json::from_str(policy).unwrap();
        let count = &policy["maxReceiveCount"];
        // The value may be a number or a text: SQS takes both, and returns it as it was set.
        count
            .as_u64()
            .unwrap_or_else(|| count.as_str().unwrap().parse().unwrap())
    }

    /// Sets how many processes read a function's queue at most, or stops them.
    pub(crate) async fn set_readers(&self, function: &str, most: Option<i32>) {
        let mappings = self.lambda.list_event_source_mappings();
        let found = mappings.function_name(function).send().await.unwrap();
        let [mapping] = found.event_source_mappings() else {
            panic!("{function} has one event source: {found:?}");
        };
        self.lambda
            .update_event_source_mapping()
            .uuid(mapping.uuid().unwrap())
            .enabled(most.is_some())
            .set_scaling_config(
                most.map(|most| ScalingConfig::builder().maximum_concurrency(most).build()),
            )
            .send()
            .await
            .unwrap();
        // The emulator may be polling at this moment.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// Sends at most ten messages in one request, and returns their ids in the same order.
    pub(crate) async fn send(&self, queue: &str, messages: &[Message]) -> Vec<String> {
        self.send_to(self.output(queue), messages).await
    }

    /// As [`Shop::send`], to the queue with this URL.
    pub(crate) async fn send_to(&self, url: &str, messages: &[Message]) -> Vec<String> {
        let mut random = std::iter::repeat_with(|| format!("test-{:x}", fastrand::u128(..)));
        let entries = messages.iter().enumerate().map(|(index, message)| {
            let group = message.group.clone();
            let attributes = message.attributes.iter().map(|(name, value)| {
                let value = MessageAttributeValue::builder().string_value(value);
                (name.clone(), value.data_type("String").build().unwrap())
            });
            SendMessageBatchRequestEntry::builder()
                .set_message_attributes(Some(attributes.collect()))
                .id(index.to_string())
                .message_body(&message.body)
                .set_message_deduplication_id(group.as_ref().map(|_| random.next().unwrap()))
                .set_message_group_id(group)
                .build()
                .unwrap()
        });
        let sent = self
            .sqs
            .send_message_batch()
            .queue_url(url)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .unwrap();
        assert!(sent.failed().is_empty(), "{sent:?}");
        let by_index: BTreeMap<usize, String> = sent
            .successful()
            .iter()
            .map(|entry| (entry.id().parse().unwrap(), entry.message_id().to_owned()))
            .collect();
        by_index.into_values().collect()
    }

    /// Receives a queue's message, and makes it visible again immediately.
    pub(crate) async fn peek(&self, queue: &str) {
        let request = self.sqs.receive_message().queue_url(self.output(queue));
        let request = request.visibility_timeout(0).wait_time_seconds(0);
        request.send().await.unwrap();
    }

    /// Takes all dead letters out of their queues.
    pub(crate) async fn take_dead_letters(&self) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        let queues = self.outputs.iter().filter_map(|(name, url)| {
            let queue = name.strip_suffix("DeadLetterQueueUrl")?;
            Some((queue, url))
        });
        for (queue, url) in queues {
            loop {
                let batch = self
                    .sqs
                    .receive_message()
                    .queue_url(url)
                    .max_number_of_messages(10)
                    .message_attribute_names("All")
                    .message_system_attribute_names(GROUP)
                    .wait_time_seconds(0)
                    .send()
                    .await
                    .unwrap();
                if batch.messages().is_empty() {
                    break;
                }
                for message in batch.messages() {
                    let group = message.attributes().and_then(|all| all.get(&GROUP));
                    let attributes = message.message_attributes();
                    let note = attributes
                        .and_then(|all| all.get(FailureNote::ATTRIBUTE))
                        .and_then(|note| note.string_value())
                        .map(|note| serde_json::from_str(note).unwrap());
                    letters.push(DeadLetter {
                        queue: queue.to_owned(),
                        body: message.body().unwrap().to_owned(),
                        group: group.cloned(),
                        note,
                    });
                    let delete = self.sqs.delete_message().queue_url(url);
                    let handle = message.receipt_handle().unwrap();
                    delete.receipt_handle(handle).send().await.unwrap();
                }
            }
        }
        letters
    }

    /// How many items had events that were published, and are marked so.
    pub(crate) async fn published(&self) -> usize {
        let scan = self.dynamodb.scan().consistent_read(true);
        let scan = scan.table_name(self.output("IdempotencyTableName"));
        let mut items = scan.into_paginator().items().send();
        let mut published = 0;
        while let Some(item) = items.next().await {
            published += usize::from(item.unwrap().contains_key("outbox_published"));
        }
        published
    }

    /// How many items have events that wait to be published.
    async fn outbox(&self) -> usize {
        let scan = self.dynamodb.scan().index_name("outbox");
        let scan = scan.table_name(self.output("IdempotencyTableName"));
        let mut items = scan.into_paginator().items().send();
        let mut waiting = 0;
        while let Some(item) = items.next().await {
            item.unwrap();
            waiting += 1;
        }
        waiting
    }

    /// How many messages wait, are in flight or are delayed in all queues that functions read, and how
    /// many items in the outbox.
    pub(crate) async fn waiting(&self) -> usize {
        let mut waiting = self.outbox().await;
        for (name, url) in &self.outputs {
            if name.ends_with("QueueUrl") && !name.ends_with("DeadLetterQueueUrl") {
                waiting += self.depth(url).await;
            }
        }
        waiting
    }

    /// Waits until the condition holds for the books while all queues are empty, and stays so for a
    /// while; returns the books.
    pub(crate) async fn settled(&self, what: &str, is_done: impl Fn(&Books) -> bool) -> Books {
        // A busy machine takes its time: what counts is that the queues do not get shorter any more.
        let (mut progressed, limit) = (Instant::now(), PATIENCE);
        let (mut quiet, mut fewest) = (0, usize::MAX);
        loop {
            let waiting = self.waiting().await;
            let books = self.books().await;
            let is_quiet = waiting == 0 && is_done(&books);
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet == QUIET {
                return books;
            }
            if waiting < fewest {
                (progressed, fewest) = (Instant::now(), waiting);
            }
            if progressed.elapsed() > limit {
                let letters = self.take_dead_letters().await;
                panic!("{what}: {waiting} messages wait; {letters:?}; {books:?}");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// How many messages the queue has that this output names.
    pub(crate) async fn depth_of(&self, output: &str) -> usize {
        self.depth(self.output(output)).await
    }

    pub(crate) async fn arn_of(&self, output: &str) -> String {
        let request = self.sqs.get_queue_attributes();
        let request = request.queue_url(self.output(output));
        let request = request.attribute_names(QueueAttributeName::QueueArn);
        let answer = request.send().await.unwrap();
        answer.attributes().unwrap()[&QueueAttributeName::QueueArn].clone()
    }

    /// Whether the shop's table has an item.
    pub(crate) async fn has(&self, pk: &str, sk: &str) -> bool {
        let request = self.dynamodb.get_item();
        let request = request.table_name(self.output("ShopTableName"));
        let request = request.key("pk", AttributeValue::S(pk.to_owned()));
        let request = request.key("sk", AttributeValue::S(sk.to_owned()));
        let found = request.consistent_read(true).send().await.unwrap();
        found.item().is_some()
    }

    /// The emulator's own page is exact, where SQS's attributes are approximate by contract.
    pub(crate) async fn depth(&self, url: &str) -> usize {
        let path = format!("/_ministack/sqs/messages?QueueUrl={url}");
        leaves(&self.page(&path).await["messages"])
    }

    /// One of the emulator's pages for inspection.
    async fn page(&self, path: &str) -> Value {
        let mut connection = TcpStream::connect(&self.address).await.unwrap();
        let (address, key) = (&self.address, &self.key);
        let request = format!(
            "GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={key}/\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{path}: {answer}");
        serde_json::from_str(body).unwrap()
    }
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{what}: not so");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits until the condition, which asks another process, holds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "{what}: not so");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Counts what is listed by account, region and queue.
fn leaves(value: &Value) -> usize {
    match value {
        Value::Object(levels) => levels.values().map(leaves).sum(),
        Value::Array(list) => list.len(),
        _ => 0,
    }
}
