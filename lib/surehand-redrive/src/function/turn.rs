//! One run at a time on a queue.

use super::log::{Logs, unavailable};
use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use surehand::{Deadline, Error};

/// How long a run may be silent: as long as a message takes to come back after its invocation has died,
/// which is six times the function's timeout, and then some.
pub(super) fn silence(deadline: &Deadline) -> Duration {
    deadline.remaining() * 8 + Duration::from_secs(60)
}

impl Logs {
    /// Has the queue to itself for so long, unless another run has.
    ///
    /// Two runs would do no harm, but take each other's letters for missing.
    pub(super) async fn take_turn(
        &self,
        queue: &str,
        run: &str,
        time: Duration,
    ) -> surehand::Result<()> {
        match self.put_turn(queue, run, time).await? {
            None => Ok(()),
            Some(other) => Err(Error::rejected(format!(
                "run {other} works on {queue}: wait until it has ended, or is silent for long enough"
            ))),
        }
    }

    /// Lets other runs have the queue. If the table does not answer, they wait.
    pub(super) async fn end_turn(&self, queue: &str, run: &str) {
        if let Err(error) = self.put_turn(queue, run, Duration::ZERO).await {
            tracing::warn!(run, queue, %error, "the queue stays with this run for a while");
        }
    }

    /// Gives the run that has the queue, if that is another.
    async fn put_turn(
        &self,
        queue: &str,
        run: &str,
        time: Duration,
    ) -> surehand::Result<Option<String>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let seconds = |time: Duration| AttributeValue::N(time.as_secs().to_string());
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("id", AttributeValue::S(format!("redrive#turn#{queue}")))
            .item("run", AttributeValue::S(run.to_owned()))
            .item("until", seconds(now + time))
            .item("expiration", seconds(now + time))
            .condition_expression("attribute_not_exists(#id) OR #run = :run OR #until <= :now")
            .expression_attribute_names("#id", "id")
            .expression_attribute_names("#run", "run")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":run", AttributeValue::S(run.to_owned()))
            .expression_attribute_values(":now", seconds(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = sent else {
            return Ok(None);
        };
        let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error()
        else {
            return Err(unavailable(&error));
        };
        let other = failed.item.as_ref().and_then(|item| item.get("run"));
        let other = other.and_then(|run| run.as_s().ok());
        Ok(Some(other.map_or("?", String::as_str).to_owned()))
    }
}
