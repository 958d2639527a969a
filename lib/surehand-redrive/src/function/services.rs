//! The queues, and how long to wait for them.

use super::round::Work;
use crate::{
    destination::Destination,
    post::AwsPost,
    queue::{Post, Queue},
    sqs::SqsDeadLetterQueue,
};
use aws_config::SdkConfig;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use futures_util::future::BoxFuture;
use std::{collections::BTreeMap, time::Duration};
use surehand::{BoxError, Error, environment};

/// The queues that the function reads and writes.
pub trait Queues: Send + Sync + 'static {
    /// A dead-letter queue, by its URL.
    fn dead_letters(&self, url: &str) -> Box<dyn Queue>;

    /// The URLs of the dead-letter queues that can be asked for by a name.
    fn by_name(&self) -> &BTreeMap<String, String>;

    /// Whether it is where the function parks its own messages.
    fn is_own(&self, url: &str) -> bool;

    /// Where letters of a dead-letter queue may go by what is written on them: the queues that have it for
    /// their dead letters, and what the function's configuration names.
    fn destinations<'a>(
        &'a self,
        url: &'a str,
    ) -> BoxFuture<'a, surehand::Result<Vec<Destination>>>;

    /// What puts letters back.
    fn post(&self) -> &dyn Post;

    /// Has the function go on with a run after `delay`, at most 15 minutes.
    fn go_on<'a>(&'a self, work: &'a Work, delay: Duration) -> BoxFuture<'a, surehand::Result<()>>;
}

/// Queues of SQS.
#[derive(Clone, Debug)]
pub struct SqsQueues {
    client: aws_sdk_sqs::Client,
    own: String,
    own_dead_letters: String,
    by_name: BTreeMap<String, String>,
    destinations: Vec<Destination>,
    post: AwsPost,
}

impl SqsQueues {
    /// With the function's own queue as the environment names it.
    ///
    /// # Errors
    /// If a variable is not set; if `DEAD_LETTER_QUEUES` is not a list of `NAME=URL`, separated by commas, or
    /// `REDRIVE_DESTINATIONS`, which may be missing, not one of URLs and ARNs.
    pub fn from_env(aws: &SdkConfig) -> Result<Self, BoxError> {
        let client = aws_sdk_sqs::Client::new(aws);
        Ok(Self {
            own: environment::var("REDRIVE_QUEUE_URL")?,
            own_dead_letters: environment::var("DEAD_LETTER_QUEUE_URL")?,
            by_name: names(&environment::var_like("DEAD_LETTER_QUEUES", "orders=URL")?)?,
            destinations: match environment::optional("REDRIVE_DESTINATIONS") {
                Some(list) => destinations(&list)?,
                None => Vec::new(),
            },
            post: AwsPost::new(client.clone())
                .event_bridge(aws_sdk_eventbridge::Client::new(aws))
                .lambda(aws_sdk_lambda::Client::new(aws)),
            client,
        })
    }
}

fn names(list: &str) -> Result<BTreeMap<String, String>, BoxError> {
    let pairs = list.split(',').map(|pair| {
        let (name, url) = pair.split_once('=').ok_or_else(|| {
            format!("DEAD_LETTER_QUEUES has `{pair}`, where there should be NAME=URL")
        })?;
        Ok((name.trim().to_owned(), url.trim().to_owned()))
    });
    pairs.collect()
}

fn destinations(list: &str) -> surehand::Result<Vec<Destination>> {
    let destinations = list.split(',').map(str::trim).filter(|it| !it.is_empty());
    destinations.map(str::parse).collect()
}

impl Queues for SqsQueues {
    fn dead_letters(&self, url: &str) -> Box<dyn Queue> {
        Box::new(SqsDeadLetterQueue::new(self.client.clone(), url))
    }

    fn by_name(&self) -> &BTreeMap<String, String> {
        &self.by_name
    }

    fn is_own(&self, url: &str) -> bool {
        [&self.own, &self.own_dead_letters].contains(&&url.to_owned())
    }

    fn destinations<'a>(
        &'a self,
        url: &'a str,
    ) -> BoxFuture<'a, surehand::Result<Vec<Destination>>> {
        Box::pin(async move {
            let request = self.client.list_dead_letter_source_queues().queue_url(url);
            let mut pages = request.into_paginator().send();
            let mut known = self.destinations.clone();
            while let Some(page) = pages.next().await {
                let page = match page {
                    // Emulators may lack the call. What the configuration lists is allowed all the same.
                    Err(error) if error.code() == Some("InvalidAction") => break,
                    page => page.map_err(|error| {
                        let error = DisplayErrorContext(error);
                        Error::transient(format!(
                            "the queues that have {url} for their dead letters cannot be listed: allow sqs:ListDeadLetterSourceQueues: {error}"
                        ))
                    })?,
                };
                known.extend(page.queue_urls.into_iter().map(Destination::Queue));
            }
            known.retain(|it| !matches!(it, Destination::Queue(url) if self.is_own(url)));
            Ok(known)
        })
    }

    fn post(&self) -> &dyn Post {
        &self.post
    }

    fn go_on<'a>(&'a self, work: &'a Work, delay: Duration) -> BoxFuture<'a, surehand::Result<()>> {
        Box::pin(async move {
            let body = serde_json::to_string(work)?;
            let message = self.client.send_message().queue_url(&self.own);
            let sent = message
                .message_body(body)
                .delay_seconds(i32::try_from(delay.as_secs().min(900)).unwrap_or(900))
                .send()
                .await;
            sent.map(drop).map_err(|error| {
                let error = DisplayErrorContext(error);
                Error::transient(format!("the run cannot be continued: {error}"))
            })
        })
    }
}
