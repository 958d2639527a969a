//! The application's events. Publishers and handlers share these types.

use serde::{Deserialize, Serialize};
use surehand::Event;

/// A user has signed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(
    source = "{{name}}.users",
    detail_type = "UserRegistered",
    subject = "user/{user_id}"
)]
pub struct UserRegistered {
    /// The id of the user.
    pub user_id: String,
    /// The name to greet the user by; empty if it is unknown.
    pub name: String,
}
