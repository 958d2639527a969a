//! A bus, a function and a queue, played by a server that keeps what it is asked, and answers as it is
//! told.

use super::world::World;
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use surehand::Result;
use surehand_redrive::{Accepted, AwsPost, Destination, Entries, Parcel, Post};
use tokio::net::TcpListener;

/// How the service answers a call.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// It accepts all entries but those with a code.
    Refusing(&'static [Option<&'static str>]),
    /// It refuses the call, with a status and a code.
    Failing(u16, &'static str),
    /// It accepts all events, but its answer is lost.
    Silent,
    /// It answers with this status, as if it had done something else.
    Odd(u16),
}

pub(crate) const TAKING: Answer = Answer::Refusing(&[]);

#[derive(Clone, Default)]
pub(crate) struct Service(Arc<Mutex<Told>>);

#[derive(Default)]
pub(crate) struct Told {
    answers: VecDeque<Answer>,
    /// The entries of each call; for Lambda and SQS the whole request.
    pub(crate) calls: Vec<Vec<Value>>,
    /// The accepted events, as often as they were accepted.
    pub(crate) taken: Vec<String>,
    pub(crate) traces: Vec<Option<String>>,
    pub(crate) invocation_types: Vec<Option<String>>,
    pub(crate) paths: Vec<String>,
}

async fn serve(
    State(service): State<Service>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: &str| Some(headers.get(name)?.to_str().unwrap().to_owned());
    let body = String::from_utf8(body.to_vec()).unwrap();
    let target = text("x-amz-target");
    let entries = match target.as_deref() {
        Some("AWSEvents.PutEvents") => {
            let request: Value = serde_json::from_str(&body).unwrap();
            request["Entries"].as_array().unwrap().clone()
        }
        Some("AmazonSQS.SendMessageBatch") => vec![serde_json::from_str(&body).unwrap()],
        _ => vec![json!(body)],
    };
    let is_bus = target.as_deref() == Some("AWSEvents.PutEvents");
    let answer = {
        let mut told = service.0.lock().unwrap();
        let answer = told.answers.pop_front().unwrap_or(TAKING);
        for (index, entry) in entries.iter().enumerate() {
            let is_taken = match answer {
                Answer::Refusing(codes) => codes.get(index).is_none_or(Option::is_none),
                Answer::Silent => true,
                Answer::Failing(..) | Answer::Odd(_) => false,
            };
            if is_taken {
                let entry = if is_bus { &entry["Detail"] } else { entry };
                told.taken
                    .push(entry.as_str().unwrap_or_default().to_owned());
            }
        }
        told.calls.push(entries.clone());
        told.traces.push(text("x-amzn-trace-id"));
        told.invocation_types.push(text("x-amz-invocation-type"));
        told.paths.push(uri.path().to_owned());
        answer
    };
    match answer {
        Answer::Silent => {
            tokio::time::sleep(Duration::from_secs(2)).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        Answer::Failing(status, code) => {
            let headers = [("x-amzn-errortype", code)];
            let status = StatusCode::from_u16(status).unwrap();
            (
                status,
                headers,
                json!({"__type": code, "message": "no"}).to_string(),
            )
                .into_response()
        }
        Answer::Odd(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Refusing(codes) if is_bus => {
            let results = (0..entries.len()).map(|index| match codes.get(index) {
                Some(Some(code)) => json!({"ErrorCode": code, "ErrorMessage": "no"}),
                _ => json!({"EventId": format!("given-{index}")}),
            });
            let results: Vec<_> = results.collect();
            json!({"FailedEntryCount": 0, "Entries": results})
                .to_string()
                .into_response()
        }
        Answer::Refusing(_) if target.is_some() => {
            let failed = json!([{"Id": "0", "SenderFault": true, "Code": "AccessDenied"}]);
            json!({"Failed": failed, "Successful": []})
                .to_string()
                .into_response()
        }
        Answer::Refusing(_) => {
            (StatusCode::ACCEPTED, [("x-amzn-requestid", "given")]).into_response()
        }
    }
}

impl Service {
    pub(crate) async fn answering(answers: &[Answer]) -> (Self, SdkConfig) {
        let service = Self::default();
        service.told(|told| told.answers = answers.to_vec().into());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let credentials = Credentials::new("test", "test", None, None, "test");
        let timeout = TimeoutConfig::builder();
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .endpoint_url(url)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeout.operation_timeout(Duration::from_secs(1)).build())
            .build();
        (service, config)
    }

    pub(crate) fn told<T>(&self, look: impl FnOnce(&mut Told) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// How many entries each call had.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.told(|told| told.calls.iter().map(Vec::len).collect())
    }
}

/// Records what the service accepted in the world, which checks that only sent dead letters are
/// deleted.
pub(crate) struct Witness {
    pub(crate) post: AwsPost,
    pub(crate) service: Service,
    pub(crate) world: World,
}

impl Post for Witness {
    fn send<'a>(
        &'a self,
        to: &'a Destination,
        parcels: &'a [Parcel],
    ) -> BoxFuture<'a, Result<Entries<Accepted>>> {
        Box::pin(async move {
            let results = self.post.send(to, parcels).await;
            for parcel in parcels {
                let is_taken = |taken: &String| parcel.body.contains(taken.as_str());
                if self.service.told(|told| told.taken.iter().any(is_taken)) {
                    self.world.state().delivered.push(parcel.clone());
                }
            }
            results
        })
    }
}
