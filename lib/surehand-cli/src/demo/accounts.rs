//! Accounts for every order: what was sent, against what can be seen. Pure, so that each way of going wrong is a
//! test.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    observation::{NO_NOTE, Observation},
    plan::{Fate, Order, Plan},
    traffic::{ORDER_PLACED, Placed, Replies},
    witness::order_id,
};

const RESERVED: &str = "RESERVED";
const REJECTED: &str = "REJECTED";

/// A statement about the whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) statement: String,
    /// What contradicts it, each with the id it is about.
    pub(crate) offenders: Vec<String>,
}

impl Check {
    pub(crate) fn holds(&self) -> bool {
        self.offenders.is_empty()
    }
}

/// Every check, in the order of an order's life.
pub(crate) fn check(plan: &Plan, replies: &Replies, seen: &Observation) -> Vec<Check> {
    let books = Books::new(plan, replies, seen);
    let check = |statement: &str, offenders: Vec<String>| Check {
        statement: statement.to_owned(),
        offenders,
    };
    vec![
        check("every request was answered", books.unanswered()),
        check(
            "a repeated request got the first reply, and no second order",
            books.repeated(),
        ),
        check("every order is stored once", books.stored()),
        check(
            "every order came to the one end it must come to",
            books.ends(),
        ),
        check(
            "what ran out went to as many as there was for",
            books.scarce(),
        ),
        check("the stock adds up", books.stock()),
        check("one mail per decided order, none for others", books.mails()),
        check("the ledger holds each order once", books.entries()),
        check("each balance is the sum of its orders", books.balances()),
        check("one event of each type per order", books.events()),
        check("audit has each event", books.audit()),
        check(
            "every dead letter is expected and carries its reason",
            books.dead_letters(),
        ),
    ]
}

/// How an order ended, as far as can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Reserved,
    Rejected,
    Parked(String),
    Unknown(String),
}

struct Books<'a> {
    plan: &'a Plan,
    replies: &'a Replies,
    seen: &'a Observation,
    /// The placed orders by their ids.
    placed: BTreeMap<&'a str, (&'a Order, &'a Placed)>,
    /// All ends of an order; there should be one.
    ends: BTreeMap<&'a str, Vec<End>>,
}

impl<'a> Books<'a> {
    fn new(plan: &'a Plan, replies: &'a Replies, seen: &'a Observation) -> Self {
        let placed: BTreeMap<&str, (&Order, &Placed)> = plan
            .orders
            .iter()
            .filter_map(|order| {
                let reply = replies.first.get(&order.request_id)?;
                Some((reply.order_id.as_str(), (order, reply)))
            })
            .collect();
        let mut ends = BTreeMap::<&str, Vec<End>>::new();
        for (id, status) in &seen.rows.reservations {
            ends.entry(id).or_default().push(match status.as_str() {
                RESERVED => End::Reserved,
                REJECTED => End::Rejected,
                other => End::Unknown(other.to_owned()),
            });
        }
        for letter in &seen.dead_letters {
            if let Some(id) = &letter.order_id {
                ends.entry(id)
                    .or_default()
                    .push(End::Parked(letter.reason.clone()));
            }
        }
        Self {
            plan,
            replies,
            seen,
            placed,
            ends,
        }
    }

    fn unanswered(&self) -> Vec<String> {
        self.plan
            .orders
            .iter()
            .filter(|order| !self.replies.first.contains_key(&order.request_id))
            .map(|order| {
                let id = &order.request_id;
                let error = self.replies.errors.get(id);
                format!("{id}: {}", error.map_or("not sent", String::as_str))
            })
            .collect()
    }

    fn repeated(&self) -> Vec<String> {
        self.plan
            .repeated
            .iter()
            .filter_map(|index| self.plan.orders.get(*index))
            .map(|order| order.request_id.as_str())
            .filter(|id| {
                let second = self.replies.second.get(*id);
                second.is_none() || second != self.replies.first.get(*id)
            })
            .map(str::to_owned)
            .collect()
    }

    fn stored(&self) -> Vec<String> {
        let expected: BTreeSet<String> = self.placed.keys().map(|id| (*id).to_owned()).collect();
        let mut offenders = differences("order", &expected, &self.seen.rows.orders);
        offenders.extend(
            self.placed
                .iter()
                .filter(|(_, (order, reply))| order.total_cents() != reply.total_cents)
                .map(|(id, (order, reply))| {
                    let (is, ought) = (reply.total_cents, order.total_cents());
                    format!("order {id}: total {is} instead of {ought}")
                }),
        );
        offenders
    }

