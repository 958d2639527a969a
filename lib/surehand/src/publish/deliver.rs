//! Many events in few calls: chunks, retries of what failed, and order within a lane.

use super::{PublishError, Unpublished};
use crate::{
    Backoff,
    aws::{Entries, Fault, Refusal, lasting_fault, limits::ENTRIES},
    envelope::Outgoing,
};
use std::{borrow::Cow, collections::HashSet, time::Duration};

/// One call to the service.
pub(super) trait Call: Send + Sync {
    /// Sends the events in one request. There is one result for each event of the request, in its
    /// order, or the refusal of them all.
    fn call(
        &self,
        events: &[&Outgoing],
    ) -> impl Future<Output = Result<Entries<()>, Refusal>> + Send;
}

/// An event with what its request must know about it.
pub(super) struct ToSend<'a> {
    pub(super) event: &'a Outgoing,
    /// In bytes, as the service counts them.
    pub(super) size: usize,
    /// An event never overtakes an earlier one of its lane.
    pub(super) lane: Option<Cow<'a, str>>,
}

const ATTEMPTS: u32 = 4;
const BACKOFF: Backoff = Backoff::of_calls(Duration::from_millis(100), Duration::from_secs(2));

/// Sends all events, in requests of at most ten entries and `max_size` bytes.
///
/// A request holds at most one event of a lane: the service accepts or refuses each entry
/// separately, so that it could accept a second one after refusing the first. Entries that fail are
/// sent again a few times, with the events that are left. When a whole request fails, the client
/// has already tried it several times; its events and all later ones are given up.
pub(super) async fn deliver(
    to_send: &[ToSend<'_>],
    max_size: usize,
    service: &impl Call,
) -> Result<(), PublishError> {
    let mut progress = Progress {
        to_send,
        states: to_send
            .iter()
            .map(|_| State::Waiting { failures: 0 })
            .collect(),
        one_by_one: false,
    };
    if progress.refuse_large(max_size) {
        return progress.finish();
    }
    loop {
        let chunk = progress.next_chunk(max_size);
        if chunk.is_empty() {
            return progress.finish();
        }
        let events: Vec<&Outgoing> = chunk.iter().map(|&index| to_send[index].event).collect();
        let results = match service.call(&events).await {
            Ok(results) if results.len() == chunk.len() => results,
            Ok(results) => {
                let message = format!(
                    "the service returned {} results for {} events",
                    results.len(),
                    chunk.len()
                );
                progress.give_up(&chunk, Refusal::permanent("UnexpectedResponse", message));
                return progress.finish();
            }
            Err(refusal) if lasting_fault(&refusal.code) == Some(Fault::Request) => {
                // One of them is what the service does not take, and alone it says which.
                if chunk.len() == 1 {
                    progress.settle(chunk[0], Err(refusal));
                }
                progress.one_by_one = true;
                continue;
            }
            Err(refusal) => {
                progress.give_up(&chunk, refusal);
                return progress.finish();
            }
        };
        let mut failures = 0;
        for (index, result) in chunk.into_iter().zip(results) {
            failures = failures.max(progress.settle(index, result));
        }
        if failures > 0 {
            tokio::time::sleep(BACKOFF.delay(failures)).await;
        }
    }
}

struct Progress<'a> {
    to_send: &'a [ToSend<'a>],
    states: Vec<State>,
    /// Whether each call has one event.
    one_by_one: bool,
}

enum State {
    Waiting { failures: u32 },
    Accepted,
    Refused(Refusal),
}

