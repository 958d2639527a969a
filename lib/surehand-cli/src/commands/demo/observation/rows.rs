//! The shop's table, as the rows in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::AttributeValue;

use crate::commands::demo::clients::Clients;

/// The rows of the shop's table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The ids of the stored orders.
    pub(crate) orders: BTreeSet<String>,
    /// What is left, by sku; rows that hold no number are left out.
    pub(crate) stock: BTreeMap<String, u64>,
    /// The decision about an order's stock, by order id.
    pub(crate) reservations: BTreeMap<String, String>,
    /// In cents, by customer and order id.
    pub(crate) entries: BTreeMap<(String, String), u64>,
    /// Cents and number of entries, by customer.
    pub(crate) balances: BTreeMap<String, (u64, u64)>,
    /// The ids of the audited events.
    pub(crate) audited: BTreeSet<String>,
}

/// Reads the whole table.
pub(crate) async fn rows(clients: &Clients) -> Result<Rows> {
    let mut rows = Rows::default();
    let mut items = clients
        .dynamodb
        .scan()
        .table_name(&clients.shop_table)
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    while let Some(item) = items.next().await {
        rows.add(&item.context("cannot read the shop's table")?);
    }
    Ok(rows)
}

impl Rows {
    fn add(&mut self, item: &HashMap<String, AttributeValue>) {
        let text = |name: &str| {
            let value = item.get(name).and_then(|value| value.as_s().ok());
            value.map(String::as_str).unwrap_or_default()
        };
        let number = |name: &str| {
            let value = item.get(name).and_then(|value| value.as_n().ok());
            value.and_then(|value| value.parse::<u64>().ok())
        };
        let (Some((kind, id)), sort) = (text("pk").split_once('#'), text("sk")) else {
            return;
        };
        let id = id.to_owned();
        match (kind, sort) {
            ("ORDER", "ORDER") => {
                self.orders.insert(id);
            }
            ("ORDER", "RESERVATION") => {
                self.reservations.insert(id, text("status").to_owned());
            }
            ("STOCK", "STOCK") => {
                if let Some(available) = number("available") {
                    self.stock.insert(id, available);
                }
            }
            ("CUSTOMER", "BALANCE") => {
                let balance = number("balance_cents").unwrap_or_default();
                let entries = number("entries").unwrap_or_default();
                self.balances.insert(id, (balance, entries));
            }
            ("CUSTOMER", entry) => {
                if let Some(order) = entry.strip_prefix("ENTRY#") {
                    let amount = number("amount_cents").unwrap_or_default();
                    self.entries.insert((id, order.to_owned()), amount);
                }
            }
            ("AUDIT", "EVENT") => {
                // Source, type and id.
                if let Ok([_, _, Some(id)]) = serde_json::from_str::<[Option<String>; 3]>(&id) {
                    self.audited.insert(id);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_by_their_keys() {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let number = |value: &str| AttributeValue::N(value.to_owned());
        let items = [
            vec![("pk", text("ORDER#1")), ("sk", text("ORDER"))],
            vec![
                ("pk", text("ORDER#1")),
                ("sk", text("RESERVATION")),
                ("status", text("RESERVED")),
            ],
            vec![
                ("pk", text("STOCK#book")),
                ("sk", text("STOCK")),
                ("available", number("7")),
            ],
            vec![
                ("pk", text("STOCK#corrupt")),
                ("sk", text("STOCK")),
                ("available", text("plenty")),
            ],
            vec![
                ("pk", text("CUSTOMER#c")),
                ("sk", text("ENTRY#1")),
                ("amount_cents", number("1200")),
            ],
            vec![
                ("pk", text("CUSTOMER#c")),
                ("sk", text("BALANCE")),
                ("balance_cents", number("1200")),
                ("entries", number("1")),
            ],
            vec![
                ("pk", text(r#"AUDIT#["shop.orders","OrderPlaced","e"]"#)),
                ("sk", text("EVENT")),
            ],
        ];
        let mut rows = Rows::default();
        for item in items {
            let item = item.into_iter();
            rows.add(&item.map(|(name, value)| (name.to_owned(), value)).collect());
        }
        assert!(rows.orders.contains("1"));
        assert_eq!(rows.reservations["1"], "RESERVED");
        assert_eq!(rows.stock, BTreeMap::from([("book".to_owned(), 7)]));
        assert_eq!(rows.entries[&("c".to_owned(), "1".to_owned())], 1200);
        assert_eq!(rows.balances["c"], (1200, 1));
        assert!(rows.audited.contains("e"));
    }
}
