//! The items in which events wait.

use crate::{Error, ErrorKind, Result, stage::Item};
use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::AttributeValue,
};
use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use std::fmt;

/// The name of the index in which items with waiting events are found.
const INDEX: &str = "outbox";

/// When the last of an item's events was published.
pub(super) const PUBLISHED: &str = "outbox_published";
/// How many tries to publish an item's events failed.
pub(super) const FAILURES: &str = "outbox_failures";
/// When a sweep is to try again.
pub(super) const RETRY_AT: &str = "outbox_retry_at";

/// A try in which not all events of an item were accepted.
pub(crate) struct Failure {
    /// The events that were not, as they stand in the item.
    pub(crate) left: Vec<AttributeValue>,
    /// The ids of those that were.
    #[cfg_attr(
        not(feature = "testing"),
        expect(dead_code, reason = "the table is told what is left")
    )]
    pub(crate) accepted: Vec<String>,
    /// The ids of those that will never be, and which a dead-letter destination has.
    pub(crate) parked: Vec<String>,
    pub(crate) failures: u64,
    pub(crate) retry_at_ms: u64,
    pub(crate) error: String,
}

/// Where events wait.
pub(crate) trait Table: fmt::Debug + Send + Sync + 'static {
    /// The keys of a shard's items whose events have waited since before `before_ms`, oldest first.
    fn waiting(&self, shard: u8, before_ms: u64) -> BoxStream<'_, Result<Item>>;

    /// An item as it is now.
    fn item<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Item>>>;

    /// Leaves those events that were neither accepted nor parked, and writes down that they were not. Does
    /// nothing if the item has other events by now.
    fn fail<'a>(
        &'a self,
        id: &'a str,
        since: &'a str,
        failure: Failure,
    ) -> BoxFuture<'a, Result<()>>;

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

    fn update(&self, id: &str, since: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("id", AttributeValue::S(id.to_owned()))
            // A key that expired and was claimed again may have other events by now.
            .condition_expression("outbox_since = :since")
            .expression_attribute_values(":since", AttributeValue::N(since.to_owned()))
    }

    async fn set_published(&self, id: &str, since: &str, now_ms: u64) -> Result<()> {
        let update = self
            .update(id, since)
            // The events go with the mark: an item that is read again is small, and costs less.
            .update_expression(
                "SET outbox_published = :now REMOVE outbox, outbox_since, outbox_shard, \
                 outbox_failures, outbox_retry_at, outbox_error",
            )
            .expression_attribute_values(":now", number(now_ms));
        Self::sent(update).await
    }

    async fn set_failure(&self, id: &str, since: &str, failure: Failure) -> Result<()> {
        let mut set = "SET outbox = :left, outbox_failures = :failures, \
                       outbox_retry_at = :retry_at, outbox_error = :error"
            .to_owned();
        let mut update = self.update(id, since);
        if !failure.parked.is_empty() {
            set.push_str(
                ", outbox_parked = list_append(if_not_exists(outbox_parked, :none), :parked)",
            );
            let parked = failure.parked.into_iter().map(AttributeValue::S).collect();
            update = update
                .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
                .expression_attribute_values(":parked", AttributeValue::L(parked));
        }
        let update = update
            .update_expression(set)
            .expression_attribute_values(":left", AttributeValue::L(failure.left))
            .expression_attribute_values(":failures", number(failure.failures))
            .expression_attribute_values(":retry_at", number(failure.retry_at_ms))
            .expression_attribute_values(":error", AttributeValue::S(failure.error));
        Self::sent(update).await
    }

    async fn sent(update: UpdateItemFluentBuilder) -> Result<()> {
        match update.send().await {
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
        Box::pin(self.set_published(id, since, now_ms))
    }

    fn fail<'a>(
        &'a self,
        id: &'a str,
        since: &'a str,
        failure: Failure,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.set_failure(id, since, failure))
    }
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn unavailable<E: std::error::Error + Send + Sync + 'static>(error: &SdkError<E>) -> Error {
    Error::new(
        ErrorKind::Store,
        format!("the outbox did not answer: {}", crate::aws::describe(error)),
    )
}