    fn ends(&self) -> Vec<String> {
        let mut offenders: Vec<String> = self
            .placed
            .iter()
            .filter(|(id, (order, _))| !is_end(order.fate, self.ends_of(id)))
            .map(|(id, (order, _))| {
                format!("order {id} ({:?}): {:?}", order.fate, self.ends_of(id))
            })
            .collect();
        offenders.extend(
            self.ends
                .keys()
                .filter(|id| !self.placed.contains_key(*id))
                .map(|id| format!("order {id}: ended, and was never placed")),
        );
        offenders
    }

    fn ends_of(&self, id: &str) -> &[End] {
        self.ends.get(id).map_or(&[], Vec::as_slice)
    }

    fn scarce(&self) -> Vec<String> {
        let reserved: Vec<&str> = self
            .reserved()
            .filter(|(_, order)| order.fate == Fate::Contested)
            .map(|(id, _)| id)
            .collect();
        if reserved.len() as u64 == self.plan.scarce() {
            return Vec::new();
        }
        let (is, ought) = (reserved.len(), self.plan.scarce());
        vec![format!(
            "{is} orders instead of {ought}: {}",
            reserved.join(", ")
        )]
    }

    fn stock(&self) -> Vec<String> {
        let mut taken = BTreeMap::<&str, u64>::new();
        for line in self.reserved().flat_map(|(_, order)| &order.lines) {
            *taken.entry(&line.sku).or_default() += line.quantity;
        }
        self.plan
            .stock
            .iter()
            .filter_map(|(sku, initial)| {
                let taken = taken.get(sku.as_str()).copied().unwrap_or_default();
                let left = self.seen.rows.stock.get(sku).copied();
                let adds_up = left.is_some_and(|left| left + taken == *initial);
                (!adds_up).then(|| {
                    let left = left.map_or("nothing readable".to_owned(), |left| left.to_string());
                    format!("{sku}: {initial} - {taken} reserved, but {left} left")
                })
            })
            .collect()
    }

    fn reserved(&self) -> impl Iterator<Item = (&'a str, &'a Order)> {
        self.placed
            .iter()
            .filter(|(id, _)| self.ends_of(id).contains(&End::Reserved))
            .map(|(id, (order, _))| (*id, *order))
    }

    fn mails(&self) -> Vec<String> {
        let mut counts = BTreeMap::<&str, usize>::new();
        for address in &self.seen.mails {
            *counts.entry(address).or_default() += 1;
        }
        let mut offenders = Vec::new();
        for (id, (order, _)) in &self.placed {
            let expected = usize::from(
                self.ends_of(id)
                    .iter()
                    .any(|end| matches!(end, End::Reserved | End::Rejected)),
            );
            let count = counts.remove(order.email.as_str()).unwrap_or_default();
            if count != expected {
                offenders.push(format!("order {id}: {count} mails instead of {expected}"));
            }
        }
        offenders.extend(
            counts
                .iter()
                .map(|(address, count)| format!("{address}: {count} mails about no order")),
        );
        offenders
    }

    fn entries(&self) -> Vec<String> {
        let expected: BTreeSet<String> = self
            .placed
            .iter()
            .map(|(id, (order, _))| format!("{} {id} {}", order.customer_id, order.total_cents()))
            .collect();
        let booked = &self.seen.rows.entries;
        let actual = booked
            .iter()
            .map(|((customer, id), amount)| format!("{customer} {id} {amount}"))
            .collect();
        differences("entry", &expected, &actual)
    }

    fn balances(&self) -> Vec<String> {
        let mut sums = BTreeMap::<&str, (u64, u64)>::new();
        for (order, _) in self.placed.values() {
            let (balance, entries) = sums.entry(&order.customer_id).or_default();
            *balance += order.total_cents();
            *entries += 1;
        }
        let expected = sums
            .iter()
            .map(|(customer, (balance, entries))| format!("{customer}: {balance} in {entries}"))
            .collect();
        let kept = &self.seen.rows.balances;
        let actual = kept
            .iter()
            .map(|(customer, (balance, entries))| format!("{customer}: {balance} in {entries}"))
            .collect();
        differences("balance", &expected, &actual)
    }

    fn events(&self) -> Vec<String> {
        let mut ids = BTreeMap::<(&str, &str), BTreeSet<&str>>::new();
        for event in &self.seen.events {
            if let Some(order) = order_id(&event.detail) {
                ids.entry((order, &event.detail_type))
                    .or_default()
                    .insert(&event.id);
            }
        }
        let mut offenders = Vec::new();
        for id in self.placed.keys() {
            let ends = self.ends_of(id);
            for (detail_type, expected) in [
                (ORDER_PLACED, true),
                ("StockReserved", ends.contains(&End::Reserved)),
                ("OrderRejected", ends.contains(&End::Rejected)),
            ] {
                let count = ids.get(&(*id, detail_type)).map_or(0, BTreeSet::len);
                if count != usize::from(expected) {
                    offenders.push(format!("order {id}: {count} different {detail_type}"));
                }
            }
        }
        offenders
    }

