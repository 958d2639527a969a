//! Where dead letters may go.
//!
//! SQS says where it moved a message from. Everything else that a dead letter says of its way back is written by
//! whoever sent it, so it is held against what the services and the stack say.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aws_sdk_eventbridge::types::Target as RuleTarget;
use surehand_redrive::{Action, Destination, Letter, Origin, Plan, Step};

use super::{context::said, target};
use crate::cloud::{Cloud, reason};

/// What is known of the ways from a dead-letter queue.
pub(super) struct Trust {
    cloud: Cloud,
    /// The ARN of the dead-letter queue.
    letters: String,
    /// The queues whose redrive policies name it, or why they are not known.
    sources: Result<Vec<Destination>>,
    /// What services have said, by the destination and the rule that a letter names.
    said: BTreeMap<(Destination, Option<String>), Confirmed>,
}

/// What services say of a destination.
#[derive(Debug, Clone, Default)]
struct Confirmed {
    /// That what could not be delivered there goes to the dead-letter queue.
    is_so: bool,
    /// The message group that the rule delivers with.
    group: Option<String>,
    /// What could not be asked.
    why: Option<String>,
}

impl Trust {
    pub(super) async fn of(cloud: &Cloud, url: &str, letters: &str) -> Self {
        Self {
            sources: sources(cloud, url, letters).await,
            cloud: cloud.clone(),
            letters: letters.to_owned(),
            said: BTreeMap::new(),
        }
    }

    fn sources(&self) -> &[Destination] {
        self.sources.as_deref().unwrap_or_default()
    }

    /// Where the letter goes, if others than its sender say so.
    pub(super) async fn destination(&mut self, letter: &Letter) -> Option<Destination> {
        let to = letter.destination()?;
        let is_known = letter.source_arn.is_some()
            || self.sources().iter().any(|it| it.is_same(&to))
            || self.confirmed(&to, rule(letter)).await.is_so;
        is_known.then_some(to)
    }

    async fn confirmed(&mut self, to: &Destination, rule: Option<String>) -> Confirmed {
        let asked = (to.clone(), rule);
        if let Some(known) = self.said.get(&asked) {
            return known.clone();
        }
        let confirmed = match &asked.1 {
            Some(rule) => of_rule(&self.cloud, rule, &self.letters, to).await,
            None => Confirmed {
                is_so: is_confirmed(&self.cloud, &self.letters, to).await,
                ..Confirmed::default()
            },
        };
        self.said.insert(asked, confirmed.clone());
        confirmed
    }
}

fn rule(letter: &Letter) -> Option<String> {
    match letter.origin() {
        Origin::Rule { rule_arn, .. } => Some(rule_arn),
        _ => None,
    }
}

/// The destinations that dead letters name themselves. Each letter is judged alone: others may be forged.
#[derive(Default)]
pub(super) struct Claims(Vec<Claim>);

struct Claim {
    id: String,
    to: Destination,
    rule: Option<String>,
    /// What is still to be planned, once its message group is known.
    waiting: Option<(Box<Letter>, Action)>,
}

impl Claims {
    /// Takes note of where a letter says that it goes, after the plan has it as `step`.
    pub(super) fn note(&mut self, letter: &Letter, step: &Step, action: &Action) {
        let Some(to) = letter.destination().filter(|_| letter.source_arn.is_none()) else {
            return;
        };
        let rule = rule(letter);
        // A dead-letter queue of EventBridge keeps no order.
        let lacks_group = to.is_fifo() && letter.group.is_none() && rule.is_some();
        let waiting = match step.action == Action::Hold {
            false => None,
            true if lacks_group && matches!(action, Action::Redrive | Action::Edit { .. }) => {
                Some((Box::new(letter.clone()), action.clone()))
            }
            true => return,
        };
        self.0.push(Claim {
            id: letter.id.clone(),
            to,
            rule,
            waiting,
        });
    }

