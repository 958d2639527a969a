//! Which queue is meant: by name, URL or ARN, or as that of a function.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use aws_sdk_sqs::{operation::get_queue_url::GetQueueUrlError, types::QueueAttributeName};
use clap::Args;
use serde_json::Value;
use surehand_redrive::{Destination, Queue as _, SqsDeadLetterQueue};

use super::context::{Coded, Context, said};
use crate::cloud::{Cloud, reason};

/// Names a dead-letter queue.
#[derive(Debug, Clone, Args)]
pub(super) struct TargetArgs {
    /// The dead-letter queue: its name, URL or ARN
    #[arg(long, short, conflicts_with = "function", value_parser = queue)]
    pub(super) queue: Option<String>,
    /// The function whose dead-letter queue to use: its short name, logical id or full name
    #[arg(long, short)]
    pub(super) function: Option<String>,
    /// Read the queue even if it has a redrive policy of its own: each read counts as a receive there, after which SQS
    /// may move messages
    #[arg(long)]
    pub(super) despite_redrive_policy: bool,
}

/// Letters of a queue, or of a snapshot of one.
#[derive(Debug, Clone, Args)]
pub(super) struct SourceArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Read a snapshot written by `pull` instead of the queue
    #[arg(long = "in", value_name = "FILE", conflicts_with = "queue")]
    pub(super) snapshot: Option<PathBuf>,
}

/// A dead-letter queue that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) url: String,
    /// The name that Lambda knows the function by, if that was how the queue was found.
    pub(super) function: Option<String>,
    /// Whether it is read though it has a redrive policy.
    pub(super) despite_redrive_policy: bool,
}

impl Target {
    /// The queue's name.
    pub(super) fn name(&self) -> &str {
        name_of(&self.url)
    }
}

/// The last part of a queue's URL or ARN.
pub(crate) fn name_of(queue: &str) -> &str {
    queue.rsplit(['/', ':']).next().unwrap_or(queue)
}

impl TargetArgs {
    /// The queue, and the cloud that it is in.
    pub(super) async fn find(&self, context: &Context<'_>) -> Result<(Cloud, Target)> {
        if self.queue.is_none() && self.function.is_none() {
            bail!(Coded::usage("no queue: pass --queue or --function"));
        }
        let cloud = context.connect().await?;
        let cloud = cloud.in_region(self.queue.as_deref().and_then(region_of));
        let (url, function) = match (&self.queue, &self.function) {
            (Some(queue), _) => (named(&cloud, queue).await?, None),
            (None, function) => {
                let function = cloud.full_name(function.as_deref().unwrap_or_default())?;
                (of_function(&cloud, &function).await?, Some(function))
            }
        };
        let target = Target {
            url,
            function,
            despite_redrive_policy: self.despite_redrive_policy,
        };
        Ok((cloud, target))
    }
}

/// Looks over how a queue is named, so that a slip is no question to SQS.
pub(super) fn queue(text: &str) -> Result<String, String> {
    let is_name = |name: &str| {
        let stem = name.strip_suffix(".fifo").unwrap_or(name);
        let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !stem.is_empty() && name.len() <= 80 && stem.chars().all(known)
    };
    let is_queue = if let Some((scheme, rest)) = text.split_once("://") {
        let mut parts = rest.split('/');
        let host = parts.next().unwrap_or_default();
        let name = parts.next_back().unwrap_or_default();
        ["http", "https"].contains(&scheme) && !host.is_empty() && is_name(name)
    } else if text.starts_with("arn:") {
        let parts: Vec<&str> = text.split(':').collect();
        matches!(&parts[..], ["arn", _, "sqs", region, account, name]
            if !region.is_empty() && account.len() == 12 && is_name(name))
    } else {
        is_name(text)
    };
    match is_queue {
        true => Ok(text.to_owned()),
        false => Err("use a queue's name, URL or ARN".to_owned()),
    }
}

