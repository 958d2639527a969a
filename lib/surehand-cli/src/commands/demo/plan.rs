//! What the demo sends: the same orders every time, each with the end it must come to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// How many orders are repeated with the same request id.
const REPEATED: usize = 30;

/// How many `OrderPlaced` events are published once more.
const REPUBLISHED: usize = 30;

/// How many orders are for the sku that runs out, and how much of it there is.
const CONTESTED: usize = 30;
const SCARCE: u64 = 12;

/// How many orders are for a sku that is not sold.
const UNKNOWN: usize = 5;

/// How many orders are for the sku whose stock row cannot be read. Each is tried as often as the function tries,
/// with a delay before each further attempt, so that a few are enough.
const POISONED: usize = 3;

/// How many orders are those at whose mail the process dies.
const STRUCK: usize = 3;

/// How many events are not orders.
const MALFORMED: usize = 6;

/// The fewest orders of a demo: the number of invalid ones does not depend on it.
pub(crate) const FEWEST: usize = 100;

const CUSTOMERS: usize = 25;

/// What an ordinary order is about: (sku, price in cents).
const ORDINARY: [(&str, u64); 4] = [("book", 1_200), ("lamp", 4_999), ("pen", 199), ("mug", 850)];

const SCARCE_SKU: &str = "signed-vinyl";
const UNKNOWN_SKU: &str = "perpetual-motion";
const CORRUPT_SKU: &str = "corrupt";

/// How much there is of it once its row is corrected.
const MENDED: u64 = 50;

/// All requests and events that the demo sends.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) orders: Vec<Order>,
    /// The stock of each sku before the first order.
    pub(crate) stock: BTreeMap<String, u64>,
    /// A sku whose stock row holds text where a number belongs.
    pub(crate) corrupt: String,
    /// Its stock once the row is corrected.
    pub(crate) mended: u64,
    /// Indexes of the orders that are placed twice, by the same request id.
    pub(crate) repeated: Vec<usize>,
    /// How many `OrderPlaced` events are published once more.
    pub(crate) republished: usize,
    /// `detail`s of `OrderPlaced` events that do not decode.
    pub(crate) malformed: Vec<Value>,
}

/// One order, placed by one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) request_id: String,
    pub(crate) customer_id: String,
    /// Each order has an address of its own, so that a mail shows which order it is about.
    pub(crate) email: String,
    pub(crate) lines: Vec<Line>,
    pub(crate) fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) quantity: u64,
    pub(crate) unit_price_cents: u64,
}

/// How an order must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its stock is reserved.
    Reserved,
    /// Its stock is reserved or it is rejected: the first orders win.
    Contested,
    /// It is parked in the first attempt. Once what it asks for is known to be sold out, it is rejected.
    Refused,
    /// It is parked in the last attempt. Once the row is corrected, its stock is reserved.
    Poisoned,
    /// Its stock is reserved, but the process that mails about it dies until the drill ends.
    Struck,
}

impl Order {
    /// The request that place-order takes.
    pub(crate) fn request(&self) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "sku": line.sku,
                    "quantity": line.quantity,
                    "unit_price_cents": line.unit_price_cents,
                })
            })
            .collect();
        json!({
            "request_id": self.request_id,
            "customer_id": self.customer_id,
            "email": self.email,
            "lines": lines,
        })
    }

    pub(crate) fn total_cents(&self) -> u64 {
        self.lines
            .iter()
            .map(|line| line.quantity * line.unit_price_cents)
            .sum()
    }
}

impl Plan {
    /// `count` orders, at least [`FEWEST`].
    pub(crate) fn new(count: usize) -> Self {
        let count = count.max(FEWEST);
        let ordinary = count - CONTESTED - UNKNOWN - POISONED - STRUCK;
        let mut fates = vec![Fate::Reserved; ordinary];
        fates.extend([Fate::Contested; CONTESTED]);
        fates.extend([Fate::Refused; UNKNOWN]);
        fates.extend([Fate::Poisoned; POISONED]);
        // The special orders are spread over the whole run, in the same way in every run. The
        // poisoned ones come first, since their retries take longest.
        let mut orders: Vec<(usize, Fate)> = fates.into_iter().enumerate().collect();
        orders.sort_by_key(|(index, fate)| (*fate != Fate::Poisoned, index * 7_919 % count));
        // Orders that are placed after all others have their batches to themselves.
        let last = (count - STRUCK..count).map(|index| (index, Fate::Struck));
        let orders: Vec<Order> = orders
            .into_iter()
            .chain(last)
            .map(|(index, fate)| order(index, fate))
            .collect();

        // There is more stock than is ordered, so that only the scarce sku runs out.
        let stock = ORDINARY
            .iter()
            .map(|(sku, _)| ((*sku).to_owned(), 10 * count as u64))
            .chain([(SCARCE_SKU.to_owned(), SCARCE)])
            .collect();
        let repeated = (0..count)
            .step_by(count / REPEATED)
            .take(REPEATED)
            .collect();
        Self {
            orders,
            stock,
            corrupt: CORRUPT_SKU.to_owned(),
            mended: MENDED,
            repeated,
            republished: REPUBLISHED,
            malformed: (0..MALFORMED).map(malformed).collect(),
        }
    }

