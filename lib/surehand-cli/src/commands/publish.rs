//! `surehand publish`: events as JSON lines onto a bus.
//!
//! Nothing is sent before every line has been read, so that a mistake in the last line does not leave half a file
//! on the bus.

mod event;
mod takers;

use std::{
    io::Read as _,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use aws_sdk_eventbridge::Client;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use surehand::aws::{
    events,
    limits::{ENTRIES, EVENT_BYTES},
};

pub(crate) use self::event::Event;
use self::takers::Takers;
use crate::{
    cloud::{Cloud, Wanted},
    progress::{Progress, number_of},
    terminal,
};

/// The longest `detail-type` that EventBridge takes.
const DETAIL_TYPE: usize = 128;

/// How often an entry is sent before its failure is reported.
const ATTEMPTS: u32 = 5;

/// The two shapes of a line: EventBridge's, and the envelope with its parts at the top. What is sent is what is
/// written: as values, numbers would lose their digits.
#[derive(Deserialize)]
struct Line {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    detail: Option<Box<RawValue>>,
    /// RFC 3339.
    time: Option<jiff::Timestamp>,
    #[serde(default)]
    resources: Vec<String>,
    metadata: Option<Box<RawValue>>,
    data: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Detail {
    data: Box<RawValue>,
    metadata: Box<RawValue>,
}

/// Publishes the lines of `file`, or of standard input when it is `-`, and says which rules of the bus take them.
pub(crate) async fn run(
    file: &str,
    bus: Option<String>,
    is_json: bool,
    wanted: &Wanted,
    progress: &Progress,
) -> Result<()> {
    let (text, place) = read(file)?;
    let events = parse(&text).with_context(|| format!("nothing sent from {place}"))?;
    if events.is_empty() {
        bail!("there is no event in {place}: write one a line, as JSON");
    }
    let cloud = Cloud::connect(wanted).await?;
    let bus = match (bus, &cloud.stack) {
        (Some(bus), _) => bus,
        (None, Some(stack)) => stack.output("EventBusName")?.to_owned(),
        (None, None) => {
            bail!("no bus: pass --bus, set EVENT_BUS_NAME, or start `surehand dev` first")
        }
    };
    let step = progress.step(format!("publishing to {bus} at {}", cloud.name()));
    let client = Client::new(&cloud.config);
    let total = events.len() as u64;
    send(&client, &bus, &events, |done| step.count(done, total, "")).await?;
    step.done(number_of(total, "event"));
    // They are on the bus, whoever takes them: if that cannot be told, it is no failure.
    match Takers::of(&cloud, &client, &bus, &events).await {
        Ok(takers) if is_json => terminal::out(&takers.json()),
        Ok(takers) => terminal::out(&takers.text()),
        Err(error) => {
            progress.line(&terminal::plain(&format!(
                "which rules take them is not known: {error:#}"
            )));
            if is_json {
                terminal::out(&takers::unknown(&events));
            }
        }
    }
    Ok(())
}

pub(super) fn read(file: &str) -> Result<(String, String)> {
    if file == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
        return Ok((text, "standard input".to_owned()));
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    Ok((text, file.to_owned()))
}

/// Reads JSON lines; empty lines are allowed, and the first bad one is an error.
fn parse(text: &str) -> Result<Vec<Event>> {
    if let Some(shape) = other_shape(text) {
        bail!("it is {shape}: write each event on one line, as `jq -c` does");
    }
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let line_number = index + 1;
            parse_line(line_number, line).with_context(|| format!("line {line_number}"))
        })
        .collect()
}

/// What a file is that is JSON, and not events line by line.
fn other_shape(text: &str) -> Option<&'static str> {
    let text = text.trim();
    serde_json::from_str::<&RawValue>(text).ok()?;
    match text.as_bytes().first() {
        Some(b'[') => Some("an array"),
        Some(b'{') if text.contains('\n') => Some("one event over several lines"),
        _ => None,
    }
}

/// Reads one event.
pub(super) fn parse_event(text: &str) -> Result<Event> {
    parse_line(1, text).context("the event")
}

fn parse_line(number: usize, text: &str) -> Result<Event> {
    let line: Line = serde_json::from_str(text).map_err(|error| {
        // The error's position is within this one line; the file has more.
        let message = error.to_string();
        let reason = message.split(" at line ").next().unwrap_or_default();
        anyhow::anyhow!("column {}: {reason}", error.column())
    })?;
    let detail = match (line.detail, line.metadata, line.data) {
        (Some(detail), None, None) => detail,
        (None, metadata, Some(data)) => {
            let metadata = metadata.map_or_else(|| RawValue::from_string("{}".to_owned()), Ok)?;
            serde_json::value::to_raw_value(&Detail { data, metadata })?
        }
        (Some(_), _, _) => bail!("use either `detail`, or `metadata` and `data`"),
        (None, _, None) => bail!("missing field `detail`"),
    };
    if !detail.get().starts_with('{') {
        bail!("`detail` must be an object");
    }
    if line.detail_type.chars().count() > DETAIL_TYPE {
        bail!("`detail-type` is longer than {DETAIL_TYPE} characters");
    }
    let event = Event {
        line: number,
        source: line.source,
        detail_type: line.detail_type,
        detail: detail.get().to_owned(),
        time: line.time.map(SystemTime::from),
        resources: line.resources,
    };
    if event.entry().size() > EVENT_BYTES {
        bail!("the event is larger than {EVENT_BYTES} bytes");
    }
    Ok(event)
}

