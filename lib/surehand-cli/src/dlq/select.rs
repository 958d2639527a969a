//! Which letters are meant.

use clap::Args;
use surehand_redrive::{Filter, Selection};

/// Restricts a command to some letters; each option may be repeated.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SelectArgs {
    /// Only dead letters of the group whose id begins with this
    #[arg(long = "group", value_name = "ID")]
    groups: Vec<String>,
    /// Only dead letters with an event of this type
    #[arg(long = "type", value_name = "DETAIL-TYPE")]
    event_types: Vec<String>,
    /// Only dead letters at which this handler or function failed
    #[arg(long = "handler", value_name = "NAME")]
    handlers: Vec<String>,
    /// Only dead letters that failed for this kind of reason: rejected, malformed, transient, ...
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Only the dead letter with this message id or event id
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Only dead letters sent at this time or later: RFC 3339, or an age such as 90m, 12h or 3d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Only dead letters sent before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// Only dead letters whose payload has this field (detail.data.sku=book, or a JSON pointer such as /detail/a.b=1),
    /// or with ~TEXT, this text; given several times, all of them
    #[arg(long = "where", value_name = "PATH=VALUE")]
    filters: Vec<Filter>,
}

impl SelectArgs {
    /// What the library takes.
    pub(super) fn selection(&self) -> Selection {
        Selection {
            groups: self.groups.clone(),
            event_types: self.event_types.clone(),
            handlers: self.handlers.clone(),
            kinds: self.kinds.clone(),
            ids: self.ids.clone(),
            since_ms: self.since,
            until_ms: self.until,
            filters: self.filters.clone(),
        }
    }
}

/// A time, in milliseconds since the epoch.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    let wrong = || "use RFC 3339, or an age such as 90m, 12h or 3d".to_owned();
    let timestamp = match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let split = text.len().saturating_sub(1);
            let (count, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                "d" => 86_400,
                _ => return Err(wrong()),
            };
            let count: i64 = count.parse().map_err(|_| wrong())?;
            let ago = count
                .checked_mul(seconds)
                .filter(|s| (0..=9_999_999_999).contains(s));
            let ago = jiff::SignedDuration::from_secs(ago.ok_or_else(wrong)?);
            jiff::Timestamp::now()
                .checked_sub(ago)
                .map_err(|_| wrong())?
        }
    };
    u64::try_from(timestamp.as_millisecond()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_while_ago() {
        assert_eq!(moment("1970-01-01T00:00:02Z"), Ok(2_000));
        let now = moment("0s").unwrap();
        let before = moment("2h").unwrap();
        assert!((7_199_000..=7_201_000).contains(&(now - before)));
        for wrong in [
            "",
            "yesterday",
            "3",
            "d",
            "-1h",
            "99999999999999999999d",
            "1é",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
