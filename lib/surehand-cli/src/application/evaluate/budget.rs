//! What the evaluation of templates may cost. A few lines of a template can stand for more than any machine holds:
//! conditions and texts that double, stacks in stacks.

use std::cell::{Cell, RefCell};

/// Values that are evaluated or copied.
const MAX_VALUES: usize = 2_000_000;
/// The texts among them, in bytes.
const MAX_TEXT: usize = 64 * 1024 * 1024;
/// Stacks that are nested in each other, all together.
const MAX_STACKS: usize = 1_000;
/// Remarks on what could not be evaluated.
const MAX_REMARKS: usize = 1_000;
/// Nested deeper, it is a circle.
const MAX_DEPTH: usize = 64;

/// What one evaluation has used up.
#[derive(Debug, Default)]
pub(super) struct Budget {
    values: Cell<usize>,
    text: Cell<usize>,
    stacks: Cell<usize>,
    depth: Cell<usize>,
    met: RefCell<Option<String>>,
}

impl Budget {
    /// False, from then on, once a budget is used up.
    pub(super) fn holds(&self) -> bool {
        self.met.borrow().is_none()
    }

    /// The budget that was met first.
    pub(super) fn met(&self) -> Option<String> {
        self.met.borrow().clone()
    }

    pub(super) fn values(&self) -> usize {
        self.values.get()
    }

    pub(super) fn take_values(&self, count: usize) {
        self.take(&self.values, count, MAX_VALUES, "values");
    }

    pub(super) fn take_text(&self, bytes: usize) {
        self.take(&self.text, bytes, MAX_TEXT, "bytes of text");
    }

    pub(super) fn take_stack(&self) {
        self.take(&self.stacks, 1, MAX_STACKS, "nested stacks");
    }

    /// Whether another remark may be added to these many.
    pub(super) fn allows_remark(&self, count: usize) -> bool {
        if count >= MAX_REMARKS {
            self.meet(MAX_REMARKS, "values that cannot be resolved");
        }
        self.holds()
    }

    /// What `evaluate` returns one level deeper; none if it is too deep.
    pub(super) fn deeper<T>(&self, evaluate: impl FnOnce() -> T) -> Option<T> {
        if self.depth.get() > MAX_DEPTH {
            return None;
        }
        self.depth.set(self.depth.get() + 1);
        let value = evaluate();
        self.depth.set(self.depth.get() - 1);
        Some(value)
    }

    fn take(&self, used: &Cell<usize>, count: usize, most: usize, what: &str) {
        used.set(used.get().saturating_add(count));
        if used.get() > most {
            self.meet(most, what);
        }
    }

    fn meet(&self, most: usize, what: &str) {
        let mut met = self.met.borrow_mut();
        if met.is_none() {
            *met = Some(format!("they come to more than {most} {what}"));
        }
    }
}
