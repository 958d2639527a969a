//! audit: writes down every event of the shop.

use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use surehand::{
    Entity, Envelope, Metadata, State, Tables,
    tables::{Access, TableError},
};

/// Writes down an event of any type.
///
/// It needs no lease: an event that is already written down is not changed.
///
/// # Errors
/// If the table cannot be used.
pub async fn audit(event: Envelope<Value>, State(log): State<AuditLog>) -> surehand::Result<()> {
    log.write(&event.metadata, &event.data).await?;
    Ok(())
}

/// An event that was written down.
#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(table = "SHOP_TABLE", key(pk = "AUDIT#{identity}", sk = "EVENT"))]
pub struct Audited {
    /// Its source, type and id, as a JSON list. An id alone may be that of an event of another source or
    /// type, which is then no duplicate.
    pub identity: String,
    /// Its source.
    pub source: Option<String>,
    /// Its type.
    pub r#type: Option<String>,
    /// When it happened, in RFC 3339.
    pub time: Option<String>,
    /// Its data, as JSON.
    pub data: String,
}

/// The audited events in the shop's table.
#[derive(Clone, Debug)]
pub struct AuditLog(Tables);

impl AuditLog {
    /// Makes the log in these tables.
    pub fn new(tables: Tables) -> Self {
        Self(tables)
    }

    /// What is done with the tables.
    pub fn access() -> Access {
        Access::new().puts::<Audited>()
    }

    /// Makes the log in the environment's tables.
    ///
    /// # Errors
    /// If the table is not named.
    pub async fn from_env() -> surehand::Result<Self> {
        Ok(Self::new(Tables::from_env(Self::access()).await?))
    }

    async fn write(&self, metadata: &Metadata, data: &Value) -> Result<(), TableError> {
        let time = metadata.time.map(DateTime::from);
        let identity = json!(metadata.identity());
        let audited = Audited {
            identity: identity.to_string(),
            source: metadata.source.clone(),
            r#type: metadata.detail_type.clone(),
            time: time.and_then(|time| time.fmt(DateTimeFormat::DateTime).ok()),
            data: data.to_string(),
        };
        self.0.insert(&audited).await?;
        Ok(())
    }
}
