//! `surehand dlq list`.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::json;
use surehand_redrive::{Queue as _, QueueInfo, SqsDeadLetterQueue};

use super::{
    context::{Context, End, said},
    describe,
    grid::Grid,
    read::end_of,
    target,
};
use crate::cloud::{Cloud, reason};
use crate::terminal::say;

/// How long a peek hides what it sees, if giving it back fails.
const PEEK: Duration = Duration::from_secs(5);

struct Row {
    info: QueueInfo,
    /// The queues whose redrive policies name it.
    sources: BTreeSet<String>,
    /// When the oldest of up to ten letters was sent.
    oldest_ms: Option<u64>,
}

impl Row {
    /// When the first of its letters is gone.
    fn expiry(&self) -> String {
        let of_oldest = self.oldest_ms.zip(self.info.retention);
        of_oldest.map_or_else(
            || "-".to_owned(),
            |(sent, retention)| describe::expiry(sent, retention),
        )
    }
}

type Unreadable = (String, anyhow::Error);

pub(super) async fn run(prefix: Option<&str>, context: &Context<'_>) -> Result<End> {
    let cloud = context.connect().await?;
    let step = context.progress.task("looking for dead-letter queues");
    let (rows, unreadable) = rows(&cloud, prefix).await?;
    step.done(format!("{} at {}", rows.len(), cloud.name()));
    if context.json {
        for row in &rows {
            let line = json!({
                "name": target::name_of(&row.info.url), "url": row.info.url, "arn": row.info.arn,
                "visible": row.info.visible, "in_flight": row.info.in_flight,
                "delayed": row.info.delayed, "oldest_ms": row.oldest_ms,
                "retention_s": row.info.retention.map(|it| it.as_secs()), "sources": row.sources,
            });
            say!("{line}");
        }
        for (name, error) in &unreadable {
            say!("{}", json!({"name": name, "error": format!("{error:#}")}));
        }
        return Ok(end(&rows, &unreadable));
    }
    for (name, error) in &unreadable {
        say!("{name} cannot be read: {error:#}");
    }
    if rows.is_empty() && !unreadable.is_empty() {
        return Ok(End::Partly);
    }
    if rows.is_empty() {
        say!("no dead-letter queues at {}", cloud.name());
        return Ok(End::Nothing);
    }
    let mut table = Grid::new(
        [
            "dead-letter queue",
            "letters",
            "in flight",
            "oldest",
            "expires",
            "of",
        ],
        &[1, 2],
        &[5],
    );
    for row in &rows {
        let sources: Vec<&str> = row.sources.iter().map(String::as_str).collect();
        table.add_row([
            target::name_of(&row.info.url).to_owned(),
            row.info.visible.to_string(),
            row.info.in_flight.to_string(),
            row.oldest_ms.map_or_else(|| "-".to_owned(), describe::age),
            row.expiry(),
            sources.join(", "),
        ]);
    }
    say!("{table}");
    Ok(end(&rows, &unreadable))
}

fn end(rows: &[Row], unreadable: &[Unreadable]) -> End {
    match unreadable.len() {
        0 => end_of(rows.len()),
        _ => End::Partly,
    }
}

/// A queue is one for dead letters if a redrive policy names it, if the stack's outputs say so, or else its name.
///
/// Beside them are those that could not be read, with the reason.
async fn rows(cloud: &Cloud, prefix: Option<&str>) -> Result<(Vec<Row>, Vec<Unreadable>)> {
    let sqs = aws_sdk_sqs::Client::new(&cloud.config);
    let mut urls = Vec::new();
    let mut pages = sqs.list_queues().max_results(1_000).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page
            .map_err(reason)
            .with_context(|| format!("cannot list the queues at {}", cloud.name()))?;
        urls.extend(page.queue_urls.unwrap_or_default());
    }
    let mut policies = BTreeSet::new();
    for url in &urls {
        // Of a queue whose policy cannot be read only the name tells.
        if let Some(arn) = target::dead_letter_arn(&sqs, url).await.ok().flatten() {
            let source = target::name_of(url).to_owned();
            policies.insert((target::name_of(&arn).to_owned(), source));
        }
    }
    let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
    for url in urls {
        let name = target::name_of(&url).to_owned();
        let sources: BTreeSet<String> = policies
            .iter()
            .filter(|(letters, _)| *letters == name)
            .map(|(_, source)| source.clone())
            .collect();
        let in_stack = cloud.stack.iter().flat_map(|stack| stack.queues());
        let is_output = in_stack
            .filter(|(output, _)| output.ends_with("DeadLetterQueue"))
            .any(|(_, known)| target::name_of(known) == name);
        let is_meant = prefix.is_none_or(|prefix| name.starts_with(prefix));
        if !is_meant || (sources.is_empty() && !is_output && !is_called_so(&name)) {
            continue;
        }
        let queue = SqsDeadLetterQueue::new(sqs.clone(), &url);
        // One queue that cannot be read does not hide the others.
        let row = async {
            Ok(Row {
                info: queue.info().await.map_err(said)?,
                sources,
                oldest_ms: oldest(&queue).await?,
            })
        };
        match row.await {
            Ok(row) => rows.push(row),
            Err(error) => unreadable.push((name, error)),
        }
    }
    rows.sort_by(|a, b| (b.info.visible, &a.info.url).cmp(&(a.info.visible, &b.info.url)));
    Ok((rows, unreadable))
}

/// Whether a queue is named as those for dead letters are.
pub(crate) fn is_called_so(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_'], "");
    name.contains("deadletter") || name.contains("dlq")
}

async fn oldest(queue: &SqsDeadLetterQueue) -> Result<Option<u64>> {
    let info = queue.info().await.map_err(said)?;
    // Where reading moves messages on, a list must not read.
    if info.visible == 0 || info.redrive_policy.is_some() {
        return Ok(None);
    }
    let seen = queue
        .receive(10, PEEK, Duration::ZERO)
        .await
        .map_err(said)?;
    let receipts: Vec<String> = seen.iter().map(|it| it.receipt.clone()).collect();
    if !receipts.is_empty() {
        // They come back by themselves as well.
        drop(queue.change_visibility(&receipts, Duration::ZERO).await);
    }
    Ok(seen.iter().filter_map(|it| it.letter.sent_at_ms).min())
}

#[cfg(test)]
mod tests {
    use super::is_called_so;

    #[test]
    fn names_tell_what_policies_do_not() {
        assert!(is_called_so("shop-Bus-DeadLetterQueue-1"));
        assert!(is_called_so("orders_dlq.fifo"));
        assert!(!is_called_so("orders"));
    }
}
