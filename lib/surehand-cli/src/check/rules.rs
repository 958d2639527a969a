//! The rules, by what they look at.

mod entities;
pub(crate) mod environment;
mod events;
mod functions;
mod permissions;
pub(crate) mod project;
mod queues;
mod streams;
mod tables;
mod watch;

use super::{app::App, finding::Findings};

/// Holds an application against every rule about its resources.
pub(crate) fn check(app: &App<'_>, findings: &mut Findings) {
    functions::check(app, findings);
    environment::check(app, findings);
    queues::check(app, findings);
    streams::check(app, findings);
    events::check(app, findings);
    permissions::check(app, findings);
    tables::check(app, findings);
    entities::check(app, findings);
    watch::check(app, findings);
}
