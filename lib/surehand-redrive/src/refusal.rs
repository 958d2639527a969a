//! Why an entry of a call was not taken.

use std::fmt;

/// Why an entry of a call was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The service's code, for example `ReceiptHandleIsInvalid`.
    pub code: String,
    /// The service's text.
    pub message: String,
    /// Whether another attempt would meet the same refusal.
    pub permanent: bool,
}

impl Refusal {
    /// A refusal that another attempt may not meet.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            permanent: false,
        }
    }

    /// A refusal that another attempt would meet as well.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            permanent: true,
            ..Self::transient(code, message)
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
