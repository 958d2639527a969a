//! `surehand send`: what a file holds, brought to a function as its source would bring it.
//!
//! Nothing is sent before everything has been read, so that a mistake in the last line does not leave half a file in a
//! queue.

use anyhow::{Context as _, Result, bail};
use aws_sdk_lambda::{primitives::Blob, types::InvocationType};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json, value::RawValue};
use surehand::{
    aws::{
        limits::{ATTRIBUTES, ENTRIES, MESSAGE_BYTES},
        sqs::{self, Message},
    },
    record::{Attribute, AttributeValue},
};

use super::{
    delivery::{self, Delivery, Extras, Source},
    invoke::{failure, indented, returned},
    logs::entry::{Entry, Says},
    pair, publish,
};
use crate::{
    cloud::{Cloud, Wanted},
    dlq::{Coded, End, name_of, queue_url},
    progress::{Progress, number_of},
    terminal::{self, say},
};

/// Send what a file holds to a function, as its source would bring it
///
/// For a function that reads a queue it is the body of a message in that queue. For one that a rule of EventBridge
/// invokes, it is an event that invokes the function as EventBridge does, and reaches no other one (`surehand publish`
/// puts events on the bus). For one that reads a table's stream it is an item that was put into the table, as plain JSON.
/// Any other function is invoked with it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  surehand send reserve-stock order.json             a message in the function's queue
  surehand send reserve-stock order.json --direct    the same without the queue, and its outcome
  surehand send ship orders.jsonl --lines --group eu a message for each line, in one message group
  echo '{\"pk\": \"a\"}' | surehand send outbox-relay -  an item's change in the function's table

Exit codes: 0 done, 1 error, 2 wrong usage, 3 the file is empty, 4 only a part was sent or handled")]
pub(crate) struct SendArgs {
    /// The function's short name (place-order), logical id or full name
    function: String,
    /// A file, or `-` for standard input
    file: String,
    /// Send each line of the file by itself
    #[arg(long)]
    lines: bool,
    /// Invoke the function instead of putting a message into its queue, or an event where EventBridge would, and wait for
    /// the outcome
    #[arg(long)]
    direct: bool,
    /// Take the text as it is, though it is not JSON
    #[arg(long)]
    text: bool,
    /// Which of the function's queues, if it reads several
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// The message group; a FIFO queue needs one
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// An attribute of the message, a text, as NAME=VALUE; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = pair::parse)]
    attributes: Vec<(String, String)>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wanted: Wanted,
}

/// What is sent as one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    /// Counted from 1; none if the whole file is one.
    line: Option<usize>,
    text: String,
}

impl Item {
    /// What it is called in messages.
    fn place(&self, file: &str) -> String {
        match self.line {
            Some(line) => format!("{file}: line {line}"),
            None => file.to_owned(),
        }
    }
}

pub(super) async fn run(
    mut arguments: SendArgs,
    run: Option<String>,
    progress: &Progress,
) -> Result<End> {
    arguments.wanted.run = run;
    let (text, place) = publish::read(&arguments.file)?;
    let items = items(&text, arguments.lines, arguments.text)
        .with_context(|| format!("nothing sent from {place}"))?;
    if items.is_empty() {
        terminal::err("", &format!("{place} is empty, and nothing was sent"));
        return Ok(End::Nothing);
    }
    let cloud = Cloud::connect(&arguments.wanted).await?;
    let configuration = cloud.function(&arguments.function).await?;
    let function = configuration.function_name().unwrap_or_default();
    let sources = Delivery::all(&cloud, function).await?;
    let source = choose(function, sources, arguments.queue.as_deref())?;
    let extras = Extras {
        group: arguments.group.clone(),
        attributes: arguments.attributes.clone(),
    };
    check(&source, &extras)?;
    let now = Timestamp::now();
    let contents: Vec<(Item, String)> = items
        .into_iter()
        .map(|item| {
            let content = match arguments.text {
                true => item.text.clone(),
                false => (source.delivery.content(&item.text, now))
                    .with_context(|| format!("nothing sent: {}", item.place(&place)))?,
            };
            Ok((item, content))
        })
        .collect::<Result<_>>()?;
    let sending = Sending {
        cloud: &cloud,
        source: &source,
        extras: &extras,
        place: &place,
        json: arguments.json,
        function,
    };
    match &source.delivery {
        Delivery::Queue(arn) if !arguments.direct => {
            sending.messages(arn, &contents, progress).await
        }
        Delivery::Rule if !arguments.direct => sending.events(&contents).await,
        _ => sending.invocations(&contents).await,
    }
}

