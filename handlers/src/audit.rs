//! audit: writes down every event of the shop.

use crate::table::{self, Table, TableError};
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use serde::Serialize;
use serde_json::{Value, json};
use surehand::{Envelope, Metadata, State};

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

/// The audited events in the shop's table.
#[derive(Clone, Debug)]
pub struct AuditLog(Table);

#[derive(Serialize)]
struct Audited<'a> {
    source: Option<&'a str>,
    r#type: Option<&'a str>,
    /// In RFC 3339.
    time: Option<String>,
    /// JSON.
    data: String,
}

impl AuditLog {
    /// Makes the log in `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    async fn write(&self, metadata: &Metadata, data: &Value) -> Result<(), TableError> {
        let time = metadata.time.map(DateTime::from);
        let audited = Audited {
            source: metadata.source.as_deref(),
            r#type: metadata.detail_type.as_deref(),
            time: time.and_then(|time| time.fmt(DateTimeFormat::DateTime).ok()),
            data: data.to_string(),
        };
        // An id alone may be that of an event of another source or type, which is then no duplicate.
        let identity = json!(metadata.identity());
        let key = table::key(format!("AUDIT#{identity}"), "EVENT");
        self.0.put_if_absent(key, &audited).await
    }
}
