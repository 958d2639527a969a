//! Puts letters back by the AWS services.

mod bus;
mod function;
mod queue;

use crate::{
    destination::Destination,
    parcel::{Accepted, Parcel},
    queue::Post,
};
use aws_config::Region;
use futures_util::future::BoxFuture;
use surehand::{
    Result,
    aws::{Entries, Refusal},
};

/// Puts letters back by the AWS services, as far as it is given their clients.
///
/// | Destination | Call | Confirmed when | Permission |
/// |---|---|---|---|
/// | a queue | `SendMessageBatch` | the entry has succeeded, with the MD5s of what was sent | `sqs:SendMessage` |
/// | a bus | `PutEvents` | the entry has an event id | `events:PutEvents` |
/// | a function | `Invoke`, asynchronous | Lambda has queued the event (202) | `lambda:InvokeFunction` |
///
/// **A bus** gives each event that is put on it an `id` of its own, which cannot be chosen. Events of
/// Surehand have their id in `detail.metadata`, which stays, so that their consumers know them again;
/// whoever goes by EventBridge's `id` gets a new event. `source`, `detail-type`, `detail`, `time` and
/// `resources` stay as they were. What matches no rule is gone once the bus has it.
///
/// **A function** gets the payload with which it was invoked, byte by byte. Its errors are not seen
/// here: Lambda tries again, and sends a new record to the failure destination. That destination is
/// configured for what is invoked, so an alias stays in the address. Neither a bus nor a function takes
/// message attributes, so that no [count](surehand::dead_letter::FailureNote::REDRIVE_COUNT) of redrives travels; the
/// X-Ray header does.
///
/// ```no_run
/// # async fn post() {
/// use surehand_redrive::AwsPost;
///
/// let aws = surehand::aws::config().await;
/// let post = AwsPost::new(aws_sdk_sqs::Client::new(aws))
///     .event_bridge(aws_sdk_eventbridge::Client::new(aws))
///     .lambda(aws_sdk_lambda::Client::new(aws));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AwsPost {
    sqs: aws_sdk_sqs::Client,
    event_bridge: Option<aws_sdk_eventbridge::Client>,
    lambda: Option<aws_sdk_lambda::Client>,
}

impl AwsPost {
    /// For queues.
    pub fn new(sqs: aws_sdk_sqs::Client) -> Self {
        Self {
            sqs,
            event_bridge: None,
            lambda: None,
        }
    }

    /// For buses as well.
    pub fn event_bridge(mut self, client: aws_sdk_eventbridge::Client) -> Self {
        self.event_bridge = Some(client);
        self
    }

    /// For functions as well.
    pub fn lambda(mut self, client: aws_sdk_lambda::Client) -> Self {
        self.lambda = Some(client);
        self
    }
}

impl Post for AwsPost {
    fn send<'a>(
        &'a self,
        to: &'a Destination,
        parcels: &'a [Parcel],
    ) -> BoxFuture<'a, Result<Entries<Accepted>>> {
        Box::pin(async move {
            match to {
                Destination::Queue(url) => {
                    let config = self.sqs.config();
                    let client = match elsewhere(to, config.region()) {
                        Some(region) => &sqs_in(config, region),
                        None => &self.sqs,
                    };
                    return queue::send(client, url, parcels).await;
                }
                Destination::Bus(bus) => {
                    if let Some(client) = &self.event_bridge {
                        let client = match elsewhere(to, client.config().region()) {
                            Some(region) => &event_bridge_in(client.config(), region),
                            None => client,
                        };
                        return Ok(bus::send(client, bus, parcels).await);
                    }
                }
                Destination::Function(arn) => {
                    if let Some(client) = &self.lambda {
                        let client = match elsewhere(to, client.config().region()) {
                            Some(region) => &lambda_in(client.config(), region),
                            None => client,
                        };
                        return Ok(function::send(client, arn, parcels).await);
                    }
                }
            }
            let text = format!("nothing here sends to {to}");
            let refusal = Refusal::permanent("UnsupportedDestination", text);
            Ok(vec![Err(refusal); parcels.len()])
        })
    }
}

/// The region that a destination is in, if that is not the client's: what is signed for another region is
/// refused, or is for another queue of the same name.
fn elsewhere(to: &Destination, ours: Option<&Region>) -> Option<Region> {
    let theirs = to.region()?;
    let is_ours = ours.is_some_and(|ours| ours.as_ref() == theirs);
    (!is_ours).then(|| Region::new(theirs.to_owned()))
}

/// The same clients in another region; connections are shared.
fn sqs_in(config: &aws_sdk_sqs::Config, region: Region) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::from_conf(config.to_builder().region(region).build())
}

fn event_bridge_in(
    config: &aws_sdk_eventbridge::Config,
    region: Region,
) -> aws_sdk_eventbridge::Client {
    aws_sdk_eventbridge::Client::from_conf(config.to_builder().region(region).build())
}

fn lambda_in(config: &aws_sdk_lambda::Config, region: Region) -> aws_sdk_lambda::Client {
    aws_sdk_lambda::Client::from_conf(config.to_builder().region(region).build())
}
