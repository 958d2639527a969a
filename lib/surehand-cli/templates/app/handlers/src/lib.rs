//! The events, and a module for each function.

pub mod events;
pub mod welcome_user;
