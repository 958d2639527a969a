//! How fast letters are put back, and when that stops.

use std::time::Duration;

use clap::Args;
use surehand::dead_letter::ApplyOptions;

use crate::{cloud::Cloud, dlq::read};

#[derive(Debug, Clone, Args)]
pub(super) struct PaceArgs {
    /// Letters a second at most
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// How many letters are put back before their outcome is waited for: a canary, and growing steps. After the last
    /// they grow fivefold
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,5,20,100", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) ramp: Vec<u64>,
    /// Put everything back at once, and wait for no outcome
    #[arg(long, conflicts_with = "ramp")]
    pub(super) no_ramp: bool,
    /// How long to wait for the outcome of a step, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub(super) wait: u64,
    /// Stop when more than so many per cent of the letters fail
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(super) threshold: u32,
    /// How long letters are hidden while they are worked on, in seconds; also how long a resume waits for those of a
    /// process that died
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(10..=43_200))]
    pub(super) visibility: u64,
    /// Apply a plan also to a queue that has a redrive policy of its own
    #[arg(long)]
    pub(super) despite_redrive_policy: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("not a number above 0".to_owned()),
    }
}

impl PaceArgs {
    pub(super) fn options(&self, cloud: &Cloud) -> ApplyOptions {
        let visibility = Duration::from_secs(self.visibility);
        let mut options = ApplyOptions::default();
        options.rate = self.rate;
        options.threshold_percent = self.threshold;
        options.read.wait = read::options(cloud).wait;
        options.read.visibility = visibility;
        options.read.despite_redrive_policy = self.despite_redrive_policy;
        options.read.patience = visibility + Duration::from_secs(30);
        options
    }
}
