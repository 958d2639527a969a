//! What a handler needs is down for two minutes: nothing is parked, and each effect happens once.

use super::{
    batches::attempts,
    consumers::{Consumer, Wanted},
    dev::Dev,
    order::body,
    shop::{Message, Shop, eventually},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use surehand_test_support::proxy::{self, Fate};

const MESSAGES: usize = 50;

/// So long a database takes to fail over, or a deployment to be rolled back. It outlasts the first two delays, 10 s and
/// a minute at most, so that no message gets through by its first attempts alone, and ends before
/// [`ATTEMPTS`] are over, which is after 142 s at the least: 10 s and three times [`MAX_BACKOFF`], of all of it
/// three quarters.
const OUTAGE: Duration = Duration::from_secs(120);

/// As usual; what differs is that the longest delay is a minute instead of an hour, so that the messages come back
/// within a minute after the outage.
const ATTEMPTS: usize = 5;
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// A handler that cannot reach SES tries for a second or two, or longer on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An outage that goes on while other parts run: nothing has to be done meanwhile.
pub(crate) struct Outage {
    consumer: Consumer,
    ids: Vec<String>,
}

impl Outage {
    /// Begins when the messages come.
    pub(crate) async fn begin(dev: &Dev, shop: &Shop, role: &str) -> Self {
        let begun = Instant::now();
        // SES, whose connections break during the outage.
        let ses = proxy::start(&dev.stack.endpoint, move |_| {
            match begun.elapsed() < OUTAGE {
                true => Fate::Cut,
                false => Fate::Pass,
            }
        });
        let wanted = Wanted {
            name: "outage",
            like: "NotifyCustomerFunctionName",
            package: "notify-customer.zip",
            timeout: TIMEOUT,
            visibility: TIMEOUT * 6,
            queues: 1,
            variables: &[
                ("AWS_ENDPOINT_URL_SESV2", ses),
                ("MAX_ATTEMPTS", ATTEMPTS.to_string()),
                ("MAX_BACKOFF_S", MAX_BACKOFF.as_secs().to_string()),
            ],
        };
        let consumer = Consumer::deploy(dev, shop, role, wanted).await;
        let messages: Vec<Message> = (0..MESSAGES).map(message).collect();
        let mut ids = Vec::new();
        for chunk in messages.chunks(10) {
            ids.extend(shop.send_to(&consumer.queues[0].url, chunk).await);
        }
        consumer.read(shop, true).await;
        Self { consumer, ids }
    }

    pub(crate) async fn check(self, dev: &Dev, shop: &Shop) {
        let is_over = || async { self.consumer.waiting(shop).await == 0 };
        eventually("the messages of the outage are done", is_over).await;
        assert_eq!(shop.depth(&self.consumer.letters).await, 0, "parked");
        let mut mails = BTreeMap::<String, usize>::new();
        for mail in shop.mails().await {
            *mails.entry(mail.to).or_default() += 1;
        }
        let attempts = attempts(dev, &self.ids);
        let mut by_count = BTreeMap::<usize, usize>::new();
        for number in 0..MESSAGES {
            let attempts = &attempts[&number];
            let count = |outcomes: &[&str]| {
                let counted = attempts.iter();
                let counted = counted.filter(|it| outcomes.contains(&&*it.outcome));
                counted.count()
            };
            // It began long before the end of the outage.
            let failed = count(&["transient"]);
            assert!((1..ATTEMPTS).contains(&failed), "{number}: {attempts:?}");
            *by_count.entry(failed + 1).or_default() += 1;
            // On a busy machine an attempt may be cut off when its mail has been sent. The last line is missing if the
            // process was not asked for another one.
            let cut_off = attempts.len() - failed - count(&["ok", "duplicate"]);
            let sent = mails.get(&format!("{}@example.com", id(number)));
            let sent = sent.copied().unwrap_or_default();
            let is_once = (1..=1 + cut_off).contains(&sent);
            assert!(is_once, "message {number}, {sent} mails: {attempts:?}");
        }
        eprintln!("messages of the outage by their attempts: {by_count:?}");
    }
}

fn id(number: usize) -> String {
    format!("outage-{number}")
}

fn message(number: usize) -> Message {
    let id = id(number);
    let data = json!({
        "order_id": id, "customer_id": "nobody", "email": format!("{id}@example.com"),
    });
    Message {
        body: body(&id, "shop.stock", "StockReserved", &data),
        ..Message::default()
    }
}
