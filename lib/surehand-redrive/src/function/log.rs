//! Logs in a table, which another invocation can continue.

use crate::journal::{Entry, Journal};
use aws_sdk_dynamodb::{
    Client,
    error::DisplayErrorContext,
    operation::put_item::PutItemError,
    primitives::Blob,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use futures_util::future::{BoxFuture, join_all};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use surehand::{Error, ErrorKind};

/// The logs in a table.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    pub(super) client: Client,
    pub(super) table: String,
}

/// One log: JSON values, in items `redrive#NAME#0`, `redrive#NAME#1`, … as they were written.
///
/// An item is written if there is none of its number. So nothing is overwritten, and of two who write
/// the second learns that it is not alone, before it does what its entry announces: [`ErrorKind::Fenced`].
#[derive(Clone, Debug)]
pub(super) struct Log {
    logs: Logs,
    name: String,
    /// The number of the next item.
    next: u64,
}

type Item = HashMap<String, AttributeValue>;

/// DynamoDB takes 400 KB, with names and key.
const PART: usize = 380 * 1024;
/// Reads that go on at once, once a log turns out to be long.
const READS: u64 = 16;
/// A month, as claims have: for so long a journal is the archive of what was dropped.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Logs {
    pub(super) fn new(client: Client, table: impl Into<String>) -> Self {
        let table = table.into();
        Self { client, table }
    }

    /// A new log. If it has been begun already, its first write says so.
    pub(super) fn begin(&self, name: &str) -> Log {
        Log {
            logs: self.clone(),
            name: format!("redrive#{name}"),
            next: 0,
        }
    }

    /// A log with what is in it already.
    pub(super) async fn open<T: DeserializeOwned>(
        &self,
        name: &str,
        each: &mut (dyn FnMut(T) + Send),
    ) -> surehand::Result<Log> {
        let mut log = self.begin(name);
        let mut written = Vec::new();
        let mut ahead = 1;
        loop {
            let reads = (log.next..log.next + ahead).map(|number| log.item(number));
            for item in join_all(reads).await {
                let Some(item) = item? else {
                    return Ok(log);
                };
                log.next += 1;
                // The writer of the parts before this one did not get to the last.
                if is_true(&item, "first") {
                    written.clear();
                }
                if let Some(AttributeValue::B(part)) = item.get("lines") {
                    written.extend_from_slice(part.as_ref());
                }
                if is_true(&item, "last") {
                    let lines = written.split(|byte| *byte == b'\n');
                    for line in lines.filter(|line| !line.is_empty()) {
                        let value = serde_json::from_slice(line).map_err(|error| {
                            Error::rejected(format!("log {}: {error}", log.name))
                        })?;
                        each(value);
                    }
                    written.clear();
                }
            }
            ahead = (ahead * 2).min(READS);
        }
    }

    /// The last value of a log; none if it has not begun.
    pub(super) async fn last<T: DeserializeOwned + Send>(
        &self,
        name: &str,
    ) -> surehand::Result<Option<T>> {
        let mut last = None;
        self.open(name, &mut |value| last = Some(value)).await?;
        Ok(last)
    }
}

impl Log {
    /// Appends values; all of them are there when this returns.
    pub(super) async fn write<T: Serialize>(&mut self, values: &[T]) -> surehand::Result<()> {
        let mut lines = Vec::new();
        for value in values {
            serde_json::to_writer(&mut lines, value)?;
            lines.push(b'\n');
        }
        let count = lines.len().div_ceil(PART);
        for (index, part) in lines.chunks(PART).enumerate() {
            let place = (index == 0, index + 1 == count);
            self.put(part, place).await?;
        }
        Ok(())
    }

    async fn put(&mut self, part: &[u8], (first, last): (bool, bool)) -> surehand::Result<()> {
        let lines = AttributeValue::B(Blob::new(part));
        let expires = SystemTime::now() + KEPT;
        let expires = expires.duration_since(UNIX_EPOCH).unwrap_or_default();
        let sent = self
            .logs
            .client
            .put_item()
            .table_name(&self.logs.table)
            .item("id", self.id(self.next))
            .item("lines", lines.clone())
            .item("first", AttributeValue::Bool(first))
            .item("last", AttributeValue::Bool(last))
            .item(
                "expiration",
                AttributeValue::N(expires.as_secs().to_string()),
            )
            .condition_expression("attribute_not_exists(#id)")
            .expression_attribute_names("#id", "id")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        if let Err(error) = sent {
            let Some(PutItemError::ConditionalCheckFailedException(failed)) =
                error.as_service_error()
            else {
                return Err(unavailable(&error));
            };
            // The client repeats a call whose answer was lost.
            let item = failed.item.as_ref();
            if item.and_then(|item| item.get("lines")) != Some(&lines) {
                let taken = format!("another invocation writes to log {}", self.name);
                return Err(Error::new(ErrorKind::Fenced, taken));
            }
        }
        self.next += 1;
        Ok(())
    }

    async fn item(&self, number: u64) -> surehand::Result<Option<Item>> {
        let request = self.logs.client.get_item().table_name(&self.logs.table);
        let request = request.key("id", self.id(number)).consistent_read(true);
        let output = request.send().await.map_err(|error| unavailable(&error))?;
        Ok(output.item)
    }

    fn id(&self, number: u64) -> AttributeValue {
        AttributeValue::S(format!("{}#{number}", self.name))
    }
}

impl Journal for Log {
    fn append<'a>(&'a mut self, entries: &'a [Entry]) -> BoxFuture<'a, surehand::Result<()>> {
        Box::pin(self.write(entries))
    }
}

fn is_true(item: &Item, name: &str) -> bool {
    item.get(name) == Some(&AttributeValue::Bool(true))
}

pub(super) fn unavailable(error: &(impl std::error::Error + 'static)) -> Error {
    Error::transient(format!(
        "the journal's table does not answer: {}",
        DisplayErrorContext(error)
    ))
}
