//! The functions' logs, followed while they are written.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result};
use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::Client;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::local::stack::Function;

/// How often the emulator is asked for new lines.
const INTERVAL: Duration = Duration::from_millis(500);

/// Lines of different streams do not arrive in the order of their times, so the last ones are read again; in
/// milliseconds.
const OVERLAP: i64 = 2_000;

/// One line of a function's log.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// The short name of the function.
    pub(crate) function: String,
    /// In milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) message: String,
}

/// Reads what was logged since the last time.
pub(crate) struct Reader {
    client: Client,
    lambda: aws_sdk_lambda::Client,
    groups: Vec<Group>,
}

struct Group {
    /// The function's full name.
    of: String,
    function: String,
    name: String,
    /// The latest time of any line so far, in milliseconds.
    latest: i64,
    /// The lines of the last [`OVERLAP`], which are read again.
    seen: BTreeSet<Position>,
}

/// The position of a line: its time, its stream, and its place among the lines of that stream and
/// time.
///
/// It is used instead of an event id, which emulators do not provide.
type Position = (i64, String, usize);

impl Reader {
    /// Begins with the first line of each function.
    pub(crate) async fn new(config: &SdkConfig, functions: &[Function]) -> Result<Self> {
        let mut reader = Self {
            client: Client::new(config),
            lambda: aws_sdk_lambda::Client::new(config),
            groups: Vec::new(),
        };
        reader.add(functions).await?;
        Ok(reader)
    }

    /// Reads the logs of these functions, too.
    async fn add(&mut self, functions: &[Function]) -> Result<()> {
        for function in functions {
            if self.groups.iter().any(|group| group.of == function.name) {
                continue;
            }
            let configuration = (self.lambda)
                .get_function_configuration()
                .function_name(&function.name)
                .send()
                .await
                .with_context(|| format!("cannot find {}", function.name))?;
            let name = configuration
                .logging_config()
                .and_then(|logging| logging.log_group())
                .map_or_else(|| format!("/aws/lambda/{}", function.name), str::to_owned);
            self.groups.push(Group {
                of: function.name.clone(),
                function: function.binary.clone(),
                name,
                latest: 0,
                seen: BTreeSet::new(),
            });
        }
        Ok(())
    }

    /// The new lines of all functions, in the order of their times.
    pub(crate) async fn read(&mut self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for group in &mut self.groups {
            group.read(&self.client, &mut lines).await?;
        }
        lines.sort_by_key(|line| line.time);
        Ok(lines)
    }

    /// Passes new lines on until the future is dropped, also of the functions that are `deployed` meanwhile.
    pub(crate) async fn follow(
        mut self,
        mut deployed: UnboundedReceiver<Vec<Function>>,
        mut show: impl FnMut(Vec<Line>),
    ) -> Result<()> {
        loop {
            while let Ok(functions) = deployed.try_recv() {
                self.add(&functions).await?;
            }
            show(self.read().await?);
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

impl Group {
    async fn read(&mut self, client: &Client, lines: &mut Vec<Line>) -> Result<()> {
        let since = (self.latest - OVERLAP).max(0);
        let mut pages = client
            .filter_log_events()
            .log_group_name(&self.name)
            .start_time(since)
            .into_paginator()
            .send();
        let mut places = BTreeMap::<(i64, String), usize>::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                // If the template does not declare the group, the function's first line creates it.
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_resource_not_found_exception()) =>
                {
                    return Ok(());
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot read the log group {}", self.name));
                }
            };
            for event in page.events() {
                let (Some(time), Some(stream), Some(message)) =
                    (event.timestamp(), event.log_stream_name(), event.message())
                else {
                    continue;
                };
                let place = places.entry((time, stream.to_owned())).or_default();
                *place += 1;
                if self.seen.insert((time, stream.to_owned(), *place)) {
                    self.latest = self.latest.max(time);
                    lines.push(Line {
                        function: self.function.clone(),
                        time,
                        message: message.to_owned(),
                    });
                }
            }
        }
        let since = self.latest - OVERLAP;
        self.seen.retain(|(time, _, _)| *time >= since);
        Ok(())
    }
}
