//! `surehand pause` and `surehand resume`: a function's sources off, and on again as they were.
//!
//! What was switched off is written down as a tag of the event source or of the rule itself, before it is switched off:
//! so another machine can resume, and whatever was off before stays off. A tag remains if the command dies in between,
//! and then `resume` does again what does no harm.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aws_sdk_eventbridge::types::Tag;
use aws_sdk_lambda::operation::update_event_source_mapping::UpdateEventSourceMappingError;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::sources::{self, Mapping, Rule};
use crate::{
    cloud::{Cloud, Wanted, reason},
    dlq::{End, name_of},
    progress::{Progress, number_of},
    terminal::{self, say},
};

/// The tag of what was switched off. Its value is when.
const PAUSED: &str = "surehand:paused";

/// How often Lambda is asked whether an event source is on or off by now.
const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
struct OfFunction {
    /// The function's short name (place-order), logical id or full name
    function: String,
    /// How many seconds to wait until the sources are switched
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    wait: u64,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wanted: Wanted,
}

/// Switch off what brings a function its events, until `surehand resume`
///
/// Event sources that are on are switched off, also those of the function's aliases, and so are schedules; messages wait
/// in their queues, and records in their streams, for as long as those keep them. What the function has begun it
/// finishes. A rule of EventBridge that invokes the function keeps no events, and is left on without --lose-events.
///
/// What was switched off is remembered as the tag `surehand:paused` of the event source or rule. A deployment that
/// changes an event source may switch it on again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  surehand pause reserve-stock
  surehand pause audit --lose-events

Exit codes: 0 done, 1 error, 2 wrong usage, 3 nothing was on, 4 not all is off by now")]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    of: OfFunction,
    /// Switch off rules as well that invoke the function themselves: what they match meanwhile is lost to it
    #[arg(long)]
    lose_events: bool,
}

/// Switch on again what `surehand pause` has switched off
///
/// What was off before stays off.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  surehand resume reserve-stock

Exit codes: 0 done, 1 error, 2 wrong usage, 3 nothing was paused, 4 not all is on by now")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    of: OfFunction,
}

/// What brings the function its events, and which of it was paused.
struct Sources {
    cloud: Cloud,
    function: String,
    mappings: Vec<(Mapping, Option<String>)>,
    rules: Vec<(Rule, Option<String>)>,
}

/// When the event source was paused; none if it was not.
pub(super) async fn paused_since(cloud: &Cloud, mapping: &Mapping) -> Result<Option<String>> {
    let Some(arn) = mapping.event_source_mapping_arn() else {
        return Ok(None);
    };
    let client = aws_sdk_lambda::Client::new(&cloud.config);
    let tags = client.list_tags().resource(arn).send().await;
    let tags = tags.map_err(reason);
    let tags = tags
        .with_context(|| format!("cannot read the tags of the event source {}", name(mapping)))?;
    Ok(tags.tags.and_then(|mut tags| tags.remove(PAUSED)))
}

async fn rule_paused_since(cloud: &Cloud, rule: &Rule) -> Result<Option<String>> {
    let client = aws_sdk_eventbridge::Client::new(&cloud.config);
    let tags = client.list_tags_for_resource().resource_arn(&rule.arn);
    let tags = tags.send().await.map_err(reason);
    let tags = tags.with_context(|| format!("cannot read the tags of the rule {}", rule.name))?;
    let paused = tags.tags().iter().find(|tag| tag.key() == PAUSED);
    Ok(paused.map(|tag| tag.value().to_owned()))
}

