//! `surehand status`: an application's functions, what brings them events, and what waits, as one table.

mod resources;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput;
use aws_sdk_sqs::types::QueueAttributeName as Name;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::resources::Resources;
use super::{pause, sources};
use crate::{
    cloud::{Cloud, Wanted, reason},
    dlq::{End, Grid, age, is_called_so, name_of},
    progress::Progress,
    terminal::{self, say},
};

/// The index in which an outbox's waiting events are found, and since when they wait.
const INDEX: &str = "outbox";
const SINCE: &str = "outbox_since";

/// How many of an outbox's items are counted, in pages of a megabyte.
const PAGES: usize = 10;

/// Show an application's functions, their event sources, and what waits in queues and in the outbox
///
/// Of a running `surehand dev` it is the application that runs there, else the stack that samconfig.toml deploys.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  surehand status
  surehand status --aws --stack-name shop-prod
  surehand status --watch 5

The numbers are SQS's, which are approximate. Exit codes: 0 done, 1 error, 2 wrong usage, 3 the stack has no function, \
                  4 a part cannot be read")]
pub(crate) struct StatusArgs {
    /// The stack; that of a running `surehand dev`, or the one of samconfig.toml, by default
    #[arg(long, value_name = "NAME")]
    stack_name: Option<String>,
    /// Show it again after so many seconds, until it is interrupted
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wanted: Wanted,
}

impl StatusArgs {
    /// Whether an interrupt is how it is meant to end.
    pub(crate) fn goes_on(&self) -> bool {
        self.watch.is_some()
    }
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    kind: &'static str,
    name: String,
    state: String,
    /// Visible, in flight and delayed.
    depth: [Option<u64>; 3],
    /// Since when the oldest waits, in milliseconds.
    oldest_ms: Option<u64>,
    detail: String,
    json: Value,
}

