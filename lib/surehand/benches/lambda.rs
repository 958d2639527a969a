//! What Surehand costs a function: from the start of its process to its first call for work, and
//! from a batch to its response, over HTTP, as Lambda sees both.
//!
//! `cargo bench -p surehand --no-default-features --bench lambda` compares the examples `faults`,
//! which is on Surehand, with metrics and without, and `bare`, which is on lambda_runtime alone.
//! Further binaries, given after `--`, are started as well.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing else to say"
)]

use serde_json::json;
use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant, SystemTime},
};

const STARTS: usize = 20;
const BATCHES: usize = 2_000;
const RECORDS: usize = 10;

fn main() {
    let mut others = Vec::new();
    for argument in env::args().skip(1) {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            path => others.push(PathBuf::from(path)),
        }
    }
    let [bare, faults] = examples();
    let compared = [
        Variant::new("bare", &bare),
        Variant::new("faults", &faults),
        Variant::new("faults, metrics on", &faults).with(METRICS),
    ];
    let others = others.iter().map(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        Variant::new(&name, path)
    });
    let others: Vec<Variant> = others.collect();
    let all: Vec<&Variant> = compared.iter().chain(&others).collect();
    // In turns, so that a busy moment of the machine is nobody's alone.
    let mut starts = vec![Vec::new(); all.len()];
    for _ in 0..STARTS {
        for (variant, times) in all.iter().zip(&mut starts) {
            times.push(start_time(variant));
        }
    }
    println!("{STARTS} starts each; {BATCHES} batches of {RECORDS} messages, their median\n");
    println!(
        "| function | stripped, KiB | start to first /next, ms: least | median | batch, µs | CPU a record, µs |"
    );
    println!("|---|---|---|---|---|---|");
    for (index, (variant, times)) in all.into_iter().zip(starts).enumerate() {
        let size = fs::metadata(&variant.path).unwrap().len() / 1024;
        let least = times.iter().min().unwrap().as_secs_f64() * 1e3;
        let start = median(times).as_secs_f64() * 1e3;
        let (batch, cpu) = if index < compared.len() {
            let (batch, cpu) = batch_time(variant);
            let micros = |time: Duration| time.as_secs_f64() * 1e6;
            (
                format!("{:.0}", micros(batch)),
                format!("{:.1}", micros(cpu)),
            )
        } else {
            Default::default()
        };
        let name = &variant.name;
        println!("| {name} | {size} | {least:.1} | {start:.1} | {batch} | {cpu} |");
    }
}

/// A function as it is started.
struct Variant {
    name: String,
    path: PathBuf,
    variables: Vec<(&'static str, &'static str)>,
}

/// Turns metrics on.
const METRICS: (&str, &str) = ("SUREHAND_METRICS_NAMESPACE", "Bench");

impl Variant {
    fn new(name: &str, path: &Path) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            variables: Vec::new(),
        }
    }

    fn with(mut self, variable: (&'static str, &'static str)) -> Self {
        self.variables.push(variable);
        self
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// `bare` and `faults`, built as they are deployed, in the release profile and without the AWS SDK.
fn examples() -> [PathBuf; 2] {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--package=surehand"])
        .args([
            "--no-default-features",
            "--example=bare",
            "--example=faults",
        ])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the examples do not compile");
    let output = String::from_utf8(output.stdout).unwrap();
    let mut binaries: Vec<PathBuf> = output
        .lines()
        .filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).unwrap();
            Some(message["executable"].as_str()?.into())
        })
        .collect();
    binaries.sort();
    binaries.try_into().unwrap()
}

fn start_time(variant: &Variant) -> Duration {
    let lambda = Lambda::listen();
    let start = Instant::now();
    let function = lambda.start(variant);
    let _next = lambda.request("/invocation/next");
    let time = start.elapsed();
    end(function);
    time
}