    /// Writes into the plan where its letters may go, and holds those that would go elsewhere. `given` is what the
    /// user allows.
    pub(super) async fn settle(
        self,
        plan: &mut Plan,
        cloud: &Cloud,
        given: &[Destination],
    ) -> Result<()> {
        let letters = plan.header.queue_arn.clone().unwrap_or_default();
        let mut trust = Trust::of(cloud, &plan.header.queue, &letters).await;
        let mut known = given.to_vec();
        known.extend(plan.header.destinations.take().unwrap_or_default());
        known.extend(trust.sources().to_vec());
        let mut confirmed = Vec::new();
        for claim in self.0 {
            let Claim {
                id,
                to,
                rule,
                waiting,
            } = claim;
            let is_known = known.iter().any(|it| it.is_same(&to));
            if is_known && waiting.is_none() {
                continue;
            }
            let said = trust.confirmed(&to, rule).await;
            if !is_known && !said.is_so {
                let why = match (&trust.sources, said.why) {
                    (_, Some(why)) => format!(" ({why})"),
                    (Err(error), None) => format!(" ({error:#})"),
                    (Ok(_), None) => String::new(),
                };
                let text = format!(
                    "only the message itself says that it goes to {to}{why}; the plan needs --allow or --to"
                );
                plan.hold(&id, text);
                continue;
            }
            if let Some((letter, action)) = waiting {
                match said.group {
                    Some(group) => _ = plan.add_in_group(&letter, action, Some(&group)),
                    None => {
                        let why = said.why.unwrap_or_default();
                        let text =
                            format!("{to} needs a message group, and it is not known: {why}");
                        plan.hold(&id, text);
                    }
                }
            }
            if !is_known && !confirmed.contains(&to) {
                confirmed.push(to);
            }
        }
        known.extend(confirmed);
        plan.header.destinations = Some(known);
        Ok(())
    }
}

/// The queues whose redrive policies name this one.
async fn sources(cloud: &Cloud, url: &str, letters: &str) -> Result<Vec<Destination>> {
    let sqs = aws_sdk_sqs::Client::new(&cloud.config);
    let cannot = "the queues that it holds dead letters of cannot be listed";
    let mut sources = Vec::new();
    if cloud.stack.is_some() {
        // The emulator of a stack does not answer the question itself.
        let mut pages = sqs.list_queues().into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(reason).context(cannot)?;
            for url in page.queue_urls.unwrap_or_default() {
                if target::dead_letter_arn(&sqs, &url).await?.as_deref() == Some(letters) {
                    sources.push(Destination::Queue(url));
                }
            }
        }
        return Ok(sources);
    }
    let request = sqs.list_dead_letter_source_queues().queue_url(url);
    let mut pages = request.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(reason).context(cannot)?;
        sources.extend(page.queue_urls.into_iter().map(Destination::Queue));
    }
    Ok(sources)
}

/// Whether Lambda says that what the function fails on goes to this dead-letter queue.
async fn is_confirmed(cloud: &Cloud, letters: &str, to: &Destination) -> bool {
    let Destination::Function(arn) = to else {
        return false;
    };
    let lambda = aws_sdk_lambda::Client::new(&cloud.config);
    let config = lambda.get_function_event_invoke_config().function_name(arn);
    let on_failure = config.send().await.ok().and_then(|config| {
        let destinations = config.destination_config?;
        destinations.on_failure?.destination
    });
    if on_failure.as_deref() == Some(letters) {
        return true;
    }
    let deployed = cloud.configuration(arn).await.ok();
    let letters_of = deployed.and_then(|it| it.dead_letter_config?.target_arn);
    letters_of.as_deref() == Some(letters)
}

