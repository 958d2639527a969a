//! welcome-user: welcomes users who have signed up.

use crate::events::UserRegistered;
use surehand::{Envelope, Error};

/// Welcomes a user, once per event.
///
/// # Errors
/// Rejects a user without a name. The record is parked, because another attempt would not help.
pub async fn welcome_user(event: Envelope<UserRegistered>) -> surehand::Result<()> {
    let user = event.data;
    if user.name.is_empty() {
        return Err(Error::rejected(format!(
            "user {} has no name",
            user.user_id
        )));
    }
    tracing::info!(user_id = %user.user_id, "welcome");
    Ok(())
}
