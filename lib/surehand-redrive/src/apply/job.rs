//! A letter to be sent, and what has to be known of it afterwards.

use crate::{
    destination::Destination,
    group::Group,
    letter::{Cause, Letter},
    parcel::Parcel,
    plan::Action,
};
use surehand::{ErrorKind, Metadata};

/// A letter to be sent.
pub(super) struct Job {
    pub(super) to: Destination,
    pub(super) parcel: Parcel,
    /// The message group that it has in the dead-letter queue.
    pub(super) group: Option<String>,
    pub(super) is_edit: bool,
    pub(super) lost_lists: bool,
    /// What a ramp has to know.
    pub(super) story: Option<Story>,
}

/// How to recognise a letter that comes back, and what it is counted as.
pub(super) struct Story {
    pub(super) event: Option<Metadata>,
    pub(super) group: Group,
    pub(super) cause: Cause,
    pub(super) redrive_count: u32,
    /// The event goes back under a key that was completed for another payload.
    pub(super) reuses_key: bool,
}

impl Job {
    pub(super) fn new(
        letter: &Letter,
        to: Destination,
        parcel: Parcel,
        action: &Action,
        has_ramp: bool,
    ) -> Self {
        let story = has_ramp.then(|| {
            // Of an edit, the event is the new one.
            let mut sent = Letter::new(&*letter.id, &*parcel.body);
            // A CloudEvent in binary mode is in them. No function and no bus gets them.
            if let Destination::Queue(_) = to {
                sent.attributes.clone_from(&parcel.attributes);
            }
            let event = sent.event().map(|event| event.identity());
            let cause = letter.cause();
            Story {
                reuses_key: *action == Action::Redrive
                    && cause.kind == ErrorKind::KeyReused.as_str(),
                // Without an id of its own the event goes by its message's, which will be another.
                event: event.filter(|event| event.id != letter.id),
                group: Group::of(letter),
                cause,
                redrive_count: letter.redrive_count(),
            }
        });
        Self {
            to,
            group: letter.group.clone(),
            is_edit: matches!(action, Action::Edit { .. }),
            lost_lists: !letter.dropped_attributes.is_empty(),
            story,
            parcel,
        }
    }
}
