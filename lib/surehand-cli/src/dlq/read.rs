//! Letters from a queue or from a snapshot, and the commands that only look at them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use surehand_redrive::{
    Group, Groups, Letter, Origin, Queue as _, QueueInfo, ReadOptions, ReadReport, Reader,
    Selection, SqsDeadLetterQueue,
};

use super::{
    context::{Coded, Context, End, said},
    describe,
    new_file::NewFile,
    outcomes::Facts,
    select::SelectArgs,
    target::{self, SourceArgs, Target, TargetArgs},
};
use crate::cloud::Cloud;
use crate::progress::number_of;
use crate::terminal::say;

/// Hands each selected letter to `take`, with one in memory at a time. Returns the queue, if it was one.
pub(super) async fn each(
    source: &SourceArgs,
    select: &SelectArgs,
    context: &Context<'_>,
    take: &mut (dyn FnMut(Letter) -> Result<()> + Send),
) -> Result<Source> {
    let selection = select.selection();
    if let Some(file) = &source.snapshot {
        for letter in snapshot(file)? {
            let letter = letter?;
            if selection.matches(&letter) {
                take(letter)?;
            }
        }
        return Ok(Source::default());
    }
    let (cloud, target) = source.target.find(context).await?;
    let (report, info) = queue(&cloud, &target, &selection, context, take).await?;
    say_what_is_hidden(&report, context);
    Ok(Source {
        queue: Some((cloud, target)),
        retention: info.retention,
        hidden: Some(report).filter(|it| !it.complete),
    })
}

/// Where letters came from.
#[derive(Default)]
pub(super) struct Source {
    /// The queue, if it was one.
    queue: Option<(Cloud, Target)>,
    retention: Option<Duration>,
    /// What is said of it if not all was seen.
    hidden: Option<ReadReport>,
}

impl Source {
    fn end_of(&self, count: usize) -> End {
        match self.hidden {
            Some(_) => End::Partly,
            None => end_of(count),
        }
    }
}

/// Says how many messages were not seen: "no letters" is not true while another reader holds them.
pub(super) fn say_what_is_hidden(report: &ReadReport, context: &Context<'_>) {
    if !report.complete && !context.json {
        say!(
            "about {} more are in flight or not shown by SQS now: another reader holds them, or one that was killed did; \
             they are visible again when their visibility timeout ends",
            report.left
        );
    }
}

/// How a command ends that was to see all.
pub(super) fn end_of_all(count: usize, report: &ReadReport) -> End {
    match report.complete {
        true => end_of(count),
        false => End::Partly,
    }
}

/// The letters of a snapshot.
pub(super) fn snapshot(file: &Path) -> Result<impl Iterator<Item = Result<Letter>> + Send> {
    let name = file.display().to_string();
    let file = File::open(file).with_context(|| format!("cannot read {name}"))?;
    Ok(BufReader::new(file)
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.as_ref().is_ok_and(|line| line.trim().is_empty()))
        .map(move |(index, line)| {
            let line = line.with_context(|| format!("cannot read {name}"))?;
            serde_json::from_str(&line)
                .with_context(|| format!("{name}: line {} is not a dead letter", index + 1))
        }))
}

/// Hands each selected letter of a queue to `take`, and gives all of them back.
pub(super) async fn queue(
    cloud: &Cloud,
    target: &Target,
    selection: &Selection,
    context: &Context<'_>,
    take: &mut (dyn FnMut(Letter) -> Result<()> + Send),
) -> Result<(ReadReport, QueueInfo)> {
    let step = context.progress.task(format!("reading {}", target.name()));
    let queue = SqsDeadLetterQueue::new(aws_sdk_sqs::Client::new(&cloud.config), &target.url);
    let mut options = options(cloud);
    options.despite_redrive_policy = target.despite_redrive_policy;
    let mut reader = match Reader::open(&queue, options).await {
        Ok(reader) => reader,
        Err(error) => return Err(unreadable(error, &queue, cloud, target).await),
    };
    let total = reader.info().visible + reader.info().in_flight;
    let mut read = 0;
    let result = loop {
        if context.is_stopped() {
            break Err(Coded::INTERRUPTED.into());
        }
        let letters = match reader.next().await {
            Ok(letters) if letters.is_empty() => break Ok(()),
            Ok(letters) => letters,
            Err(error) => break Err(said(error).context(cannot_read(target, cloud))),
        };
        read += letters.len() as u64;
        step.count(read, total.max(read), "");
        let letters = letters.into_iter().map(|received| received.letter);
        let mut taken = letters
            .filter(|letter| selection.matches(letter))
            .map(&mut *take);
        if let Some(error) = taken.find_map(Result::err) {
            break Err(error);
        }
    };
    // Also after a failure, so that the next read need not wait for the visibility timeout.
    let info = reader.info().clone();
    let report = reader.close().await;
    result?;
    step.done(match report.complete {
        true => number_of(report.read as u64, "letter"),
        false => format!(
            "{}, and about {} more that SQS does not show now",
            number_of(report.read as u64, "letter"),
            report.left
        ),
    });
    Ok((report, info))
}

