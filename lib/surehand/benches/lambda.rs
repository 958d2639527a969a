//! What Surehand and its telemetry cost a function: how large it is, how long it takes from the start
//! of its process to its first call for work, and what a record costs its processor, over HTTP, as
//! Lambda sees it.
//!
//! `cargo bench -p surehand --no-default-features --bench lambda` compares the example `bare`, which
//! is on lambda_runtime alone, with the example `faults` and the shop's `reserve-stock`, each with
//! its log alone, with metrics, and with traces. Further binaries, given after `--`, are started as
//! well. Where valgrind is installed, instructions are counted too: what else the machine does is
//! not in them.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing else to say"
)]

mod lambda {
    pub(crate) mod builds;
    pub(crate) mod events;
    pub(crate) mod function;
    pub(crate) mod service;
    pub(crate) mod variant;
}

use lambda::{function::Function, service::Lambda, variant::Variant};
use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

const STARTS: usize = 20;
const ROUNDS: usize = 9;
const BATCHES: usize = 200;
/// The batches before a round is timed.
const WARM_UP: usize = 20;

fn main() {
    let mut others = Vec::new();
    for argument in env::args().skip(1) {
        match argument.as_str() {
            // Cargo passes this argument to every benchmark.
            "--bench" => {}
            path => others.push(PathBuf::from(path)),
        }
    }
    let compared = lambda::variant::compared();
    let others: Vec<Variant> = others.iter().map(|path| Variant::other(path)).collect();
    let counts: Vec<Option<u64>> = compared.iter().map(instructions).collect();

    // The variants take turns, so that a busy moment of the machine affects all of them.
    let mut starts = vec![Vec::new(); compared.len() + others.len()];
    for _ in 0..STARTS {
        for (variant, times) in compared.iter().chain(&others).zip(&mut starts) {
            times.push(start_time(variant));
        }
    }
    let mut rounds = vec![Vec::new(); compared.len()];
    for _ in 0..ROUNDS {
        for (variant, results) in compared.iter().zip(&mut rounds) {
            results.push(round(variant));
        }
    }

    println!(
        "{STARTS} starts; {ROUNDS} rounds of {BATCHES} batches of {} messages, all in turns; the least and the median of each\n",
        lambda::events::RECORDS
    );
    println!(
        "| function | telemetry | stripped, MiB | start, ms | batch, µs | CPU a record, µs | instructions a record |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut costs = rounds.into_iter().zip(counts);
    for (variant, times) in compared.iter().chain(&others).zip(starts) {
        let size = fs::metadata(&variant.path).unwrap().len() as f64 / f64::from(1 << 20);
        let start = least_and_median(times, 1e3);
        let cost = costs.next().map(|(rounds, count)| {
            let (batch, cpu): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
            let count = count.map_or("-".to_owned(), |count| count.to_string());
            let (batch, cpu) = (least_and_median(batch, 1e6), least_and_median(cpu, 1e6));
            format!("{batch} | {cpu} | {count}")
        });
        let cost = cost.unwrap_or_else(|| "| |".to_owned());
        let (name, telemetry) = (&variant.name, variant.telemetry);
        println!("| {name} | {telemetry} | {size:.2} | {start} | {cost} |");
    }
}

/// The unit as a part of a second.
fn least_and_median(mut times: Vec<Duration>, parts: f64) -> String {
    times.sort_unstable();
    let [least, median] = [times[0], times[times.len() / 2]].map(|time| time.as_secs_f64() * parts);
    format!("{least:.1}, {median:.1}")
}

fn start_time(variant: &Variant) -> Duration {
    let lambda = Lambda::listen();
    let start = Instant::now();
    let _function = Function::start(variant, &lambda);
    let _next = lambda.request("/invocation/next");
    start.elapsed()
}

/// Returns the median round-trip time of a batch, and the processor time of a record.
fn round(variant: &Variant) -> (Duration, Duration) {
    let lambda = Lambda::listen();
    let function = Function::start(variant, &lambda);
    let mut before = Duration::ZERO;
    let mut times = Vec::new();
    for number in 0..WARM_UP + BATCHES {
        if number == WARM_UP {
            before = function.cpu_time();
        }
        let time = lambda.handle(&(variant.batch)(number));
        if number >= WARM_UP {
            times.push(time);
        }
    }
    // Work after an answer, such as sending spans, is done once the next batch is asked for.
    let _next = lambda.request("/invocation/next");
    let cpu = function.cpu_time() - before;
    variant.check(&lambda, WARM_UP + BATCHES);
    times.sort_unstable();
    let records = BATCHES * lambda::events::RECORDS;
    (times[times.len() / 2], cpu / records as u32)
}

/// Returns the instructions for a record; none without valgrind. The count of a process with few
/// batches, which includes the start, is subtracted from that of one with many.
fn instructions(variant: &Variant) -> Option<u64> {
    let [few, many] = [10, 60];
    let counted = |batches: usize| {
        let lambda = Lambda::listen();
        let function = Function::counted(variant, &lambda)?;
        for number in 0..batches {
            lambda.handle(&(variant.batch)(number));
        }
        let _next = lambda.request("/invocation/next");
        Some(function.instructions())
    };
    let records = (many - few) * lambda::events::RECORDS;
    Some((counted(many)? - counted(few)?) / records as u64)
}
