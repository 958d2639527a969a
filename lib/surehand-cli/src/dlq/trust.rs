//! Where dead letters may go.
//!
//! SQS says where it moved a message from. Everything else that a dead letter says of its way back is written by
//! whoever sent it, so it is held against what the services and the stack say.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use surehand_redrive::{Destination, Letter, Origin, Plan};

use super::{context::said, target};
use crate::cloud::{Cloud, reason};

/// The destinations that dead letters name themselves.
#[derive(Default)]
pub(super) struct Claims(BTreeMap<Destination, Claim>);

#[derive(Default)]
struct Claim {
    /// The rule that could not deliver there.
    rule: Option<String>,
    letters: Vec<String>,
}

impl Claims {
    /// Takes note of where a letter says that it goes.
    pub(super) fn note(&mut self, letter: &Letter) {
        let Some(to) = letter.destination().filter(|_| letter.source_arn.is_none()) else {
            return;
        };
        let claim = self.0.entry(to).or_default();
        claim.letters.push(letter.id.clone());
        if let Origin::Rule { rule_arn, .. } = letter.origin() {
            claim.rule.get_or_insert(rule_arn);
        }
    }

    /// Writes into the plan where its letters may go, and holds those that would go elsewhere. `given` is what the
    /// user allows.
    pub(super) async fn settle(
        self,
        plan: &mut Plan,
        cloud: &Cloud,
        given: &[Destination],
    ) -> Result<()> {
        let mut known = given.to_vec();
        known.extend(plan.header.destinations.take().unwrap_or_default());
        let sources = sources(cloud, &plan.header.queue).await;
        known.extend(sources.as_ref().ok().into_iter().flatten().cloned());
        known.extend(of_stack(cloud));
        let letters = plan.header.queue_arn.clone().unwrap_or_default();
        for (to, claim) in self.0 {
            let is_known = known.iter().any(|it| it.is_same(&to))
                || is_confirmed(cloud, &letters, &to, claim.rule.as_deref()).await;
            if is_known {
                if !known.contains(&to) {
                    known.push(to);
                }
                continue;
            }
            let why = match &sources {
                Err(error) => format!(" ({error:#})"),
                Ok(_) => String::new(),
            };
            for id in claim.letters {
                let text = format!(
                    "only the message itself says that it goes to {to}{why}; the plan needs --allow or --to"
                );
                plan.hold(&id, text);
            }
        }
        plan.header.destinations = Some(known);
        Ok(())
    }
}

/// The queues whose redrive policies name this one.
pub(super) async fn sources(cloud: &Cloud, url: &str) -> Result<Vec<Destination>> {
    let sqs = aws_sdk_sqs::Client::new(&cloud.config);
    let request = sqs.list_dead_letter_source_queues().queue_url(url);
    let mut pages = request.into_paginator().send();
    let mut sources = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page
            .map_err(reason)
            .context("the queues that it holds dead letters of cannot be listed")?;
        sources.extend(page.queue_urls.into_iter().map(Destination::Queue));
    }
    Ok(sources)
}

/// What the stack of a running `surehand dev` has.
fn of_stack(cloud: &Cloud) -> Vec<Destination> {
    let Some(stack) = &cloud.stack else {
        return Vec::new();
    };
    let queues = stack.queues();
    queues
        .map(|(_, url)| Destination::Queue(url.to_owned()))
        .collect()
}

/// Whether a service says that what could not be delivered there goes to this dead-letter queue.
async fn is_confirmed(cloud: &Cloud, letters: &str, to: &Destination, rule: Option<&str>) -> bool {
    if let Some(rule) = rule
        && is_target(cloud, rule, letters, to)
            .await
            .unwrap_or_default()
    {
        return true;
    }
    let Destination::Function(arn) = to else {
        return false;
    };
    let name = arn.split(':').nth(6).unwrap_or_default();
    if let Some(stack) = &cloud.stack {
        return stack.function(name).is_some();
    }
    let lambda = aws_sdk_lambda::Client::new(&cloud.config);
    let config = lambda.get_function_event_invoke_config().function_name(arn);
    let on_failure = config.send().await.ok().and_then(|config| {
        let destinations = config.destination_config?;
        destinations.on_failure?.destination
    });
    if on_failure.as_deref() == Some(letters) {
        return true;
    }
    let deployed = target::configuration(cloud, arn).await.ok();
    let letters_of = deployed.and_then(|it| it.dead_letter_config?.target_arn);
    letters_of.as_deref() == Some(letters)
}

/// Whether the rule has the target, with this queue for what cannot be delivered.
async fn is_target(cloud: &Cloud, rule: &str, letters: &str, to: &Destination) -> Option<bool> {
    // arn:aws:events:REGION:ACCOUNT:rule/[BUS/]NAME
    let path = rule.splitn(6, ':').nth(5)?.strip_prefix("rule/")?;
    let (bus, name) = match path.rsplit_once('/') {
        Some((bus, name)) => (Some(bus.to_owned()), name),
        None => (None, path),
    };
    let events = aws_sdk_eventbridge::Client::new(&cloud.config);
    let request = events.list_targets_by_rule().rule(name);
    let targets = request.set_event_bus_name(bus).send().await.ok()?.targets?;
    Some(targets.iter().any(|target| {
        let queue = target.dead_letter_config.as_ref();
        let queue = queue.and_then(|config| config.arn.as_deref());
        queue == Some(letters) && Destination::of_arn(&target.arn).as_ref() == Some(to)
    }))
}

/// The destinations that an option names.
pub(super) fn given(texts: &[String]) -> Result<Vec<Destination>> {
    texts.iter().map(|it| it.parse().map_err(said)).collect()
}
