//! Events that could not be published.

use crate::{Error, ErrorKind, envelope::Outgoing};
use std::fmt;

/// The error of a call in which some or all events were not published.
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
    /// Makes the error of a call in which the events with the ids `accepted` were published, and
    /// `unpublished` were not.
    pub fn new(accepted: Vec<String>, unpublished: Vec<Unpublished>) -> Self {
        Self {
            accepted,
            unpublished,
        }
    }

    /// Returns the ids of the events that were published despite the error.
    pub fn accepted(&self) -> &[String] {
        &self.accepted
    }

    /// Returns the events that were not published, in the order in which they were to be.
    pub fn unpublished(&self) -> &[Unpublished] {
        &self.unpublished
    }

    /// Converts it into a record's error of kind [`ErrorKind::Publish`]. With `?` it would be
    /// [`ErrorKind::Transient`], like any other error.
    pub fn into_error(self) -> Error {
        Error::new(ErrorKind::Publish, self)
    }
}

impl Unpublished {
    /// Makes the entry of an event that was not published because of `code`, the service's name for
    /// the problem.
    pub fn new(event: &Outgoing, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            id: event.id().to_owned(),
            detail_type: event.detail_type().to_owned(),
            code: code.into(),
            message: message.into(),
        }
    }

    /// Returns the event's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the event's `detail-type`.
    pub fn detail_type(&self) -> &str {
        &self.detail_type
    }

    /// Returns the service's name for the problem, for example `ThrottlingException`. For problems
    /// that the library finds itself it is `TooLarge`, `InvalidGroup`, `NotSent` or
    /// `UnexpectedResponse`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the service's description of the problem.
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
            "{} of {all} events were not published: ",
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
