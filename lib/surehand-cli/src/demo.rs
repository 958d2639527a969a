//! `surehand demo`: a few hundred orders through the whole application, and an account of every one of them.

mod accounts;
mod clients;
mod observation;
mod plan;
mod report;
mod traffic;
mod witness;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

pub(crate) use self::plan::FEWEST;
use self::{
    clients::Clients,
    observation::Observation,
    plan::{Fate, Plan},
    traffic::Replies,
    witness::{Sighting, Witness},
};
use crate::{
    local::{Local, Options},
    logs::Reader,
    progress::{Progress, Step},
};

/// How often the queues are looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// How often in a row all must be quiet: between an outbox or queue and the next an event is in none.
const QUIET: u32 = 4;

/// How long the application may take in all.
const PATIENCE: Duration = Duration::from_secs(180);

/// Fails unless every order is accounted for and no effect happened twice.
pub(crate) async fn run(options: Options, count: usize, progress: &Progress) -> Result<()> {
    let started = Instant::now();
    let mut local = Local::start(options, progress).await?;
    let clients = Clients::new(&local.config, &local.stack)?;
    let plan = Plan::new(count);

    let shop = async {
        traffic::seed(&clients, &plan).await?;
        let witness = Witness::place(&clients).await?;

        let step = progress.step("placing orders");
        let replies = traffic::place(&clients, &plan, &step).await;
        // When none gets through, the reason is one and the same, and the accounts would only repeat it.
        if let (true, Some(error)) = (replies.first.is_empty(), replies.errors.values().next()) {
            bail!("place-order accepts no order: {error}");
        }
        step.done(format!(
            "{} orders, {} repeated requests",
            replies.first.len(),
            replies.second.len()
        ));

        let mut events = witness.take(&clients).await?;
        let harmless = harmless(&plan, &replies, &events);
        traffic::disturb(&clients, &plan, &harmless).await?;

        let step = progress.step("waiting until every queue is empty");
        settle(&clients, &plan, &witness, &mut events, &step).await?;
        step.done("");
        Ok::<_, anyhow::Error>((replies, events))
    };
    let (replies, events) = tokio::select! {
        outcome = shop => outcome?,
        ended = local.emulator.ended() => return ended,
    };

    let mut reader = Reader::new(&local.config, &local.stack.functions).await?;
    let seen = Observation {
        rows: observation::rows(&clients).await?,
        mails: observation::mails(&clients).await?,
        dead_letters: observation::dead_letters(&clients).await?,
        events,
        outcomes: observation::outcomes(&reader.read().await?),
    };
    let checks = accounts::check(&plan, &replies, &seen);
    println!("{}", report::summary(&replies, &seen));
    print!("{}", report::checks(&checks));
    let failed = checks.iter().filter(|check| !check.holds()).count();
    let seconds = started.elapsed().as_secs_f64();
    if failed > 0 {
        bail!(
            "{failed} of {} checks failed after {seconds:.1} s",
            checks.len()
        );
    }
    println!("every order is accounted for, and no effect happened twice ({seconds:.1} s)");
    Ok(())
}

/// The events whose repetition changes nothing: a parked event that comes twice is rightly parked twice.
fn harmless(plan: &Plan, replies: &Replies, events: &[Sighting]) -> Vec<Sighting> {
    let orders: BTreeSet<&str> = plan
        .orders
        .iter()
        .filter(|order| matches!(order.fate, Fate::Reserved | Fate::Contested))
        .filter_map(|order| replies.first.get(&order.request_id))
        .map(|reply| reply.order_id.as_str())
        .collect();
    events
        .iter()
        .filter(|event| witness::order_id(&event.detail).is_some_and(|id| orders.contains(id)))
        .cloned()
        .collect()
}

/// Waits until nothing is under way any more; the checks say whether that is because all is done.
async fn settle(
    clients: &Clients,
    plan: &Plan,
    witness: &Witness,
    events: &mut Vec<Sighting>,
    step: &Step,
) -> Result<()> {
    let started = Instant::now();
    let mut quiet = 0;
    while quiet < QUIET {
        if started.elapsed() > PATIENCE {
            step.say("not everything is done, but time is up");
            return Ok(());
        }
        tokio::time::sleep(INTERVAL).await;
        let mut waiting = observation::outbox(clients).await?;
        for (_, url) in &clients.queues {
            waiting += observation::depth(clients, url).await?;
        }
        let mut parked = 0;
        for (_, url) in &clients.dead_letters {
            parked += observation::depth(clients, url).await?;
        }
        let rows = observation::rows(clients).await?;
        events.extend(witness.take(clients).await?);
        let published: BTreeSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
        let total = plan.orders.len() + plan.malformed.len();
        let done = rows.reservations.len() + parked;
        step.count(
            done as u64,
            total as u64,
            format!("{waiting} messages, {parked} dead letters"),
        );
        let is_quiet = waiting == 0 && rows.audited.len() >= published.len();
        quiet = if is_quiet { quiet + 1 } else { 0 };
    }
    Ok(())
}