impl Sources {
    async fn find(of: &OfFunction, run: Option<String>, progress: &Progress) -> Result<Self> {
        let wanted = Wanted {
            run,
            ..of.wanted.clone()
        };
        let cloud = Cloud::connect(&wanted).await?;
        let configuration = cloud.function(&of.function).await?;
        let function = configuration.function_name.unwrap_or_default();
        let arn = configuration.function_arn.unwrap_or_default();
        if let Some(line) = cloud.changing(&arn) {
            progress.line(&line);
        }
        let names = sources::names(&cloud, &function).await?;
        let mut mappings = Vec::new();
        for mapping in sources::mappings(&cloud, &names).await? {
            let paused = paused_since(&cloud, &mapping).await?;
            mappings.push((mapping, paused));
        }
        let mut rules = Vec::new();
        for rule in sources::rules(&cloud, &arn, &names).await? {
            let paused = rule_paused_since(&cloud, &rule).await?;
            rules.push((rule, paused));
        }
        Ok(Self {
            cloud,
            function,
            mappings,
            rules,
        })
    }

    fn lambda(&self) -> aws_sdk_lambda::Client {
        aws_sdk_lambda::Client::new(&self.cloud.config)
    }

    fn events(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.cloud.config)
    }
}

/// The queue, table or stream of an event source, for messages.
pub(super) fn name(mapping: &Mapping) -> &str {
    let arn = mapping.event_source_arn().unwrap_or("?");
    match arn.split_once(":table/") {
        Some((_, rest)) => rest.split('/').next().unwrap_or(rest),
        None => name_of(arn),
    }
}

pub(super) async fn pause(
    arguments: PauseArgs,
    run: Option<String>,
    progress: &Progress,
) -> Result<End> {
    let sources = Sources::find(&arguments.of, run, progress).await?;
    let function = &sources.function;
    let rules: Vec<&Rule> = (sources.rules.iter())
        .map(|(rule, _)| rule)
        .filter(|rule| rule.is_on)
        .collect();
    for rule in &rules {
        may_pause(rule, function, arguments.lose_events)?;
    }
    let (lambda, events) = (sources.lambda(), sources.events());
    let mut report = Report::new(&arguments.of, function);
    let limit = Instant::now() + Duration::from_secs(arguments.of.wait);
    let now = format!("{:.0}", Timestamp::now());
    let mut switched = Vec::new();
    for (mapping, paused) in &sources.mappings {
        let (before, was_paused) = (state(mapping), paused.as_deref());
        if is_off(before) {
            report.unchanged(mapping, before, was_paused);
            continue;
        }
        let id = mapping.uuid().unwrap_or_default();
        settle(&lambda, id, limit).await?;
        let arn = mapping.event_source_mapping_arn().unwrap_or_default();
        let tagged = lambda.tag_resource().resource(arn).tags(PAUSED, &now);
        tagged.send().await.map_err(reason).with_context(|| {
            format!(
                "cannot write down that {} is paused, and left it on: the tag {PAUSED} needs lambda:TagResource",
                name(mapping)
            )
        })?;
        switch(&lambda, mapping, false, limit).await?;
        switched.push((mapping, before));
    }
    for rule in rules {
        let tag = Tag::builder().key(PAUSED).value(&now).build();
        let tagged = events.tag_resource().resource_arn(&rule.arn).tags(tag?);
        tagged.send().await.map_err(reason).with_context(|| {
            format!(
                "cannot write down that the rule {} is paused, and left it on: the tag {PAUSED} needs events:TagResource",
                rule.name
            )
        })?;
        let disabled = events.disable_rule().name(&rule.name);
        let disabled = disabled.event_bus_name(&rule.bus).send().await;
        disabled
            .map_err(reason)
            .with_context(|| format!("cannot switch off the rule {}", rule.name))?;
        report.rule(rule, "Enabled", "Disabled");
    }
    for (mapping, before) in switched {
        let after = settle(&lambda, mapping.uuid().unwrap_or_default(), limit).await?;
        report.mapping(mapping, before, &after, is_off(&after));
    }
    Ok(report.end(
        "off",
        "on",
        "is paused already, or nothing brings it events that is on",
    ))
}

/// Fails if what the rule matches while it is off is lost, unless that is accepted.
fn may_pause(rule: &Rule, function: &str, lose_events: bool) -> Result<()> {
    let (name, bus) = (&rule.name, &rule.bus);
    if let Some(other) = rule.others.first() {
        bail!(
            "the rule {name} of the bus {bus} brings its events also to {other}, which would not get them either: nothing \
             was switched off; give {function} a rule of its own"
        );
    }
    if !rule.is_schedule && !lose_events {
        bail!(
            "the rule {name} of the bus {bus} invokes {function} itself, so that what it matches while it is off is lost: \
             nothing was switched off; pass --lose-events to do it nevertheless"
        );
    }
    Ok(())
}

