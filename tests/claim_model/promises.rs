//! What must hold after each step, whatever happens.

/// An owner that was replaced changes nothing, and gets an error.
pub(crate) const FENCE: &str = "a fenced owner changes nothing";
/// The first completion stays, and nothing is granted after it.
pub(crate) const ONE_COMPLETION: &str = "a completion is never overwritten";
/// The store's effects belong to the completion, and happen once.
pub(crate) const EFFECT_WITH_COMPLETION: &str = "an effect is there once, with its completion";
/// If clocks differ by the margin at most, only one worker has a live lease.
pub(crate) const ONE_LIVE_LEASE: &str = "live leases do not overlap";
/// A worker that was not frozen does not run its handler after a completion.
pub(crate) const NOTHING_AFTER: &str = "no live owner runs after a completion";
/// Without a fault the handler runs once.
pub(crate) const ONE_RUN: &str = "without faults there is one run";
/// When no worker has anything left to do, all know that the key is completed, or have parked their message.
pub(crate) const DONE_IN_THE_END: &str = "in the end the key is completed, or all are parked";
/// The store counts the attempts that began, each once and for its sending, and the ends of those alone.
pub(crate) const TRUE_COUNT: &str = "the store counts what was attempted";
/// A message is parked for attempts of its sending, or of copies that share the count with it; and before it runs again,
/// for those of them that never ended.
pub(crate) const PARKED_FOR_ATTEMPTS: &str = "what is parked has used up its attempts";
/// A message runs no more often than it may, but for attempts that never ended, and for the first attempt of a
/// transaction, which may not be seen.
pub(crate) const WITHIN_THE_LIMIT: &str = "nothing runs more often than it may";
/// What began and did not end is not granted to a worker that has others beside it.
pub(crate) const SUSPECTS_ALONE: &str = "a suspect is handled alone";
/// No message is parked for attempts that never ended while one of them still has time.
pub(crate) const NOT_PARKED_MEANWHILE: &str = "what goes on is not parked";
/// No message is parked whose event the store has as completed.
pub(crate) const NOT_PARKED_DONE: &str = "what is completed is not parked";
