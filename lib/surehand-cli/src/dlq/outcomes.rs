//! What the idempotency table knows of events: whether they were handled, and how their attempts went.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use surehand::{
    DynamoDbStore, Error, Metadata,
    idempotency::{AttemptEnd, Claim, Store as _},
};
use surehand_redrive::{Destination, Letter, Outcomes, Queue as _, Redriven, SqsDeadLetterQueue};

use super::{
    context::{Context, said},
    keys::Keys,
    target::{self, Target},
    trust::Trust,
};
use crate::cloud::{Cloud, reason};

/// The table of a function, by the variable that the library reads it from.
pub(super) const TABLE: &str = "IDEMPOTENCY_TABLE";

/// How many outcomes are asked for at once.
const SIDE_BY_SIDE: usize = 32;

/// Asks the tables of the functions that letters are for.
pub(super) struct Facts {
    cloud: Option<Cloud>,
    /// That of letters which do not say, by a word that others confirm, where they go.
    function: Option<String>,
    /// What others confirm of the letters' ways; none if the queue is not known.
    trust: Option<tokio::sync::Mutex<Trust>>,
    /// The account and the region of the dead-letter queue: `eu-west-1:123456789012`.
    place: Option<String>,
    keys: Keys,
    stores: Mutex<HashMap<String, Option<DynamoDbStore>>>,
    /// The functions that read queues, by the queues' URLs.
    readers: Mutex<HashMap<String, Option<String>>>,
}

impl Facts {
    /// Knows nothing.
    pub(super) fn none() -> Self {
        Self {
            cloud: None,
            function: None,
            trust: None,
            place: None,
            keys: Keys::OfEvents,
            stores: Mutex::default(),
            readers: Mutex::default(),
        }
    }

    /// As far as it can be known; what cannot be looked up is as if it were not there.
    pub(super) async fn find(cloud: Cloud, target: &Target) -> Self {
        let mut facts = Self::none();
        facts.function = of_target(&cloud, target).await.ok().flatten();
        if let Ok(arn) = arn(&cloud, &target.url).await {
            let trust = Trust::of(&cloud, &target.url, &arn).await;
            facts.trust = Some(tokio::sync::Mutex::new(trust));
            facts.place = place(&arn);
        }
        facts.cloud = Some(cloud);
        facts
    }

    /// Without a queue: of letters that this function is for, unless SQS says otherwise.
    pub(super) fn of_function(cloud: Cloud, function: Option<String>) -> Self {
        Self {
            cloud: Some(cloud),
            function,
            ..Self::none()
        }
    }

    /// As [`find`](Self::find), for those who rely on it. With `event_keys` the functions make their keys as they do
    /// unless their code says otherwise; else their builds are asked.
    ///
    /// # Errors
    /// Why the outcomes of the queue's messages cannot be known.
    pub(super) async fn relied_on(
        cloud: &Cloud,
        target: &Target,
        letters: &str,
        event_keys: bool,
        context: &Context<'_>,
    ) -> Result<Self> {
        let function = of_target(cloud, target).await?.with_context(|| {
            format!(
                "no function was found that reads the queue of which {} has the dead letters",
                target.name()
            )
        })?;
        let mut facts = Self {
            cloud: Some(cloud.clone()),
            function: Some(function.clone()),
            place: place(letters),
            ..Self::none()
        };
        facts.check_table(&function).await?;
        if !event_keys {
            facts.keys = Keys::described(context).await?;
        }
        facts.keys.check(cloud, &function)?;
        Ok(facts)
    }

    async fn check_table(&self, function: &str) -> Result<()> {
        match self.look_up(function).await? {
            Some(_) => Ok(()),
            None => bail!(
                "{function} has no {TABLE}, so that it keeps no record of what it has handled"
            ),
        }
    }

