//! Messages back into a queue.

use crate::{
    parcel::{Accepted, Parcel},
    queue::Entries,
    sqs::{failed, in_order},
};
use aws_sdk_sqs::{
    Client,
    error::BuildError,
    primitives::Blob,
    types::{
        MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
        SendMessageBatchRequestEntry,
    },
};
use surehand::{AttributeValue, Result};

/// Sends up to ten parcels in one call.
pub(super) async fn send(
    client: &Client,
    url: &str,
    parcels: &[Parcel],
) -> Result<Entries<Accepted>> {
    let entries = parcels.iter().enumerate();
    let entries: Result<Vec<_>, _> = entries.map(|(i, parcel)| entry(i, parcel)).collect();
    let request = client.send_message_batch().queue_url(url);
    let output = request.set_entries(Some(entries?)).send().await;
    let output = output.map_err(|error| failed(&error))?;
    let done = output.successful.iter().map(|entry| {
        let accepted = Accepted {
            message_id: entry.message_id.clone(),
            body_md5: Some(entry.md5_of_message_body.clone()),
            attributes_md5: entry.md5_of_message_attributes.clone(),
        };
        (entry.id(), accepted)
    });
    Ok(in_order(parcels.len(), done, &output.failed))
}

fn entry(index: usize, parcel: &Parcel) -> Result<SendMessageBatchRequestEntry, BuildError> {
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .message_body(&parcel.body)
        .set_message_group_id(parcel.group.clone())
        .set_message_deduplication_id(parcel.deduplication_id.clone());
    for (name, attribute) in &parcel.attributes {
        let value = MessageAttributeValue::builder().data_type(&attribute.data_type);
        let value = match &attribute.value {
            AttributeValue::Text(text) => value.string_value(text),
            AttributeValue::Binary(bytes) => value.binary_value(Blob::new(bytes.clone())),
        };
        entry = entry.message_attributes(name, value.build()?);
    }
    if let Some(header) = &parcel.trace_header {
        entry = entry.message_system_attributes(
            MessageSystemAttributeNameForSends::AwsTraceHeader,
            MessageSystemAttributeValue::builder()
                .data_type("String")
                .string_value(header)
                .build()?,
        );
    }
    entry.build()
}
