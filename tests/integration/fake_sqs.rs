//! An SQS that keeps what it is asked, and answers as it is told.

use aws_sdk_sqs::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
};

/// It lives as long as the test's runtime.
pub(crate) struct FakeSqs {
    pub(crate) client: Client,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

impl FakeSqs {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .build();
        let calls = Arc::default();
        tokio::spawn({
            let calls = Arc::clone(&calls);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&calls)));
                }
            }
        });
        Self {
            client: Client::from_conf(config),
            calls,
        }
    }

    /// The requests for one action, in order.
    pub(crate) fn calls(&self, action: &str) -> Vec<Value> {
        let calls = self.calls.lock().unwrap();
        let ours = calls.iter().filter(|(name, _)| name == action);
        ours.map(|(_, request)| request.clone()).collect()
    }
}

async fn serve(stream: TcpStream, calls: Arc<Mutex<Vec<(String, Value)>>>) {
    let mut stream = BufStream::new(stream);
    loop {
        let (mut action, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line == "\r\n" {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "x-amz-target" => action = value.trim_start_matches("AmazonSQS.").to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let request: Value = serde_json::from_slice(&body).unwrap();
        let answer = answer(&action, &request).to_string();
        calls.lock().unwrap().push((action, request));
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

fn answer(action: &str, request: &Value) -> Value {
    match action {
        "SendMessage" => json!({"MessageId": "sent", "MD5OfMessageBody": "unchecked"}),
        "ChangeMessageVisibilityBatch" => {
            let entries = request["Entries"].as_array().unwrap();
            let changed: Vec<_> = entries.iter().map(|e| json!({"Id": e["Id"]})).collect();
            json!({"Successful": changed, "Failed": []})
        }
        other => panic!("the tests need no {other}"),
    }
}
