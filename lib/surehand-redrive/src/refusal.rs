//! Why an entry of a call was not taken.

use aws_sdk_sqs::error::ProvideErrorMetadata;
use std::fmt;
use surehand::aws;

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

    /// A call that failed as a whole, for each of its entries.
    pub(crate) fn of_call<E>(error: &E, is_permanent: fn(&str) -> bool) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let code = error.code().unwrap_or("CallFailed");
        let message = error.message().map(str::to_owned);
        Self {
            code: code.to_owned(),
            message: message.unwrap_or_else(|| aws::describe(error)),
            permanent: is_permanent(code),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
