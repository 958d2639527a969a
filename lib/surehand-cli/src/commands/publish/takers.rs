//! Which rules of a bus take the events that were published, and what is near to an event that none takes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aws_sdk_eventbridge::{Client, types::RuleState};
use serde_json::{Value, json};

use super::event::Event;
use crate::{
    application::yaml::Node,
    check::pattern::{literals, matches, takes},
    cloud::{Cloud, reason},
    progress::number_of,
};

/// What takes each of the events.
pub(super) struct Takers(Vec<Takings>);

/// What becomes of one event.
struct Takings {
    line: usize,
    source: String,
    detail_type: String,
    /// The rules that take it.
    rules: Vec<Taker>,
    /// Why others do not, if it was probably meant for them.
    near: Vec<Near>,
}

struct Taker {
    rule: String,
    /// Functions by their short names, or else queues and what else there is.
    targets: Vec<String>,
    /// False if the pattern asks for what EventBridge alone knows.
    is_certain: bool,
}

struct Near {
    taker: Taker,
    /// What the event has and what the rule asks for; none if it is the detail that does not match.
    slip: Option<(String, String)>,
}

/// A rule of the bus.
struct Rule {
    name: String,
    pattern: Node,
}

/// How a rule stands to an event.
enum Stand {
    Takes { is_certain: bool },
    Near { slip: Option<(String, String)> },
    Not,
}

impl Takers {
    /// Asks the bus for its rules.
    pub(super) async fn of(
        cloud: &Cloud,
        client: &Client,
        bus: &str,
        events: &[Event],
    ) -> Result<Self> {
        // The emulator knows a bus by its name only.
        let bus = match &cloud.stack {
            Some(_) => bus.rsplit('/').next().unwrap_or(bus),
            None => bus,
        };
        let rules = rules(client, bus).await?;
        let mut targets = Targets {
            cloud,
            client,
            bus,
            known: BTreeMap::new(),
        };
        let mut takers = Vec::new();
        for event in events {
            let mut takings = Takings {
                line: event.line,
                source: event.source.clone(),
                detail_type: event.detail_type.clone(),
                rules: Vec::new(),
                near: Vec::new(),
            };
            let stands = stands(&rules, event);
            for (rule, stand) in rules.iter().zip(stands) {
                let is_certain = !matches!(stand, Stand::Takes { is_certain: false });
                if matches!(stand, Stand::Not) {
                    continue;
                }
                let taker = Taker {
                    rule: rule.name.clone(),
                    targets: targets.of(&rule.name).await?,
                    is_certain,
                };
                match stand {
                    Stand::Near { slip } => takings.near.push(Near { taker, slip }),
                    _ => takings.rules.push(taker),
                }
            }
            takers.push(takings);
        }
        Ok(Self(takers))
    }

