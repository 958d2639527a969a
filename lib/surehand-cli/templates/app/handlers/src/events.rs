//! The application's events. Who publishes them and who handles them share these types.

use serde::{Deserialize, Serialize};
use surehand::Event;

/// Somebody has signed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(
    source = "{{name}}.users",
    detail_type = "UserRegistered",
    subject = "user/{user_id}"
)]
pub struct UserRegistered {
    /// Who.
    pub user_id: String,
    /// What to call them.
    pub name: String,
}