/// The region that an ARN or a URL of a queue names.
pub(super) fn region_of(queue: &str) -> Option<String> {
    let destination: Destination = queue.parse().ok()?;
    destination.region().map(str::to_owned)
}

/// The URL of the queue that the user names. An ARN says in which account and region it is, and that the queue which is
/// found is that one: others have its name.
pub(super) async fn named(cloud: &Cloud, queue: &str) -> Result<String> {
    let url = queue_url(cloud, queue).await?;
    if !queue.starts_with("arn:") {
        return Ok(url);
    }
    let sqs = aws_sdk_sqs::Client::new(&cloud.config);
    let info = SqsDeadLetterQueue::new(sqs, &url).info().await;
    let found = info
        .map_err(said)
        .with_context(|| format!("cannot read {} at {}", name_of(queue), cloud.name()))?
        .arn;
    if found != queue {
        bail!(
            "no queue `{queue}` at {}: its name is that of {found}",
            cloud.name()
        );
    }
    Ok(url)
}

/// The URL of the queue with this name, URL, ARN, or name of a stack's output.
pub(crate) async fn queue_url(cloud: &Cloud, queue: &str) -> Result<String> {
    if queue.starts_with("http://") || queue.starts_with("https://") {
        return Ok(queue.to_owned());
    }
    let output = cloud.stack.as_ref().and_then(|stack| {
        let mut queues = stack.queues();
        queues.find_map(|(name, url)| (name == queue).then(|| url.to_owned()))
    });
    if let Some(url) = output {
        return Ok(url);
    }
    let mut request = aws_sdk_sqs::Client::new(&cloud.config)
        .get_queue_url()
        .queue_name(name_of(queue));
    if queue.starts_with("arn:") {
        request =
            request.set_queue_owner_aws_account_id(queue.split(':').nth(4).map(str::to_owned));
    }
    match request.send().await {
        Ok(output) => output.queue_url.context("SQS answered without a URL"),
        Err(error) => {
            let is_known = |error: &GetQueueUrlError| error.is_queue_does_not_exist();
            match error.as_service_error().is_some_and(is_known) {
                true => bail!(
                    "no queue `{queue}` at {}{}",
                    cloud.name(),
                    others(cloud, name_of(queue)).await
                ),
                false => Err(reason(error))
                    .with_context(|| format!("cannot find queue `{queue}` at {}", cloud.name())),
            }
        }
    }
}

/// How many queues an error lists.
const SHOWN: usize = 10;

/// Says which queues there are, those first whose names are like the one that is not there.
async fn others(cloud: &Cloud, name: &str) -> String {
    let sqs = aws_sdk_sqs::Client::new(&cloud.config);
    // Who may not list queues has the error without them.
    let listed = sqs.list_queues().max_results(1_000).send().await;
    let urls = listed.ok().and_then(|it| it.queue_urls).unwrap_or_default();
    among(urls.iter().map(|url| name_of(url)).collect(), name)
}

fn among(mut names: Vec<&str>, name: &str) -> String {
    names.sort_by_key(|it| (strsim::damerau_levenshtein(it, name), *it));
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.truncate(SHOWN);
    match names.is_empty() {
        true => String::new(),
        false => format!(": the queues are {}{more}", names.join(", ")),
    }
}

