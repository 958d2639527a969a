//! The function `redrive`: redrives for as long as they take, or on a schedule, without a shell that stays open.
//!
//! An application makes a binary of it:
//!
//! ```no_run
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), surehand::BoxError> {
//!     surehand_redrive::function::run().await
//! }
//! ```
//!
//! It is invoked with a [`Request`], and answers with the name of a run. The run's work is a message in the
//! function's own queue. An invocation that gets that message works until its time is nearly out, and
//! sends the next one. An invocation that dies leaves its message, and with it the run, to the next.
//!
//! A run is what a request started: a message in the function's queue that names another, or another
//! selection, is parked. An invocation that gets nowhere is followed by three more, and then its message is
//! parked with that reason.
//!
//! A run goes in rounds: a plan of so many letters, and a journal of what became of them. Both are in
//! a table of its own, for a month, so that the next invocation sends nothing that is known to be sent. They
//! hold whole messages, which the consumers that share the idempotency table have no business to read.
//!
//! # What it needs
//!
//! | | |
//! |---|---|
//! | `REDRIVE_QUEUE_URL` | its own queue, which invokes it: one message at a time, with `ReportBatchItemFailures` and a visibility timeout of six times the function's |
//! | `DEAD_LETTER_QUEUE_URL` | the dead-letter queue of that queue. A message is parked there after five attempts, which are its receives, since the function keeps no claims: the queue's `maxReceiveCount` must be larger |
//! | `DEAD_LETTER_QUEUES` | the dead-letter queues that a request may name: `orders=URL,event-bus=URL` |
//! | `REDRIVE_DESTINATIONS` | where letters may go if only they themselves say so, beside the queues that have the queue for their dead letters: URLs and ARNs, separated by commas; none unless set |
//! | `REDRIVE_TABLE` | a table whose key is the string `id`, and whose items expire by `expiration`. No other function needs to read it |
//! | `RecursiveLoop: Allow` | or Lambda stops it after about 16 messages to itself |
//!
//! | Its role may | on |
//! |---|---|
//! | `sqs:ReceiveMessage`, `sqs:DeleteMessage`, `sqs:GetQueueAttributes`, `sqs:ChangeMessageVisibility` | its own queue, and the dead-letter queues of the others |
//! | `sqs:ListDeadLetterSourceQueues` | the dead-letter queues of the others |
//! | `sqs:SendMessage` | its own queue, its own dead-letter queue, and the queues that letters go back to |
//! | `lambda:InvokeFunction`, `events:PutEvents` | the functions and buses that letters go back to |
//! | `dynamodb:GetItem`, `dynamodb:PutItem` | the table |
//!
//! `surehand new --with-redrive` makes an application that has all of this in its template.

mod invocation;
mod log;
mod pace;
mod redrive;
mod request;
mod round;
mod services;
mod turn;

pub use invocation::Invocation;
pub use redrive::{Redrive, RunStatus, Started};
pub use request::{Answer, DryRun, Request};
pub use round::Work;
pub use services::{Queues, SqsQueues};

use pace::Pace;
use std::{sync::Arc, time::Duration};
use surehand::{
    BoxError, Deadline, Error, ErrorKind, Function, Json, Record, Sqs, SqsDeadLetters,
    SqsVisibility, State, aws, environment, source::Source,
};

/// Runs the function, with all that it needs from its environment.
///
/// # Errors
/// If a variable is not set or makes no sense, and what Lambda's runtime reports.
pub async fn run() -> Result<(), BoxError> {
    let aws = aws::limited_config().await;
    let table = environment::var("REDRIVE_TABLE")?;
    let client = aws_sdk_dynamodb::Client::new(aws);
    let redrive = Redrive::new(client, table, SqsQueues::from_env(aws)?);
    let worker = Function::new(Sqs, work, redrive.clone())
        .dead_letters(SqsDeadLetters::from_env().await?)
        .redelivery(SqsVisibility::from_env().await);
    Function::new(Invocation, invoked, Invocations::new(redrive, worker))
        .deadline_margin(MARGIN)
        .run()
        .await
}

/// What the worker answers needs no more than to be handed on; it keeps its own margin.
const MARGIN: Duration = Duration::from_millis(100);

/// The function: it answers requests, and has the messages of its own queue handled by `worker`.
#[derive(Clone)]
pub struct Invocations {
    redrive: Redrive,
    worker: Arc<Function<Sqs>>,
}

impl Invocations {
    /// `worker` is a function around [`work`].
    pub fn new(redrive: Redrive, worker: Function<Sqs>) -> Self {
        let worker = Arc::new(worker);
        Self { redrive, worker }
    }
}

/// Hands messages to the worker, whose answer is that of the invocation, and answers requests.
///
/// # Errors
/// A request that makes no sense is rejected; anything else may work next time.
pub async fn invoked(
    record: Record,
    deadline: Deadline,
    State(invocations): State<Invocations>,
) -> surehand::Result<Answer> {
    if let Ok(messages) = serde_json::from_str::<<Sqs as Source>::Event>(record.body())
        && !messages.records.is_empty()
    {
        let context = record.context().clone();
        let response = invocations.worker.invoke(messages, context).await?;
        return Ok(Answer::Messages(serde_json::to_value(response)?));
    }
    let request: Request = serde_json::from_str(record.body())
        .map_err(|error| Error::rejected(format!("the request makes no sense: {error}")))?;
    let run = &record.context().request_id;
    request.answer(&invocations.redrive, run, &deadline).await
}

/// Goes on with a run.
///
/// # Errors
/// If a queue or the table does not answer; and if too many letters cannot be sent: the message is parked then.
pub async fn work(
    Json(work): Json<Work>,
    deadline: Deadline,
    State(redrive): State<Redrive>,
) -> surehand::Result<()> {
    let pace = Pace::of(&deadline);
    match redrive.go_on(&work, &pace, &deadline).await {
        // They have a message of their own, unless what looks like them is a write of one that died.
        Err(error) if error.kind() == ErrorKind::Fenced => {
            tracing::info!(run = work.run, "another invocation works on this run");
            match work.may_try_again() {
                true => redrive.try_again(&work, &pace).await,
                false => Ok(()),
            }
        }
        result => result,
    }
}
