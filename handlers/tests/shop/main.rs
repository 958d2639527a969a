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
mod stand_in;

use shop::{audit::AuditLog, ledger::Ledger, orders::Orders, stock::Stock};
use surehand::{tables::Access, testing::DynamoDb};

/// The shop's tables, of which each test has its own.
async fn shop_tables() -> DynamoDb {
    let all = [
        Stock::access(),
        Orders::access(),
        Ledger::access(),
        AuditLog::access(),
    ];
    DynamoDb::start(all.into_iter().fold(Access::new(), Access::and)).await
}