/// The median of a batch, there and back, and the processor's time for a record.
fn batch_time(variant: &Variant) -> (Duration, Duration) {
    let lambda = Lambda::listen();
    let function = lambda.start(variant);
    let mut before = Duration::ZERO;
    let times = (0..BATCHES).map(|number| {
        let mut next = lambda.request("/invocation/next");
        if number == 0 {
            before = cpu_time(&function);
        }
        let body = batch(number);
        let start = Instant::now();
        next.answer(&format!("Lambda-Runtime-Aws-Request-Id: request-{number}\r\nLambda-Runtime-Deadline-Ms: {}\r\nLambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:bench\r\n", deadline()), &body);
        let mut response = lambda.request("/response");
        let time = start.elapsed();
        assert_eq!(response.body, r#"{"batchItemFailures":[]}"#);
        response.answer("", "");
        time
    });
    let times = times.collect();
    let cpu = cpu_time(&function) - before;
    end(function);
    (median(times), cpu / (BATCHES * RECORDS) as u32)
}

/// What the process has used of the processor so far.
fn cpu_time(function: &Child) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/schedstat", function.id())).unwrap();
    let nanoseconds = stat.split(' ').next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

fn end(mut function: Child) {
    function.kill().unwrap();
    function.wait().unwrap();
}

fn deadline() -> u128 {
    let end = SystemTime::now() + Duration::from_secs(60);
    end.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

/// Messages with ids of their own, that both functions understand.
fn batch(number: usize) -> String {
    let records = (0..RECORDS).map(|index| {
        json!({
            "messageId": format!("0190a7c4-7e5b-7c3d-9f10-{number:08}{index:04}"),
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": r#"{"do": "succeed", "order_id": "42"}"#,
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1780000000000"},
            "messageAttributes": {}, "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:orders",
            "awsRegion": "eu-central-1"
        })
    });
    let records: Vec<_> = records.collect();
    json!({ "Records": records }).to_string()
}

/// Lambda's side of the runtime API, one function at a time.
struct Lambda {
    address: String,
    requests: Receiver<Request>,
}

struct Request {
    path: String,
    body: String,
    connection: TcpStream,
}

impl Lambda {
    fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, requests) = channel();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let sender = sender.clone();
                thread::spawn(move || serve(connection.unwrap(), &sender));
            }
        });
        Self { address, requests }
    }

    fn start(&self, variant: &Variant) -> Child {
        Command::new(&variant.path)
            .env("AWS_LAMBDA_RUNTIME_API", &self.address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "bench")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
            .envs(SHOP)
            .envs(variant.variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn request(&self, path: &str) -> Request {
        let request = self.requests.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(request.path.ends_with(path), "{}", request.path);
        request
    }
}

/// What the shop's functions read when they start, beside what Lambda sets.
const SHOP: [(&str, &str); 11] = [
    ("AWS_REGION", "eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("IDEMPOTENCY_TABLE", "idempotency"),
    ("SHOP_TABLE", "shop"),
    ("EVENT_BUS_NAME", "shop"),
    ("EVENT_QUEUE_URL", "http://127.0.0.1:1/1/events"),
    ("LEDGER_QUEUE_URL", "http://127.0.0.1:1/1/ledger.fifo"),
    ("EMAIL_FROM", "shop@example.com"),
    ("DEAD_LETTER_QUEUE_URL", "http://127.0.0.1:1/1/dead-letters"),
    ("MAX_RECEIVE_COUNT", "5"),
];

impl Request {
    fn answer(&mut self, headers: &str, body: &str) {
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        self.connection.write_all(answer.as_bytes()).unwrap();
    }
}

/// Hands on a connection's requests, until its function is ended.
fn serve(connection: TcpStream, requests: &Sender<Request>) {
    connection.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if !matches!(reader.read_until(b'\n', &mut head), Ok(1..)) {
                return;
            }
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let request = Request {
            path: head.split(' ').nth(1).unwrap().to_owned(),
            body: String::from_utf8(body).unwrap(),
            connection: connection.try_clone().unwrap(),
        };
        if requests.send(request).is_err() {
            return;
        }
    }
}
