//! The application that the command works on: where it is, what its templates say, and what its functions say of
//! themselves.

pub(crate) mod compile;
pub(crate) mod describe;
pub(crate) mod evaluate;
pub(crate) mod package;
pub(crate) mod project;
pub(crate) mod resource;
pub(crate) mod revision;
pub(crate) mod samconfig;
pub(crate) mod templates;
pub(crate) mod yaml;
