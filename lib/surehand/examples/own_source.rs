//! How does a function handle events of a service that Surehand does not know?
//!
//! By a `Source`. This one reads the notifications of an S3 bucket, which invokes the function
//! asynchronously: one record for each object.
//!
//! `cargo run -p surehand --example own_source --features testing`

use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use std::sync::{Arc, Mutex};
use surehand::{
    Deadline, Delivery, Error, Function, Json, MemoryStore, Metadata, Record, Result, State,
    envelope::RawEvent,
    record::{Batch, Outcome},
    source::Source,
    testing,
};

struct S3;

#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "Records")]
    records: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    s3: Box<RawValue>,
}

/// An object as the notification has it, and as the handler takes it.
#[derive(Serialize, Deserialize)]
struct Stored {
    object: Object,
}

#[derive(Serialize, Deserialize)]
struct Object {
    key: String,
    /// Another one for each time that the object is written.
    sequencer: String,
}

impl Source for S3 {
    type Event = Notification;
    type Response = ();

    fn split(
        &self,
        event: Notification,
        context: lambda_runtime::Context,
        deadline: Deadline,
    ) -> Result<Batch> {
        let record = |(entry, number): (Entry, usize)| {
            let body = entry.s3.get();
            let stored: Result<Stored, _> = serde_json::from_str(body);
            let mut delivery = Delivery::default();
            // Lambda's own attempts at one notification have one request id.
            delivery.sending_id = Some(context.request_id.clone());
            // An object that cannot be read concerns itself alone, and still needs an id.
            delivery.message_id = match &stored {
                Ok(Stored { object }) => format!("{}#{}", object.key, object.sequencer),
                Err(_) => format!("{}#{number}", context.request_id),
            };
            let metadata = Metadata::new(delivery.message_id.clone());
            let record = Record::new(delivery, body, context.clone(), deadline.clone());
            match stored {
                Ok(Stored { object }) => record
                    .with_event(RawEvent {
                        metadata,
                        data: body.to_owned(),
                    })
                    // Of one object, the records are handled in their order.
                    .with_lane(Some(object.key)),
                Err(error) => record.with_malformed(error.to_string()),
            }
        };
        let records = event.records.into_iter().zip(0..).map(record);
        Ok(Batch {
            records: records.collect(),
        })
    }

    /// S3 can only be told that all of it failed. Lambda delivers the event again then, and what was
    /// done is not done again, because it is claimed.
    fn join(&self, outcomes: Vec<Outcome>) -> Result<()> {
        let results = outcomes.into_iter().map(|outcome| outcome.result.map(drop));
        results.collect()
    }
}

type Index = Arc<Mutex<Vec<String>>>;

async fn index(Json(stored): Json<Stored>, State(index): State<Index>) -> Result<()> {
    let key = stored.object.key;
    let mut index = index.lock().expect("no handler panics");
    if key == "b.jpg" && index.len() == 1 {
        return Err(Error::transient("the index is busy"));
    }
    println!("indexing {key}");
    index.push(key);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let indexed = Index::default();
    let function = Function::new(S3, index, indexed.clone())
        .concurrency(1)
        .idempotent(MemoryStore::new());
    let object = |key: &str, sequencer: &str| {
        let object = json!({ "key": key, "sequencer": sequencer });
        json!({ "eventSource": "aws:s3", "s3": { "object": object } })
    };
    let invoke = async || {
        let records = [
            object("a.jpg", "01"),
            object("b.jpg", "02"),
            object("c.jpg", "03"),
        ];
        // By way of text, because raw JSON can only be taken from text.
        let event = serde_json::from_str(&json!({ "Records": records }).to_string())?;
        function.invoke(event, testing::context()).await
    };

    let error = invoke().await.expect_err("it is refused");
    println!("the invocation fails: {error}");
    invoke().await?;
    let indexed = indexed.lock().expect("no handler panics").clone();
    assert_eq!(indexed, ["a.jpg", "c.jpg", "b.jpg"]);
    Ok(())
}
