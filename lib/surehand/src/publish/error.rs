//! Events that could not be published.

use crate::{Error, ErrorKind, envelope::Outgoing};
use std::fmt;

/// Some events, or all, were not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishError {
    accepted: Vec<String>,
    unpublished: Vec<Unpublished>,
}

/// An event that was not published, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpublished {
    id: String,
    detail_type: String,
    code: String,
    message: String,
}

impl PublishError {
    /// The error of a call in which the events with the ids `accepted` were taken, and
    /// `unpublished` were not.
    pub fn new(accepted: Vec<String>, unpublished: Vec<Unpublished>) -> Self {
        Self {
            accepted,
            unpublished,
        }
    }

    /// The ids of the events that were published in spite of the error.
    pub fn accepted(&self) -> &[String] {
        &self.accepted
    }

    /// The events that were not, in the order in which they were to be.
    pub fn unpublished(&self) -> &[Unpublished] {
        &self.unpublished
    }

    /// This as the error of a record, of kind [`ErrorKind::Publish`]. With `?` it would be
    /// [`ErrorKind::Transient`], like any other error.
    pub fn into_error(self) -> Error {
        Error::new(ErrorKind::Publish, self)
    }
}

impl Unpublished {
    /// The event was not published because of `code`, the service's name for the problem.
    pub fn new(event: &Outgoing, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            id: event.id().to_owned(),
            detail_type: event.detail_type().to_owned(),
            code: code.into(),
            message: message.into(),
        }
    }

    /// The event's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The event's `detail-type`.
    pub fn detail_type(&self) -> &str {
        &self.detail_type
    }

    /// The service's name for the problem, for example `ThrottlingException`. Before and after calls
    /// it is `TooLarge`, `InvalidGroup`, `NotSent` or `UnexpectedResponse`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What the service says about it.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        let all = self.accepted.len() + self.unpublished.len();
        write!(
            f,
            "{} of {all} events not published: ",
            self.unpublished.len()
        )?;
        for (index, event) in self.unpublished.iter().take(SHOWN).enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(f, "{separator}{event}")?;
        }
        match self.unpublished.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl fmt::Display for Unpublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} ({}: {})",
            self.detail_type, self.id, self.code, self.message
        )
    }
}

impl std::error::Error for PublishError {}