    /// When the function of these letters was last deployed, and what that says of a failure since `plan` was made;
    /// none if it is not known.
    pub(super) async fn deployed(&self, plan: &str) -> Option<String> {
        let function = self.function.as_deref()?;
        let configuration = self.cloud.as_ref()?.configuration(function).await;
        let changed = configuration.ok()?.last_modified?;
        let changed: jiff::Timestamp = changed.parse().ok()?;
        let is_before = plan
            .parse::<jiff::Timestamp>()
            .is_ok_and(|plan| changed < plan);
        Some(match is_before {
            true => format!(
                "{function} was last deployed at {changed:.0}, before this plan was made: if a rehearsal of these \
                 messages succeeds, deploy what was rehearsed"
            ),
            false => format!("{function} was last deployed at {changed:.0}"),
        })
    }

    /// What is known of the attempts at a letter's event, in a few words.
    pub(super) async fn of(&self, letter: &Letter) -> Option<String> {
        let to = match &self.trust {
            Some(trust) => trust.lock().await.destination(letter).await,
            None => letter.destination().filter(|_| letter.source_arn.is_some()),
        };
        let function = self.function_of(to.as_ref()).await?;
        self.of_event(&function, &letter.event()?.identity()).await
    }

    /// The function that gets what goes there; without a destination, the one that this dead-letter queue is of.
    ///
    /// What a letter says of its function can have been written by whoever sent it: another function may have handled
    /// the same event long ago, and a ramp would take that for the outcome of the redrive. A function of another
    /// account is never asked: here it would be another one of its name.
    async fn function_of(&self, to: Option<&Destination>) -> Option<String> {
        match to {
            Some(Destination::Queue(url)) => self.reader(url).await,
            Some(Destination::Function(arn)) => {
                let is_here = place(arn) == self.place;
                name_of_function(arn).filter(|_| is_here)
            }
            // Who gets what is on a bus is the rules' choice.
            Some(_) | None => self.function.clone(),
        }
    }

    async fn reader(&self, url: &str) -> Option<String> {
        let readers = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers().get(url) {
            return reader.clone();
        }
        let cloud = self.cloud.clone()?.in_region(target::region_of(url));
        let arn = arn(&cloud, url).await.ok()?;
        let lambda = aws_sdk_lambda::Client::new(&cloud.config);
        let request = lambda.list_event_source_mappings();
        // Without an answer it is asked again, with the next letter.
        let answer = request.event_source_arn(arn).send().await.ok()?;
        let mut mappings = answer.event_source_mappings.unwrap_or_default().into_iter();
        let reader = mappings.find_map(|it| name_of_function(&it.function_arn?));
        readers().insert(url.to_owned(), reader.clone());
        reader
    }

    /// The same for an event of a function.
    pub(super) async fn of_event(&self, function: &str, event: &Metadata) -> Option<String> {
        let key = self.keys.key(self.cloud.as_ref()?, function, event)?;
        // Facts are a help; without them the letter is shown all the same.
        let facts = self.store(function).await?.history(&key).await.ok()??;
        Some(in_words(&facts, SystemTime::now()))
    }

    async fn store(&self, function: &str) -> Option<DynamoDbStore> {
        self.look_up(function).await.ok().flatten()
    }

    /// The table of a function; none if it has none. An error is not kept: the next look may have an answer.
    async fn look_up(&self, function: &str) -> Result<Option<DynamoDbStore>> {
        let stores = || self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores().get(function) {
            return Ok(store.clone());
        }
        let Some(cloud) = self.cloud.as_ref() else {
            return Ok(None);
        };
        let variables = target::variables(cloud, function).await?;
        let store = variables
            .get(TABLE)
            .map(|name| DynamoDbStore::new(aws_sdk_dynamodb::Client::new(&cloud.config), name));
        stores().insert(function.to_owned(), store.clone());
        Ok(store)
    }

    async fn is_completed(&self, letter: &Redriven) -> Option<bool> {
        let function = self.function_of(Some(&letter.to)).await?;
        let key = self
            .keys
            .key(self.cloud.as_ref()?, &function, &letter.event)?;
        // Without an answer for this one it is not known yet; the others are.
        let claim = self.store(&function).await?.find(&key).await.ok()?;
        Some(matches!(claim, Some(Claim::Completed(_))))
    }

