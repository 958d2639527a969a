//! What the idempotency table knows of events: whether they were handled, and how their attempts went.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use surehand::{
    DynamoDbStore, IdempotencyKey, Metadata,
    idempotency::{AttemptEnd, Claim, Store as _},
};
use surehand_redrive::{Letter, Outcomes, Redriven};

use super::target::{self, Target};
use crate::cloud::{Cloud, reason};

/// The table of a function, by the variable that the library reads it from.
const TABLE: &str = "IDEMPOTENCY_TABLE";

/// How many outcomes are asked for at once.
const SIDE_BY_SIDE: usize = 32;

/// Asks the tables of the functions that failed.
pub(super) struct Facts {
    cloud: Option<Cloud>,
    /// Of letters that do not name their function, and that SQS did not move here.
    function: Option<String>,
    stores: Mutex<HashMap<String, Option<DynamoDbStore>>>,
    /// The functions that read queues, by the queues' ARNs.
    readers: Mutex<HashMap<String, Option<String>>>,
}

impl Facts {
    /// Knows nothing.
    pub(super) fn none() -> Self {
        Self {
            cloud: None,
            function: None,
            stores: Mutex::default(),
            readers: Mutex::default(),
        }
    }

    /// As far as it can be known; what cannot be looked up is as if it were not there.
    pub(super) async fn find(cloud: Cloud, target: Option<&Target>) -> Self {
        let function = match target {
            None => None,
            Some(target) => of_target(&cloud, target).await.ok().flatten(),
        };
        Self {
            function,
            ..Self::of_cloud(cloud)
        }
    }

    /// As [`find`](Self::find), for those who rely on it.
    ///
    /// # Errors
    /// Why the outcomes of the queue's messages cannot be known.
    pub(super) async fn relied_on(cloud: Cloud, target: &Target) -> Result<Self> {
        let function = of_target(&cloud, target).await?.with_context(|| {
            format!(
                "no function was found that reads the queue of which {} has the dead letters",
                target.name()
            )
        })?;
        let facts = Self {
            function: Some(function.clone()),
            ..Self::of_cloud(cloud)
        };
        match facts.look_up(&function).await? {
            Some(_) => Ok(facts),
            None => bail!(
                "{function} has no {TABLE}, so that it keeps no record of what it has handled"
            ),
        }
    }

    fn of_cloud(cloud: Cloud) -> Self {
        Self {
            cloud: Some(cloud),
            ..Self::none()
        }
    }

    /// When the function of these letters was last deployed, and what that says of a failure since `plan` was made;
    /// none if it is not known.
    pub(super) async fn deployed(&self, plan: &str) -> Option<String> {
        let function = self.function.as_deref()?;
        let configuration = target::configuration(self.cloud.as_ref()?, function).await;
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
        let function = letter.cause().function;
        let function = self.function_of(function, letter.source_arn.as_deref());
        self.of_event(&function.await?, &letter.event()?.identity())
            .await
    }

    /// The function that a letter is for: the one that reads the queue which SQS moved it from, else the one that the
    /// letter names. Several queues may share one for their dead letters.
    ///
    /// What a letter names can have been written by whoever sent it: another function may have handled the same event
    /// long ago, and a ramp would take that for the outcome of the redrive. A function of another account, which its
    /// ARN would name, is never asked.
    async fn function_of(&self, named: Option<String>, source_arn: Option<&str>) -> Option<String> {
        match (source_arn, named.filter(|name| !name.contains(':'))) {
            (Some(arn), _) => self.reader(arn).await,
            (None, Some(function)) => Some(function),
            (None, None) => self.function.clone(),
        }
    }

    async fn reader(&self, source_arn: &str) -> Option<String> {
        let readers = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers().get(source_arn) {
            return reader.clone();
        }
        let lambda = aws_sdk_lambda::Client::new(&self.cloud.as_ref()?.config);
        let request = lambda.list_event_source_mappings();
        // Without an answer it is asked again, with the next letter.
        let answer = request.event_source_arn(source_arn).send().await.ok()?;
        let mut mappings = answer.event_source_mappings.unwrap_or_default().into_iter();
        let reader = mappings.find_map(|it| name_of_function(&it.function_arn?));
        readers().insert(source_arn.to_owned(), reader.clone());
        reader
    }

    /// The same for an event of a function.
    async fn of_event(&self, function: &str, event: &Metadata) -> Option<String> {
        let key = IdempotencyKey::of_event(function, event);
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

    async fn is_completed(&self, letter: &Redriven) -> bool {
        let function = letter.function.clone();
        let function = self.function_of(function, letter.source_arn.as_deref());
        let Some(function) = function.await else {
            return false;
        };
        let Some(store) = self.store(&function).await else {
            return false;
        };
        let key = IdempotencyKey::of_event(&function, &letter.event);
        // Without an answer for this one it is not known yet; the others are.
        matches!(store.find(&key).await, Ok(Some(Claim::Completed(_))))
    }
}

impl Outcomes for Facts {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        Box::pin(async move {
            let asked: Vec<_> = redriven.iter().map(|it| self.is_completed(it)).collect();
            Ok(stream::iter(asked).buffered(SIDE_BY_SIDE).collect().await)
        })
    }
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

    use surehand::{MemoryStore, idempotency::ClaimRequest};

    use super::*;

    /// Several queues may share one for their dead letters, each read by a function of its own.
    #[tokio::test]
    async fn a_letter_is_judged_by_the_function_that_reads_its_source() {
        let readers = HashMap::from([
            ("orders".to_owned(), Some("reserve".to_owned())),
            ("mails".to_owned(), Some("notify".to_owned())),
            ("nobodys".to_owned(), None),
        ]);
        let facts = Facts {
            function: Some("reserve".to_owned()),
            readers: Mutex::new(readers),
            ..Facts::none()
        };
        for (named, source, expected) in [
            (None, Some("orders"), Some("reserve")),
            (None, Some("mails"), Some("notify")),
            (None, Some("nobodys"), None),
            (Some("refund"), Some("mails"), Some("notify")),
            (Some("refund"), Some("nobodys"), None),
            (Some("refund"), None, Some("refund")),
            (Some("arn:aws:lambda:r:2:function:f"), None, Some("reserve")),
            (None, None, Some("reserve")),
        ] {
            let named = named.map(str::to_owned);
            let function = facts.function_of(named.clone(), source).await;
            assert_eq!(function.as_deref(), expected, "{named:?} {source:?}");
        }
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
