//! What tower's services do with an instance that was polled ready.

/// The instance that was polled ready, which is the one to call. A fresh one takes its place.
pub(crate) fn take_ready<S: Clone>(service: &mut S) -> S {
    let fresh = service.clone();
    std::mem::replace(service, fresh)
}
