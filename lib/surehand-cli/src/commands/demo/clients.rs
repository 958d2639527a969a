//! The demo's clients, and the names of what it looks at.

use anyhow::{Context, Result};
use aws_config::SdkConfig;

use crate::local::stack::Stack;

/// Clients for the deployed application.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) eventbridge: aws_sdk_eventbridge::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) endpoint: String,
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

    /// Returns the URL of one of the queues that functions read.
    pub(crate) fn queue(&self, name: &str) -> Result<&str> {
        let found = self.queues.iter().find(|(known, _)| known == name);
        found.map(|(_, url)| url.as_str()).with_context(|| {
            format!("the application has no queue {name}: run the demo in the sample shop")
        })
    }
}
