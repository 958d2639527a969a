//! SQS's visibility timeout.

use super::Redelivery;
use crate::{
    Delivery, Error, ErrorKind, Result,
    aws::{self, Refusal, limits::ENTRIES, queue_url, sqs},
};
use aws_sdk_sqs::Client;
use futures_util::future::{BoxFuture, join_all};
use std::time::Duration;

/// Sets the visibility timeout of messages that failed, by ChangeMessageVisibilityBatch.
///
/// The function's role needs `sqs:ChangeMessageVisibility` on the queue.
#[derive(Clone, Debug)]
pub struct SqsVisibility {
    client: Client,
}

/// SQS takes up to 12 hours, counted from the receive, so the longest delay from now is a little
/// shorter.
const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60 - 15 * 60);

impl SqsVisibility {
    /// Changes visibility timeouts with `client`, which keeps its own time limits.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Changes visibility timeouts with the environment's AWS configuration. A call that gets no
    /// answer within 2 s is repeated, as [`aws::with_time_limits`](crate::aws::with_time_limits)
    /// describes.
    pub async fn from_env() -> Self {
        Self::new(Client::new(aws::limited_config().await))
    }

    async fn change(&self, chunk: &[(Delivery, Duration)]) -> Result<()> {
        let Some(queue_url) = chunk
            .first()
            .and_then(|(delivery, _)| queue_url(delivery.source_arn.as_deref()?))
        else {
            return Err(Error::new(
                ErrorKind::Invocation,
                "the visibility timeouts of messages were not changed, because the messages have no ARN of an SQS queue: use `SqsVisibility` with the source `Sqs` only",
            ));
        };
        let timeouts = chunk.iter().filter_map(|(delivery, delay)| {
            Some((delivery.receipt_handle.as_deref()?, whole_seconds(*delay)))
        });
        let timeouts: Vec<_> = timeouts.collect();
        let results = sqs::change_visibility(&self.client, &queue_url, &timeouts).await?;
        let refusals: Vec<Refusal> = results.into_iter().filter_map(Result::err).collect();
        match refusals.first() {
            None => Ok(()),
            Some(first) => Err(Error::transient(format!(
                "the visibility timeouts of {} of {} messages were not changed, the first because of {}",
                refusals.len(),
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
            let chunks = records.chunks(ENTRIES).map(|chunk| self.change(chunk));
            join_all(chunks).await.into_iter().collect()
        })
    }
}

/// SQS counts in seconds; rounding up never makes a record visible too early.
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