/// Splits the file into what is sent as one each.
fn items(text: &str, lines: bool, is_text: bool) -> Result<Vec<Item>> {
    let items: Vec<Item> = match lines {
        true => (text.lines().enumerate())
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| Item {
                line: Some(index + 1),
                text: line.to_owned(),
            })
            .collect(),
        false if text.trim().is_empty() => Vec::new(),
        false => vec![Item {
            line: None,
            text: text.to_owned(),
        }],
    };
    if is_text {
        return Ok(items);
    }
    for item in &items {
        let Err(error) = serde_json::from_str::<&RawValue>(item.text.trim()) else {
            continue;
        };
        let mut values = serde_json::Deserializer::from_str(&item.text).into_iter::<&RawValue>();
        match item.line {
            None if values.by_ref().take(2).filter(Result::is_ok).count() == 2 => {
                bail!("it is several values of JSON: pass --lines to send each line by itself")
            }
            Some(line) => bail!("line {line} is not JSON: {error}; --text sends it as it is"),
            None => bail!("it is not JSON: {error}; --text sends it as it is"),
        }
    }
    Ok(items)
}

/// Returns the source that is meant; a function without one takes what it is invoked with.
fn choose(function: &str, sources: Vec<Source>, queue: Option<&str>) -> Result<Source> {
    let queues: Vec<&str> = (sources.iter())
        .filter_map(|source| match &source.delivery {
            Delivery::Queue(arn) => Some(name_of(arn)),
            _ => None,
        })
        .collect();
    if queue.is_none() && queues.len() > 1 {
        bail!(
            "{function} reads the queues {}: say which one with --queue",
            queues.join(", ")
        );
    }
    let Some(queue) = queue else {
        return Ok(sources.into_iter().next().unwrap_or(Source {
            delivery: Delivery::Direct,
            target: function.to_owned(),
        }));
    };
    let queues = match queues.is_empty() {
        true => "no queue".to_owned(),
        false => queues.join(", "),
    };
    let found = sources.into_iter().find(
        |source| matches!(&source.delivery, Delivery::Queue(arn) if name_of(arn) == name_of(queue)),
    );
    found.with_context(|| format!("{function} does not read the queue {queue}; it reads {queues}"))
}

/// Checks what SQS would refuse, and what only a message has.
fn check(source: &Source, extras: &Extras) -> Result<()> {
    let is_plain = extras.group.is_none() && extras.attributes.is_empty();
    match &source.delivery {
        Delivery::Queue(arn) if arn.ends_with(".fifo") && extras.group.is_none() => {
            bail!(Coded::usage(
                "the function's queue is a FIFO queue: pass the message group with --group"
            ))
        }
        Delivery::Queue(_) if extras.attributes.len() > ATTRIBUTES => bail!(Coded::usage(
            "a message has ten attributes at most: pass fewer with --attribute"
        )),
        Delivery::Queue(_) => Ok(()),
        _ if is_plain => Ok(()),
        _ => bail!(Coded::usage(
            "only messages have groups and attributes, and no queue brings the function's events: leave out --group and \
             --attribute"
        )),
    }
}

/// What all items have in common.
struct Sending<'a> {
    cloud: &'a Cloud,
    source: &'a Source,
    extras: &'a Extras,
    place: &'a str,
    json: bool,
    function: &'a str,
}