    async fn check_function_of(&self, to: &Destination) -> Result<()> {
        let function = self.function_of(Some(to)).await;
        let function =
            function.with_context(|| format!("no function was found that gets it from {to}"))?;
        self.check_table(&function).await?;
        let cloud = self.cloud.as_ref().context("no cloud is known")?;
        self.keys.check(cloud, &function)
    }
}

impl Outcomes for Facts {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        Box::pin(async move {
            let asked: Vec<_> = redriven.iter().map(|it| self.is_completed(it)).collect();
            let known = stream::iter(asked).buffered(SIDE_BY_SIDE);
            Ok(known.map(Option::unwrap_or_default).collect().await)
        })
    }

    fn check<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, surehand::Result<()>> {
        Box::pin(async move {
            self.check_function_of(to).await.map_err(|error| {
                Error::rejected(format!(
                    "its outcome could not be known, so that the ramp would wait in vain: {error:#}; --no-ramp sends it"
                ))
            })
        })
    }
}

/// The ARN of a queue.
async fn arn(cloud: &Cloud, url: &str) -> Result<String> {
    let sqs = aws_sdk_sqs::Client::new(&cloud.config);
    let info = SqsDeadLetterQueue::new(sqs, url).info().await;
    Ok(info.map_err(said)?.arn)
}

/// The region and the account of an ARN.
fn place(arn: &str) -> Option<String> {
    let mut parts = arn.split(':').skip(3);
    Some(format!("{}:{}", parts.next()?, parts.next()?))
}

async fn of_target(cloud: &Cloud, target: &Target) -> Result<Option<String>> {
    match &target.function {
        Some(function) => Ok(Some(function.clone())),
        None => reader(cloud, target).await,
    }
}

fn name_of_function(arn: &str) -> Option<String> {
    arn.split(':').nth(6).map(str::to_owned)
}

/// The function that reads the queue whose letters are in this one.
async fn reader(cloud: &Cloud, target: &Target) -> Result<Option<String>> {
    let sqs = aws_sdk_sqs::Client::new(&cloud.config);
    let lambda = aws_sdk_lambda::Client::new(&cloud.config);
    let mut mappings = lambda
        .list_event_source_mappings()
        .into_paginator()
        .items()
        .send();
    while let Some(mapping) = mappings.next().await {
        let mapping = mapping
            .map_err(reason)
            .context("the functions that read queues cannot be listed")?;
        let Some(source) = mapping.event_source_arn.filter(|arn| arn.contains(":sqs:")) else {
            continue;
        };
        let Ok(url) = target::queue_url(cloud, &source).await else {
            continue;
        };
        let letters = target::dead_letter_arn(&sqs, &url).await.ok().flatten();
        if letters.is_some_and(|arn| target::name_of(&arn) == target.name()) {
            return Ok(mapping.function_arn.as_deref().and_then(name_of_function));
        }
    }
    Ok(None)
}

