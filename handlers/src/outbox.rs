//! The shop's outbox: what the functions committed to say, and where it goes.

use crate::events::OrderCharged;
use surehand::{
    BoxError, Event, EventBus, Publisher, SqsQueue, aws, environment, outbox::Outbox,
    publish::BySource,
};

/// The outbox, with a transport for each destination. Charges go to the queue of customer-ledger,
/// which unlike a bus keeps them in order, and all other events to the bus.
#[derive(Clone, Debug)]
pub struct ShopOutbox(pub Outbox);

impl ShopOutbox {
    /// Makes the outbox that the environment describes.
    ///
    /// # Errors
    /// If a variable is not set.
    pub async fn from_env() -> Result<Self, BoxError> {
        let ledger_url = environment::var("LEDGER_QUEUE_URL")?;
        let ledger = SqsQueue::new(aws_sdk_sqs::Client::new(aws::config().await), ledger_url);
        let bus = EventBus::from_env().await?;
        let destinations = BySource::new(bus).route(OrderCharged::SOURCE, ledger);
        let outbox = Outbox::from_env(Publisher::new(destinations)).await?;
        Ok(Self(outbox))
    }
}
