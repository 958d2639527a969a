//! How often a function tries a record, and for how long.

use std::time::Duration;

use serde::Serialize;
use surehand::{
    Backoff,
    description::{Description, Use},
};

use super::app::Function;
use crate::application::{resource::Resource, yaml::Node};

/// What a function has unless its code or its environment says otherwise.
const USUAL: u32 = 5;
/// SQS's default for a queue, in seconds.
const DEFAULT_VISIBILITY: u64 = 30;

/// How long a dependency of a function may be out before the messages of its queue become dead letters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Outage {
    /// In seconds: what passes at least between the first attempt and the last.
    #[serde(rename = "outage_s")]
    pub(crate) seconds: u64,
    pub(crate) function: String,
    pub(crate) attempts: u32,
    /// The queue's `maxReceiveCount`.
    pub(crate) receives: u32,
}

impl Outage {
    /// None if something of it is not known. A function with a source of its own tells nothing of how it treats the
    /// messages of a queue.
    pub(crate) fn of(function: &Function<'_>, queue: &Resource) -> Option<Self> {
        let description = function.description.filter(|it| it.source == "sqs")?;
        let receives = queue
            .property(&["RedrivePolicy", "maxReceiveCount"])?
            .number()?;
        let receives = u32::try_from(receives).ok()?;
        // What is not parked comes back until SQS moves it.
        let attempts = match description.dead_letters {
            Some(_) => attempts(function)?.min(receives),
            None => receives,
        };
        let between = match description.redelivery {
            Some(_) => backoff(function, description)?.least_over(attempts),
            None => {
                let visibility = Duration::from_secs(visibility(queue)?);
                visibility.saturating_mul(attempts.saturating_sub(1))
            }
        };
        Some(Self {
            seconds: between.as_secs(),
            function: function.id().to_owned(),
            attempts,
            receives,
        })
    }

    /// The time, for people.
    pub(crate) fn time(&self) -> String {
        match self.seconds {
            seconds @ 0..120 => format!("{seconds} s"),
            seconds @ 120..7_200 => format!("{} min", seconds / 60),
            seconds => format!("{} h", seconds / 3_600),
        }
    }

    pub(crate) fn sentence(&self) -> String {
        let Self {
            function,
            attempts,
            receives,
            ..
        } = self;
        let time = self.time();
        format!("{function} bears an outage of {time}: {attempts} attempts, {receives} receives")
    }
}

/// How many attempts the function makes at a record. None if that is not known.
pub(crate) fn attempts(function: &Function<'_>) -> Option<u32> {
    let of_code = function.description?.batch.max_attempts;
    // What the code sets after it has read the environment overrides that.
    let declared = declared(function, Use::MaxAttempts).filter(|_| of_code == USUAL);
    match declared {
        Some(declared) => declared.text()?.parse().ok(),
        None => Some(of_code),
    }
}

/// The first variable that the library uses for this, if it is declared.
pub(crate) fn declared<'a>(function: &Function<'a>, what: Use) -> Option<&'a Node> {
    let mut names = function.variables_for(what).into_iter();
    names.find_map(|name| function.variable(name))
}

/// In seconds. None if it is not known.
pub(crate) fn visibility(queue: &Resource) -> Option<u64> {
    match queue.property(&["VisibilityTimeout"]) {
        Some(seconds) => seconds.number(),
        None => Some(DEFAULT_VISIBILITY),
    }
}

fn backoff(function: &Function<'_>, description: &Description) -> Option<Backoff> {
    let settings = &description.batch;
    let of_code = Duration::from_millis(settings.backoff_cap_ms);
    let declared =
        declared(function, Use::MaxBackoff).filter(|_| of_code == Backoff::default().cap);
    let cap = match declared {
        Some(declared) => Duration::from_secs(declared.number()?),
        None => of_code,
    };
    let base = Duration::from_millis(settings.backoff_base_ms);
    let mut backoff = Backoff::new(base, cap).factor(settings.backoff_factor);
    backoff.least_percent = settings.backoff_least_percent;
    Some(backoff)
}