/// Whether the rule has the target, with this queue for what cannot be delivered.
async fn of_rule(cloud: &Cloud, rule: &str, letters: &str, to: &Destination) -> Confirmed {
    // arn:aws:events:REGION:ACCOUNT:rule/[BUS/]NAME
    let path = rule.splitn(6, ':').nth(5);
    let Some(path) = path.and_then(|path| path.strip_prefix("rule/")) else {
        return Confirmed::default();
    };
    let (bus, name) = match path.rsplit_once('/') {
        Some((bus, name)) => (Some(bus.to_owned()), name),
        None => (None, path),
    };
    let events = aws_sdk_eventbridge::Client::new(&cloud.config);
    let request = events.list_targets_by_rule().rule(name);
    match request.set_event_bus_name(bus).send().await {
        Ok(answer) => of_targets(answer.targets(), name, letters, to),
        Err(error) => Confirmed {
            why: Some(format!(
                "the targets of rule {name} cannot be listed, which needs events:ListTargetsByRule: {}",
                reason(error)
            )),
            ..Confirmed::default()
        },
    }
}

/// What a rule's targets say of a destination.
fn of_targets(targets: &[RuleTarget], rule: &str, letters: &str, to: &Destination) -> Confirmed {
    let mut groups = Vec::new();
    for target in targets {
        let queue = target.dead_letter_config.as_ref();
        let queue = queue.and_then(|config| config.arn.as_deref());
        let destination = Destination::of_arn(&target.arn);
        if queue == Some(letters) && destination.is_some_and(|it| it.is_same(to)) {
            let parameters = target.sqs_parameters.as_ref();
            groups.push(parameters.and_then(|it| it.message_group_id.clone()));
        }
    }
    let mut distinct = groups.iter().flatten().collect::<Vec<_>>();
    distinct.dedup();
    let (group, why) = match distinct[..] {
        [group] => (Some(group.clone()), None),
        [] if groups.is_empty() => (
            None,
            Some(format!(
                "rule {rule} has no such target with this dead-letter queue"
            )),
        ),
        [] => (
            None,
            Some(format!("the target of rule {rule} has no MessageGroupId")),
        ),
        _ => (
            None,
            Some(format!("rule {rule} delivers there with several groups")),
        ),
    };
    Confirmed {
        is_so: !groups.is_empty(),
        group,
        why,
    }
}

/// The destinations that an option names.
pub(super) fn given(texts: &[String]) -> Result<Vec<Destination>> {
    texts.iter().map(|it| it.parse().map_err(said)).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_eventbridge::types::{DeadLetterConfig, SqsParameters};

    use super::*;

    const LETTERS: &str = "arn:aws:sqs:eu-west-1:123456789012:bus-dlq";
    const ORDERS: &str = "arn:aws:sqs:eu-west-1:123456789012:orders.fifo";

    fn target(arn: &str, letters: &str, group: Option<&str>) -> RuleTarget {
        let parameters = group.map(|it| SqsParameters::builder().message_group_id(it).build());
        let letters = DeadLetterConfig::builder().arn(letters).build();
        let target = RuleTarget::builder().id("1").arn(arn);
        let target = target
            .dead_letter_config(letters)
            .set_sqs_parameters(parameters);
        target.build().unwrap()
    }

    /// A dead letter of EventBridge has no group: the rule says with which one it would have been delivered.
    #[test]
    fn a_rule_says_which_group_its_target_has() {
        let to: Destination = ORDERS.parse().unwrap();
        let other = "arn:aws:sqs:eu-west-1:123456789012:other-dlq";
        let of = |targets: &[RuleTarget]| of_targets(targets, "placed", LETTERS, &to);
        let a = || target(ORDERS, LETTERS, Some("a"));

        let found = of(&[target(ORDERS, other, Some("b")), a(), a()]);
        assert!(found.is_so);
        assert_eq!((found.group.as_deref(), found.why), (Some("a"), None));
        for (targets, is_so, says) in [
            (
                vec![target(ORDERS, other, Some("a"))],
                false,
                "no such target",
            ),
            (vec![], false, "no such target"),
            (
                vec![target(ORDERS, LETTERS, None)],
                true,
                "no MessageGroupId",
            ),
            (
                vec![a(), target(ORDERS, LETTERS, Some("b"))],
                true,
                "several groups",
            ),
        ] {
            let found = of(&targets);
            assert_eq!((found.is_so, found.group), (is_so, None), "{targets:?}");
            assert!(found.why.unwrap().contains(says), "{targets:?}");
        }
    }
}
