//! What every part of the demo needs.

use std::path::PathBuf;

use super::{clients::Clients, plan::Plan};
use crate::progress::Progress;

/// The application, and what is done to it.
pub(super) struct Scene<'a> {
    /// Where the commands' files go.
    pub(super) folder: PathBuf,
    pub(super) run: String,
    pub(super) plan: Plan,
    pub(super) clients: Clients,
    pub(super) progress: &'a Progress,
}
