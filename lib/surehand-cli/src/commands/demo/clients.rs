//! The demo's clients, and the names of what it looks at.

use anyhow::{Context, Result, anyhow};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use surehand_redrive::{Queue as _, QueueInfo, SqsDeadLetterQueue};

use crate::local::{emulator::Key, stack::Stack};

/// Clients for the deployed application.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) eventbridge: aws_sdk_eventbridge::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) endpoint: String,
    pub(crate) key: Key,
    pub(crate) bus: String,
    pub(crate) idempotency_table: String,
    pub(crate) shop_table: String,
    /// The full name of place-order.
    pub(crate) place_order: String,
    pub(crate) notify_customer: String,
    pub(crate) reserve_stock: String,
    /// (name, URL) of the queues that functions read.
    pub(crate) queues: Vec<(String, String)>,
    /// (name, URL) of the dead-letter queues.
    pub(crate) dead_letters: Vec<(String, String)>,
}

impl Clients {
    pub(crate) fn new(config: &SdkConfig, stack: &Stack) -> Result<Self> {
        let function = |name: &str| {
            let function = stack.function(name).map(|function| function.name.clone());
            function.with_context(|| {
                format!("the application has no function {name}: run the demo in the sample shop")
            })
        };
        let owned = |(name, url): (&str, &str)| (name.to_owned(), url.to_owned());
        let (dead_letters, queues) = stack
            .queues()
            .map(owned)
            .partition(|(name, _)| name.ends_with("DeadLetterQueue"));
        Ok(Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            eventbridge: aws_sdk_eventbridge::Client::new(config),
            lambda: aws_sdk_lambda::Client::new(config),
            sqs: aws_sdk_sqs::Client::new(config),
            endpoint: stack.endpoint.clone(),
            key: stack.key.clone(),
            bus: stack.output("EventBusName")?.to_owned(),
            idempotency_table: stack.output("IdempotencyTableName")?.to_owned(),
            shop_table: stack.output("ShopTableName")?.to_owned(),
            place_order: function("place-order")?,
            notify_customer: function("notify-customer")?,
            reserve_stock: function("reserve-stock")?,
            queues,
            dead_letters,
        })
    }

    /// Writes how much there is of a sku.
    pub(crate) async fn put_stock(&self, sku: &str, available: AttributeValue) -> Result<()> {
        self.dynamodb
            .put_item()
            .table_name(&self.shop_table)
            .item("pk", AttributeValue::S(format!("STOCK#{sku}")))
            .item("sk", AttributeValue::S("STOCK".to_owned()))
            .item("sku", AttributeValue::S(sku.to_owned()))
            .item("available", available)
            .send()
            .await
            .with_context(|| format!("cannot write the stock of {sku}"))?;
        Ok(())
    }

    /// Returns what SQS says of a queue of any kind.
    pub(crate) async fn queue_info(&self, url: &str) -> Result<QueueInfo> {
        let queue = SqsDeadLetterQueue::new(self.sqs.clone(), url);
        let info = queue.info().await;
        info.map_err(|error| anyhow!("cannot read the attributes of {url}: {error:#}"))
    }

    /// Returns the URL of one of the queues that functions read.
    pub(crate) fn queue(&self, name: &str) -> Result<&str> {
        let found = self.queues.iter().find(|(known, _)| known == name);
        found.map(|(_, url)| url.as_str()).with_context(|| {
            format!("the application has no queue {name}: run the demo in the sample shop")
        })
    }
}
