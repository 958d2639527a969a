//! The order within the message groups of a FIFO queue.

use std::collections::HashSet;

/// Which groups go no further.
pub(super) struct Order {
    is_fifo: bool,
    /// Groups of which a letter stays: what comes behind it stays too.
    closed: HashSet<String>,
    /// Groups of which a letter could not be sent: nothing more of them is.
    halted: HashSet<String>,
}

impl Order {
    /// The groups of a standard queue have no order, and are never closed.
    pub(super) fn new(is_fifo: bool) -> Self {
        Self {
            is_fifo,
            closed: HashSet::new(),
            halted: HashSet::new(),
        }
    }

    /// A letter of the group stays, and what is behind it in its group stays behind it.
    pub(super) fn close(&mut self, group: Option<&str>) {
        if let Some(group) = group
            && self.is_fifo
        {
            self.closed.insert(group.to_owned());
        }
    }

    /// A letter of the group could not be sent, and nothing behind it may be.
    pub(super) fn halt(&mut self, group: Option<&str>) {
        self.close(group);
        self.halted.extend(group.map(str::to_owned));
    }

    pub(super) fn is_closed(&self, group: Option<&str>) -> bool {
        group.is_some_and(|group| self.closed.contains(group))
    }

    /// The groups that are halted; none on a standard queue.
    pub(super) fn halted(&self) -> Option<&HashSet<String>> {
        self.is_fifo.then_some(&self.halted)
    }
}
