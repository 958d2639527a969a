//! `surehand logs`: what became of a function's records, from its log.

pub(super) mod entry;
mod tail;

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use clap::Args;

use self::{entry::Entry, tail::Tail};
use crate::{
    cloud::{Cloud, Wanted},
    dlq::{End, moment},
    terminal::{self, say},
};

/// How often new lines are asked for. CloudWatch Logs takes five such requests a second from an account.
const INTERVAL: Duration = Duration::from_secs(1);

/// Read a function's log: a line for each record, with its outcome, how long it took, and why it failed
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  surehand logs reserve-stock --failed --since 1h    what failed in the last hour, and why
  surehand logs reserve-stock --follow               until Ctrl-C
  surehand logs audit --id 0190c1b2 --since 2d       what became of one event

A line has the time (UTC), the function, the event's or message's id, the outcome (ok, duplicate, retry, park, discard, \
                  or died for an invocation without an answer), the time it took, and the error with its place.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 there is no such line")]
pub(crate) struct LogsArgs {
    /// The function's short name (place-order), logical id or full name
    function: String,
    /// Go on with new lines until it is interrupted
    #[arg(long, short)]
    follow: bool,
    /// Only records that failed or were parked, and invocations that died
    #[arg(long)]
    failed: bool,
    /// Only lines from this time on: RFC 3339, or an age such as 90s, 10m, 12h or 3d
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = moment)]
    since: u64,
    /// Only lines of the event, message or invocation with this id
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Print the lines as they were logged
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wanted: Wanted,
}

impl LogsArgs {
    /// Whether an interrupt is how it is meant to end.
    pub(crate) fn goes_on(&self) -> bool {
        self.follow
    }
}

pub(super) async fn run(mut arguments: LogsArgs, run: Option<String>) -> Result<End> {
    arguments.wanted.run = run;
    let cloud = Cloud::connect(&arguments.wanted).await?;
    let configuration = cloud.function(&arguments.function).await?;
    let name = configuration.function_name().unwrap_or_default();
    let group = configuration
        .logging_config()
        .and_then(|logging| logging.log_group())
        .map_or_else(|| format!("/aws/lambda/{name}"), str::to_owned);
    let since = i64::try_from(arguments.since).unwrap_or(i64::MAX);
    let mut tail = Tail::new(&cloud, group.clone(), since);
    let mut selection = Selection::new(&arguments);
    let mut shown = 0_usize;
    loop {
        for line in tail.read().await? {
            let entry = Entry::read(&line.message);
            if !selection.takes(&entry) {
                continue;
            }
            if arguments.json {
                say!("{}", line.message.trim_end());
            } else if let Some(text) = entry.show(&arguments.function, line.time) {
                say!("{text}");
            } else {
                continue;
            }
            shown += 1;
        }
        if !arguments.follow {
            break;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    if shown == 0 {
        let what = match (arguments.failed, &arguments.id) {
            (true, _) => "no failure",
            (false, Some(_)) => "no line with this id",
            (false, None) => "no line",
        };
        terminal::err(
            "",
            &format!(
                "{what} in {group} at {} since then; --since 1d looks further back",
                cloud.name()
            ),
        );
        return Ok(End::Nothing);
    }
    Ok(End::Done)
}

/// Which lines are shown.
struct Selection<'a> {
    failed: bool,
    id: Option<&'a str>,
    /// The invocations that had the id: their deaths do not name it.
    requests: BTreeSet<String>,
}

impl<'a> Selection<'a> {
    fn new(arguments: &'a LogsArgs) -> Self {
        Self {
            failed: arguments.failed,
            id: arguments.id.as_deref(),
            requests: BTreeSet::new(),
        }
    }

    fn takes(&mut self, entry: &Entry) -> bool {
        if let Some(id) = self.id {
            let is_death = matches!(entry.says, entry::Says::Died(_));
            let is_of = entry.is_of(id);
            if is_of {
                self.requests.extend(entry.request().map(str::to_owned));
            }
            let died_with_it = is_death
                && entry
                    .request()
                    .is_some_and(|request| self.requests.contains(request));
            if !is_of && !died_with_it {
                return false;
            }
        }
        !self.failed || entry.failed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_id_there_is_also_the_death_of_its_invocation() {
        let mut selection = Selection {
            failed: true,
            id: Some("e-1"),
            requests: BTreeSet::new(),
        };
        let request = "4f1c2d3e-0000-4000-8000-000000000001";
        let death =
            |request: &str| Entry::read(&format!("{request} Task timed out after 3.00 seconds"));
        let began = format!(
            r#"{{"message":"packing","event_id":"e-1","function_request_id":"{request}"}}"#
        );
        assert!(
            !selection.takes(&death(request)),
            "it is not known to be of the event yet"
        );
        assert!(
            !selection.takes(&Entry::read(&began)),
            "this is not a failure"
        );
        assert!(selection.takes(&death(request)));
        assert!(!selection.takes(&death("4f1c2d3e-0000-4000-8000-000000000002")));
    }
}