impl Progress<'_> {
    /// Refuses events that no request can hold, and returns true if there are any: then nothing is
    /// sent.
    fn refuse_large(&mut self, max_size: usize) -> bool {
        let mut any = false;
        for (one, state) in self.to_send.iter().zip(&mut self.states) {
            if one.size > max_size {
                let message = format!(
                    "the event has {} bytes, and a request takes {max_size}: publish a reference to the data instead",
                    one.size
                );
                *state = State::Refused(Refusal::permanent("TooLarge", message));
                any = true;
            }
        }
        any
    }

    /// Returns the next events to send, in order.
    fn next_chunk(&self, max_size: usize) -> Vec<usize> {
        let mut chunk = Vec::new();
        let mut size = 0;
        let mut lanes = HashSet::new();
        for (index, one) in self.to_send.iter().enumerate() {
            if !matches!(self.states[index], State::Waiting { .. }) {
                continue;
            }
            // Whether it fits or not, later events of its lane must wait for it.
            let is_first = one.lane.as_deref().is_none_or(|lane| lanes.insert(lane));
            if is_first && size + one.size <= max_size {
                size += one.size;
                chunk.push(index);
                if chunk.len() == ENTRIES || self.one_by_one {
                    break;
                }
            }
        }
        chunk
    }

    /// Takes one event's result, and returns how often the event has failed if it must be sent
    /// again.
    fn settle(&mut self, index: usize, result: Result<(), Refusal>) -> u32 {
        let State::Waiting { failures } = &mut self.states[index] else {
            return 0;
        };
        *failures += 1;
        let failures = *failures;
        match result {
            Ok(()) => self.states[index] = State::Accepted,
            Err(refusal) if refusal.permanent || failures >= ATTEMPTS => {
                self.states[index] = State::Refused(refusal);
                self.stop_lane(index);
            }
            Err(_) => return failures,
        }
        0
    }

    fn stop_lane(&mut self, refused: usize) {
        let Some(lane) = self.to_send[refused].lane.as_deref() else {
            return;
        };
        let earlier = self.to_send[refused].event.id();
        for (one, state) in self.to_send.iter().zip(&mut self.states) {
            if one.lane.as_deref() == Some(lane) && matches!(state, State::Waiting { .. }) {
                let message = format!(
                    "it was not sent, because event {earlier} of the same group was not published"
                );
                *state = State::Refused(Refusal::permanent("NotSent", message));
            }
        }
    }

    fn give_up(&mut self, chunk: &[usize], refusal: Refusal) {
        for &index in chunk {
            self.states[index] = State::Refused(refusal.clone());
        }
    }

    /// Returns the result; events that still wait count as not sent.
    fn finish(self) -> Result<(), PublishError> {
        let mut accepted = Vec::new();
        let mut unpublished = Vec::new();
        for (one, state) in self.to_send.iter().zip(self.states) {
            let refusal = match state {
                State::Accepted => {
                    accepted.push(one.event.id().to_owned());
                    continue;
                }
                State::Refused(refusal) => refusal,
                State::Waiting { .. } => Refusal::permanent(
                    "NotSent",
                    "it was not sent, because another event failed before it",
                ),
            };
            unpublished.push(Unpublished::new(one.event, refusal.code, refusal.message));
        }
        if unpublished.is_empty() {
            Ok(())
        } else {
            Err(PublishError::new(accepted, unpublished))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use serde::{Deserialize, Serialize};
    use std::{collections::VecDeque, sync::Mutex};

    #[derive(Serialize, Deserialize, Event)]
    #[event(
        source = "shop",
        detail_type = "Placed",
        subject = "{name}",
        partition_key = "{lane}"
    )]
    struct Placed {
        name: String,
        lane: String,
    }

    /// `a1`, `a2` and `b1` are of the lanes `a` and `b`.
    fn events(names: &[&str]) -> Vec<Outgoing> {
        let events = names.iter().map(|name| Placed {
            name: (*name).to_owned(),
            lane: name[..1].to_owned(),
        });
        events.map(|event| Outgoing::new(&event).unwrap()).collect()
    }

    type Answer = Result<Entries<()>, Refusal>;

    /// Answers calls as scripted, then accepts every event, and records what each call held.
    #[derive(Default)]
    struct Service {
        script: Mutex<VecDeque<Answer>>,
        calls: Mutex<Vec<String>>,
    }

    impl Service {
        fn answering(script: impl IntoIterator<Item = Answer>) -> Self {
            Self {
                script: Mutex::new(script.into_iter().collect()),
                calls: Mutex::default(),
            }
        }

        fn calls(&self) -> Vec<String> {
            self.calls.lock().unwrap().clone()
        }
    }

    impl Call for Service {
        async fn call(&self, events: &[&Outgoing]) -> Answer {
            let names: Vec<&str> = events.iter().map(|event| name(event)).collect();
            self.calls.lock().unwrap().push(names.join(" "));
            let scripted = self.script.lock().unwrap().pop_front();
            scripted.unwrap_or_else(|| Ok(vec![Ok(()); events.len()]))
        }
    }

    fn name(event: &Outgoing) -> &str {
        event.metadata().subject.as_deref().unwrap()
    }

    fn throttled() -> Refusal {
        Refusal::transient("ThrottlingException", "slow down")
    }

    fn denied() -> Refusal {
        Refusal::permanent("AccessDeniedException", "no")
    }

    /// Events of 10 bytes each, in requests of 100.
    async fn send(events: &[Outgoing], in_lanes: bool, service: &Service) -> Vec<String> {
        let to_send = events.iter().map(|event| ToSend {
            event,
            size: 10,
            lane: event
                .metadata()
                .partition_key
                .as_deref()
                .filter(|_| in_lanes)
                .map(Cow::from),
        });
        let to_send: Vec<ToSend<'_>> = to_send.collect();
        let Err(error) = deliver(&to_send, 100, service).await else {
            return Vec::new();
        };
        assert_eq!(
            error.accepted().len() + error.unpublished().len(),
            events.len()
        );
        let names = error.unpublished().iter().map(|unpublished| {
            let event = events.iter().find(|event| event.id() == unpublished.id());
            format!("{} {}", name(event.unwrap()), unpublished.code())
        });
        names.collect()
    }

    /// A service may refuse a call as a whole for one of its events. The others are not refused with it.
    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_refused_for_one_event_is_made_again_one_by_one() {
        let refused = || Err(Refusal::of_code("ValidationException", "too long"));
        let accepted = || Ok(vec![Ok(())]);
        let service = Service::answering([refused(), accepted(), refused(), accepted()]);
        let failed = send(&events(&["a1", "b1", "c1"]), false, &service).await;
        assert_eq!(service.calls(), ["a1 b1 c1", "a1", "b1", "c1"]);
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(failed[0].contains("b1"), "{failed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_hold_ten_entries_at_most() {
        let names: Vec<String> = (0..23).map(|n| format!("a{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let service = Service::default();
        assert!(send(&events(&names), false, &service).await.is_empty());
        let sizes: Vec<usize> = service
            .calls()
            .iter()
            .map(|c| c.split(' ').count())
            .collect();
        assert_eq!(sizes, [10, 10, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_hold_no_more_bytes_than_the_service_takes() {
        let events = events(&["a", "b", "c", "d"]);
        let one = |(event, size)| ToSend {
            event,
            size,
            lane: None,
        };
        let to_send: Vec<ToSend<'_>> = events.iter().zip([60, 40, 1, 100]).map(one).collect();
        let service = Service::default();
        deliver(&to_send, 100, &service).await.unwrap();
        assert_eq!(service.calls(), ["a b", "c", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_no_request_can_hold_stops_all_before_anything_is_sent() {
        let events = events(&["a", "b"]);
        let one = |(event, size)| ToSend {
            event,
            size,
            lane: None,
        };
        let to_send: Vec<ToSend<'_>> = events.iter().zip([10, 101]).map(one).collect();
        let service = Service::default();
        let error = deliver(&to_send, 100, &service).await.unwrap_err();
        assert!(service.calls().is_empty() && error.accepted().is_empty());
        let codes: Vec<&str> = error.unpublished().iter().map(Unpublished::code).collect();
        assert_eq!(codes, ["NotSent", "TooLarge"]);
        assert!(
            error
                .to_string()
                .contains("the event has 101 bytes, and a request takes 100"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn entries_that_fail_are_sent_again_alone() {
        let service = Service::answering([
            Ok(vec![Ok(()), Err(throttled()), Ok(())]),
            Ok(vec![Err(throttled())]),
        ]);
        assert!(
            send(&events(&["a", "b", "c"]), false, &service)
                .await
                .is_empty()
        );
        assert_eq!(service.calls(), ["a b c", "b", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn entries_are_given_up_after_a_few_attempts_or_immediately_if_the_refusal_is_permanent()
    {
        let service = Service::answering([
            Ok(vec![Ok(()), Err(throttled()), Err(denied())]),
            Ok(vec![Err(throttled())]),
            Ok(vec![Err(throttled())]),
            Ok(vec![Err(throttled())]),
        ]);
        let unpublished = send(&events(&["a", "b", "c"]), false, &service).await;
        assert_eq!(
            unpublished,
            ["b ThrottlingException", "c AccessDeniedException"]
        );
        assert_eq!(service.calls(), ["a b c", "b", "b", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_fails_as_a_whole_ends_the_delivery() {
        let names: Vec<String> = (0..12).map(|n| format!("a{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // The call was throttled or its response lost: whether the events were accepted is not
        // known.
        let service = Service::answering([Ok(vec![Ok(()); 10]), Err(throttled())]);
        let unpublished = send(&events(&names), false, &service).await;
        assert_eq!(
            unpublished,
            ["a10 ThrottlingException", "a11 ThrottlingException"]
        );

        let service = Service::answering([Err(throttled())]);
        let unpublished = send(&events(&names), false, &service).await;
        assert_eq!(unpublished.len(), 12);
        assert_eq!(unpublished[11], "a11 NotSent");
        assert_eq!(service.calls().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_of_another_length_tells_nothing_about_the_events() {
        for results in [0, 1, 3] {
            let service = Service::answering([Ok(vec![Ok(()); results])]);
            let unpublished = send(&events(&["a", "b"]), false, &service).await;
            assert_eq!(
                unpublished,
                ["a UnexpectedResponse", "b UnexpectedResponse"]
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_event_overtakes_an_earlier_one_of_its_lane() {
        let service = Service::answering([
            Ok(vec![Err(throttled()), Ok(())]),
            Ok(vec![Err(throttled()), Ok(())]),
        ]);
        let events = events(&["a1", "a2", "b1", "a3", "b2"]);
        assert!(send(&events, true, &service).await.is_empty());
        assert_eq!(service.calls(), ["a1 b1", "a1 b2", "a1", "a2", "a3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_is_given_up_stops_its_lane_alone() {
        let service = Service::answering([Ok(vec![Err(denied()), Ok(())])]);
        let unpublished = send(&events(&["a1", "b1", "a2", "b2"]), true, &service).await;
        assert_eq!(unpublished, ["a1 AccessDeniedException", "a2 NotSent"]);
        assert_eq!(service.calls(), ["a1 b1", "b2"]);
    }
}