pub(super) async fn resume(
    arguments: ResumeArgs,
    run: Option<String>,
    progress: &Progress,
) -> Result<End> {
    let sources = Sources::find(&arguments.of, run, progress).await?;
    let (lambda, events) = (sources.lambda(), sources.events());
    let mut report = Report::new(&arguments.of, &sources.function);
    let limit = Instant::now() + Duration::from_secs(arguments.of.wait);
    let mut switched = Vec::new();
    for (mapping, paused) in &sources.mappings {
        let before = state(mapping);
        if paused.is_none() {
            report.unchanged(mapping, before, None);
            continue;
        }
        settle(&lambda, mapping.uuid().unwrap_or_default(), limit).await?;
        switch(&lambda, mapping, true, limit).await?;
        switched.push((mapping, before));
    }
    for (rule, paused) in &sources.rules {
        if paused.is_none() {
            continue;
        }
        let enabled = events.enable_rule().name(&rule.name);
        let enabled = enabled.event_bus_name(&rule.bus).send().await;
        enabled
            .map_err(reason)
            .with_context(|| format!("cannot switch on the rule {}", rule.name))?;
        let untagged = events.untag_resource().resource_arn(&rule.arn);
        let untagged = untagged.tag_keys(PAUSED).send().await.map_err(reason);
        untagged.with_context(|| forgotten(&format!("the rule {}", rule.name)))?;
        let before = if rule.is_on { "Enabled" } else { "Disabled" };
        report.rule(rule, before, "Enabled");
    }
    for (mapping, before) in switched {
        let after = settle(&lambda, mapping.uuid().unwrap_or_default(), limit).await?;
        let is_on = after == "Enabled";
        // What is not on yet can be resumed again.
        if is_on {
            let arn = mapping.event_source_mapping_arn().unwrap_or_default();
            let untagged = lambda.untag_resource().resource(arn).tag_keys(PAUSED);
            let untagged = untagged.send().await.map_err(reason);
            untagged.with_context(|| forgotten(name(mapping)))?;
        }
        report.mapping(mapping, before, &after, is_on);
    }
    Ok(report.end("on", "off", "was not paused"))
}

fn forgotten(what: &str) -> String {
    format!("{what} is on, and the tag {PAUSED} is left on it: take it off, or resume again")
}

fn state(mapping: &Mapping) -> &str {
    mapping.state().unwrap_or("?")
}

fn is_off(state: &str) -> bool {
    ["Disabled", "Disabling", "Deleting"].contains(&state)
}

