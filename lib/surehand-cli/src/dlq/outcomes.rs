//! What the idempotency table knows of events: whether they were handled, and how their attempts went.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use futures_util::future::BoxFuture;
use surehand::{
    DynamoDbStore, IdempotencyKey, Metadata,
    idempotency::{AttemptEnd, Claim, Store as _},
};
use surehand_redrive::{Letter, Outcomes, Redriven};

use super::target::{self, Target};
use crate::cloud::Cloud;

/// The table of a function, by the variable that the library reads it from.
const TABLE: &str = "IDEMPOTENCY_TABLE";

/// Asks the tables of the functions that failed.
pub(crate) struct Facts {
    cloud: Option<Cloud>,
    /// Of letters that do not name their function.
    function: Option<String>,
    stores: Mutex<HashMap<String, Option<DynamoDbStore>>>,
}

impl Facts {
    /// Knows nothing.
    pub(super) fn none() -> Self {
        Self {
            cloud: None,
            function: None,
            stores: Mutex::default(),
        }
    }

    pub(crate) async fn find(cloud: Cloud, target: Option<&Target>) -> Self {
        let function = match target {
            None => None,
            Some(Target {
                function: Some(function),
                ..
            }) => Some(function.clone()),
            Some(target) => reader(&cloud, target).await,
        };
        Self {
            cloud: Some(cloud),
            function,
            stores: Mutex::default(),
        }
    }

    /// Whether the letters' outcomes can be known: some function was found, and keeps claims in a table.
    pub(super) async fn are_known(&self) -> bool {
        match &self.function {
            Some(function) => self.store(function).await.is_some(),
            None => false,
        }
    }

    /// What is known of the attempts at a letter's event, in a few words.
    pub(super) async fn of(&self, letter: &Letter) -> Option<String> {
        let function = letter.cause().function.or_else(|| self.function.clone())?;
        self.of_event(&function, &letter.event()?.identity()).await
    }

    /// The same for an event of a function.
    pub(crate) async fn of_event(&self, function: &str, event: &Metadata) -> Option<String> {
        let key = IdempotencyKey::of_event(function, event);
        // Facts are a help; without them the letter is shown all the same.
        let facts = self.store(function).await?.history(&key).await.ok()??;
        Some(in_words(&facts, SystemTime::now()))
    }

    async fn store(&self, function: &str) -> Option<DynamoDbStore> {
        let stores = || self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores().get(function) {
            return store.clone();
        }
        let cloud = self.cloud.as_ref()?;
        let variables = target::variables(cloud, function).await.unwrap_or_default();
        let store = variables
            .get(TABLE)
            .map(|name| DynamoDbStore::new(aws_sdk_dynamodb::Client::new(&cloud.config), name));
        stores().insert(function.to_owned(), store.clone());
        store
    }
}

impl Outcomes for Facts {
    fn completed<'a>(
        &'a self,
        redriven: &'a [Redriven],
    ) -> BoxFuture<'a, surehand::Result<Vec<bool>>> {
        Box::pin(async move {
            let mut completed = Vec::with_capacity(redriven.len());
            for letter in redriven {
                let function = letter.function.as_ref().or(self.function.as_ref());
                let store = match function {
                    Some(function) => self.store(function).await.zip(Some(function)),
                    None => None,
                };
                completed.push(match store {
                    None => false,
                    Some((store, function)) => {
                        let key = IdempotencyKey::of_event(function, &letter.event);
                        matches!(store.find(&key).await?, Some(Claim::Completed(_)))
                    }
                });
            }
            Ok(completed)
        })
    }
}

/// The function that reads the queue whose letters are in this one.
async fn reader(cloud: &Cloud, target: &Target) -> Option<String> {
    let sqs = aws_sdk_sqs::Client::new(&cloud.config);
    let lambda = aws_sdk_lambda::Client::new(&cloud.config);
    let mut mappings = lambda
        .list_event_source_mappings()
        .into_paginator()
        .items()
        .send();
    while let Some(Ok(mapping)) = mappings.next().await {
        let Some(source) = mapping.event_source_arn.filter(|arn| arn.contains(":sqs:")) else {
            continue;
        };
        let Ok(url) = target::queue_url(cloud, &source).await else {
            continue;
        };
        let letters = target::dead_letter_arn(&sqs, &url).await.ok().flatten();
        if letters.is_some_and(|arn| target::name_of(&arn) == target.name()) {
            let arn = mapping.function_arn?;
            return arn.split(':').nth(6).map(str::to_owned);
        }
    }
    None
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

        store.release(&lease, "no stock").await.unwrap();
        let facts = store.history(&key).await.unwrap().unwrap();
        let words = in_words(&facts, now);
        assert!(
            words.ends_with("and failed; the last error that was written down: no stock"),
            "{words}"
        );
    }
}
