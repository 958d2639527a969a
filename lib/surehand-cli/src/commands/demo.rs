//! `surehand demo`: a few hundred orders through the whole application, and an account of every one of them.

mod accounts;
mod clients;
mod mishap;
mod observation;
mod plan;
mod redrive;
mod report;
mod scene;
mod traffic;
mod witness;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

pub(crate) use self::plan::FEWEST;
use self::{
    accounts::{Chapter, Check},
    clients::Clients,
    observation::Observation,
    plan::{Fate, Plan},
    scene::Scene,
    traffic::Replies,
    witness::{Sighting, Witness},
};
use crate::terminal::{self, say};
use crate::{
    local::{
        logs::Reader,
        run::{Local, Options},
    },
    progress::Progress,
};

/// How often the queues are polled.
const INTERVAL: Duration = Duration::from_millis(250);

/// How often in a row all queues must be empty: an event on its way from one to the next is in none
/// of them.
const QUIET: u32 = 4;

/// How long the application may take in total.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs the demo. It fails unless every order is accounted for and no effect happened twice, before
/// and after the redrive.
pub(crate) async fn run(options: Options, count: usize, progress: &Progress) -> Result<()> {
    let started = Instant::now();
    let name = options.run.clone();
    let mut local = Local::start(options, progress).await?;
    let clients = Clients::new(&local.config, &local.stack)?;
    let logs = Reader::new(&local.config, &local.stack.functions).await?;
    let scene = Scene {
        folder: local.folder().join("dead-letters"),
        run: name,
        plan: Plan::new(count),
        clients,
        progress,
    };
    let checks = tokio::select! {
        outcome = scene.play(logs) => outcome?,
        ended = local.emulator.ended() => return ended,
    };

    let failed = checks.iter().filter(|check| !check.holds()).count();
    let seconds = started.elapsed().as_secs_f64();
    if failed > 0 {
        bail!(
            "{failed} of {} checks failed after {seconds:.1} s",
            checks.len()
        );
    }
    say!("every order is accounted for, and no effect happened twice ({seconds:.1} s)");
    Ok(())
}

impl Scene<'_> {
    async fn play(&self, mut logs: Reader) -> Result<Vec<Check>> {
        let Self { plan, clients, .. } = self;
        traffic::seed(clients, plan).await?;
        let witness = Witness::place(clients).await?;
        let (mut replies, mut events) = self.place(&witness).await?;
        self.settle(&witness, &mut events).await?;

        let mails = plan.struck().count();
        let step = self
            .progress
            .step(format!("losing the process at {mails} mails"));
        let before = mishap::strike(clients, plan).await?;
        traffic::place_struck(clients, plan, &mut replies).await?;
        step.done("");
        self.settle(&witness, &mut events).await?;
        let mut lines = logs.read().await?;
        let seen = observe(clients, events, &lines).await?;
        let failed = self.account(&replies, &seen, Chapter::Failed);

        let archived = redrive::chapter(self, before).await?;
        let mut events = seen.events;
        self.settle(&witness, &mut events).await?;
        lines.extend(logs.read().await?);
        let seen = Observation {
            archived,
            ..observe(clients, events, &lines).await?
        };
        let redriven = self.account(&replies, &seen, Chapter::Redriven);
        Ok([failed, redriven].concat())
    }

    /// Places all orders but those that are to be lost, and repeats some requests and events.
    async fn place(&self, witness: &Witness) -> Result<(Replies, Vec<Sighting>)> {
        let step = self.progress.step("placing orders");
        let replies = traffic::place(&self.clients, &self.plan, &step).await;
        // If no request succeeds, they all fail for the same reason, which the accounts would only
        // repeat.
        if let (true, Some(error)) = (replies.first.is_empty(), replies.errors.values().next()) {
            bail!("place-order accepted none of the orders, the first because of: {error}");
        }
        step.done(format!(
            "{} orders, {} repeated requests",
            replies.first.len(),
            replies.second.len()
        ));
        let events = witness.take(&self.clients).await?;
        let harmless = harmless(&self.plan, &replies, &events);
        traffic::disturb(&self.clients, &self.plan, &harmless).await?;
        Ok((replies, events))
    }

    /// Waits until no event is under way. The checks then show whether all is done.
    async fn settle(&self, witness: &Witness, events: &mut Vec<Sighting>) -> Result<()> {
        let Self { plan, clients, .. } = self;
        let step = self.progress.step("waiting until every queue is empty");
        let started = Instant::now();
        let mut quiet = 0;
        while quiet < QUIET {
            if started.elapsed() > PATIENCE {
                step.say("gave up waiting: not all events are handled");
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
        step.done("");
        Ok(())
    }

    /// Prints and returns the accounts.
    fn account(&self, replies: &Replies, seen: &Observation, chapter: Chapter) -> Vec<Check> {
        let checks = accounts::check(&self.plan, replies, seen, chapter);
        say!("\n{}", report::summary(replies, seen));
        terminal::styled(report::checks(&checks).trim_end());
        checks
    }
}

/// Observes the application's state.
async fn observe(
    clients: &Clients,
    events: Vec<Sighting>,
    lines: &[crate::local::logs::Line],
) -> Result<Observation> {
    Ok(Observation {
        rows: observation::rows(clients).await?,
        mails: observation::mails(clients).await?,
        dead_letters: observation::dead_letters(clients).await?,
        archived: Vec::new(),
        events,
        outcomes: observation::outcomes(lines),
    })
}

/// Returns the events that may be repeated without any change. A parked event that is repeated is
/// rightly parked twice.
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
