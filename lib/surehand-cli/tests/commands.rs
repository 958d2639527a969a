//! The small commands as processes. SQS answers as AWS's does; what Lambda, EventBridge, CloudWatch Logs and
//! CloudFormation answer was written down.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod commands {
    pub(crate) mod env;
    pub(crate) mod logs;
    pub(crate) mod pause;
    pub(crate) mod send;
    pub(crate) mod status;
    pub(crate) mod world;
}
