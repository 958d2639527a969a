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
/// SQS keeps messages for four days unless a queue says otherwise, in seconds.
const DEFAULT_RETENTION: u64 = 4 * 24 * 60 * 60;
/// SQS hides a message no longer.
const LONGEST_DELAY: Duration = Duration::from_secs(12 * 60 * 60);

/// The attempts at a message of a queue, until it is parked or SQS moves it.
pub(crate) struct Attempts {
    count: u32,
    /// The queue's `maxReceiveCount`.
    receives: u32,
    /// What passes at least between the first attempt and the last.
    least: Duration,
    /// What passes at most from the beginning of the first attempt to the end of the last, as far as it is known; none
    /// if each attempt waits for the queue's visibility timeout, as every receive does.
    most: Option<Duration>,
}

impl Attempts {
    /// None if something of them is not known. A function with a source of its own tells nothing of how it treats the
    /// messages of a queue.
    pub(crate) fn of(function: &Function<'_>, queue: &Resource) -> Option<Self> {
        let description = function.description.filter(|it| it.source == "sqs")?;
        let receives = queue
            .property(&["RedrivePolicy", "maxReceiveCount"])?
            .number()?;
        let receives = u32::try_from(receives).ok()?;
        // What is not parked comes back until SQS moves it.
        let count = match description.dead_letters {
            Some(_) => attempts(function)?.min(receives),
            None => receives,
        };
        let (least, most) = match description.redelivery {
            Some(_) => {
                let backoff = backoff(function, description)?;
                // Without a timeout that is known, the delays alone.
                let timeout = Duration::from_secs(function.timeout().unwrap_or(0));
                let most = backoff.most_over(count);
                let most = most.saturating_add(timeout.saturating_mul(count));
                (backoff.least_over(count), Some(most))
            }
            None => {
                let visibility = Duration::from_secs(visibility(queue)?);
                (visibility.saturating_mul(count.saturating_sub(1)), None)
            }
        };
        Some(Self {
            count,
            receives,
            least,
            most,
        })
    }

    /// What a message lives, in seconds, if it may be deleted before its last attempt is over.
    pub(crate) fn expiry(&self, queue: &Resource) -> Option<u64> {
        let most = self.most?.as_secs();
        retention(queue).filter(|retention| most > *retention)
    }

    /// How long something that the function calls may be out, in seconds, as far as the attempts decide it.
    pub(crate) fn outage(&self) -> u64 {
        self.least.as_secs()
    }

    /// In words.
    pub(crate) fn longest(&self) -> String {
        time(self.most.unwrap_or(self.least).as_secs())
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn receives(&self) -> u32 {
        self.receives
    }
}

/// How long a dependency of a function may be out before the messages of its queue become dead letters, or are deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Outage {
    /// In seconds: what passes at least between the first attempt and the last, as far as the queue keeps a message.
    #[serde(rename = "outage_s")]
    pub(crate) seconds: u64,
    pub(crate) function: String,
    pub(crate) attempts: u32,
    /// The queue's `maxReceiveCount`.
    pub(crate) receives: u32,
}

impl Outage {
    /// None if something of it is not known.
    pub(crate) fn of(function: &Function<'_>, queue: &Resource) -> Option<Self> {
        let attempts = Attempts::of(function, queue)?;
        Some(Self {
            seconds: attempts.outage().min(retention(queue)?),
            function: function.id().to_owned(),
            attempts: attempts.count(),
            receives: attempts.receives(),
        })
    }

    pub(crate) fn sentence(&self) -> String {
        let Self {
            function,
            attempts,
            receives,
            ..
        } = self;
        let time = time(self.seconds);
        format!("{function} bears an outage of {time}: {attempts} attempts, {receives} receives")
    }
}

/// The time, for people.
pub(crate) fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
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

/// For how long the queue keeps a message, in seconds. None if it is not known.
pub(crate) fn retention(queue: &Resource) -> Option<u64> {
    match queue.property(&["MessageRetentionPeriod"]) {
        Some(seconds) => seconds.number(),
        None => Some(DEFAULT_RETENTION),
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
    let mut backoff = Backoff::new(base, cap.min(LONGEST_DELAY)).factor(settings.backoff_factor);
    backoff.least_percent = settings.backoff_least_percent;
    Some(backoff)
}
