//! A queue's function in which everything goes wrong that can: each message says what happens to it.
//!
//! ```json
//! {"do": "succeed"}             {"do": "fail"}                {"do": "reject"}
//! {"do": "panic"}               {"do": "wait", "ms": 60000}   {"do": "block", "ms": 60000}
//! {"do": "exit"}                {"do": "abort"}
//! ```
//!
//! A failure, a rejection, a panic and a wait beyond the deadline are their own record's alone: the
//! response names these messages, and the others are done. A thread that blocks, an exit and an
//! abort take the whole process with them, and with it the batch: Lambda starts another process and
//! SQS delivers every message again.

use serde::Deserialize;
use std::{thread, time::Duration};
use surehand::{BoxError, Error, Function, Json, MemoryStore, Sqs};

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Act {
    Succeed,
    Fail,
    Reject,
    Panic,
    /// Waits asynchronously, so that the deadline can stop it.
    Wait {
        ms: u64,
    },
    /// Blocks the thread, which the process itself cannot stop.
    Block {
        ms: u64,
    },
    Exit,
    Abort,
}

async fn act(Json(act): Json<Act>) -> surehand::Result<()> {
    match act {
        Act::Succeed => {}
        Act::Fail => return Err(Error::transient("the database is away")),
        Act::Reject => return Err(Error::rejected("this can never be handled")),
        Act::Panic => panic!("an assumption did not hold"),
        Act::Wait { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
        Act::Block { ms } => thread::sleep(Duration::from_millis(ms)),
        Act::Exit => std::process::exit(3),
        Act::Abort => std::process::abort(),
    }
    tracing::info!("effect");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    Function::new(Sqs, act, ())
        .idempotent(MemoryStore::new())
        .run()
        .await
}
