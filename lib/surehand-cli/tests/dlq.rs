//! The command `surehand dlq` as a process, on an SQS that answers as AWS's does.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod dlq {
    pub(crate) mod changes;
    pub(crate) mod interrupts;
    pub(crate) mod kills;
    pub(crate) mod looks;
    pub(crate) mod misuse;
    pub(crate) mod moves;
    pub(crate) mod outcomes;
    pub(crate) mod rehearsals;
    pub(crate) mod rules;
    pub(crate) mod world;
}
