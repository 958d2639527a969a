//! What brings a function its events: event source mappings, and rules of EventBridge that invoke it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aws_sdk_eventbridge::types::RuleState;
use aws_sdk_lambda::types::EventSourceMappingConfiguration;

use crate::cloud::{Cloud, reason};

/// An event source mapping, as Lambda describes it.
pub(super) type Mapping = EventSourceMappingConfiguration;

/// A rule that invokes a function, or one of its aliases, itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) bus: String,
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) is_on: bool,
    /// Whether it follows a clock alone: what it would bring while it is off is not an event that is lost.
    pub(super) is_schedule: bool,
    /// The ARNs of what else the rule brings its events to.
    pub(super) others: Vec<String>,
}

/// The function and its aliases, as Lambda takes them for a function's name.
pub(super) async fn names(cloud: &Cloud, function: &str) -> Result<Vec<String>> {
    let client = aws_sdk_lambda::Client::new(&cloud.config);
    let mut names = vec![function.to_owned()];
    let aliases = client.list_aliases().function_name(function);
    let mut aliases = aliases.into_paginator().items().send();
    while let Some(alias) = aliases.next().await {
        let alias = alias.map_err(reason);
        let alias = alias.with_context(|| format!("cannot list the aliases of {function}"))?;
        names.extend(alias.name.map(|alias| format!("{function}:{alias}")));
    }
    Ok(names)
}

/// The event source mappings of these names of one function, each once.
pub(super) async fn mappings(cloud: &Cloud, names: &[String]) -> Result<Vec<Mapping>> {
    let client = aws_sdk_lambda::Client::new(&cloud.config);
    let mut found = BTreeMap::new();
    for name in names {
        let mappings = client.list_event_source_mappings().function_name(name);
        let mut mappings = mappings.into_paginator().items().send();
        while let Some(mapping) = mappings.next().await {
            let mapping = mapping.map_err(reason);
            let mapping = mapping
                .with_context(|| format!("cannot find out what brings {name} its events"))?;
            found.insert(mapping.uuid.clone().unwrap_or_default(), mapping);
        }
    }
    Ok(found.into_values().collect())
}

/// The rules, of any bus, that have the function of this ARN or one of these names of it as a target.
pub(super) async fn rules(cloud: &Cloud, function: &str, names: &[String]) -> Result<Vec<Rule>> {
    let client = aws_sdk_eventbridge::Client::new(&cloud.config);
    let arns: Vec<String> = names
        .iter()
        .map(|name| match name.split_once(':') {
            Some((_, alias)) => format!("{function}:{alias}"),
            None => function.to_owned(),
        })
        .collect();
    let mut named = BTreeSet::new();
    for bus in buses(&client).await? {
        for arn in &arns {
            let names = rule_names(&client, &bus, arn).await?;
            named.extend(names.into_iter().map(|name| (bus.clone(), name)));
        }
    }
    let mut rules = Vec::new();
    for (bus, name) in named {
        let rule = rule(&client, &bus, &name, &arns).await;
        rules.push(
            rule.with_context(|| format!("cannot describe the rule {name} of the bus {bus}"))?,
        );
    }
    Ok(rules)
}

async fn buses(client: &aws_sdk_eventbridge::Client) -> Result<Vec<String>> {
    let (mut buses, mut token) = (Vec::new(), None);
    loop {
        let page = client.list_event_buses().set_next_token(token).send().await;
        let page = page
            .map_err(reason)
            .context("cannot list the event buses")?;
        let names = page.event_buses.unwrap_or_default().into_iter();
        buses.extend(names.filter_map(|bus| bus.name));
        token = page.next_token;
        if token.is_none() {
            return Ok(buses);
        }
    }
}

async fn rule_names(
    client: &aws_sdk_eventbridge::Client,
    bus: &str,
    arn: &str,
) -> Result<Vec<String>> {
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let request = client.list_rule_names_by_target().target_arn(arn);
        let request = request.event_bus_name(bus).set_next_token(token);
        let page = request.send().await.map_err(reason);
        let page = page.with_context(|| format!("cannot list the rules of the bus {bus}"))?;
        names.extend(page.rule_names.unwrap_or_default());
        token = page.next_token;
        if token.is_none() {
            return Ok(names);
        }
    }
}

async fn rule(
    client: &aws_sdk_eventbridge::Client,
    bus: &str,
    name: &str,
    arns: &[String],
) -> Result<Rule> {
    let request = client.describe_rule().event_bus_name(bus).name(name);
    let described = request.send().await.map_err(reason)?;
    let (mut others, mut token) = (Vec::new(), None);
    loop {
        let request = client.list_targets_by_rule().event_bus_name(bus).rule(name);
        let page = request.set_next_token(token).send().await.map_err(reason)?;
        let targets = page.targets.unwrap_or_default().into_iter();
        others.extend(targets.map(|it| it.arn).filter(|arn| !arns.contains(arn)));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    Ok(Rule {
        bus: bus.to_owned(),
        name: name.to_owned(),
        is_on: described.state != Some(RuleState::Disabled),
        is_schedule: described.event_pattern.is_none_or(|it| it.is_empty()),
        arn: described.arn.unwrap_or_default(),
        others,
    })
}
