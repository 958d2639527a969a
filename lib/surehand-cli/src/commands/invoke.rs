//! `surehand invoke`: calls one function and prints its reply.

mod reply;

use anyhow::{Context, Result, bail};
use aws_sdk_lambda::primitives::Blob;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, value::RawValue};

pub(super) use self::reply::indented;
use super::{delivery::Delivery, publish};
use crate::cloud::{Cloud, Wanted};
use crate::terminal::{self, say};

/// In which form an event is sent.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Form {
    /// Invoke the function with the event as it is
    #[arg(long)]
    raw: bool,
    /// Make a message of the function's queue of it, even if it is no event with `source` and `detail-type`
    #[arg(long, conflicts_with = "raw")]
    message: bool,
}

/// Prints the reply to standard output; an error of the function is an error of the command.
///
/// An event is brought into the form in which it would reach the function, unless `form` says otherwise.
pub(crate) async fn run(
    function: &str,
    event: Option<&str>,
    form: Form,
    wanted: &Wanted,
) -> Result<()> {
    let event = event.map(payload).transpose()?;
    let cloud = Cloud::connect(wanted).await?;
    let name = &cloud.full_name(function)?;
    let delivery = match form.raw {
        true => Delivery::Direct,
        false => Delivery::of(&cloud, name)
            .await
            .context("without --raw it must be known what brings the events")?,
    };
    let given = event.as_ref().map(|event| event.get().to_owned());
    let payload = delivery.wrap(event, form.message, Timestamp::now())?;
    if given.is_some_and(|given| given != payload) {
        let how = format!(
            "sent as {} would bring it; --raw sends it as it is",
            delivery.name()
        );
        terminal::err("", &how);
    }
    let output = cloud.invoke(name, payload).await?;
    let reply = output.payload().map(Blob::as_ref).unwrap_or_default();
    if let Some(kind) = output.function_error() {
        bail!(
            "{name} failed ({}): {}",
            kind.to_lowercase(),
            failure(name, reply, &delivery)
        );
    }
    match serde_json::from_slice::<&RawValue>(reply) {
        Ok(reply) => say!("{}", indented(reply.get())),
        Err(_) => say!("{}", String::from_utf8_lossy(reply)),
    }
    if returned(reply) {
        bail!(
            "{name} returned the event to {}: its log says why",
            delivery.name()
        );
    }
    Ok(())
}

/// Whether a batch's reply names a record that was not handled.
pub(super) fn returned(reply: &[u8]) -> bool {
    let reply: Value = serde_json::from_slice(reply).unwrap_or_default();
    let failures = reply["batchItemFailures"].as_array();
    failures.is_some_and(|failures| !failures.is_empty())
}

/// Reads the event: JSON text, `-` for standard input, else a file. It is sent as it is written.
fn payload(event: &str) -> Result<Box<RawValue>> {
    let is_json = event.trim_start().starts_with(['{', '[', '"']);
    let (text, place) = match is_json {
        true => (event.to_owned(), "the event".to_owned()),
        false => publish::read(event)?,
    };
    serde_json::from_str(&text).with_context(|| format!("{place} is not JSON"))
}

/// Writes Lambda's error object in one line.
pub(super) fn failure(function: &str, reply: &[u8], delivery: &Delivery) -> String {
    let error: Value = serde_json::from_slice(reply).unwrap_or_default();
    let message = error["errorMessage"].as_str().unwrap_or_default();
    if message.contains("missing field `Records`") {
        let source = match delivery {
            Delivery::Queue(_) => format!("messages of {}", delivery.name()),
            _ => "records, which a queue or a stream brings".to_owned(),
        };
        return format!(
            "it takes {source}: `surehand send {function} FILE` sends it one, and so does `surehand invoke` with an event \
             that has `source` and `detail-type`, or with --message"
        );
    }
    match (error["errorType"].as_str(), error["errorMessage"].as_str()) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        (None, Some(message)) => message.to_owned(),
        _ => String::from_utf8_lossy(reply).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_json_or_a_file() {
        assert_eq!(payload(r#" {"a": 1}"#).unwrap().get(), r#"{"a": 1}"#);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("event.json");
        std::fs::write(&file, "[1]").unwrap();
        assert_eq!(payload(file.to_str().unwrap()).unwrap().get(), "[1]");
        let error = payload("no/such/file").unwrap_err();
        assert_eq!(error.to_string(), "cannot read no/such/file");
        assert!(format!("{:#}", payload("{").unwrap_err()).starts_with("the event is not JSON: "));
    }

    #[test]
    fn a_failure_is_one_line() {
        assert_eq!(
            failure(
                "f",
                br#"{"errorType":"rejected","errorMessage":"no lines"}"#,
                &Delivery::Direct
            ),
            "rejected: no lines"
        );
        let missing = br#"{"errorType":"x","errorMessage":"missing field `Records` at line 1"}"#;
        let queue = Delivery::Queue("arn:aws:sqs:r:a:stock".to_owned());
        assert_eq!(
            failure("f", missing, &queue),
            "it takes messages of the queue stock: `surehand send f FILE` sends it one, and so does `surehand invoke` with \
             an event that has `source` and `detail-type`, or with --message"
        );
        assert_eq!(
            failure("f", b"Task timed out", &Delivery::Direct),
            "Task timed out"
        );
    }

    #[test]
    fn numbers_are_sent_as_they_are() {
        let text = r#"{"n":12345678901234567890123,"a":0.1000000000000000055}"#;
        let sent = payload(text).unwrap();
        assert_eq!(sent.get(), text, "a payload must be sent as it was given");
    }
}
