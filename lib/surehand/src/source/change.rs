//! A change of an item, as a DynamoDB stream reports it.

use crate::{Error, Record, Result, extract::FromRecord, redact, stage::Item};
use serde::Deserialize;

/// A change to an item, for functions on a [`DynamoDbStream`](crate::DynamoDbStream). Handlers take
/// it as an argument.
///
/// The stream's view type decides which images there are.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The item's key.
    pub keys: Item,
    /// The item as it is now.
    pub new_image: Option<Item>,
    /// The item as it was before.
    pub old_image: Option<Item>,
}

/// What happened to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChangeKind {
    /// It was created.
    Insert,
    /// It existed before and was changed.
    Modify,
    /// It was deleted.
    Remove,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "eventName")]
    kind: ChangeKind,
    dynamodb: RawImages,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawImages {
    keys: serde_dynamo::Item,
    new_image: Option<serde_dynamo::Item>,
    old_image: Option<serde_dynamo::Item>,
}

impl<S> FromRecord<S> for Change {
    fn from_record(record: &Record, _state: &S) -> Result<Self> {
        let raw: Raw = redact::decoded(record.body()).map_err(|problem| {
            Error::malformed(format!(
                "record {} is not a change to a DynamoDB item: {problem}",
                record.id()
            ))
        })?;
        Ok(Self {
            kind: raw.kind,
            keys: raw.dynamodb.keys.into(),
            new_image: raw.dynamodb.new_image.map(Item::from),
            old_image: raw.dynamodb.old_image.map(Item::from),
        })
    }
}
