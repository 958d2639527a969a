//! Why a service did not do what it was asked.

#[cfg(all(feature = "eventbridge", not(feature = "sqs")))]
use aws_sdk_eventbridge::error::ProvideErrorMetadata;
#[cfg(feature = "sqs")]
use aws_sdk_sqs::error::ProvideErrorMetadata;
use std::fmt;

/// Why a service refused an entry of a call, or the whole call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The service's code, for example `ReceiptHandleIsInvalid`. It is `CallFailed` for a call that
    /// got no answer, and `UnexpectedResponse` for an entry that the answer does not mention.
    pub code: String,
    /// The service's text.
    pub message: String,
    /// Whether another attempt would meet the same refusal.
    pub permanent: bool,
}

/// The results of a call's entries, in the request's order.
pub type Entries<T> = Vec<Result<T, Refusal>>;

impl Refusal {
    /// Makes a refusal that another attempt may not meet.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            permanent: false,
        }
    }

    /// Makes a refusal that another attempt would meet as well.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            permanent: true,
            ..Self::transient(code, message)
        }
    }

    /// Makes a refusal with a service's code, which decides whether another attempt would meet it.
    pub fn of_code(code: impl Into<String>, message: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            permanent: is_permanent(&code),
            message: message.into(),
            code,
        }
    }

    /// Makes the refusal of an entry that the answer does not mention: it may have been accepted.
    pub fn unanswered() -> Self {
        Self::transient(
            "UnexpectedResponse",
            "the service's answer does not mention it, so that it may have been accepted",
        )
    }

    /// Makes the refusal of a call that failed as a whole, after the client's own retries.
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

/// What must be mended before a service takes what it has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What was sent: nothing but another request can help.
    Request,
    /// What it was sent to, or who may send to it: once that is mended, the same request may be taken.
    Destination,
}

/// Throttling and failures inside a service pass, and codes that are not known here may pass too.
fn is_permanent(code: &str) -> bool {
    lasting_fault(code).is_some()
}

/// Says what is at fault for a refusal that lasts; none for one that may pass by itself.
pub(crate) fn lasting_fault(code: &str) -> Option<Fault> {
    match code {
        "InvalidArgument"
        | "InvalidMessageContents"
        | "InvalidParameterValueException"
        | "InvalidRequestContentException"
        | "MalformedDetail"
        | "RedactionFailure"
        | "RequestTooLargeException"
        | "UnsupportedMediaTypeException"
        | "ValidationException"
        // What is refused before it is sent.
        | "InvalidGroup"
        | "TooLarge" => Some(Fault::Request),
        "AccessDenied"
        | "AccessDeniedException"
        | "InvalidAccountIdException"
        | "NotAuthorizedForDetailTypeException"
        | "NotAuthorizedForSourceException"
        | "QueueDoesNotExist"
        | "ResourceNotFoundException" => Some(Fault::Destination),
        // SQS uses this code with a prefix as well. An invalid receipt handle stays invalid.
        _ if code.ends_with("ReceiptHandleIsInvalid") => Some(Fault::Request),
        // The older name of QueueDoesNotExist, which SQS gives as well.
        _ if code.ends_with("NonExistentQueue") => Some(Fault::Destination),
        _ => None,
    }
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
    fn a_destination_can_be_mended_and_a_request_cannot() {
        for code in ["MalformedDetail", "TooLarge", "InvalidMessageContents"] {
            assert_eq!(lasting_fault(code), Some(Fault::Request), "{code}");
        }
        for code in [
            "AccessDeniedException",
            "ResourceNotFoundException",
            "AWS.SimpleQueueService.NonExistentQueue",
        ] {
            assert_eq!(lasting_fault(code), Some(Fault::Destination), "{code}");
        }
        // An event behind one that was refused was never sent.
        for code in ["NotSent", "UnexpectedResponse", "ThrottlingException"] {
            assert_eq!(lasting_fault(code), None, "{code}");
        }
    }

    #[test]
    fn the_code_decides_whether_another_attempt_can_help() {
        for passing in ["ThrottlingException", "InternalFailure", "SomethingNew"] {
            assert!(!Refusal::of_code(passing, "").permanent, "{passing}");
        }
        for lasting in [
            "NotAuthorizedForSourceException",
            "ResourceNotFoundException",
            "AWS.SimpleQueueService.ReceiptHandleIsInvalid",
            "AWS.SimpleQueueService.NonExistentQueue",
            "QueueDoesNotExist",
            "AccessDenied",
        ] {
            assert!(Refusal::of_code(lasting, "").permanent, "{lasting}");
        }
    }
}