/// The dead-letter queue of what a function reads, else the one that it parks in, else the one that its
/// asynchronous invocations fail to.
async fn of_function(cloud: &Cloud, function: &str) -> Result<String> {
    let lambda = aws_sdk_lambda::Client::new(&cloud.config);
    let sqs = aws_sdk_sqs::Client::new(&cloud.config);
    let mut mappings = lambda
        .list_event_source_mappings()
        .function_name(function)
        .into_paginator()
        .items()
        .send();
    while let Some(mapping) = mappings.next().await {
        let mapping = mapping.map_err(reason).with_context(|| {
            format!(
                "cannot find what function `{function}` reads at {}",
                cloud.name()
            )
        })?;
        let Some(source) = mapping.event_source_arn.filter(|arn| arn.contains(":sqs:")) else {
            continue;
        };
        let url = queue_url(cloud, &source).await?;
        if let Some(arn) = dead_letter_arn(&sqs, &url).await? {
            return queue_url(cloud, &arn).await;
        }
    }
    let variables = variables(cloud, function).await?;
    if let Some(url) = variables.get("DEAD_LETTER_QUEUE_URL") {
        return Ok(url.clone());
    }
    let invocations = lambda
        .get_function_event_invoke_config()
        .function_name(function)
        .send()
        .await;
    let on_failure = invocations.ok().and_then(|config| {
        let arn = config.destination_config?.on_failure?.destination?;
        arn.contains(":sqs:").then_some(arn)
    });
    match on_failure {
        Some(arn) => queue_url(cloud, &arn).await,
        None => bail!(
            "{function} has no dead-letter queue: its queues have no redrive policy, and it has neither DEAD_LETTER_QUEUE_URL nor an on-failure destination; pass --queue"
        ),
    }
}

/// The ARN of a queue's dead-letter queue, from its redrive policy.
pub(super) async fn dead_letter_arn(
    sqs: &aws_sdk_sqs::Client,
    url: &str,
) -> Result<Option<String>> {
    let output = sqs
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(QueueAttributeName::RedrivePolicy)
        .send()
        .await
        .map_err(reason)
        .with_context(|| format!("cannot read the attributes of {}", name_of(url)))?;
    let policy = output
        .attributes
        .and_then(|mut all| all.remove(&QueueAttributeName::RedrivePolicy))
        .unwrap_or_default();
    let policy: Value = serde_json::from_str(&policy).unwrap_or_default();
    Ok(policy["deadLetterTargetArn"].as_str().map(str::to_owned))
}

/// The environment variables of a deployed function.
pub(super) async fn variables(
    cloud: &Cloud,
    function: &str,
) -> Result<std::collections::HashMap<String, String>> {
    Ok(cloud
        .configuration(function)
        .await?
        .environment
        .and_then(|environment| environment.variables)
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queues_name_is_the_end_of_its_url_and_of_its_arn() {
        for queue in [
            "orders-dlq",
            "https://sqs.eu-west-1.amazonaws.com/1/orders-dlq",
            "arn:aws:sqs:eu-west-1:123456789012:orders-dlq",
        ] {
            assert_eq!(name_of(queue), "orders-dlq");
            assert_eq!(super::queue(queue).unwrap(), queue);
        }
    }

    #[test]
    fn the_queues_that_there_are_are_listed_the_nearest_first() {
        assert_eq!(
            among(vec!["stock-dlq", "order", "orders-dlq"], "orders-dql"),
            ": the queues are orders-dlq, order, stock-dlq"
        );
        assert_eq!(among(Vec::new(), "orders"), "");
        let names: Vec<String> = (10..30).map(|number| format!("q{number}")).collect();
        let said = among(names.iter().map(String::as_str).collect(), "q10");
        assert!(said.starts_with(": the queues are q10, "), "{said}");
        assert!(said.ends_with(" and 10 more"), "{said}");
    }

    #[test]
    fn what_cannot_be_a_queue_is_not_asked_for() {
        for text in [
            "",
            "orders dlq",
            "orders.txt",
            ".fifo",
            "http://",
            "https:///orders",
            "https://sqs.eu-west-1.amazonaws.com/1/",
            "ftp://host/1/orders",
            "arn:aws:sqs:eu-west-1:1:orders",
            "arn:aws:sqs:eu-west-1:123456789012",
            "arn:aws:lambda:eu-west-1:123456789012:orders",
        ] {
            queue(text).unwrap_err();
        }
        queue("arn:aws:sqs:eu-west-1:123456789012:orders.fifo").unwrap();
    }
}