impl Sending<'_> {
    /// Puts messages into the queue.
    async fn messages(
        &self,
        arn: &str,
        contents: &[(Item, String)],
        progress: &Progress,
    ) -> Result<End> {
        let attributes: Vec<(&str, Attribute)> = (self.extras.attributes.iter())
            .map(|(name, value)| {
                let attribute = Attribute {
                    data_type: "String".to_owned(),
                    value: AttributeValue::Text(value.clone()),
                };
                (name.as_str(), attribute)
            })
            .collect();
        let of_attributes = attributes.iter().map(|(name, value)| value.size(name));
        let of_attributes: usize = of_attributes.sum();
        let too_large = contents
            .iter()
            .find(|(_, body)| body.len() + of_attributes > MESSAGE_BYTES);
        if let Some((item, _)) = too_large {
            bail!(
                "nothing sent: {} is larger than {MESSAGE_BYTES} bytes, the most that a message may have",
                item.place(self.place)
            );
        }
        let cloud = self
            .cloud
            .clone()
            .in_region(arn.split(':').nth(3).map(str::to_owned));
        let url = queue_url(&cloud, arn).await?;
        let client = aws_sdk_sqs::Client::new(&cloud.config);
        let is_fifo = arn.ends_with(".fifo");
        let total = contents.len() as u64;
        let step = progress.task(format!("sending to {} at {}", name_of(arn), cloud.name()));
        let (mut sent, mut refused) = (0_u64, Vec::new());
        for chunk in chunks(contents, of_attributes, is_fifo) {
            let ids: Vec<String> = (0..chunk.len() as u64)
                .map(|index| format!("{}-{}", delivery::id(Timestamp::now()), sent + index))
                .collect();
            let messages = chunk.iter().zip(&ids).map(|((_, body), id)| Message {
                body: body.as_str().into(),
                attributes: attributes.iter().map(|(name, it)| (*name, it)).collect(),
                trace_header: None,
                group: self.extras.group.as_deref(),
                deduplication_id: is_fifo.then_some(id.as_str()),
            });
            let results = match sqs::send_batch(&client, &url, messages.collect()).await {
                Ok(results) => results,
                Err(refusal) => chunk.iter().map(|_| Err(refusal.clone())).collect(),
            };
            for ((item, _), result) in chunk.iter().zip(results) {
                match result {
                    Ok(entry) => {
                        sent += 1;
                        self.say_sent(item, "message", &entry.message_id, &url);
                    }
                    Err(refusal) => refused.push(format!("{}: {refusal}", item.place(self.place))),
                }
            }
            step.count(sent, total, "");
            // What comes after it in the group would overtake it.
            if is_fifo && !refused.is_empty() {
                break;
            }
        }
        step.done(number_of(sent, "message"));
        if sent == 0 {
            bail!("nothing sent to {}: {}", name_of(arn), refused.join("; "));
        }
        match refused.is_empty() {
            true => Ok(End::Done),
            false => {
                let not_sent = total - sent;
                terminal::err(
                    "",
                    &format!(
                        "{} of {total} not sent, which may be sent again: {}",
                        number_of(not_sent, "message"),
                        refused.join("; ")
                    ),
                );
                Ok(End::Partly)
            }
        }
    }

    /// Invokes the function as EventBridge does: Lambda keeps the event, and tries again.
    async fn events(&self, contents: &[(Item, String)]) -> Result<End> {
        for (index, (item, payload)) in contents.iter().enumerate() {
            let sent = self
                .cloud
                .call(&self.source.target, payload.clone(), InvocationType::Event);
            let sent = sent.await.with_context(|| match index {
                0 => format!("nothing sent from {}", self.place),
                _ => format!("sent what is before it, but not {}", item.place(self.place)),
            })?;
            let id = aws_sdk_lambda::operation::RequestId::request_id(&sent);
            self.say_sent(item, "event", id.unwrap_or("-"), &self.source.target);
        }
        Ok(End::Done)
    }

    fn say_sent(&self, item: &Item, what: &str, id: &str, to: &str) {
        match self.json {
            true => say!(
                "{}",
                json!({"line": item.line, "function": self.function, "sent": what, "id": id, "to": to})
            ),
            false => say!("{what} {id} to {}", name_of(to)),
        }
    }

    /// Invokes the function, and says what it answers.
    async fn invocations(&self, contents: &[(Item, String)]) -> Result<End> {
        let mut failed = 0;
        for (item, content) in contents {
            let payload = match &self.source.delivery {
                Delivery::Queue(arn) => {
                    Delivery::delivered(arn, content, self.extras, Timestamp::now())
                }
                _ => content.clone(),
            };
            let answer = self.answer(payload).await;
            let answer = answer.with_context(|| item.place(self.place))?;
            failed += usize::from(answer.has_failed);
            if self.json {
                let reply: Value = serde_json::from_str(&answer.reply).unwrap_or(Value::Null);
                let outcomes: Vec<Value> = (answer.outcomes.iter())
                    .map(|it| json!({"outcome": it.outcome, "ms": it.milliseconds, "error": it.error, "at": it.at}))
                    .collect();
                say!(
                    "{}",
                    json!({
                        "line": item.line, "function": self.function, "failed": answer.has_failed,
                        "error": answer.error, "reply": reply, "outcomes": outcomes,
                    })
                );
                continue;
            }
            for outcome in &answer.outcomes {
                say!("{outcome}");
            }
            match &answer.error {
                Some(error) => terminal::err("", &format!("{}: {error}", item.place(self.place))),
                None => say!("{}", indented(&answer.reply)),
            }
        }
        match contents.len() - failed {
            _ if failed == 0 => Ok(End::Done),
            0 => bail!("{} did not handle what was sent", self.function),
            _ => Ok(End::Partly),
        }
    }

    async fn answer(&self, payload: String) -> Result<Answer> {
        let output = self.cloud.invoke(&self.source.target, payload).await?;
        let reply = output.payload().map(Blob::as_ref).unwrap_or_default();
        let log = BASE64_STANDARD.decode(output.log_result().unwrap_or_default());
        let log = String::from_utf8(log.unwrap_or_default()).unwrap_or_default();
        let outcomes = log.lines().filter_map(|line| match Entry::read(line).says {
            Says::Record(outcome) => Some(outcome),
            _ => None,
        });
        let outcomes: Vec<_> = outcomes.collect();
        let error = match output.function_error() {
            Some(_) => Some(failure(self.function, reply, &self.source.delivery)),
            None if returned(reply) => Some(format!(
                "returned to {}, which would bring it again",
                self.source.delivery.name()
            )),
            None => None,
        };
        Ok(Answer {
            has_failed: error.is_some() || outcomes.iter().any(|it| it.failed()),
            reply: String::from_utf8_lossy(reply).into_owned(),
            outcomes,
            error,
        })
    }
}

