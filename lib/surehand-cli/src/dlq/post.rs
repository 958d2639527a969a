//! Puts letters back wherever they go: into queues, to functions, onto buses.

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_lambda::{primitives::Blob, types::InvocationType};
use futures_util::future::{BoxFuture, join_all};
use serde_json::Value;
use surehand::dead_letter::{Accepted, Destination, Entries, Parcel, Post, Refusal, SqsPost};

use crate::cloud::Cloud;

/// Queues are the library's; functions and buses know no batches, attributes or groups.
pub(super) struct CloudPost {
    sqs: SqsPost,
    lambda: aws_sdk_lambda::Client,
    eventbridge: aws_sdk_eventbridge::Client,
}

impl CloudPost {
    pub(super) fn new(cloud: &Cloud) -> Self {
        Self {
            sqs: SqsPost::new(aws_sdk_sqs::Client::new(&cloud.config)),
            lambda: aws_sdk_lambda::Client::new(&cloud.config),
            eventbridge: aws_sdk_eventbridge::Client::new(&cloud.config),
        }
    }

    /// As Lambda itself would have invoked it: it answers before the function has run.
    async fn invoke(&self, function: &str, parcel: &Parcel) -> Result<Accepted, Refusal> {
        let output = self
            .lambda
            .invoke()
            .function_name(function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(parcel.body.as_bytes()))
            .send()
            .await
            .map_err(|error| refused(aws_sdk_lambda::Error::from(error)))?;
        use aws_sdk_lambda::operation::RequestId as _;
        Ok(Accepted {
            message_id: output.request_id().unwrap_or_default().to_owned(),
            ..Accepted::default()
        })
    }

    async fn publish(&self, bus: &str, parcel: &Parcel) -> Result<Accepted, Refusal> {
        let event: Value = serde_json::from_str(&parcel.body).unwrap_or_default();
        let (Some(source), Some(detail_type)) =
            (event["source"].as_str(), event["detail-type"].as_str())
        else {
            return Err(Refusal::permanent(
                "NoEvent",
                "the letter holds no event of a bus: `source` and `detail-type` are missing",
            ));
        };
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(bus)
            .source(source)
            .detail_type(detail_type)
            .detail(event["detail"].to_string())
            .set_trace_header(parcel.trace_header.clone())
            .build();
        let output = self
            .eventbridge
            .put_events()
            .entries(entry)
            .send()
            .await
            .map_err(|error| refused(aws_sdk_eventbridge::Error::from(error)))?;
        let Some(result) = output.entries.unwrap_or_default().into_iter().next() else {
            return Err(Refusal::transient(
                "NoAnswer",
                "the bus did not say whether it has the event",
            ));
        };
        match (result.event_id, result.error_code) {
            (Some(message_id), None) => Ok(Accepted {
                message_id,
                ..Accepted::default()
            }),
            (_, code) => Err(Refusal::transient(
                code.unwrap_or_default(),
                result.error_message.unwrap_or_default(),
            )),
        }
    }
}

fn refused(error: impl std::error::Error) -> Refusal {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Refusal::transient("Refused", text)
}

impl Post for CloudPost {
    fn send<'a>(
        &'a self,
        to: &'a Destination,
        parcels: &'a [Parcel],
    ) -> BoxFuture<'a, surehand::Result<Entries<Accepted>>> {
        Box::pin(async move {
            Ok(match to {
                Destination::Function(arn) => {
                    join_all(parcels.iter().map(|parcel| self.invoke(arn, parcel))).await
                }
                Destination::Bus(name) => {
                    join_all(parcels.iter().map(|parcel| self.publish(name, parcel))).await
                }
                queue => return self.sqs.send(queue, parcels).await,
            })
        })
    }
}
