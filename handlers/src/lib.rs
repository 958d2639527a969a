//! A small shop, built on Surehand: one binary a function, and what they share.
//!
//! Each function is a module with its handler; its binary, in `bin/`, only puts it together. What
//! the handlers work on knows nothing of events: [`orders`], [`stock`] and [`ledger`].

pub mod audit;
pub mod customer_ledger;
pub mod events;
pub mod ledger;
pub mod notify_customer;
pub mod orders;
pub mod outbox;
pub mod outbox_relay;
pub mod outbox_sweep;
pub mod place_order;
pub mod reserve_stock;
pub mod stock;