    /// A line for the events with the same source and type that the same rules take.
    pub(super) fn text(&self) -> String {
        let mut lines = Vec::<(String, u64)>::new();
        for takings in &self.0 {
            let line = takings.text();
            match lines.iter_mut().find(|(known, _)| *known == line) {
                Some((_, count)) => *count += 1,
                None => lines.push((line, 1)),
            }
        }
        let lines = lines
            .into_iter()
            .map(|(line, count)| format!("{} {line}", number_of(count, "event")));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// A JSON line for each event.
    pub(super) fn json(&self) -> String {
        let taker =
            |it: &Taker| json!({"rule": it.rule, "targets": it.targets, "certain": it.is_certain});
        let lines = self.0.iter().map(|it| {
            let near = it.near.iter().map(|near| {
                let (written, asked_for) = near.slip.clone().unzip();
                json!({
                    "rule": near.taker.rule, "targets": near.taker.targets, "written": written, "asked_for": asked_for,
                })
            });
            json!({
                "line": it.line, "source": it.source, "detail_type": it.detail_type,
                "rules": it.rules.iter().map(taker).collect::<Vec<_>>(), "near": near.collect::<Vec<_>>(),
            })
            .to_string()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The JSON lines of events of which it is not known what takes them.
pub(super) fn unknown(events: &[Event]) -> String {
    let lines = events.iter().map(|event| {
        json!({
            "line": event.line, "source": event.source, "detail_type": event.detail_type, "rules": null, "near": null,
        })
        .to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl Takings {
    fn text(&self) -> String {
        let taken = self.rules.iter().map(|it| match it.is_certain {
            true => it.text(),
            false => format!("perhaps {}", it.text()),
        });
        let taken = taken.collect::<Vec<_>>().join(", ");
        let near: Vec<String> = self.near.iter().map(Near::text).collect();
        let said = match (taken.is_empty(), near.is_empty()) {
            (true, true) => "no rule takes it, and none is near".to_owned(),
            (true, false) => format!("no rule takes it: {}", near.join("; ")),
            (false, true) => taken,
            (false, false) => format!("{taken}; {}", near.join("; ")),
        };
        format!("{} {}: {said}", self.source, self.detail_type)
    }
}

impl Taker {
    fn text(&self) -> String {
        match self.targets.is_empty() {
            true => format!("{} (without a target)", self.rule),
            false => format!("{} ({})", self.rule, self.targets.join(", ")),
        }
    }
}

impl Near {
    fn text(&self) -> String {
        let taker = self.taker.text();
        match &self.slip {
            Some((written, asked_for)) => {
                format!("`{written}` is near `{asked_for}`, which {taker} takes")
            }
            None => format!("{taker} takes its source and type, but not its detail"),
        }
    }
}

/// How each rule stands to the event. If a rule that takes it asks for its very type, it is no slip.
fn stands(rules: &[Rule], event: &Event) -> Vec<Stand> {
    let whole = |source: &str, detail_type: &str| {
        json!({
            "source": source, "detail-type": detail_type, "resources": event.resources,
            "detail": serde_json::from_str::<Value>(&event.detail).unwrap_or_default(),
        })
    };
    let own = whole(&event.source, &event.detail_type);
    let taken: Vec<Option<bool>> = rules.iter().map(|it| takes(&it.pattern, &own)).collect();
    let is_spelled = |pattern: &Node| {
        let mut types = literals(pattern, "detail-type").into_iter();
        types.any(|it| it.text() == Some(&event.detail_type))
    };
    let is_meant = (rules.iter().zip(&taken))
        .any(|(rule, taken)| *taken != Some(false) && is_spelled(&rule.pattern));
    let near_to = |rule: &Rule, field: &str, written: &str| {
        let asked_for = literals(&rule.pattern, field).into_iter();
        let asked_for = asked_for.filter_map(Node::text);
        let near = asked_for.filter(|it| is_near(written, it));
        near.map(str::to_owned).collect::<Vec<_>>()
    };
    let stand = |(rule, taken): (&Rule, &Option<bool>)| {
        match taken {
            Some(true) => return Stand::Takes { is_certain: true },
            None => return Stand::Takes { is_certain: false },
            Some(false) if is_meant => return Stand::Not,
            Some(false) => {}
        }
        let (source, detail_type) = (&event.source, &event.detail_type);
        if matches(&rule.pattern, source, detail_type) != Some(false) {
            return Stand::Near { slip: None };
        }
        let sources = near_to(rule, "source", source);
        let types = near_to(rule, "detail-type", detail_type);
        let of_source = (sources.iter()).map(|it| (whole(it, detail_type), source, it.clone()));
        let of_type = (types.iter()).map(|it| (whole(source, it), detail_type, it.clone()));
        let slip = of_source
            .chain(of_type)
            .find(|(meant, _, _)| takes(&rule.pattern, meant) != Some(false));
        slip.map_or(Stand::Not, |(_, written, asked_for)| Stand::Near {
            slip: Some((written.clone(), asked_for)),
        })
    };
    rules.iter().zip(&taken).map(stand).collect()
}

/// Shorter names differ in a letter on purpose.
const SHORTEST: usize = 4;

/// Whether one was probably typed for the other.
fn is_near(written: &str, meant: &str) -> bool {
    let folded = |text: &str| -> String {
        let letters = text.chars().filter(|it| it.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let length = meant.chars().count();
    let is_alike = || strsim::damerau_levenshtein(written, meant) <= 1 + length / 8;
    written != meant && (folded(written) == folded(meant) || (length >= SHORTEST && is_alike()))
}

/// The rules of the bus that are in force and have a pattern.
async fn rules(client: &Client, bus: &str) -> Result<Vec<Rule>> {
    let (mut rules, mut next) = (Vec::new(), None);
    loop {
        let request = client.list_rules().event_bus_name(bus).set_next_token(next);
        let page = (request.send().await.map_err(reason))
            .with_context(|| format!("cannot list the rules of {bus}"))?;
        for rule in page.rules.unwrap_or_default() {
            let (Some(name), Some(pattern)) = (rule.name, rule.event_pattern) else {
                continue;
            };
            if rule.state == Some(RuleState::Disabled) {
                continue;
            }
            let pattern = Node::parse(&name, &pattern)
                .with_context(|| format!("cannot read the pattern of {name}"))?;
            rules.push(Rule { name, pattern });
        }
        next = page.next_token;
        if next.is_none() {
            return Ok(rules);
        }
    }
}

/// What rules deliver to, asked for once for each rule.
struct Targets<'a> {
    cloud: &'a Cloud,
    client: &'a Client,
    bus: &'a str,
    known: BTreeMap<String, Vec<String>>,
}

impl Targets<'_> {
    async fn of(&mut self, rule: &str) -> Result<Vec<String>> {
        if let Some(known) = self.known.get(rule) {
            return Ok(known.clone());
        }
        let (mut targets, mut next) = (Vec::new(), None);
        loop {
            let request = (self.client.list_targets_by_rule())
                .event_bus_name(self.bus)
                .rule(rule)
                .set_next_token(next);
            let page = (request.send().await.map_err(reason))
                .with_context(|| format!("cannot list the targets of {rule}"))?;
            for target in page.targets.unwrap_or_default() {
                targets.extend(self.behind(&target.arn).await?);
            }
            next = page.next_token;
            if next.is_none() {
                break;
            }
        }
        self.known.insert(rule.to_owned(), targets.clone());
        Ok(targets)
    }

    /// The functions behind a target, by the queue that it may be; or else what it is.
    async fn behind(&self, arn: &str) -> Result<Vec<String>> {
        let parts: Vec<&str> = arn.split(':').collect();
        match parts[..] {
            [_, _, "lambda", _, _, "function", name, ..] => Ok(vec![self.short(name)]),
            [_, _, "sqs", _, _, name] => {
                let mut functions = Vec::new();
                let mut mappings = aws_sdk_lambda::Client::new(&self.cloud.config)
                    .list_event_source_mappings()
                    .event_source_arn(arn)
                    .into_paginator()
                    .items()
                    .send();
                while let Some(mapping) = mappings.next().await {
                    let mapping = (mapping.map_err(reason))
                        .with_context(|| format!("cannot find what reads {name}"))?;
                    let function = mapping.function_arn.unwrap_or_default();
                    functions.extend(function.split(':').nth(6).map(|it| self.short(it)));
                }
                if functions.is_empty() {
                    functions.push(format!("queue {name}"));
                }
                Ok(functions)
            }
            [_, _, service, _, _, ref rest @ ..] => {
                Ok(vec![format!("{service} {}", rest.join(":"))])
            }
            _ => Ok(vec![arn.to_owned()]),
        }
    }

    /// The short name of a function, if it is known here.
    fn short(&self, name: &str) -> String {
        let stack = self.cloud.stack.as_ref();
        let function = stack.and_then(|stack| stack.function(name));
        function.map_or_else(|| name.to_owned(), |it| it.binary.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(source: &str, detail_type: &str, detail: &str) -> Event {
        Event {
            line: 1,
            source: source.to_owned(),
            detail_type: detail_type.to_owned(),
            detail: detail.to_owned(),
            time: None,
            resources: Vec::new(),
        }
    }

    /// What is said of an event on a bus with these rules, of which each has a function of its own.
    fn said(rules: &[(&str, &str)], event: &Event) -> String {
        let rules: Vec<Rule> = (rules.iter())
            .map(|(name, pattern)| Rule {
                name: (*name).to_owned(),
                pattern: Node::parse("p", pattern).unwrap(),
            })
            .collect();
        let mut takings = Takings {
            line: event.line,
            source: event.source.clone(),
            detail_type: event.detail_type.clone(),
            rules: Vec::new(),
            near: Vec::new(),
        };
        for (rule, stand) in rules.iter().zip(stands(&rules, event)) {
            let taker = |is_certain| Taker {
                rule: rule.name.clone(),
                targets: vec![format!("{}-function", rule.name)],
                is_certain,
            };
            match stand {
                Stand::Takes { is_certain } => takings.rules.push(taker(is_certain)),
                Stand::Near { slip } => takings.near.push(Near {
                    taker: taker(true),
                    slip,
                }),
                Stand::Not => {}
            }
        }
        Takers(vec![takings]).text()
    }

    const ORDERS: (&str, &str) = (
        "orders",
        r#"{"source": ["shop.orders"], "detail-type": ["OrderPlaced", "OrderCancelled"]}"#,
    );
    const LARGE: (&str, &str) = (
        "large",
        r#"{"source": ["shop.orders"], "detail": {"total": [{"numeric": [">", 100]}]}}"#,
    );
    const ALL: (&str, &str) = ("all", r#"{"source": [{"prefix": "shop."}]}"#);

    #[test]
    fn the_rules_that_take_an_event_are_named() {
        let placed = event("shop.orders", "OrderPlaced", r#"{"total": 120}"#);
        assert_eq!(
            said(&[ORDERS, LARGE, ALL], &placed),
            "1 event shop.orders OrderPlaced: orders (orders-function), large (large-function), all (all-function)"
        );
        // Another type of the same source is no slip.
        let cheap = event("shop.orders", "OrderPlaced", r#"{"total": 1}"#);
        assert_eq!(
            said(&[ORDERS, LARGE], &cheap),
            "1 event shop.orders OrderPlaced: orders (orders-function)"
        );
        let rule = [("id", r#"{"id": ["1"]}"#)];
        assert_eq!(
            said(&rule, &cheap),
            "1 event shop.orders OrderPlaced: perhaps id (id-function)"
        );
    }

    #[test]
    fn what_is_near_to_an_event_that_no_rule_takes_is_said() {
        for (source, detail_type, expected) in [
            (
                "shop.orders",
                "OrderPlacd",
                "no rule takes it: `OrderPlacd` is near `OrderPlaced`, which orders (orders-function) takes",
            ),
            (
                "shop.orders",
                "order-placed",
                "no rule takes it: `order-placed` is near `OrderPlaced`, which orders (orders-function) takes",
            ),
            (
                "shop.order",
                "OrderPlaced",
                "no rule takes it: `shop.order` is near `shop.orders`, which orders (orders-function) takes",
            ),
            ("bank", "Paid", "no rule takes it, and none is near"),
        ] {
            assert_eq!(
                said(&[ORDERS], &event(source, detail_type, "{}")),
                format!("1 event {source} {detail_type}: {expected}")
            );
        }
        assert_eq!(
            said(
                &[LARGE],
                &event("shop.orders", "OrderPlaced", r#"{"total": 1}"#)
            ),
            "1 event shop.orders OrderPlaced: no rule takes it: large (large-function) takes its source and type, but not its detail"
        );
        // A rule that takes everything hides no slip.
        assert_eq!(
            said(&[ORDERS, ALL], &event("shop.orders", "OrderPlacd", "{}")),
            "1 event shop.orders OrderPlacd: all (all-function); `OrderPlacd` is near `OrderPlaced`, which orders (orders-function) takes"
        );
    }

    #[test]
    fn equal_events_are_one_line() {
        let takings = |line, detail_type: &str| Takings {
            line,
            source: "shop.orders".to_owned(),
            detail_type: detail_type.to_owned(),
            rules: Vec::new(),
            near: Vec::new(),
        };
        let takers = Takers(vec![takings(1, "A"), takings(2, "B"), takings(4, "A")]);
        assert_eq!(
            takers.text(),
            "2 events shop.orders A: no rule takes it, and none is near\n\
             1 event shop.orders B: no rule takes it, and none is near"
        );
        let json: Vec<Value> = takers
            .json()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(json[2]["line"], 4);
        assert_eq!(json[2]["rules"], json!([]));
    }
}
