use super::*;

/// Makes the same run after the redrive, with the causes of the failures removed.
fn perfect_redrive() -> (Plan, Replies, Observation) {
    let (plan, replies, mut seen) = perfect();
    seen.dead_letters.clear();
    let mut corrupt = plan.mended;
    for (index, order) in plan.orders.iter().enumerate() {
        let id = format!("o{index:03}");
        let (status, event) = match order.fate {
            Fate::Refused => (REJECTED, "OrderRejected"),
            Fate::Poisoned => (RESERVED, "StockReserved"),
            Fate::Struck => {
                seen.mails.push(order.email.clone());
                continue;
            }
            Fate::Reserved | Fate::Contested => continue,
        };
        if order.fate == Fate::Poisoned {
            corrupt -= order.lines[0].quantity;
        }
        sight(&mut seen, event, &id);
        seen.mails.push(order.email.clone());
        seen.rows.reservations.insert(id, status.to_owned());
    }
    seen.rows.stock.insert(plan.corrupt.clone(), corrupt);
    seen.archived.clone_from(&plan.malformed);
    (plan, replies, seen)
}

/// Returns the statements that do not hold after `spoil`.
fn broken(spoil: impl FnOnce(&Plan, &mut Observation)) -> Vec<String> {
    let (plan, replies, mut seen) = perfect_redrive();
    spoil(&plan, &mut seen);
    let checks = check(&plan, &replies, &seen, Chapter::Redriven);
    let broken = checks.into_iter().filter(|check| !check.holds());
    broken.map(|check| check.statement).collect()
}

/// The id and the address of the first order with this fate.
fn first(plan: &Plan, fate: Fate) -> (String, String) {
    let index = plan.orders.iter().position(|order| order.fate == fate);
    let index = index.unwrap();
    (format!("o{index:03}"), plan.orders[index].email.clone())
}

#[test]
fn a_perfect_redrive_holds() {
    assert!(broken(|_, _| ()).is_empty());
}

#[test]
fn a_letter_that_is_left_is_named() {
    let left = broken(|_, seen| seen.dead_letters.push(letter("malformed", None)));
    assert_eq!(left, ["no dead letter is left"]);
}

#[test]
fn a_letter_that_was_lost_is_named() {
    for fate in [Fate::Refused, Fate::Poisoned] {
        let broken = broken(|plan, seen| {
            let (id, email) = first(plan, fate);
            seen.rows.reservations.remove(&id);
            seen.mails.retain(|address| *address != email);
        });
        let end = "every order ended once, and as it must";
        assert!(broken.iter().any(|it| it == end), "{fate:?}: {broken:?}");
    }
    let unsent = broken(|plan, seen| {
        let (_, email) = first(plan, Fate::Struck);
        seen.mails.retain(|address| *address != email);
    });
    assert_eq!(unsent, ["one mail per decided order, none for others"]);
}

#[test]
fn what_a_redrive_does_twice_is_named() {
    let mailed = broken(|plan, seen| seen.mails.push(first(plan, Fate::Struck).1));
    assert_eq!(mailed, ["one mail per decided order, none for others"]);
    let taken = broken(|plan, seen| *seen.rows.stock.get_mut(&plan.corrupt).unwrap() -= 1);
    assert_eq!(taken, ["the stock adds up"]);
    let published = broken(|plan, seen| {
        let (id, _) = first(plan, Fate::Refused);
        sight(seen, "OrderRejected", &id);
        seen.events.last_mut().unwrap().id = "other".to_owned();
        seen.rows.audited.insert("other".to_owned());
    });
    assert_eq!(published, ["one event of each type per order"]);
}

#[test]
fn an_order_that_must_be_rejected_is_not_reserved() {
    let broken = broken(|plan, seen| {
        let (id, _) = first(plan, Fate::Refused);
        seen.rows.reservations.insert(id, RESERVED.to_owned());
    });
    assert!(broken.contains(&"every order ended once, and as it must".to_owned()));
}

#[test]
fn the_archive_has_what_was_purged_and_nothing_else() {
    let kept = ["the archive holds the events that are not orders, and nothing else"];
    assert_eq!(broken(|_, seen| drop(seen.archived.pop())), kept);
    let more = broken(|_, seen| seen.archived.push(json!({"data": {"order_id": "o001"}})));
    assert_eq!(more, kept);
}
