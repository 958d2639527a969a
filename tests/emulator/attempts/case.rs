//! The cases: who comes when, and what is expected of it.

use crate::emulator::{order::body, shop::Message};
use serde_json::json;
use std::time::Duration;

/// How many batches there are, each in a queue of its own, so that it stays together. All are handled side by side.
pub(super) const BATCHES: usize = 10;
pub(super) const BATCH: usize = 10;

/// The functions' timeout. So many processes at once need some seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What each record of customer-ledger books.
pub(super) const CENTS: i64 = 100;

#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// Whether the neighbours come when the killer has died once, instead of together with it.
    pub(super) are_fresh: bool,
    /// notify-customer, or else customer-ledger, which has a transaction and publishes nothing.
    pub(super) is_lease: bool,
    /// How often it was started over.
    pub(super) round: u32,
}

/// What killers do. First they kill; once they are put back some kill again, and the others fail; then all are well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    #[default]
    Killing,
    PutBack,
    Well,
}

/// How a dead letter is put back. Each of them sends another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// The body of what is received from the dead-letter queue is sent to the queue, and the letter deleted.
    Hand,
    /// `surehand dlq apply`.
    Apply,
    /// `surehand dlq move`.
    Move,
}

/// The batch that a killer belongs to decides how it is put back.
pub(super) fn way(batch: usize) -> Way {
    match batch {
        0..3 => Way::Hand,
        3..7 => Way::Apply,
        _ => Way::Move,
    }
}

impl Case {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let kinds = [(true, true), (false, true), (true, false), (false, false)];
        // Where all are interrupted they come back one by one, which takes minutes: `.ci/long` has those too.
        let is_long = std::env::var_os("SUREHAND_LONG").is_some();
        let kinds = kinds
            .into_iter()
            .filter(move |(are_fresh, _)| *are_fresh || is_long);
        kinds.map(|(are_fresh, is_lease)| Self {
            are_fresh,
            is_lease,
            round: 0,
        })
    }

    /// Its name and its function's.
    pub(super) fn name(self) -> String {
        let kind = if self.is_lease { "lease" } else { "commit" };
        let neighbours = if self.are_fresh {
            "fresh"
        } else {
            "interrupted"
        };
        format!("{kind}-{neighbours}-{}", self.round)
    }

    pub(super) fn timeout(self) -> Duration {
        TIMEOUT * 2_u32.pow(self.round)
    }

    /// The id of an event and its order; the killer stands at another place in each batch.
    pub(super) fn id(self, batch: usize, place: usize) -> String {
        format!("{}-{batch}-{place}", self.name())
    }

    pub(super) fn killer(self, batch: usize) -> String {
        self.id(batch, batch % BATCH)
    }

    pub(super) fn ids(self) -> impl Iterator<Item = String> {
        (0..BATCHES).flat_map(move |batch| (0..BATCH).map(move |place| self.id(batch, place)))
    }

    /// Whether a killer kills again once it is put back, instead of failing. What is moved comes back in one batch, in
    /// which one would take the others along.
    pub(super) fn kills_again(self, batch: usize) -> bool {
        // Without a transaction it dies once less, and there is time for it.
        self.is_lease && batch.is_multiple_of(2) && way(batch) != Way::Move
    }

    pub(super) fn message(self, id: &str) -> Message {
        let body = match self.is_lease {
            true => {
                let data = json!({
                    "order_id": id, "customer_id": "nobody", "email": format!("{id}@example.com"),
                });
                body(id, "shop.stock", "StockReserved", &data)
            }
            // Each of a customer of its own, so that none waits for another.
            false => {
                let data = json!({ "order_id": id, "customer_id": id, "amount_cents": CENTS });
                body(id, "shop.ledger", "OrderCharged", &data)
            }
        };
        Message {
            body,
            ..Message::default()
        }
    }

    /// How many deaths are not seen: of a transaction the first one at each message.
    pub(super) fn unseen(self) -> u32 {
        u32::from(!self.is_lease)
    }

    /// Whether the killer, after so many deaths, takes a whole batch along that is in the middle of its work: until
    /// one death of it was seen, and after that it runs alone.
    pub(super) fn takes_all_along(self, deaths: u32) -> bool {
        let has_neighbours = !self.are_fresh || deaths > 0;
        has_neighbours && deaths <= self.unseen()
    }

    /// How often a neighbour is called at most: each time that it is taken along, and once more.
    pub(super) fn calls(self) -> u32 {
        let deaths = 0..=self.unseen();
        let along = deaths.filter(|deaths| self.takes_all_along(*deaths));
        u32::try_from(along.count()).unwrap() + 1
    }
}