    fn audit(&self) -> Vec<String> {
        let expected = self
            .seen
            .events
            .iter()
            .map(|event| event.id.clone())
            .collect();
        differences("event", &expected, &self.seen.rows.audited)
    }

    fn dead_letters(&self) -> Vec<String> {
        let letters = &self.seen.dead_letters;
        let mut offenders: Vec<String> = letters
            .iter()
            .filter(|letter| letter.reason == NO_NOTE)
            .map(|letter| format!("{}: {NO_NOTE}", letter.queue))
            .collect();
        let without_order: Vec<_> = letters
            .iter()
            .filter(|letter| letter.order_id.is_none())
            .collect();
        let malformed = without_order
            .iter()
            .filter(|letter| letter.reason == "malformed")
            .count();
        let expected = self.plan.malformed.len();
        if malformed != expected {
            offenders.push(format!(
                "{malformed} malformed events parked instead of {expected}"
            ));
        }
        offenders.extend(
            without_order
                .iter()
                .filter(|letter| letter.reason != "malformed" && letter.reason != NO_NOTE)
                .map(|letter| {
                    let (queue, reason) = (&letter.queue, &letter.reason);
                    format!("{queue}: {reason}: {}", letter.message)
                }),
        );
        offenders
    }
}

/// Whether these are all ends of an order with this fate.
fn is_end(fate: Fate, ends: &[End]) -> bool {
    match (fate, ends) {
        (Fate::Reserved, [End::Reserved]) | (Fate::Contested, [End::Reserved | End::Rejected]) => {
            true
        }
        (Fate::Refused, [End::Parked(reason)]) => reason == "rejected",
        (Fate::Poisoned, [End::Parked(reason)]) => reason == "transient",
        _ => false,
    }
}

