//! The shop's functions, each handled as Lambda would have it, without AWS.

// Clippy's exemption of tests leaves out the functions that tests share.
#![allow(clippy::unwrap_used)]

mod audit;
mod customer_ledger;
mod description;
mod notify_customer;
mod outbox;
mod place_order;
mod reserve_stock;
mod shop_table;
mod stand_in;
