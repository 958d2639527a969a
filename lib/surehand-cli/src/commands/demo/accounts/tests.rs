mod redriven;

use serde_json::json;

use super::{
    books::{NOTIFY, REJECTED, RESERVED},
    *,
};
use crate::commands::demo::{
    observation::{DeadLetter, NO_NOTE, Rows},
    plan::Fate,
    traffic::{ORDER_PLACED, Placed},
    witness::Sighting,
};

/// Makes a run in which everything went as it must.
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
            Fate::Contested | Fate::Reserved | Fate::Struck => Some(RESERVED),
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
                if order.fate == Fate::Struck {
                    seen.dead_letters.push(DeadLetter {
                        queue: NOTIFY.to_owned(),
                        ..letter("interrupted", Some(&id))
                    });
                } else {
                    seen.mails.push(order.email.clone());
                }
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

/// Returns the statements that do not hold after `spoil`.
fn broken(spoil: impl FnOnce(&Plan, &mut Replies, &mut Observation)) -> Vec<Check> {
    let (plan, mut replies, mut seen) = perfect();
    spoil(&plan, &mut replies, &mut seen);
    let mut checks = check(&plan, &replies, &seen, Chapter::Failed);
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
fn an_event_seen_twice_with_one_id_is_not_a_second_event() {
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
        statements(&checks).contains(&"every order ended once, and as it must"),
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
        ["every order ended once, and as it must"]
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
        ["every dead letter is expected and has its reason"]
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

#[test]
fn a_mail_at_which_the_process_died_is_parked_as_interrupted() {
    // SQS moves a message without a reason.
    for reason in [NO_NOTE, "transient"] {
        let checks = broken(|_, _, seen| {
            let of_mail = |letter: &&mut DeadLetter| letter.queue == NOTIFY;
            let letter = seen.dead_letters.iter_mut().find(of_mail).unwrap();
            letter.reason = reason.to_owned();
        });
        assert_eq!(
            statements(&checks),
            ["every dead letter is expected and has its reason"],
            "{reason}"
        );
    }
}

#[test]
fn a_mail_about_an_order_whose_letter_is_dead_is_named() {
    let checks = broken(|plan, _, seen| {
        let struck = plan.struck().next().unwrap();
        seen.mails.push(struck.email.clone());
    });
    assert_eq!(
        statements(&checks),
        ["one mail per decided order, none for others"]
    );
}