pub(super) async fn run(
    mut arguments: StatusArgs,
    run: Option<String>,
    progress: &Progress,
) -> Result<End> {
    arguments.wanted.run = run;
    let cloud = Cloud::connect(&arguments.wanted).await?;
    let stack = resources::stack(&cloud, arguments.stack_name.as_deref())?;
    loop {
        let step = progress.task(format!("reading {stack} at {}", cloud.name()));
        let found = Status::read(&cloud, &stack).await?;
        step.done("");
        let Some(seconds) = arguments.watch else {
            return Ok(found.show(&stack, &cloud, arguments.json));
        };
        if !arguments.json {
            if std::io::stdout().is_terminal() {
                // A terminal that cannot be cleared shows one table below the other.
                let _ = console::Term::stdout().clear_screen();
            }
            say!("{stack} at {}, {:.0}", cloud.name(), Timestamp::now());
        }
        found.show(&stack, &cloud, arguments.json);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// What was found, and what could not be read.
#[derive(Default)]
struct Status {
    rows: Vec<Row>,
    unreadable: Vec<String>,
}

impl Status {
    async fn read(cloud: &Cloud, stack: &str) -> Result<Self> {
        let resources = Resources::of(cloud, stack).await?;
        let mut status = Self::default();
        let mut outboxes = BTreeSet::new();
        let mut of_sources = Vec::new();
        // What cannot be read does not hide the rest.
        for function in &resources.functions {
            match cloud.configuration(function).await {
                Ok(configuration) => {
                    let variables = configuration.environment().and_then(|it| it.variables());
                    let table = variables.and_then(|it| it.get("IDEMPOTENCY_TABLE"));
                    outboxes.extend(table.cloned());
                    status
                        .rows
                        .push(of_function(cloud, function, &configuration).await);
                    match of_mappings(cloud, function).await {
                        Ok(rows) => of_sources.extend(rows),
                        Err(error) => status.cannot(error),
                    }
                }
                Err(error) => status.cannot(error),
            }
        }
        status.rows.append(&mut of_sources);
        status.queues(cloud, &resources.queues).await;
        for table in outboxes {
            match of_outbox(cloud, &table).await {
                Ok(row) => status.rows.extend(row),
                Err(error) => status.cannot(error),
            }
        }
        Ok(status)
    }

    fn cannot(&mut self, error: anyhow::Error) {
        self.unreadable.push(format!("{error:#}"));
    }

    async fn queues(&mut self, cloud: &Cloud, urls: &[String]) {
        let client = aws_sdk_sqs::Client::new(&cloud.config);
        let mut found = Vec::new();
        for url in urls {
            let request = client.get_queue_attributes().queue_url(url);
            let attributes = request.attribute_names(Name::All).send().await;
            let attributes = attributes
                .map_err(reason)
                .with_context(|| format!("cannot read the queue {}", name_of(url)));
            match attributes {
                Ok(attributes) => {
                    found.push((url, attributes.attributes.unwrap_or_default()));
                }
                Err(error) => self.cannot(error),
            }
        }
        // A queue is one for dead letters if another one's policy names it, or else its name says so.
        let letters: BTreeMap<String, String> = found
            .iter()
            .filter_map(|(url, attributes)| {
                let policy = attributes.get(&Name::RedrivePolicy)?;
                let policy: Value = serde_json::from_str(policy).ok()?;
                let of = policy["deadLetterTargetArn"].as_str()?;
                Some((of.to_owned(), name_of(url).to_owned()))
            })
            .collect();
        let mut dead = Vec::new();
        for (url, attributes) in found {
            let number = |name: &Name| attributes.get(name)?.parse::<u64>().ok();
            let depth = [
                number(&Name::ApproximateNumberOfMessages),
                number(&Name::ApproximateNumberOfMessagesNotVisible),
                number(&Name::ApproximateNumberOfMessagesDelayed),
            ];
            let arn = attributes.get(&Name::QueueArn).map(String::as_str);
            let of = arn.and_then(|arn| letters.get(arn));
            let name = name_of(url);
            let is_dead = of.is_some() || is_called_so(name);
            let kind = if is_dead { "dead letters" } else { "queue" };
            let row = Row {
                kind,
                name: name.to_owned(),
                state: String::new(),
                depth,
                oldest_ms: None,
                detail: of.map(|of| format!("of {of}")).unwrap_or_default(),
                json: json!({
                    "kind": kind, "name": name, "url": url, "visible": depth[0], "in_flight": depth[1],
                    "delayed": depth[2], "of": of,
                }),
            };
            match is_dead {
                true => dead.push(row),
                false => self.rows.push(row),
            }
        }
        self.rows.append(&mut dead);
    }

    fn show(&self, stack: &str, cloud: &Cloud, json: bool) -> End {
        if json {
            for row in &self.rows {
                say!("{}", row.json);
            }
            for error in &self.unreadable {
                say!("{}", json!({"error": error}));
            }
        } else if !self.rows.is_empty() {
            let mut table = Grid::new(
                [
                    "what",
                    "name",
                    "state",
                    "visible",
                    "in flight",
                    "delayed",
                    "oldest",
                    "more",
                ],
                &[3, 4, 5],
                &[7],
            );
            for row in &self.rows {
                let [visible, in_flight, delayed] = row
                    .depth
                    .map(|depth| depth.map(|it| it.to_string()).unwrap_or_default());
                let is_queue = row.depth[0].is_some();
                let oldest = match row.oldest_ms {
                    Some(ms) => age(ms),
                    None if is_queue => "-".to_owned(),
                    None => String::new(),
                };
                table.add_row([
                    row.kind.to_owned(),
                    row.name.clone(),
                    row.state.clone(),
                    visible,
                    in_flight,
                    delayed,
                    oldest,
                    row.detail.clone(),
                ]);
            }
            say!("{table}");
        }
        if !json {
            for error in &self.unreadable {
                terminal::err("", error);
            }
        }
        match (self.rows.is_empty(), self.unreadable.is_empty()) {
            (_, false) => End::Partly,
            (false, true) => End::Done,
            (true, true) => {
                terminal::err(
                    "",
                    &format!(
                        "the stack {stack} at {} has neither functions nor queues",
                        cloud.name()
                    ),
                );
                End::Nothing
            }
        }
    }
}

/// The short name of a function of a running `surehand dev`, else its full one.
fn short<'a>(cloud: &'a Cloud, function: &'a str) -> &'a str {
    let known = cloud.stack.as_ref().and_then(|it| it.function(function));
    known.map_or(function, |it| &it.binary)
}

async fn of_function(
    cloud: &Cloud,
    function: &str,
    configuration: &GetFunctionConfigurationOutput,
) -> Row {
    let state = configuration.state().map_or("?", |it| it.as_str());
    // What fails to start or to update says why.
    let why = configuration
        .state_reason()
        .or(configuration.last_update_status_reason())
        .unwrap_or_default();
    let modified = configuration.last_modified().and_then(time);
    let client = aws_sdk_lambda::Client::new(&cloud.config);
    let aliases = client.list_aliases().function_name(function).send().await;
    let aliases: Vec<(String, String)> = aliases
        .iter()
        .flat_map(|it| it.aliases())
        .filter_map(|alias| {
            let version = alias.function_version()?.to_owned();
            Some((alias.name()?.to_owned(), version))
        })
        .collect();
    let mut detail: Vec<String> = Vec::new();
    detail.extend(modified.map(|ms| format!("changed {} ago", age(ms))));
    detail.extend(
        aliases
            .iter()
            .map(|(name, version)| format!("{name} is version {version}")),
    );
    detail.extend((!why.is_empty()).then(|| why.to_owned()));
    Row {
        kind: "function",
        name: short(cloud, function).to_owned(),
        state: state.to_owned(),
        depth: [None; 3],
        oldest_ms: None,
        detail: detail.join(", "),
        json: json!({
            "kind": "function", "name": function, "state": state, "reason": why,
            "modified": configuration.last_modified(),
            "aliases": aliases.into_iter().collect::<BTreeMap<_, _>>(),
        }),
    }
}

/// Lambda writes times with an offset without a colon.
fn time(text: &str) -> Option<u64> {
    let time = text.parse::<Timestamp>().or_else(|_| {
        jiff::Zoned::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text).map(|time| time.timestamp())
    });
    u64::try_from(time.ok()?.as_millisecond()).ok()
}

async fn of_mappings(cloud: &Cloud, function: &str) -> Result<Vec<Row>> {
    let names = sources::names(cloud, function).await?;
    let mut rows = Vec::new();
    for mapping in sources::mappings(cloud, &names).await? {
        let state = mapping.state().unwrap_or("?");
        let paused = pause::paused_since(cloud, &mapping).await?;
        let paused = paused.filter(|_| state != "Enabled");
        let name = pause::name(&mapping);
        let short = short(cloud, function);
        let mut detail = vec![format!("to {short}")];
        detail.extend(
            mapping
                .batch_size()
                .map(|size| format!("batch size {size}")),
        );
        detail.extend(paused.as_ref().map(|since| {
            let since = time(since).map_or_else(|| since.clone(), |ms| format!("{} ago", age(ms)));
            format!("paused {since}: `surehand resume {short}`")
        }));
        rows.push(Row {
            kind: "source",
            name: name.to_owned(),
            state: state.to_owned(),
            depth: [None; 3],
            oldest_ms: None,
            detail: detail.join(", "),
            json: json!({
                "kind": "source", "name": name, "function": function, "id": mapping.uuid(), "state": state,
                "batch_size": mapping.batch_size(), "paused": paused, "arn": mapping.event_source_arn(),
            }),
        });
    }
    Ok(rows)
}

/// What waits in the table's outbox; none if it has no such index.
async fn of_outbox(cloud: &Cloud, table: &str) -> Result<Option<Row>> {
    let client = aws_sdk_dynamodb::Client::new(&cloud.config);
    let described = client.describe_table().table_name(table).send().await;
    let described = described
        .map_err(reason)
        .with_context(|| format!("cannot describe the table {table}"))?;
    let indexes = described.table().map(|it| it.global_secondary_indexes());
    let has_index = indexes
        .unwrap_or_default()
        .iter()
        .any(|it| it.index_name() == Some(INDEX));
    if !has_index {
        return Ok(None);
    }
    // The index has what waits and nothing else.
    let pages = client.scan().table_name(table).index_name(INDEX);
    let pages = pages.projection_expression(SINCE);
    let mut pages = pages.into_paginator().send();
    let (mut count, mut oldest_ms, mut read) = (0_u64, None::<u64>, 0);
    let is_whole = loop {
        if read == PAGES {
            break false;
        }
        let Some(page) = pages.next().await else {
            break true;
        };
        let page = page.map_err(reason);
        let page = page.with_context(|| format!("cannot read the outbox of the table {table}"))?;
        read += 1;
        for item in page.items() {
            count += 1;
            let since = item.get(SINCE).and_then(|it| it.as_n().ok());
            let since = since.and_then(|it| it.parse::<u64>().ok());
            oldest_ms = oldest_ms.into_iter().chain(since).min();
        }
    };
    Ok(Some(Row {
        kind: "outbox",
        name: table.to_owned(),
        state: String::new(),
        depth: [Some(count), None, None],
        oldest_ms,
        detail: match is_whole {
            true => "commits whose events are not published yet".to_owned(),
            false => "and more: commits whose events are not published yet".to_owned(),
        },
        json: json!({
            "kind": "outbox", "name": table, "waiting": count, "is_all": is_whole, "oldest_ms": oldest_ms,
        }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambdas_times_are_read() {
        for text in [
            "2026-11-21T10:00:00.123+0000",
            "2026-11-21T10:00:00.123Z",
            "2026-11-21T11:00:00.123+0100",
        ] {
            assert_eq!(time(text), Some(1_795_255_200_123), "{text}");
        }
        assert_eq!(time("yesterday"), None);
    }
}
