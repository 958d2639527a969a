//! SQS's visibility timeout.

use super::Redelivery;
use crate::{Delivery, Error, ErrorKind, Result, aws::queue_url};
use aws_sdk_sqs::{Client, types::ChangeMessageVisibilityBatchRequestEntry};
use futures_util::future::{BoxFuture, join_all};
use std::time::Duration;

/// Sets the visibility timeout of messages that failed, by ChangeMessageVisibilityBatch.
///
/// The function's role needs `sqs:ChangeMessageVisibility` on the queue.
#[derive(Clone, Debug)]
pub struct SqsVisibility {
    client: Client,
}

/// SQS takes 10 entries a call.
const MAX_ENTRIES: usize = 10;
/// SQS takes up to 12 hours, counted from the receive, so a little less from now.
const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60 - 15 * 60);

impl SqsVisibility {
    /// Visibility changes by `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Visibility changes with the environment's AWS configuration.
    pub async fn from_env() -> Self {
        Self::new(Client::new(crate::aws::config().await))
    }

    async fn change(&self, chunk: &[(Delivery, Duration)]) -> Result<()> {
        let Some(queue_url) = chunk
            .first()
            .and_then(|(delivery, _)| queue_url(delivery.source_arn.as_deref()?))
        else {
            return Err(Error::new(
                ErrorKind::Invocation,
                "messages without the ARN of an SQS queue: their visibility cannot be changed",
            ));
        };
        let entries = chunk
            .iter()
            .enumerate()
            .filter_map(|(index, (delivery, delay))| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(delivery.receipt_handle.as_ref()?)
                    .visibility_timeout(whole_seconds(*delay))
                    .build()
                    .ok()
            });
        let output = self
            .client
            .change_message_visibility_batch()
            .queue_url(queue_url)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .map_err(|error| Error::transient(crate::aws::describe(&error)))?;
        match output.failed.first() {
            None => Ok(()),
            Some(first) => Err(Error::transient(format!(
                "the visibility of {} of {} messages was not changed, the first because of {}",
                output.failed.len(),
                chunk.len(),
                first.code
            ))),
        }
    }
}

impl Redelivery for SqsVisibility {
    fn kind(&self) -> &'static str {
        "sqs"
    }

    fn delay<'a>(&'a self, records: &'a [(Delivery, Duration)]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let chunks = records.chunks(MAX_ENTRIES).map(|chunk| self.change(chunk));
            join_all(chunks).await.into_iter().collect()
        })
    }
}

/// SQS counts in seconds; rounding up never brings a record back too soon.
fn whole_seconds(delay: Duration) -> i32 {
    let delay = delay.min(MAX_VISIBILITY);
    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_rounded_up_and_capped() {
        let seconds = [0, 1, 999, 1000, 1001].map(|ms| whole_seconds(Duration::from_millis(ms)));
        assert_eq!(seconds, [0, 1, 1, 1, 2]);
        assert_eq!(whole_seconds(Duration::MAX), 42_300);
    }
}
