//! What can go wrong with a record, and what becomes of the record then.
//!
//! A handler returns [`Error`]. Any standard error becomes one with `?`, and has the record tried again;
//! [`Error::rejected`] and the other constructors say more. The [`ErrorKind`] decides what becomes of the record:
//! [`ErrorKind::disposition`] is the only place that does.

use std::{error::Error as StdError, fmt, panic::Location, time::Duration};

/// A boxed error of any type.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The result of a handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a record was not handled.
///
/// The `?` operator turns any standard error into an `Error` of kind [`ErrorKind::Transient`]: the
/// record is tried again. That is right for a service that does not answer, and wrong for what no
/// attempt can mend, such as a number that does not parse. A handler that knows better chooses another
/// kind:
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
///
/// fn quantity(text: &str) -> surehand::Result<i64> {
///     text.parse().map_err(Error::rejected)
/// }
/// assert!(quantity("x").unwrap_err().is_rejected());
/// ```
///
/// Like `anyhow::Error`, it does not implement [`std::error::Error`] itself, because `?` could then
/// not convert every such error into it. It converts into a [`BoxError`].
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    source: BoxError,
    retry_after: Option<Duration>,
    /// It comes back after so long at least, however soon it would be tried again.
    not_before: Duration,
    is_condition: bool,
    is_uncounted: bool,
    at: Option<&'static Location<'static>>,
}

/// The ways in which a record can fail.
///
/// [`ErrorKind::disposition`] says whether the record is tried again or parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The record does not decode, or no handler takes its type.
    Malformed,
    /// The handler reports that this record can never be handled.
    Rejected,
    /// The idempotency key was used before, with a different payload.
    KeyReused,
    /// A failure that another attempt may not meet. `?` turns any other error into this kind.
    Transient,
    /// Another attempt holds the record's lease.
    InProgress,
    /// The idempotency store did not answer.
    Store,
    /// Another attempt took over the lease while the handler ran; that attempt's result counts.
    Fenced,
    /// The handler was stopped, because the invocation was nearly out of time.
    Deadline,
    /// The handler panicked.
    Panicked,
    /// An earlier attempt began and never ended, and its effects are unknown.
    Interrupted,
    /// The record was not started: an earlier one of its group failed, or time ran out.
    Skipped,
    /// An event could not be published.
    Publish,
    /// The invocation itself cannot be read, for example because a record has no id.
    Invocation,
}

/// What happens to a record that was not handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// The record stays in its source, which delivers it again.
    Retry,
    /// The record goes to the dead-letter queue with the reason of its failure.
    Park,
}

impl ErrorKind {
    /// Decides between another attempt and the dead-letter queue, as the only place that does.
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

    /// Decides whether a failure of this kind uses up one of the record's attempts, as the only place that
    /// does: whether it is the handler that failed, or whoever could not let it run. A handler that is stopped at the
    /// deadline has failed only if it had at least half of the invocation's time.
    pub const fn counts(self) -> bool {
        match self {
            Self::Malformed
            | Self::Rejected
            | Self::KeyReused
            | Self::Transient
            | Self::Deadline
            | Self::Panicked
            | Self::Interrupted
            | Self::Publish => true,
            Self::InProgress | Self::Store | Self::Fenced | Self::Skipped | Self::Invocation => {
                false
            }
        }
    }

    /// Returns the name that logs, metrics and failure notes use: `rejected`, `in_progress`, …
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
    /// Makes an error of the given kind. `source` is an error, a `String` or a `&str`.
    pub fn new(kind: ErrorKind, source: impl Into<BoxError>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                source: source.into(),
                retry_after: None,
                not_before: Duration::ZERO,
                is_condition: false,
                is_uncounted: false,
                at: None,
            }),
        }
    }

    /// Makes an error of kind [`ErrorKind::Rejected`]: the record can never be handled, and is
    /// parked.
    pub fn rejected(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Rejected, source)
    }

    /// Makes an error of kind [`ErrorKind::Malformed`]: the record does not decode, and is parked.
    pub fn malformed(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Malformed, source)
    }

    /// Makes an error of kind [`ErrorKind::Transient`]: the record is tried again, with the
    /// function's backoff.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Transient, source)
    }

    /// Makes a transient error whose record is tried again once `delay` has passed.
    ///
    /// SQS counts in whole seconds, up to 12 hours; the delay is rounded up and capped.
    pub fn retry_after(delay: Duration, source: impl Into<BoxError>) -> Self {
        Self::transient(source).with_retry_after(delay)
    }

    /// Sets the delay before the record's next attempt.
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.inner.retry_after = Some(delay);
        self
    }

    /// Sets how long the record stays away at least.
    pub(crate) fn not_before(mut self, time: Duration) -> Self {
        self.inner.not_before = time;
        self
    }

    /// How long the record stays away at least.
    pub(crate) fn least_delay(&self) -> Duration {
        self.inner.not_before
    }

    /// Says that it uses up no attempt, although others of its kind do.
    pub(crate) fn uncounted(mut self) -> Self {
        self.inner.is_uncounted = true;
        self
    }

    /// Returns true if it uses up one of the record's attempts.
    pub(crate) fn counts(&self) -> bool {
        self.kind().counts() && !self.inner.is_uncounted
    }

    /// Says that a condition of what the handler staged did not hold.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn of_condition(mut self) -> Self {
        self.inner.is_condition = true;
        self
    }

    pub(crate) fn is_condition(&self) -> bool {
        self.inner.is_condition
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns what happens to the record.
    pub fn disposition(&self) -> Disposition {
        self.kind().disposition()
    }

    /// Returns the delay before the next attempt; none if none was set.
    pub fn delay(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    /// Returns true if the handler reported that this record can never be handled.
    pub fn is_rejected(&self) -> bool {
        self.kind() == ErrorKind::Rejected
    }

    /// Returns true if the record did not decode, or no handler takes its type.
    pub fn is_malformed(&self) -> bool {
        self.kind() == ErrorKind::Malformed
    }

    /// Returns true if the record is tried again.
    pub fn is_retryable(&self) -> bool {
        self.disposition() == Disposition::Retry
    }

    /// Returns the place of the `?` that made it from another error, since those rarely say where they
    /// come from; none if it was made otherwise, or in Surehand.
    pub fn at(&self) -> Option<&'static Location<'static>> {
        self.inner.at
    }

    /// Returns the error that this one was made from.
    pub fn source(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.inner.source
    }

    /// Returns the messages of this error and of all its causes, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = String> + '_ {
        self.causes().map(ToString::to_string)
    }

    /// Finds the first error of the given type in the chain.
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

/// Writes the message of the error it was made from; `{:#}` adds the causes, each after a colon.
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
            .field("at", &self.inner.at.map(ToString::to_string))
            .finish()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    #[track_caller]
    fn from(source: E) -> Self {
        let mut error = Self::transient(source);
        error.inner.at = Some(Location::caller()).filter(|at| !is_ours(at.file()));
        error
    }
}

/// Whether a file is one of this crate's, which says nothing to the author of a handler.
fn is_ours(file: &str) -> bool {
    let folder = file!().strip_suffix("error.rs").unwrap_or_default();
    file.starts_with(folder)
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
