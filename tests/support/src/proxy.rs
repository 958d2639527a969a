//! What stands between a command and the service, and knows each call: the one place where a process
//! can be killed at an exact step without a word about it in the process.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// A call, before it is passed on or after it was answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// `SendMessageBatch`, for example; of a service without names for its calls, `GET /path`.
    pub action: String,
    /// What it is called with.
    pub body: String,
    /// Its number among the calls of its action, from 1.
    pub number: usize,
    /// When the proxy sees it.
    pub moment: Moment,
    /// The ends of its connection, by which the caller's process can be found: the caller's, and the proxy's.
    pub ends: [SocketAddr; 2],
}

/// When the proxy sees a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The service has not received it yet.
    Before,
    /// The service has carried out the call, and its answer is still on the way.
    After,
}

/// What happens to a call.
pub enum Fate {
    /// It is passed on.
    Pass,
    /// The caller gets this status and body instead of the service's.
    Answer(u16, String),
    /// The caller loses the connection.
    Cut,
}

/// Decides on calls.
pub type Decide = dyn Fn(&Call) -> Fate + Send + Sync;

struct Shared {
    upstream: String,
    decide: Box<Decide>,
    counts: Mutex<HashMap<String, usize>>,
}

/// Starts to listen; returns the endpoint. It ends with the test's process.
pub fn start(upstream: &str, decide: impl Fn(&Call) -> Fate + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let shared = Arc::new(Shared {
        upstream: upstream.strip_prefix("http://").unwrap().to_owned(),
        decide: Box::new(decide),
        counts: Mutex::default(),
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
            // A broken connection has no more calls.
            std::thread::spawn(move || serve(stream, &shared));
        }
    });
    endpoint
}

/// One message of HTTP/1.1: its head, and its body as long as the head says.
struct Message {
    head: String,
    body: Vec<u8>,
}

fn serve(client: TcpStream, shared: &Shared) -> Option<()> {
    let ends = [client.peer_addr().ok()?, client.local_addr().ok()?];
    let upstream = TcpStream::connect(&shared.upstream).ok()?;
    let mut requests = BufReader::new(client.try_clone().ok()?);
    let mut answers = BufReader::new(upstream.try_clone().ok()?);
    let (mut client, mut upstream) = (client, upstream);
    loop {
        let request = read(&mut requests)?;
        let action = header(&request.head, "x-amz-target");
        let action = match action.rsplit('.').next().unwrap_or_default() {
            "" => request
                .head
                .split(['?', ' '])
                .take(2)
                .collect::<Vec<_>>()
                .join(" "),
            action => action.to_owned(),
        };
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let number = {
            let mut counts = shared.counts.lock().unwrap();
            let count = counts.entry(action.clone()).or_default();
            *count += 1;
            *count
        };
        let call = |moment| Call {
            action: action.clone(),
            body: body.clone(),
            number,
            moment,
            ends,
        };
        match (shared.decide)(&call(Moment::Before)) {
            Fate::Pass => {}
            Fate::Answer(status, body) => {
                answer(&mut client, status, &body)?;
                continue;
            }
            Fate::Cut => return None,
        }
        write(&mut upstream, &request)?;
        let real = read(&mut answers)?;
        match (shared.decide)(&call(Moment::After)) {
            Fate::Pass => write(&mut client, &real)?,
            Fate::Answer(status, body) => answer(&mut client, status, &body)?,
            Fate::Cut => return None,
        }
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Message> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = header(&head, "content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Message { head, body })
}

fn write(stream: &mut TcpStream, message: &Message) -> Option<()> {
    stream.write_all(message.head.as_bytes()).ok()?;
    stream.write_all(&message.body).ok()
}

fn answer(stream: &mut TcpStream, status: u16, body: &str) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status} Test\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let body = body.as_bytes().to_vec();
    write(stream, &Message { head, body })
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value.trim())
}
