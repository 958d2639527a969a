//! The commands that have no floor of their own.

pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod invoke;
pub(crate) mod new;
pub(crate) mod publish;