/// Why a queue cannot be read, or is not.
async fn unreadable(
    error: surehand::Error,
    queue: &SqsDeadLetterQueue,
    cloud: &Cloud,
    target: &Target,
) -> anyhow::Error {
    let info = queue.info().await.unwrap_or_default();
    let policy: Value =
        serde_json::from_str(&info.redrive_policy.unwrap_or_default()).unwrap_or_default();
    let Some(letters) = policy["deadLetterTargetArn"].as_str() else {
        return said(error).context(cannot_read(target, cloud));
    };
    // A number, or one in quotes: SQS takes both and gives back what it was given.
    let count = policy["maxReceiveCount"].to_string();
    anyhow::anyhow!(
        "{} has a redrive policy of its own (to {}, after {} receives), and each read would count as a receive: name \
         its dead-letter queue, or pass --despite-redrive-policy",
        target.name(),
        target::name_of(letters),
        count.trim_matches('"'),
    )
}

fn cannot_read(target: &Target, cloud: &Cloud) -> String {
    format!("cannot read {} at {}", target.name(), cloud.name())
}

/// An emulator's receives show what there is; SQS's do only if they wait.
pub(super) fn options(cloud: &Cloud) -> ReadOptions {
    let mut options = ReadOptions::default();
    if cloud.is_emulator() {
        options.wait = Duration::ZERO;
    }
    options
}

/// `dlq show`.
pub(super) async fn show(
    source: &SourceArgs,
    select: &SelectArgs,
    limit: usize,
    context: &Context<'_>,
) -> Result<End> {
    let mut letters = Vec::new();
    let mut count = 0_usize;
    let from = each(source, select, context, &mut |letter| {
        count += 1;
        if letters.len() < limit {
            letters.push(letter);
        }
        Ok(())
    })
    .await?;
    let facts = match (&from.queue, &source.target.function) {
        (Some((cloud, target)), _) => Facts::find(cloud.clone(), target).await,
        (None, Some(function)) => {
            let cloud = context.connect().await?;
            let function = cloud.full_name(function)?;
            Facts::of_function(cloud, Some(function))
        }
        (None, None) => Facts::none(),
    };
    for letter in &letters {
        let attempts = facts.of(letter).await;
        if context.json {
            say!("{}", describe::json(letter, attempts.as_deref())?);
        } else {
            let text = describe::text(letter, attempts.as_deref(), from.retention);
            say!("{text}");
        }
    }
    if count > letters.len() && !context.json {
        say!(
            "and {} more; --limit shows more of them",
            count - letters.len()
        );
    }
    Ok(from.end_of(count))
}

/// `dlq groups`.
pub(super) async fn groups(
    source: &SourceArgs,
    select: &SelectArgs,
    context: &Context<'_>,
) -> Result<End> {
    let mut groups = Groups::default();
    let mut count = 0;
    // Without a reason on the letters, the attempts at one of them are the best that can be said of its group.
    let mut unexplained = BTreeMap::new();
    let from = each(source, select, context, &mut |letter| {
        count += 1;
        groups.add(&letter);
        if matches!(letter.origin(), Origin::MovedBySqs { .. }) {
            unexplained.entry(Group::of(&letter).id).or_insert(letter);
        }
        Ok(())
    })
    .await?;
    let facts = match &from.queue {
        Some((cloud, target)) if !unexplained.is_empty() => {
            Facts::find(cloud.clone(), target).await
        }
        _ => Facts::none(),
    };
    let mut attempts = BTreeMap::new();
    for (group, letter) in unexplained {
        if let Some(words) = facts.of(&letter).await {
            attempts.insert(group, (letter.id, words));
        }
    }
    let groups = groups.largest_first();
    if context.json {
        for group in groups {
            let mut value = serde_json::to_value(group)?;
            if let Some((letter, words)) = attempts.get(&group.id) {
                value["attempts"] = words.as_str().into();
                value["attempts_of"] = letter.as_str().into();
            }
            say!("{value}");
        }
    } else if count > 0 {
        say!("{}", describe::groups(&groups));
        for (group, (letter, words)) in &attempts {
            say!("{group}, for example {letter}: {words}");
        }
    } else {
        say!("no letters");
    }
    Ok(from.end_of(count))
}

/// `dlq pull`.
pub(super) async fn pull(
    target: &TargetArgs,
    select: &SelectArgs,
    out: &Path,
    context: &Context<'_>,
) -> Result<End> {
    let (cloud, target) = target.find(context).await?;
    let mut file = NewFile::create(out)?;
    let mut count = 0;
    let selection = select.selection();
    let (report, _) = queue(&cloud, &target, &selection, context, &mut |letter| {
        count += 1;
        serde_json::to_writer(&mut file.writer, &letter)?;
        Ok(file.writer.write_all(b"\n")?)
    })
    .await?;
    // A file without letters would only be in the way of the next try.
    if count > 0 {
        file.keep()?;
    }
    if context.json {
        let file = (count > 0).then_some(out);
        let line = serde_json::json!({"file": file, "letters": count, "complete": report.complete});
        say!("{line}");
    } else if count > 0 {
        say!("{} in {}", number_of(count as u64, "letter"), out.display());
    } else {
        say!("no letters");
    }
    say_what_is_hidden(&report, context);
    Ok(end_of_all(count, &report))
}

pub(super) fn end_of(count: usize) -> End {
    match count {
        0 => End::Nothing,
        _ => End::Done,
    }
}
