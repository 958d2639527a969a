//! Messages back into a queue.

use crate::parcel::{Accepted, Parcel};
use aws_sdk_sqs::{Client, types::SendMessageBatchResultEntry};
use surehand::{
    Result,
    aws::{Entries, sqs},
};

/// Sends up to ten parcels in one call.
pub(super) async fn send(
    client: &Client,
    url: &str,
    parcels: &[Parcel],
) -> Result<Entries<Accepted>> {
    let messages = parcels.iter().map(message).collect();
    let results = sqs::send_batch(client, url, messages).await?;
    let results = results.into_iter();
    Ok(results.map(|result| result.map(accepted)).collect())
}

fn message(parcel: &Parcel) -> sqs::Message<'_> {
    let attributes = parcel.attributes.iter();
    sqs::Message {
        body: (&*parcel.body).into(),
        attributes: attributes.map(|(name, it)| (&**name, it)).collect(),
        trace_header: parcel.trace_header.as_deref(),
        group: parcel.group.as_deref(),
        deduplication_id: parcel.deduplication_id.as_deref(),
    }
}

fn accepted(entry: SendMessageBatchResultEntry) -> Accepted {
    Accepted {
        message_id: entry.message_id,
        body_md5: Some(entry.md5_of_message_body),
        attributes_md5: entry.md5_of_message_attributes,
    }
}
