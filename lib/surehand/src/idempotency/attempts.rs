//! How attempts are counted, as the only place that knows: what one belongs to, what starts the count anew, and
//! whom earlier ones make a suspect. The stores only keep the numbers.

use crate::clock::epoch_ms;
use std::time::SystemTime;

/// What an attempt is made for: one message, or one asynchronous invocation, however often it is delivered.
///
/// An event that is put back is another sending, whoever does it: a redrive, SQS's own move, or somebody who
/// sends it anew. Its attempts are counted from one again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sending {
    /// What all its deliveries share.
    pub id: String,
    /// When it was sent at the latest, by the function's clock; none if that is not known.
    pub at: Option<SystemTime>,
}

impl Sending {
    /// A sending with this id.
    pub fn new(id: impl Into<String>, at: Option<SystemTime>) -> Self {
        Self { id: id.into(), at }
    }
}

/// A key whose earlier attempts began and never ended: its process died, stood still, or could not write the end
/// down. Whatever killed it may do so again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspect {
    /// How many attempts there were at the sending.
    pub attempts: u32,
    /// How many of them never ended.
    pub deaths: u32,
    /// When the last one had to end, if that is known.
    pub until: Option<SystemTime>,
}

/// What a store keeps of the attempts at a key, until the key is completed or expires. It is the rules of the count
/// too: a store that goes by them keeps that part of the [contract](super::Store).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Of which sending; none if none is counted.
    pub sending: Option<String>,
    /// How many have begun.
    pub begun: u32,
    /// How many of those have ended.
    pub ended: u32,
    /// When the last one began, in milliseconds since the epoch.
    pub at_ms: u64,
}

impl Attempts {
    /// What counts for an attempt that is made for `sending`: what is kept, or nothing, if the sending is one
    /// that came later.
    ///
    /// Two messages of one event can be delivered by turns. Only one that was sent after the last attempt had
    /// begun can be what somebody put back; the other one's attempts are attempts at this event as well.
    pub fn of(self, sending: &Sending) -> Self {
        let is_later = sending.at.is_none_or(|sent| epoch_ms(sent) >= self.at_ms);
        match &self.sending {
            Some(kept) if *kept == sending.id || !is_later => self,
            _ => Self {
                sending: Some(sending.id.clone()),
                ..Self::default()
            },
        }
    }

    /// How many have begun and never ended.
    pub fn deaths(&self) -> u32 {
        self.begun.saturating_sub(self.ended)
    }

    /// Whether they make the key a suspect that a request with this limit does not want.
    pub fn are_suspect(&self, limit: u32) -> bool {
        self.deaths() > 0 && self.begun >= limit
    }

    /// What such a request gets; `until` is when the last attempt had to end.
    pub fn suspect(&self, until: Option<SystemTime>) -> Suspect {
        Suspect {
            attempts: self.begun,
            deaths: self.deaths(),
            until,
        }
    }

    /// With one more, which begins at so many milliseconds since the epoch.
    pub fn and_begin(mut self, now_ms: u64) -> Self {
        self.begun = self.begun.saturating_add(1);
        self.at_ms = now_ms;
        self
    }

    /// With the end of one that has begun. One that does not count is as if it had not begun.
    pub fn and_end(mut self, counts: bool) -> Self {
        match counts {
            true => self.ended = self.ended.saturating_add(1).min(self.begun),
            false => self.begun = self.begun.saturating_sub(1).max(self.ended),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::from_epoch_ms;

    fn kept(sending: &str, begun: u32, ended: u32) -> Attempts {
        Attempts {
            sending: Some(sending.into()),
            begun,
            ended,
            at_ms: 1_000,
        }
    }

    #[test]
    fn a_sending_that_came_later_is_counted_from_one() {
        let begun = |sending: &str, sent: Option<u64>| {
            let sending = Sending::new(sending, sent.map(from_epoch_ms));
            kept("m-1", 4, 3).of(&sending).and_begin(2_000).begun
        };
        assert_eq!(begun("m-1", Some(500)), 5, "the same message");
        assert_eq!(begun("m-2", Some(500)), 5, "a copy that waited meanwhile");
        assert_eq!(begun("m-2", Some(1_000)), 1, "it was put back");
        assert_eq!(begun("m-2", None), 1, "another invocation");
        assert_eq!(begun("m-1", None), 5, "the same invocation");
        let sending = Sending::new("m-1", None);
        assert_eq!(Attempts::default().of(&sending).and_begin(2_000).begun, 1);
    }

    #[test]
    fn what_never_ended_makes_a_suspect() {
        assert!(!kept("m", 3, 3).are_suspect(0));
        let once = kept("m", 3, 2);
        assert_eq!(once.deaths(), 1);
        assert!(once.are_suspect(0) && once.are_suspect(3) && !once.are_suspect(4));
        let uncounted = once.clone().and_end(false);
        assert_eq!((uncounted.begun, uncounted.ended), (2, 2));
        let failed = once.and_end(true);
        assert_eq!((failed.begun, failed.ended), (3, 3));
        assert_eq!(failed.clone().and_end(true), failed, "a repeated end");
        assert_eq!(failed.clone().and_end(false), failed, "a repeated end");
    }
}
