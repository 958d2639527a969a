//! Times as letters have them.

use std::time::SystemTime;

/// Milliseconds since the epoch; 0 for a time before it.
pub(crate) fn epoch_ms(time: SystemTime) -> u64 {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}