/// Splits the events into requests.
fn chunks(events: &[Event]) -> Vec<&[Event]> {
    let mut chunks = Vec::new();
    let mut rest = events;
    while !rest.is_empty() {
        let mut size = 0;
        let fitting = rest
            .iter()
            .take(ENTRIES)
            .take_while(|event| {
                size += event.entry().size();
                size <= EVENT_BYTES
            })
            .count()
            // No single event is too large; if one is, it must fail with the service's own error.
            .max(1);
        let (chunk, remaining) = rest.split_at(fitting);
        chunks.push(chunk);
        rest = remaining;
    }
    chunks
}

/// Sends all events in order, each at least once; the error names the lines that the bus refused.
pub(crate) async fn send(
    client: &Client,
    bus: &str,
    events: &[Event],
    mut on_progress: impl FnMut(u64),
) -> Result<()> {
    let mut done = 0;
    let mut failed = Vec::new();
    for chunk in chunks(events) {
        failed.extend(send_chunk(client, bus, chunk).await?);
        done += chunk.len() as u64;
        on_progress(done);
    }
    if !failed.is_empty() {
        bail!("the bus refused {}", failed.join("; "));
    }
    Ok(())
}

/// Returns the refusals that another attempt would meet as well, or that the last attempt met, by line.
async fn send_chunk(client: &Client, bus: &str, chunk: &[Event]) -> Result<Vec<String>> {
    let mut pending: Vec<&Event> = chunk.iter().collect();
    let mut refused = Vec::new();
    for attempt in 1..=ATTEMPTS {
        let entries = pending.iter().map(|event| event.entry()).collect();
        let results = events::put(client, bus, entries).await.with_context(|| {
            let lines: Vec<String> = pending.iter().map(|event| event.line.to_string()).collect();
            let lines = lines.join(", ");
            format!("cannot publish lines {lines}; no later line was sent either")
        })?;
        let mut again = Vec::new();
        for (event, result) in pending.into_iter().zip(results) {
            match result {
                Ok(_) => {}
                Err(refusal) if !refusal.permanent && attempt < ATTEMPTS => again.push(event),
                Err(refusal) => refused.push((event.line, refusal)),
            }
        }
        pending = again;
        if pending.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
    }
    refused.sort_by_key(|(line, _)| *line);
    let refused = refused.iter();
    Ok(refused
        .map(|(line, refusal)| format!("line {line}: {refusal}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::emulator::{self, Key};

    fn event(line: usize, bytes: usize) -> Event {
        Event {
            line,
            source: String::new(),
            detail_type: String::new(),
            detail: "x".repeat(bytes),
            time: None,
            resources: Vec::new(),
        }
    }

    #[test]
    fn both_shapes_are_read_and_lines_counted() {
        let text = concat!(
            r#"{"source":"shop.orders","detail-type":"OrderPlaced","detail":{"a":1}}"#,
            "\n\n",
            r#"{"source":"shop.orders","detail-type":"OrderPlaced","metadata":{"id":"1"},"data":{"a":1}}"#,
        );
        let events = parse(text).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].detail, r#"{"a":1}"#);
        assert_eq!(events[1].line, 3);
        assert_eq!(
            events[1].detail,
            r#"{"data":{"a":1},"metadata":{"id":"1"}}"#
        );
    }

    #[test]
    fn time_and_resources_are_sent() {
        let line = r#"{"source":"a","detail-type":"b","detail":{},"time":"2026-01-01T00:00:00Z","resources":["arn:x"]}"#;
        let events = parse(line).unwrap();
        let entry = events[0].entry();
        let time = entry.time.unwrap().duration_since(SystemTime::UNIX_EPOCH);
        assert_eq!(time.unwrap().as_secs(), 1_767_225_600);
        assert_eq!(entry.resources, ["arn:x"]);
        let error = parse(&line.replace("2026-01-01T00:00:00Z", "today")).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("line 1: column "),
            "{error:#}"
        );
    }

    #[test]
    fn json_that_is_not_line_by_line_is_named() {
        for (text, shape) in [
            ("[{}]", "it is an array"),
            ("\n[\n{}\n]\n", "it is an array"),
            ("{\n\"a\": 1\n}\n", "it is one event over several lines"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(shape), "{error}");
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, reason) in [
            ("nonsense", "line 2: column 2: expected ident"),
            (
                r#"{"source":"a","detail":{}}"#,
                "line 2: column 26: missing field `detail-type`",
            ),
            (
                r#"{"source":"a","detail-type":"b"}"#,
                "line 2: missing field `detail`",
            ),
            (
                r#"{"source":"a","detail-type":"b","detail":"text"}"#,
                "line 2: `detail` must be an object",
            ),
            (
                r#"{"source":"a","detail-type":"b","detail":{},"data":{}}"#,
                "line 2: use either `detail`, or `metadata` and `data`",
            ),
        ] {
            let text = format!(
                "{}\n{line}",
                r#"{"source":"a","detail-type":"b","detail":{}}"#
            );
            let error = format!("{:#}", parse(&text).unwrap_err());
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn chunks_keep_both_limits() {
        let many: Vec<Event> = (0..25).map(|line| event(line, 10)).collect();
        let sizes: Vec<usize> = chunks(&many).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(sizes, [10, 10, 5]);

        let large: Vec<Event> = (0..5).map(|line| event(line, 400 * 1024)).collect();
        let sizes: Vec<usize> = chunks(&large).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }

    /// Sends two events to a bus that gives these answers, one after the other, as JSON; says what `send` says.
    async fn sent(answers: &[&str]) -> (usize, String) {
        let answers: Vec<_> = answers.iter().map(|it| (*it).to_owned()).collect();
        let calls = std::sync::Arc::new(std::sync::Mutex::new(0));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let counted = std::sync::Arc::clone(&calls);
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                read_request(&mut stream);
                *counted.lock().unwrap() += 1;
                let length = answer.len();
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.1";
                let text = format!("{head}\r\nContent-Length: {length}\r\n\r\n{answer}");
                std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
            }
        });
        let config = emulator::config(&format!("http://{address}"), &Key::new().unwrap());
        let said = send(
            &Client::new(&config),
            "bus",
            &[event(1, 2), event(3, 2)],
            |_| {},
        )
        .await;
        let said = said.err().map(|error| error.to_string());
        let calls = *calls.lock().unwrap();
        (calls, said.unwrap_or_default())
    }

    fn read_request(stream: &mut std::net::TcpStream) {
        let (mut request, mut part) = (Vec::new(), [0; 4096]);
        let is_whole = |request: &[u8]| {
            let text = String::from_utf8_lossy(request).to_lowercase();
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head
                .lines()
                .find_map(|it| it.strip_prefix("content-length: "))?;
            Some(body.len() >= length.trim().parse().ok()?)
        };
        while is_whole(&request) != Some(true) {
            let read = stream.read(&mut part).unwrap();
            request.extend_from_slice(&part[..read]);
        }
    }

    #[tokio::test]
    async fn a_line_is_sent_again_as_long_as_that_may_help() {
        let taken = r#"{"EventId":"1"}"#;
        let throttled = r#"{"ErrorCode":"ThrottlingException","ErrorMessage":"slow down"}"#;
        let refused = r#"{"ErrorCode":"MalformedDetail","ErrorMessage":"no JSON"}"#;
        let answer = |entries: &[&str]| {
            let entries = entries.join(",");
            format!(r#"{{"FailedEntryCount":0,"Entries":[{entries}]}}"#)
        };
        let [both, one] = [answer(&[taken, taken]), answer(&[taken])];
        assert_eq!(sent(&[&both]).await, (1, String::new()));
        let first = answer(&[taken, throttled]);
        assert_eq!(sent(&[&first, &one]).await, (2, String::new()));
        // Without an id it is not known to be on the bus.
        let first = answer(&["{}", taken]);
        assert_eq!(sent(&[&first, &one]).await, (2, String::new()));
        let first = answer(&[throttled, refused]);
        assert_eq!(
            sent(&[&first, &one]).await,
            (
                2,
                "the bus refused line 3: MalformedDetail: no JSON".to_owned()
            )
        );
    }

    #[test]
    fn numbers_are_sent_as_they_are() {
        let data = r#"{"n":12345678901234567890123,"a":0.1000000000000000055}"#;
        for (shape, detail) in [
            (format!(r#""detail":{data}"#), data.to_owned()),
            (
                format!(r#""data":{data}"#),
                format!(r#"{{"data":{data},"metadata":{{}}}}"#),
            ),
        ] {
            let line = format!(r#"{{"source":"a","detail-type":"b",{shape}}}"#);
            let events = parse(&line).unwrap();
            assert_eq!(
                events[0].detail, detail,
                "a detail must be sent as it was given"
            );
        }
    }
}
