//! How fast letters are put back, and when that stops.

use std::time::Duration;

use clap::Args;
use surehand_redrive::ApplyOptions;

use crate::{
    cloud::Cloud,
    dlq::{read, target::Target},
};

#[derive(Debug, Clone, Args)]
pub(super) struct PaceArgs {
    /// The maximum number of messages per second
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// The sizes of the steps: a canary, then more. After each step the command waits for its outcome; after the last
    /// size, each step is five times larger
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,5,20,100", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) ramp: Vec<u64>,
    /// Redrive everything at once, without waiting for outcomes
    #[arg(long, conflicts_with = "ramp")]
    pub(super) no_ramp: bool,
    /// Look outcomes up by the events' identities without asking the functions: their code sets neither a key, nor a
    /// scope, nor a style of keys. Otherwise the application in this folder is built, and its functions say
    #[arg(long, conflicts_with = "no_ramp")]
    pub(super) event_keys: bool,
    /// How long to wait for the outcome of a step, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub(super) wait: u64,
    /// Stop when more than this percentage of the messages fails
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(super) threshold: u32,
    /// How long messages stay hidden while the command works on them, in seconds; a resume waits as long for those of
    /// a process that died
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(10..=43_200))]
    pub(super) visibility: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("use a number above 0".to_owned()),
    }
}

impl PaceArgs {
    pub(super) fn options(&self, cloud: &Cloud, target: &Target) -> ApplyOptions {
        let visibility = Duration::from_secs(self.visibility);
        let mut options = ApplyOptions::default();
        options.rate = self.rate;
        options.threshold_percent = self.threshold;
        options.read.wait = read::options(cloud).wait;
        options.read.visibility = visibility;
        options.read.despite_redrive_policy = target.despite_redrive_policy;
        options.read.patience = visibility + Duration::from_secs(30);
        options
    }
}