    /// The orders that are placed last.
    pub(crate) fn struck(&self) -> impl Iterator<Item = &Order> {
        self.orders
            .iter()
            .filter(|order| order.fate == Fate::Struck)
    }

    /// How much there is of the sku that runs out.
    pub(crate) fn scarce(&self) -> u64 {
        SCARCE
    }
}

fn order(index: usize, fate: Fate) -> Order {
    let line = |(sku, price): (&str, u64), quantity: usize| Line {
        sku: sku.to_owned(),
        quantity: quantity as u64,
        unit_price_cents: price,
    };
    let first = line(ORDINARY[index % ORDINARY.len()], index % 3 + 1);
    let second = ORDINARY[(index + 1) % ORDINARY.len()];
    let lines = match fate {
        Fate::Reserved if index.is_multiple_of(3) => vec![first, line(second, 1)],
        Fate::Reserved | Fate::Struck => vec![first],
        // The order has two lines: if it is rejected, it must not have taken the first one.
        Fate::Contested => vec![first, line((SCARCE_SKU, 3_900), 1)],
        Fate::Refused => vec![line((UNKNOWN_SKU, 100), 1)],
        Fate::Poisoned => vec![line((CORRUPT_SKU, 100), 1)],
    };
    let customer = index % CUSTOMERS;
    Order {
        request_id: format!("demo-request-{index:04}"),
        customer_id: format!("customer-{customer:02}"),
        email: format!("customer-{customer:02}+order-{index:04}@example.com"),
        lines,
        fate,
    }
}

/// Makes two kinds in turn: an envelope whose data is not an order, and an event without an
/// envelope.
fn malformed(index: usize) -> Value {
    if index.is_multiple_of(2) {
        json!({
            "metadata": {"id": format!("demo-malformed-{index}"), "version": 1},
            "data": {"order_id": ["not", "an", "id"]},
        })
    } else {
        json!({"greeting": "this is no order", "index": index})
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn count(plan: &Plan, fate: Fate) -> usize {
        let orders = plan.orders.iter();
        orders.filter(|order| order.fate == fate).count()
    }

    #[test]
    fn a_plan_has_every_kind_and_the_size_asked_for() {
        let plan = Plan::new(300);
        assert_eq!(plan.orders.len(), 300);
        assert_eq!(count(&plan, Fate::Reserved), 259);
        assert_eq!(count(&plan, Fate::Contested), CONTESTED);
        assert_eq!(count(&plan, Fate::Refused), UNKNOWN);
        assert_eq!(count(&plan, Fate::Poisoned), POISONED);
        assert_eq!(plan.struck().count(), STRUCK);
        assert_eq!(plan.repeated.len(), REPEATED);
        assert_eq!(Plan::new(1).orders.len(), FEWEST);
    }

    #[test]
    fn requests_and_addresses_are_unique() {
        let plan = Plan::new(300);
        let requests: BTreeSet<&str> = plan
            .orders
            .iter()
            .map(|order| order.request_id.as_str())
            .collect();
        let addresses: BTreeSet<&str> = plan
            .orders
            .iter()
            .map(|order| order.email.as_str())
            .collect();
        assert_eq!((requests.len(), addresses.len()), (300, 300));
    }

    #[test]
    fn only_the_scarce_sku_runs_out() {
        let plan = Plan::new(300);
        let mut wanted = BTreeMap::<&str, u64>::new();
        for line in plan.orders.iter().flat_map(|order| &order.lines) {
            *wanted.entry(&line.sku).or_default() += line.quantity;
        }
        for (sku, available) in &plan.stock {
            assert_eq!(
                wanted[sku.as_str()] > *available,
                sku == SCARCE_SKU,
                "{sku}"
            );
        }
    }
}