fn differences(what: &str, expected: &BTreeSet<String>, actual: &BTreeSet<String>) -> Vec<String> {
    let missing = expected
        .difference(actual)
        .map(|id| format!("{what} {id}: missing"));
    let extra = actual
        .difference(expected)
        .map(|id| format!("{what} {id}: not expected"));
    missing.chain(extra).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::demo::{
        observation::{DeadLetter, Rows},
        witness::Sighting,
    };

    /// A run in which everything went as it must.
    fn perfect() -> (Plan, Replies, Observation) {
        let plan = Plan::new(100);
        let mut replies = Replies::default();
        let mut seen = Observation {
            rows: Rows {
                stock: plan.stock.clone(),
                ..Rows::default()
            },
            ..Observation::default()
        };
        let mut scarce = plan.scarce();
        for (index, order) in plan.orders.iter().enumerate() {
            let id = format!("o{index:03}");
            let total_cents = order.total_cents();
            let placed = Placed {
                order_id: id.clone(),
                total_cents,
            };
            replies.first.insert(order.request_id.clone(), placed);
            seen.rows.orders.insert(id.clone());
            let customer = order.customer_id.clone();
            seen.rows
                .entries
                .insert((customer.clone(), id.clone()), total_cents);
            let (balance, entries) = seen.rows.balances.entry(customer).or_default();
            *balance += total_cents;
            *entries += 1;
            sight(&mut seen, ORDER_PLACED, &id);
            let status = match order.fate {
                Fate::Contested if scarce == 0 => Some(REJECTED),
                Fate::Contested | Fate::Reserved => Some(RESERVED),
                Fate::Refused | Fate::Poisoned => None,
            };
            match status {
                Some(status) => {
                    if status == RESERVED {
                        for line in &order.lines {
                            *seen.rows.stock.get_mut(&line.sku).unwrap() -= line.quantity;
                        }
                        scarce -= u64::from(order.fate == Fate::Contested);
                        sight(&mut seen, "StockReserved", &id);
                    } else {
                        sight(&mut seen, "OrderRejected", &id);
                    }
                    seen.mails.push(order.email.clone());
                    seen.rows.reservations.insert(id, status.to_owned());
                }
                None => {
                    let kind = match order.fate {
                        Fate::Refused => "rejected",
                        _ => "transient",
                    };
                    seen.dead_letters.push(letter(kind, Some(&id)));
                }
            }
        }
        for index in &plan.repeated {
            let id = &plan.orders[*index].request_id;
            replies.second.insert(id.clone(), replies.first[id].clone());
        }
        for _ in &plan.malformed {
            seen.dead_letters.push(letter("malformed", None));
        }
        (plan, replies, seen)
    }

    fn sight(seen: &mut Observation, detail_type: &str, order: &str) {
        let id = format!("{detail_type}-{order}");
        seen.rows.audited.insert(id.clone());
        seen.events.push(Sighting {
            id,
            detail_type: detail_type.to_owned(),
            detail: json!({"data": {"order_id": order}}),
        });
    }

    fn letter(reason: &str, order: Option<&str>) -> DeadLetter {
        DeadLetter {
            queue: "ReserveStock".to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            order_id: order.map(str::to_owned),
        }
    }

    /// The statements that do not hold after `spoil`.
    fn broken(spoil: impl FnOnce(&Plan, &mut Replies, &mut Observation)) -> Vec<Check> {
        let (plan, mut replies, mut seen) = perfect();
        spoil(&plan, &mut replies, &mut seen);
        let mut checks = check(&plan, &replies, &seen);
        checks.retain(|check| !check.holds());
        checks
    }

    fn statements(checks: &[Check]) -> Vec<&str> {
        checks
            .iter()
            .map(|check| check.statement.as_str())
            .collect()
    }

    /// The first order that must be reserved, and its mail's address.
    fn ordinary(plan: &Plan) -> (String, String) {
        let index = plan
            .orders
            .iter()
            .position(|order| order.fate == Fate::Reserved)
            .unwrap();
        (format!("o{index:03}"), plan.orders[index].email.clone())
    }

    #[test]
    fn a_perfect_run_holds() {
        assert_eq!(broken(|_, _, _| ()), []);
    }

    #[test]
    fn an_event_seen_twice_under_one_id_is_no_second_event() {
        assert_eq!(
            broken(|_, _, seen| {
                let again = seen.events[0].clone();
                seen.events.push(again);
            }),
            []
        );
    }

    #[test]
    fn a_second_mail_is_named() {
        let checks = broken(|plan, _, seen| seen.mails.push(ordinary(plan).1));
        assert_eq!(
            statements(&checks),
            ["one mail per decided order, none for others"]
        );
        assert!(checks[0].offenders[0].contains("2 mails instead of 1"));
    }

    #[test]
    fn stock_taken_twice_is_named() {
        let checks = broken(|_, _, seen| *seen.rows.stock.get_mut("book").unwrap() -= 1);
        assert_eq!(statements(&checks), ["the stock adds up"]);
        assert!(checks[0].offenders[0].starts_with("book: "));
    }

    #[test]
    fn a_lost_order_is_named() {
        let checks = broken(|plan, _, seen| {
            let (id, _) = ordinary(plan);
            seen.rows.reservations.remove(&id);
        });
        assert!(
            statements(&checks).contains(&"every order came to the one end it must come to"),
            "{checks:?}"
        );
    }

    #[test]
    fn an_order_with_two_ends_is_named() {
        let checks = broken(|plan, _, seen| {
            let (id, _) = ordinary(plan);
            seen.dead_letters.push(letter("transient", Some(&id)));
        });
        assert_eq!(
            statements(&checks),
            ["every order came to the one end it must come to"]
        );
    }

    #[test]
    fn a_double_booking_is_named() {
        let checks = broken(|_, _, seen| {
            let balance = seen.rows.balances.values_mut().next().unwrap();
            balance.0 *= 2;
        });
        assert_eq!(
            statements(&checks),
            ["each balance is the sum of its orders"]
        );
    }

    #[test]
    fn a_second_order_for_a_request_is_named() {
        let checks = broken(|plan, replies, seen| {
            let id = &plan.orders[plan.repeated[0]].request_id;
            replies.second.get_mut(id).unwrap().order_id = "other".to_owned();
            seen.rows.orders.insert("other".to_owned());
        });
        assert_eq!(
            statements(&checks),
            [
                "a repeated request got the first reply, and no second order",
                "every order is stored once"
            ]
        );
    }

    #[test]
    fn a_second_event_of_another_id_is_named() {
        let checks = broken(|plan, _, seen| {
            let (id, _) = ordinary(plan);
            seen.events.push(Sighting {
                id: "other".to_owned(),
                detail_type: "StockReserved".to_owned(),
                detail: json!({"data": {"order_id": id}}),
            });
            seen.rows.audited.insert("other".to_owned());
        });
        assert_eq!(statements(&checks), ["one event of each type per order"]);
    }

    #[test]
    fn an_event_that_audit_missed_is_named() {
        let checks = broken(|_, _, seen| drop(seen.rows.audited.pop_first()));
        assert_eq!(statements(&checks), ["audit has each event"]);
    }

    #[test]
    fn a_dead_letter_without_a_reason_is_named() {
        let checks = broken(|_, _, seen| {
            seen.dead_letters.push(letter(NO_NOTE, None));
        });
        assert_eq!(
            statements(&checks),
            ["every dead letter is expected and carries its reason"]
        );
    }

    #[test]
    fn an_unanswered_request_is_named() {
        let checks = broken(|plan, replies, _| {
            let id = &plan.orders[1].request_id;
            replies.first.remove(id);
            replies.errors.insert(id.clone(), "timed out".to_owned());
        });
        assert_eq!(checks[0].statement, "every request was answered");
        assert!(checks[0].offenders[0].ends_with(": timed out"));
    }
}