/// What is known of the attempts at an event, in a few words.
fn in_words(facts: &surehand::idempotency::AttemptHistory, now: SystemTime) -> String {
    let at = |time: Option<SystemTime>| {
        let time = time.and_then(|time| jiff::Timestamp::try_from(time).ok());
        time.map_or_else(|| "an unknown time".to_owned(), |time| format!("{time:.3}"))
    };
    let attempt = format!("attempt {}", facts.attempts);
    let started = format!("{attempt} started at {}", at(facts.started_at));
    let mut words = match facts.end {
        AttemptEnd::Completed => format!("{attempt} succeeded: putting it back changes nothing"),
        AttemptEnd::Released => format!("{started}, and failed"),
        AttemptEnd::Unknown if facts.deadline.is_some_and(|end| end > now) => {
            format!("{started}, and may go on until {}", at(facts.deadline))
        }
        AttemptEnd::Unknown => {
            format!(
                "{started}, never ended; its time was out at {}",
                at(facts.deadline)
            )
        }
    };
    if let Some(error) = &facts.last_error {
        words.push_str(&format!("; the last error that was written down: {error}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use surehand::{IdempotencyKey, MemoryStore, idempotency::ClaimRequest};

    use super::*;

    /// Several queues may share one for their dead letters, each read by a function of its own. What a letter says of
    /// its function is not asked for.
    #[tokio::test]
    async fn a_letter_is_judged_by_the_function_that_gets_it() {
        let queue = |name: &str| format!("https://sqs.r.amazonaws.com/1/{name}");
        let readers = HashMap::from([
            (queue("orders"), Some("reserve".to_owned())),
            (queue("mails"), Some("notify".to_owned())),
            (queue("nobodys"), None),
        ]);
        let facts = Facts {
            function: Some("reserve".to_owned()),
            place: Some("r:1".to_owned()),
            readers: Mutex::new(readers),
            ..Facts::none()
        };
        for (to, expected) in [
            ("arn:aws:sqs:r:1:orders", Some("reserve")),
            ("arn:aws:sqs:r:1:mails", Some("notify")),
            ("arn:aws:sqs:r:1:nobodys", None),
            ("arn:aws:lambda:r:1:function:refund:live", Some("refund")),
            ("arn:aws:lambda:r:2:function:refund", None),
            ("arn:aws:lambda:s:1:function:refund", None),
            ("arn:aws:events:r:1:event-bus/shop", Some("reserve")),
        ] {
            let function = facts.function_of(Some(&to.parse().unwrap())).await;
            assert_eq!(function.as_deref(), expected, "{to}");
        }
        assert_eq!(facts.function_of(None).await.as_deref(), Some("reserve"));

        // A note names a function and a queue. Nobody else does, so that this is as if it named none.
        let note = serde_json::json!({
            "kind": "rejected", "message": "", "handler": "h", "function": "refund", "request_id": "r",
            "attempts": 1, "last_failure": "", "source_queue": "arn:aws:sqs:r:1:mails",
        });
        let mut letter = Letter::new("m", "{}");
        let value = surehand::record::AttributeValue::Text(note.to_string());
        let data_type = "String".to_owned();
        let note = surehand::record::Attribute { data_type, value };
        letter.attributes.insert("SurehandFailure".to_owned(), note);
        assert!(letter.destination().is_some());
        let key = crate::local::emulator::Key::new().unwrap();
        let cloud = Cloud {
            config: crate::local::emulator::config("http://127.0.0.1:1", &key),
            stack: None,
        };
        let mut trust = Trust::of(&cloud, "https://sqs.r.amazonaws.com/1/dead", "").await;
        assert_eq!(trust.destination(&letter).await, None);
        letter.source_arn = Some("arn:aws:sqs:r:1:orders".to_owned());
        let orders = "arn:aws:sqs:r:1:orders".parse().unwrap();
        assert_eq!(trust.destination(&letter).await, Some(orders));
    }

    #[tokio::test]
    async fn an_attempt_that_never_ended_is_told_from_one_that_failed() {
        let (store, key) = (
            MemoryStore::new(),
            IdempotencyKey::of_event("f", &Metadata::new("e")),
        );
        let now = SystemTime::now();
        let until = now + Duration::from_secs(10);
        let request = ClaimRequest::new(key.clone(), "print", until, now + Duration::from_secs(99));
        let Claim::Acquired(lease) = store.claim(&request).await.unwrap() else {
            panic!("the key is free");
        };
        let facts = store.history(&key).await.unwrap().unwrap();
        let begins = |words: &str, with: &str| words.starts_with(&format!("attempt 1 {with}"));
        assert!(begins(&in_words(&facts, now), "started at "));
        assert!(in_words(&facts, now).contains("and may go on until"));
        let late = in_words(&facts, until + Duration::from_secs(1));
        assert!(late.contains("never ended; its time was out at"), "{late}");

        store.release(&lease, true, "no stock").await.unwrap();
        let facts = store.history(&key).await.unwrap().unwrap();
        let words = in_words(&facts, now);
        assert!(
            words.ends_with("and failed; the last error that was written down: no stock"),
            "{words}"
        );
    }
}
