//! What every command of `surehand dlq` is told, and how it ends.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Result;
use surehand_redrive::QueueInfo;

use crate::{
    cloud::{Cloud, Wanted},
    progress::Progress,
};

/// What every command needs to know.
pub(super) struct Context<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) json: bool,
    pub(super) progress: &'a Progress,
    /// Set when the command is interrupted.
    pub(super) stop: &'a AtomicBool,
}

impl Context<'_> {
    /// The cloud that this command is for.
    pub(super) async fn connect(&self) -> Result<Cloud> {
        Cloud::connect(self.wanted).await
    }

    /// Says in which account and region something is about to be changed. A running `surehand dev` has neither.
    pub(super) fn announce(&self, cloud: &Cloud, queue: &QueueInfo) {
        if let Some(line) = cloud.changing(&queue.arn) {
            self.progress.line(&line);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// An error with an exit code of its own.
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) code: u8,
    text: &'static str,
}

impl Coded {
    /// Wrong usage that the parser cannot tell.
    pub(crate) const fn usage(text: &'static str) -> Self {
        Self { code: 2, text }
    }

    pub(super) const INTERRUPTED: Self = Self {
        code: 130,
        text: "interrupted; the messages that were read are back in the queue",
    };
}

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

impl std::error::Error for Coded {}

/// The library's errors, which are no `std::error::Error`, as the command's.
pub(crate) fn said(error: surehand::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// How a command ended, beside success, errors (1) and wrong usage (2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// Exit code 3: there was nothing to do.
    Nothing,
    /// Exit code 4: something could not be done, or fails as before.
    Partly,
    /// Exit code 130: it was interrupted.
    Stopped,
}

impl End {
    /// This end, or that one if it says more: a part that is missing makes the whole a part.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Done | Self::Nothing, Self::Partly) => Self::Partly,
            _ => self,
        }
    }
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        match end {
            End::Done => Self::SUCCESS,
            End::Nothing => Self::from(3),
            End::Partly => Self::from(4),
            End::Stopped => Self::from(130),
        }
    }
}
