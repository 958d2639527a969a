//! Why a service did not do what it was asked.

#[cfg(all(feature = "eventbridge", not(feature = "sqs")))]
use aws_sdk_eventbridge::error::ProvideErrorMetadata;
#[cfg(feature = "sqs")]
use aws_sdk_sqs::error::ProvideErrorMetadata;
use std::fmt;

/// Why an entry of a call was not taken, or the whole call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The service's code, for example `ReceiptHandleIsInvalid`. A call that got no answer has
    /// `CallFailed`, and an entry of which the answer says nothing has `UnexpectedResponse`.
    pub code: String,
    /// The service's text.
    pub message: String,
    /// Whether another attempt would meet the same refusal.
    pub permanent: bool,
}

/// The results of a call's entries, in the request's order.
pub type Entries<T> = Vec<Result<T, Refusal>>;

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

    /// A refusal with a service's code, which says whether another attempt would meet it.
    pub(crate) fn of_code(code: impl Into<String>, message: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            permanent: is_permanent(&code),
            message: message.into(),
            code,
        }
    }

    /// An entry of which the answer does not say what became of it: it may have been taken.
    pub fn unanswered() -> Self {
        Self::transient(
            "UnexpectedResponse",
            "the answer does not say what became of it",
        )
    }

    /// A call that failed as a whole, after the client's own retries.
    #[cfg(any(feature = "eventbridge", feature = "sqs"))]
    pub fn of_call<E>(error: &E) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let message = error.message().map(str::to_owned);
        Self::of_code(
            error.code().unwrap_or("CallFailed"),
            message.unwrap_or_else(|| super::describe(error)),
        )
    }
}

/// Throttling and failures inside a service pass, and so may what is not known here.
fn is_permanent(code: &str) -> bool {
    matches!(
        code,
        "AccessDeniedException"
            | "InvalidAccountIdException"
            | "InvalidArgument"
            | "InvalidParameterValueException"
            | "InvalidRequestContentException"
            | "MalformedDetail"
            | "NotAuthorizedForDetailTypeException"
            | "NotAuthorizedForSourceException"
            | "RedactionFailure"
            | "RequestTooLargeException"
            | "ResourceNotFoundException"
            | "UnsupportedMediaTypeException"
            | "ValidationException"
    )
    // SQS has it with a prefix as well. A receipt that is not valid stays so.
    || code.ends_with("ReceiptHandleIsInvalid")
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_whether_another_attempt_can_help() {
        for passing in ["ThrottlingException", "InternalFailure", "SomethingNew"] {
            assert!(!Refusal::of_code(passing, "").permanent, "{passing}");
        }
        for lasting in [
            "NotAuthorizedForSourceException",
            "ResourceNotFoundException",
            "AWS.SimpleQueueService.ReceiptHandleIsInvalid",
        ] {
            assert!(Refusal::of_code(lasting, "").permanent, "{lasting}");
        }
    }
}
