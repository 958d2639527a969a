//! What has truly been attempted, by the rules as the documents say them. The model keeps it beside the store, whose
//! count must say the same after each call.

use super::{
    MARGIN,
    store::{Message, Moment, Owner},
};

/// The attempts that count: those at one sending, since it began anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    sending: Option<Message>,
    /// When the last one began.
    last: Moment,
    attempts: Vec<(Owner, State)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// It has begun, and nobody has written down how it ended.
    Open,
    Ended,
    /// It did not count.
    TakenBack,
}

impl Ledger {
    /// Whether an attempt at the message goes on with this count: it is the same message, or a copy that waited
    /// while the last attempt began. What was sent later was put back.
    fn is_of(&self, message: Message) -> bool {
        let is_later = Moment::end_of(message.sent + MARGIN) >= self.last;
        self.sending.is_some_and(|it| it == message || !is_later)
    }

    /// How many attempts count for one at the message, and how many of those are open.
    pub(crate) fn counts(&self, message: Message) -> (u8, u8) {
        match self.is_of(message) {
            true => self.totals(),
            false => (0, 0),
        }
    }

    pub(crate) fn totals(&self) -> (u8, u8) {
        let count = |is: fn(State) -> bool| self.attempts.iter().filter(|it| is(it.1)).count();
        let small = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        let open = count(|it| it == State::Open);
        (small(open + count(|it| it == State::Ended)), small(open))
    }

    /// Whether the store knows the attempt.
    pub(crate) fn has(&self, owner: Owner) -> bool {
        self.attempts.iter().any(|(it, _)| *it == owner)
    }

    pub(crate) fn is_open(&self, owner: Owner) -> bool {
        self.attempts.contains(&(owner, State::Open))
    }

    /// Whether nothing was attempted yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.sending.is_none()
    }

    /// Whether an attempt that begins at this moment does so after all others.
    pub(crate) fn is_before(&self, at: Moment) -> bool {
        self.sending.is_none() || self.last < at
    }

    /// Whether the attempt is the last one to have begun.
    pub(crate) fn is_last(&self, owner: Owner) -> bool {
        self.attempts.last().is_some_and(|(it, _)| *it == owner)
    }

    /// An attempt at the message begins. True if the count begins anew with it.
    pub(crate) fn begin(&mut self, owner: Owner, message: Message, at: Moment) -> bool {
        let is_new = !self.is_of(message);
        if is_new {
            *self = Self {
                sending: Some(message),
                ..Self::default()
            };
        }
        self.attempts.push((owner, State::Open));
        self.last = at;
        is_new
    }

    /// One that is open has ended.
    pub(crate) fn end(&mut self, owner: Owner, counts: bool) {
        for (it, state) in &mut self.attempts {
            if *it == owner && *state == State::Open {
                *state = if counts {
                    State::Ended
                } else {
                    State::TakenBack
                };
            }
        }
    }
}
