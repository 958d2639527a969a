//! notify-customer: mails customers what became of their orders.

use crate::events::{OrderRejected, StockReserved};
use aws_sdk_sesv2::{
    Client,
    error::SdkError,
    types::{Body, Content, Destination, EmailContent, Message, MessageTag},
};
use surehand::{BoxError, Envelope, IdempotencyKey, Router, State, aws, environment};
use tracing::{Instrument, info_span};

/// Makes the router with a handler for each outcome.
pub fn notify_customer() -> Router<Mailer> {
    Router::new().on(stock_reserved).on(order_rejected)
}

async fn stock_reserved(
    event: Envelope<StockReserved>,
    key: IdempotencyKey,
    State(mailer): State<Mailer>,
) -> surehand::Result<()> {
    let order = event.data;
    let text = format!("Thank you! Your order {} is on its way.", order.order_id);
    let subject = subject(&order.order_id);
    mailer.send(&order.email, &subject, &text, &key).await
}

async fn order_rejected(
    event: Envelope<OrderRejected>,
    key: IdempotencyKey,
    State(mailer): State<Mailer>,
) -> surehand::Result<()> {
    let order = event.data;
    let text = format!(
        "We are sorry. Your order {} cannot be delivered: {}.",
        order.order_id, order.reason
    );
    let subject = subject(&order.order_id);
    mailer.send(&order.email, &subject, &text, &key).await
}

fn subject(order_id: &str) -> String {
    format!("Your order {order_id}")
}

/// Sends mails through SES.
#[derive(Clone, Debug)]
pub struct Mailer {
    client: Client,
    from: String,
    /// Mails to these addresses end the process, to practise the recovery.
    aborts_at: Vec<String>,
}

impl Mailer {
    /// Makes a mailer that sends from this address.
    pub fn new(client: Client, from: impl Into<String>) -> Self {
        Self {
            client,
            from: from.into(),
            aborts_at: Vec::new(),
        }
    }

    /// Makes the mailer that sends from the address in `EMAIL_FROM`. For drills, a mail to one of
    /// the comma-separated addresses in `DRILL_ABORT_AT_MAIL_TO` ends the process.
    ///
    /// # Errors
    /// If the variable is not set.
    pub async fn from_env() -> Result<Self, BoxError> {
        let from = environment::var("EMAIL_FROM")?;
        let mut mailer = Self::new(Client::new(aws::config().await), from);
        let aborts_at = environment::optional("DRILL_ABORT_AT_MAIL_TO").unwrap_or_default();
        let aborts_at = aborts_at.split(',').filter(|address| !address.is_empty());
        mailer.aborts_at = aborts_at.map(str::to_owned).collect();
        Ok(mailer)
    }

    /// Sends a mail of plain text.
    ///
    /// SES has no idempotency token: it sends every mail that it accepts. The lease prevents two
    /// attempts from sending at the same time, and a completed attempt from being repeated, but if
    /// an attempt dies after this call and before its completion, the next one sends the mail
    /// again. The tag then shows it, in the events that a configuration set can publish: two mails
    /// with one key.
    async fn send(
        &self,
        to: &str,
        subject: &str,
        text: &str,
        key: &IdempotencyKey,
    ) -> surehand::Result<()> {
        if self.aborts_at.iter().any(|address| address == to) {
            // The process ends as if it ran out of memory, or a C library crashed.
            std::process::abort();
        }
        let content = |data: &str| Content::builder().data(data).charset("UTF-8").build();
        let message = Message::builder()
            .subject(content(subject)?)
            .body(Body::builder().text(content(text)?).build())
            .build();
        // A tag cannot contain `#`, which is in the key itself.
        let tag = MessageTag::builder()
            .name("idempotency-key")
            .value(key.uuid("mail"))
            .build()?;
        let sent = self
            .client
            .send_email()
            .from_email_address(&self.from)
            .destination(Destination::builder().to_addresses(to).build())
            .content(EmailContent::builder().simple(message).build())
            .email_tags(tag)
            .send()
            .instrument(info_span!("send mail", otel.kind = "client"))
            .await;
        sent.map_err(SdkError::into_service_error)?;
        Ok(())
    }
}
