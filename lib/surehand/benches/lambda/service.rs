//! What a function talks to: Lambda's side of the runtime API, one function at a time, a DynamoDB
//! that has everything in stock, and a collector of spans.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

pub(crate) struct Lambda {
    address: String,
    requests: Receiver<Request>,
    exports: Arc<AtomicUsize>,
}

impl Lambda {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, requests) = channel();
        let exports = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&exports);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (sender, counted) = (sender.clone(), Arc::clone(&counted));
                thread::spawn(move || serve(connection.unwrap(), &sender, &counted));
            }
        });
        Self {
            address,
            requests,
            exports,
        }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits for the function's next call, which must be this one.
    pub(crate) fn request(&self, path: &str) -> Request {
        let request = self.requests.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(request.path.ends_with(path), "{}", request.path);
        request
    }

    /// Lets the function handle a batch, and returns the round-trip time.
    pub(crate) fn handle(&self, batch: &str) -> Duration {
        let mut next = self.request("/invocation/next");
        let deadline = deadline();
        let headers = format!(
            "Lambda-Runtime-Aws-Request-Id: request\r\nLambda-Runtime-Deadline-Ms: {deadline}\r\nLambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:bench\r\n"
        );
        let start = Instant::now();
        next.answer(&headers, batch);
        let mut response = self.request("/response");
        let time = start.elapsed();
        assert_eq!(response.body, r#"{"batchItemFailures":[]}"#);
        response.answer("", "");
        time
    }

    /// How often spans were sent.
    pub(crate) fn exports(&self) -> usize {
        self.exports.load(Ordering::SeqCst)
    }
}

fn deadline() -> u128 {
    let end = SystemTime::now() + Duration::from_secs(60);
    end.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

pub(crate) struct Request {
    path: String,
    body: String,
    connection: TcpStream,
}

impl Request {
    fn answer(&mut self, headers: &str, body: &str) {
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        self.connection.write_all(answer.as_bytes()).unwrap();
    }
}

/// DynamoDB's answer to a read of an order and its article.
const IN_STOCK: &str = r#"{"Responses": {"shop": [{"pk": {"S": "STOCK#book"}, "sk": {"S": "STOCK"}, "sku": {"S": "book"}, "available": {"N": "1000000"}}]}, "UnprocessedKeys": {}}"#;

/// Answers a connection's requests, or passes them on, until its function has ended.
fn serve(connection: TcpStream, requests: &Sender<Request>, exports: &AtomicUsize) {
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
        let header = |wanted: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut request = Request {
            path: head.split(' ').nth(1).unwrap().to_owned(),
            body: String::from_utf8_lossy(&body).into_owned(),
            connection: connection.try_clone().unwrap(),
        };
        match (request.path.as_str(), header("x-amz-target")) {
            ("/v1/traces", _) => {
                exports.fetch_add(1, Ordering::SeqCst);
                request.answer("Content-Type: application/x-protobuf\r\n", "");
            }
            (_, Some("DynamoDB_20120810.BatchGetItem")) => request.answer("", IN_STOCK),
            (_, Some("DynamoDB_20120810.TransactWriteItems")) => request.answer("", "{}"),
            _ => {
                if requests.send(request).is_err() {
                    return;
                }
            }
        }
    }
}
