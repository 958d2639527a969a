//! What the template gives to the functions.

/// The value of a variable that the function cannot do without.
///
/// # Errors
/// If it is not set.
pub fn var(name: &str) -> Result<String, surehand::BoxError> {
    std::env::var(name).map_err(|_| format!("the environment variable {name} is not set").into())
}
