//! Reads a log group from a time on, and then what is added to it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aws_sdk_cloudwatchlogs::Client;

use crate::cloud::{Cloud, reason};

/// Lines of different streams do not arrive in the order of their times, so the last ones are read again; in
/// milliseconds.
const OVERLAP: i64 = 10_000;

/// One line as it was logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// In milliseconds since 1970.
    pub(super) time: i64,
    pub(super) message: String,
}

pub(super) struct Tail {
    client: Client,
    group: String,
    /// From when on it reads, in milliseconds since 1970.
    since: i64,
    /// The lines from then on that were read before, with their times. A line is known by its id, or where there is
    /// none by its time, its stream, and its place among the lines of both.
    seen: BTreeMap<String, i64>,
}

impl Tail {
    pub(super) fn new(cloud: &Cloud, group: String, since: i64) -> Self {
        Self {
            client: Client::new(&cloud.config),
            group,
            since,
            seen: BTreeMap::new(),
        }
    }

    /// Returns the lines that were not read before, in the order of their times; none if nothing was ever logged.
    pub(super) async fn read(&mut self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut places = BTreeMap::<(i64, String), usize>::new();
        let request = self.client.filter_log_events();
        let request = request.log_group_name(&self.group).start_time(self.since);
        let mut pages = request.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                // If the template does not declare the group, the function's first line creates it.
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_resource_not_found_exception()) =>
                {
                    return Ok(lines);
                }
                Err(error) => {
                    return Err(reason(error))
                        .with_context(|| format!("cannot read the log group {}", self.group));
                }
            };
            for event in page.events.unwrap_or_default() {
                let (Some(time), Some(message)) = (event.timestamp, event.message) else {
                    continue;
                };
                let stream = event.log_stream_name.unwrap_or_default();
                let place = places.entry((time, stream.clone())).or_default();
                *place += 1;
                let id = match event.event_id.filter(|id| !id.is_empty()) {
                    Some(id) => id,
                    None => format!("{time} {stream} {place}"),
                };
                if self.seen.insert(id, time).is_none() {
                    lines.push(Line { time, message });
                }
            }
        }
        lines.sort_by_key(|line| line.time);
        if let Some(last) = lines.last() {
            self.since = self.since.max(last.time - OVERLAP);
        }
        self.seen.retain(|_, time| *time >= self.since);
        Ok(lines)
    }
}
