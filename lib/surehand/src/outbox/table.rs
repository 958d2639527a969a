//! The items in which events wait.

use crate::{Error, ErrorKind, Result, stage::Item};
use aws_sdk_dynamodb::{
    Client, error::SdkError, operation::update_item::UpdateItemError, types::AttributeValue,
};
use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use std::fmt;

/// The name of the index in which items with waiting events are found.
const INDEX: &str = "outbox";

/// Where events wait.
pub(crate) trait Table: fmt::Debug + Send + Sync + 'static {
    /// The keys of a shard's items whose events have waited since before `before_ms`, oldest first.
    fn waiting(&self, shard: u8, before_ms: u64) -> BoxStream<'_, Result<Item>>;

    /// An item as it is now.
    fn item<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Item>>>;

    /// Removes the events that have waited in the item since then. Other events in it stay.
    fn mark<'a>(&'a self, id: &'a str, since: &'a str, now_ms: u64) -> BoxFuture<'a, Result<()>>;
}

#[derive(Clone, Debug)]
pub(super) struct DynamoDbTable {
    client: Client,
    name: String,
}

impl DynamoDbTable {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    async fn update(&self, id: &str, since: &str, now_ms: u64) -> Result<()> {
        let marked = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("id", AttributeValue::S(id.to_owned()))
            // The events go with the mark: an item that is read again is small, and costs less.
            .update_expression(
                "SET outbox_published = :now REMOVE outbox, outbox_since, outbox_shard",
            )
            // A key that expired and was claimed again may have other events by now.
            .condition_expression("outbox_since = :since")
            .expression_attribute_values(":since", AttributeValue::N(since.to_owned()))
            .expression_attribute_values(":now", AttributeValue::N(now_ms.to_string()))
            .send()
            .await;
        match marked {
            Ok(_) => Ok(()),
            // The stream and a sweep met at the item, and the other one was first.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(unavailable(&error)),
        }
    }
}

impl Table for DynamoDbTable {
    fn waiting(&self, shard: u8, before_ms: u64) -> BoxStream<'_, Result<Item>> {
        let pages = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(INDEX)
            .key_condition_expression("outbox_shard = :shard AND outbox_since < :before")
            .expression_attribute_values(":shard", AttributeValue::S(shard.to_string()))
            .expression_attribute_values(":before", AttributeValue::N(before_ms.to_string()))
            .into_paginator()
            .items()
            .send();
        let items = stream::unfold(pages, async |mut pages| {
            let found = pages.next().await?;
            Some((found.map_err(|error| unavailable(&error)), pages))
        });
        items.boxed()
    }

    fn item<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Item>>> {
        let found = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("id", AttributeValue::S(id.to_owned()))
            .consistent_read(true)
            .send();
        Box::pin(async { Ok(found.await.map_err(|error| unavailable(&error))?.item) })
    }

    fn mark<'a>(&'a self, id: &'a str, since: &'a str, now_ms: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.update(id, since, now_ms))
    }
}

fn unavailable<E: std::error::Error + Send + Sync + 'static>(error: &SdkError<E>) -> Error {
    Error::new(
        ErrorKind::Store,
        format!("the outbox did not answer: {}", crate::aws::describe(error)),
    )
}