/// What an invocation came to.
struct Answer {
    reply: String,
    /// Of the records, as far as the end of the log has them.
    outcomes: Vec<super::logs::entry::Outcome>,
    error: Option<String>,
    has_failed: bool,
}

/// Splits the messages into requests. Those of a FIFO queue go one by one: of a request, some may be refused and what
/// follows them not.
fn chunks(contents: &[(Item, String)], extra: usize, is_fifo: bool) -> Vec<&[(Item, String)]> {
    let most = if is_fifo { 1 } else { ENTRIES };
    let mut chunks = Vec::new();
    let mut rest = contents;
    while !rest.is_empty() {
        let mut size = 0;
        let fitting = rest
            .iter()
            .take(most)
            .take_while(|(_, body)| {
                size += body.len() + extra;
                size <= MESSAGE_BYTES
            })
            .count()
            .max(1);
        let (chunk, remaining) = rest.split_at(fitting);
        chunks.push(chunk);
        rest = remaining;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(arn: &str) -> Source {
        Source {
            delivery: Delivery::Queue(format!("arn:aws:sqs:eu-west-1:123456789012:{arn}")),
            target: "f".to_owned(),
        }
    }

    #[test]
    fn a_file_is_one_message_unless_lines_are_asked_for() {
        let text = "{\"a\":\n 1.0}\n";
        let whole = items(text, false, false).unwrap();
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].text, text, "it is sent as it is written");
        let lines = items("{\"a\":1}\n\n[2]\n", true, false).unwrap();
        let lines: Vec<_> = lines
            .iter()
            .map(|it| (it.line.unwrap(), &*it.text))
            .collect();
        assert_eq!(lines, [(1, "{\"a\":1}"), (3, "[2]")]);
        assert_eq!(items(" \n", false, false).unwrap(), []);
    }

    #[test]
    fn what_is_not_json_is_said_before_anything_is_sent() {
        let error = |text, lines| items(text, lines, false).unwrap_err().to_string();
        assert_eq!(
            error("{}\n{}\n", false),
            "it is several values of JSON: pass --lines to send each line by itself"
        );
        assert!(error("hello", false).starts_with("it is not JSON: "));
        assert!(error("{}\n{\n", true).starts_with("line 2 is not JSON: "));
        assert_eq!(items("hello", false, true).unwrap()[0].text, "hello");
    }

    #[test]
    fn one_of_several_queues_must_be_named() {
        let both = || vec![source("a"), source("b")];
        let error = choose("f", both(), None).unwrap_err().to_string();
        assert_eq!(error, "f reads the queues a, b: say which one with --queue");
        assert_eq!(choose("f", both(), Some("b")).unwrap(), source("b"));
        let error = choose("f", both(), Some("c")).unwrap_err().to_string();
        assert_eq!(error, "f does not read the queue c; it reads a, b");
        let direct = choose("f", Vec::new(), None).unwrap();
        assert_eq!(direct.delivery, Delivery::Direct);
    }

    #[test]
    fn a_group_is_for_messages_and_a_fifo_queue_needs_one() {
        let group = Extras {
            group: Some("a".to_owned()),
            ..Extras::default()
        };
        let none = Extras::default();
        check(&source("a"), &none).unwrap();
        check(&source("a"), &group).unwrap();
        check(&source("a.fifo"), &group).unwrap();
        check(&source("a.fifo"), &none).unwrap_err();
        let rule = Source {
            delivery: Delivery::Rule,
            target: "f".to_owned(),
        };
        check(&rule, &none).unwrap();
        check(&rule, &group).unwrap_err();
    }

    #[test]
    fn requests_keep_both_limits_and_a_fifo_queues_order() {
        let content = |bytes: usize| {
            let item = Item {
                line: None,
                text: String::new(),
            };
            (item, "x".repeat(bytes))
        };
        let sizes = |contents: &[(Item, String)], is_fifo| {
            let chunks = chunks(contents, 1, is_fifo);
            chunks.iter().map(|it| it.len()).collect::<Vec<_>>()
        };
        let small: Vec<_> = (0..12).map(|_| content(3)).collect();
        assert_eq!(sizes(&small, false), [10, 2]);
        assert_eq!(sizes(&small[..3], true), [1, 1, 1]);
        let large: Vec<_> = (0..3).map(|_| content(MESSAGE_BYTES / 2 - 1)).collect();
        assert_eq!(sizes(&large, false), [2, 1]);
    }
}
