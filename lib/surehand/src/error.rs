//! What can go wrong with a record, and what becomes of the record then.
//!
//! A handler returns [`Error`]. Any standard error becomes one with `?`, and has the record tried again;
//! [`Error::rejected`] and the other constructors say more. The [`ErrorKind`] decides what becomes of the record:
//! [`ErrorKind::disposition`] is the only place that does.

use std::{error::Error as StdError, fmt, time::Duration};

/// A boxed error of any type.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The result of a handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a record was not handled.
///
/// Any standard error becomes an `Error` with `?`, of kind [`ErrorKind::Transient`]: the record is
/// tried again. A handler that knows better says so:
///
/// ```
/// use surehand::Error;
///
/// fn check(quantity: i64) -> surehand::Result<()> {
///     if quantity < 1 {
///         return Err(Error::rejected(format!("quantity {quantity} is not positive")));
///     }
///     Ok(())
/// }
/// assert!(check(0).unwrap_err().is_rejected());
/// ```
///
/// Like `anyhow::Error` it does not implement [`std::error::Error`] itself, since it could not take
/// every such error by `?` then. It converts into a [`BoxError`].
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    source: BoxError,
    retry_after: Option<Duration>,
}

/// The kinds of failure a record can meet.
///
/// [`ErrorKind::disposition`] says what each leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The record does not decode, or is of a type that nobody handles.
    Malformed,
    /// The handler says that this record can never be handled.
    Rejected,
    /// The idempotency key was used before, for another payload.
    KeyReused,
    /// A failure that may be gone next time; what `?` makes of any other error.
    Transient,
    /// Another attempt holds the record's lease.
    InProgress,
    /// The idempotency store did not answer.
    Store,
    /// The lease was lost to another attempt while the handler ran; that attempt's result stands.
    Fenced,
    /// The invocation is nearly out of time.
    Deadline,
    /// The handler panicked.
    Panicked,
    /// An earlier attempt began and never ended, and nobody knows what it has done.
    Interrupted,
    /// The record was not started: an earlier one of its group failed, or time ran out.
    Skipped,
    /// An event could not be published.
    Publish,
    /// The invocation itself cannot be understood, for example a record without an id.
    Invocation,
}

/// What becomes of a record that was not handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// It stays in its source and comes back.
    Retry,
    /// It goes to the dead-letter queue with its reason.
    Park,
}

impl ErrorKind {
    /// The one place that decides between another attempt and the dead-letter queue.
    pub const fn disposition(self) -> Disposition {
        match self {
            Self::Malformed | Self::Rejected | Self::KeyReused | Self::Interrupted => {
                Disposition::Park
            }
            Self::Transient
            | Self::InProgress
            | Self::Store
            | Self::Fenced
            | Self::Deadline
            | Self::Panicked
            | Self::Skipped
            | Self::Publish
            | Self::Invocation => Disposition::Retry,
        }
    }

    /// The name that logs, metrics and failure notes carry: `rejected`, `in_progress`, …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Rejected => "rejected",
            Self::KeyReused => "key_reused",
            Self::Transient => "transient",
            Self::InProgress => "in_progress",
            Self::Store => "store",
            Self::Fenced => "fenced",
            Self::Deadline => "deadline",
            Self::Panicked => "panicked",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
            Self::Publish => "publish",
            Self::Invocation => "invocation",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error {
    /// An error of the given kind. `source` is an error, a `String` or a `&str`.
    pub fn new(kind: ErrorKind, source: impl Into<BoxError>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                source: source.into(),
                retry_after: None,
            }),
        }
    }

    /// This record can never be handled: park it, do not try again.
    pub fn rejected(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Rejected, source)
    }

    /// This record does not decode: park it, do not try again.
    pub fn malformed(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Malformed, source)
    }

    /// This may work next time: try again, with the default backoff.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Transient, source)
    }

    /// Try again, but not before `delay` has passed.
    ///
    /// SQS counts in whole seconds and at most 12 hours; the delay is rounded up and capped.
    pub fn retry_after(delay: Duration, source: impl Into<BoxError>) -> Self {
        Self::transient(source).with_retry_after(delay)
    }

    /// Sets how long the record stays away before its next attempt.
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.inner.retry_after = Some(delay);
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What becomes of the record.
    pub fn disposition(&self) -> Disposition {
        self.kind().disposition()
    }

    /// The delay asked for before the next attempt, if one was.
    pub fn delay(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    /// True if the handler said that this record can never be handled.
    pub fn is_rejected(&self) -> bool {
        self.kind() == ErrorKind::Rejected
    }

    /// True if the record did not decode.
    pub fn is_malformed(&self) -> bool {
        self.kind() == ErrorKind::Malformed
    }

    /// True if the record comes back for another attempt.
    pub fn is_retryable(&self) -> bool {
        self.disposition() == Disposition::Retry
    }

    /// The error this one was made from.
    pub fn source(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.inner.source
    }

    /// The messages of this error and of everything that caused it, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = String> + '_ {
        self.causes().map(ToString::to_string)
    }

    /// The error of the given type somewhere in the chain.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.causes().find_map(|error| error.downcast_ref::<T>())
    }

    fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let first: &(dyn StdError + 'static) = &*self.inner.source;
        std::iter::successors(Some(first), |error: &&(dyn StdError + 'static)| {
            (*error).source()
        })
    }
}

/// The message of the error it was made from; `{:#}` adds what caused it, each after a colon.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return self.inner.source.fmt(f);
        }
        for (depth, message) in self.chain().enumerate() {
            if depth > 0 {
                f.write_str(": ")?;
            }
            f.write_str(&message)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("source", &self.inner.source)
            .field("retry_after", &self.inner.retry_after)
            .finish()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(source: E) -> Self {
        Self::transient(source)
    }
}

impl From<Error> for BoxError {
    fn from(error: Error) -> Self {
        error.inner.source
    }
}

impl From<Error> for lambda_runtime::Diagnostic {
    fn from(error: Error) -> Self {
        Self {
            error_type: format!("surehand.{}", error.kind()),
            error_message: format!("{error:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("not a quantity")
        }
    }
    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn question_mark_makes_a_transient_error_that_keeps_its_chain() {
        fn parse() -> Result<i32> {
            Ok("x".parse::<i32>().map_err(Outer)?)
        }
        let error = parse().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.is_retryable());
        assert_eq!(
            format!("{error:#}"),
            "not a quantity: invalid digit found in string"
        );
        assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
    }

    #[test]
    fn only_errors_that_no_attempt_can_mend_are_parked() {
        use ErrorKind::*;
        let parked = [Malformed, Rejected, KeyReused, Interrupted];
        let retried = [
            Transient, InProgress, Store, Fenced, Deadline, Panicked, Skipped, Publish, Invocation,
        ];
        assert!(
            parked
                .iter()
                .all(|kind| kind.disposition() == Disposition::Park)
        );
        assert!(
            retried
                .iter()
                .all(|kind| kind.disposition() == Disposition::Retry)
        );
    }
}