/// Switches an event source on or off. Lambda refuses that while it works on another change of it.
async fn switch(
    client: &aws_sdk_lambda::Client,
    mapping: &Mapping,
    on: bool,
    limit: Instant,
) -> Result<()> {
    let id = mapping.uuid().unwrap_or_default();
    loop {
        let request = client.update_event_source_mapping().uuid(id).enabled(on);
        let Err(error) = request.send().await else {
            return Ok(());
        };
        let is_busy = error.as_service_error().is_some_and(|error| {
            matches!(
                error,
                UpdateEventSourceMappingError::ResourceInUseException(_)
                    | UpdateEventSourceMappingError::ResourceConflictException(_)
            )
        });
        if !is_busy || Instant::now() > limit {
            let to = if on { "on" } else { "off" };
            return Err(reason(error))
                .with_context(|| format!("cannot switch {to} the event source {}", name(mapping)));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until an event source is on or off; returns its state then, or when the time is up.
async fn settle(client: &aws_sdk_lambda::Client, id: &str, limit: Instant) -> Result<String> {
    loop {
        let mapping = client.get_event_source_mapping().uuid(id).send().await;
        let mapping = mapping.map_err(reason);
        let mapping = mapping.with_context(|| format!("cannot read the event source {id}"))?;
        let state = mapping.state.unwrap_or_default();
        if ["Enabled", "Disabled", "Deleting"].contains(&&*state) || Instant::now() > limit {
            return Ok(state);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What was done, as it is done.
struct Report<'a> {
    function: &'a str,
    json: bool,
    switched: u64,
    /// How many are not yet what they are to be.
    late: u64,
}

impl<'a> Report<'a> {
    fn new(of: &OfFunction, function: &'a str) -> Self {
        Self {
            function,
            json: of.json,
            switched: 0,
            late: 0,
        }
    }

    fn line(&self, kind: &str, name: &str, line: Value, text: &str) {
        match self.json {
            true => {
                let mut line = line;
                line["function"] = self.function.into();
                line["kind"] = kind.into();
                line["name"] = name.into();
                say!("{line}");
            }
            false => say!("{kind} {name}: {text}"),
        }
    }

    fn mapping(&mut self, mapping: &Mapping, before: &str, after: &str, is_done: bool) {
        self.switched += 1;
        self.late += u64::from(!is_done);
        self.line(
            "event source",
            name(mapping),
            json!({"id": mapping.uuid(), "before": before, "state": after, "switched": true}),
            &format!("{before} -> {after}"),
        );
    }

    fn unchanged(&self, mapping: &Mapping, state: &str, paused: Option<&str>) {
        let why = match paused {
            Some(time) => format!(", paused at {time}"),
            None => ", and stays so".to_owned(),
        };
        self.line(
            "event source",
            name(mapping),
            json!({"id": mapping.uuid(), "before": state, "state": state, "switched": false, "paused": paused}),
            &format!("{state}{why}"),
        );
    }

    fn rule(&mut self, rule: &Rule, before: &str, after: &str) {
        self.switched += 1;
        self.line(
            "rule",
            &rule.name,
            json!({"id": rule.arn, "before": before, "state": after, "switched": true}),
            &format!("{before} -> {after}"),
        );
    }

    fn end(&self, to: &str, from: &str, nothing: &str) -> End {
        match (self.switched, self.late) {
            (0, _) => {
                terminal::err("", &format!("{} {nothing}", self.function));
                End::Nothing
            }
            (_, 0) => End::Done,
            (_, late) => {
                let late = number_of(late, "event source");
                terminal::err(
                    "",
                    &format!(
                        "{late} of {} still {from} on the way to {to}: `surehand status` shows when that ends",
                        self.function
                    ),
                );
                End::Partly
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule {
            bus: "shop-bus".to_owned(),
            name: "audit".to_owned(),
            arn: "arn".to_owned(),
            is_on: true,
            is_schedule: false,
            others: Vec::new(),
        }
    }

    #[test]
    fn a_rule_that_loses_events_is_left_on_unless_that_is_accepted() {
        let error = may_pause(&rule(), "audit", false).unwrap_err().to_string();
        assert!(error.contains("--lose-events"), "{error}");
        may_pause(&rule(), "audit", true).unwrap();
        let schedule = Rule {
            is_schedule: true,
            ..rule()
        };
        may_pause(&schedule, "audit", false).unwrap();
    }

    #[test]
    fn a_rule_of_several_functions_is_never_switched_off() {
        let shared = Rule {
            others: vec!["arn:aws:lambda:r:a:function:other".to_owned()],
            ..rule()
        };
        let error = may_pause(&shared, "audit", true).unwrap_err().to_string();
        assert!(error.contains("function:other"), "{error}");
    }

    #[test]
    fn an_event_source_is_called_as_its_queue_or_table() {
        for (arn, expected) in [
            ("arn:aws:sqs:r:a:stock", "stock"),
            (
                "arn:aws:dynamodb:r:a:table/shop/stream/2026-01-01T00:00:00.000",
                "shop",
            ),
        ] {
            let mapping = Mapping::builder().event_source_arn(arn).build();
            assert_eq!(name(&mapping), expected);
        }
    }
}
