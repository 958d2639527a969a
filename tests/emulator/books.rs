//! Everything in the shop's table.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// The table at one moment.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The requested lines of each order, by its id.
    pub(crate) orders: Vec<String>,
    /// `RESERVED` or `REJECTED`, by order id.
    pub(crate) reservations: BTreeMap<String, String>,
    /// What is left, by sku.
    pub(crate) stock: BTreeMap<String, i64>,
    /// By customer id, in the order of their positions.
    pub(crate) entries: BTreeMap<String, Vec<Entry>>,
    /// (cents, number of entries), by customer id.
    pub(crate) balances: BTreeMap<String, (i64, i64)>,
    /// In no order.
    pub(crate) audited: Vec<Audited>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) position: i64,
    pub(crate) order_id: String,
    pub(crate) amount_cents: i64,
    pub(crate) balance_cents: i64,
}

/// An event that audit has seen.
#[derive(Clone, Debug)]
pub(crate) struct Audited {
    pub(crate) id: String,
    pub(crate) detail_type: String,
    pub(crate) data: Value,
}

impl Books {
    pub(crate) fn add(&mut self, item: &HashMap<String, AttributeValue>) {
        let text = |name: &str| item.get(name).and_then(|it| it.as_s().ok());
        let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<i64>().ok();
        let (pk, sk) = (text("pk").unwrap(), text("sk").unwrap());
        let (kind, id) = pk.split_once('#').unwrap();
        let id = id.to_owned();
        match (kind, sk.as_str()) {
            ("ORDER", "ORDER") => self.orders.push(id),
            ("ORDER", _) => {
                let status = text("status").unwrap().clone();
                self.reservations.insert(id, status);
            }
            // A row may be broken on purpose.
            ("STOCK", _) => self
                .stock
                .extend(number("available").map(|left| (id, left))),
            ("CUSTOMER", "BALANCE") => {
                let balance = number("balance_cents").zip(number("entries"));
                self.balances.extend(balance.map(|balance| (id, balance)));
            }
            ("CUSTOMER", entry) => {
                let entries = self.entries.entry(id).or_default();
                entries.push(Entry {
                    position: number("position").unwrap(),
                    order_id: entry.strip_prefix("ENTRY#").unwrap().to_owned(),
                    amount_cents: number("amount_cents").unwrap(),
                    balance_cents: number("balance_cents").unwrap(),
                });
                entries.sort_by_key(|entry| entry.position);
            }
            ("AUDIT", _) => self.audited.push(Audited {
                // Of source, type and id.
                id: serde_json::from_str::<[String; 3]>(&id).unwrap()[2].clone(),
                detail_type: text("type").unwrap().clone(),
                data: serde_json::from_str(text("data").unwrap()).unwrap(),
            }),
            _ => panic!("an item of an unknown kind: {item:?}"),
        }
    }

    /// The types of the audited events of an order, sorted.
    pub(crate) fn events_of(&self, order_id: &str) -> Vec<&str> {
        let of_order = |event: &&Audited| event.data["order_id"] == order_id;
        let events = self.audited.iter().filter(of_order);
        let mut types: Vec<&str> = events.map(|event| event.detail_type.as_str()).collect();
        types.sort_unstable();
        types
    }

    /// Checks that a customer's ledger holds these charges, (order id, cents), each once and in this
    /// order.
    pub(crate) fn check_ledger(&self, customer_id: &str, charges: &[(String, i64)]) {
        let mut balance_cents = 0;
        let expected: Vec<Entry> = (1..)
            .zip(charges)
            .map(|(position, (order_id, amount_cents))| {
                balance_cents += amount_cents;
                Entry {
                    position,
                    order_id: order_id.clone(),
                    amount_cents: *amount_cents,
                    balance_cents,
                }
            })
            .collect();
        let entries = self.entries.get(customer_id);
        assert_eq!(entries, Some(&expected), "{customer_id}");
        let balance = (balance_cents, i64::try_from(charges.len()).unwrap());
        assert_eq!(
            self.balances.get(customer_id),
            Some(&balance),
            "{customer_id}"
        );
    }
}
