//! What the rules have done, counted by one worker.

use std::cell::{Cell, RefCell};

/// How much of each there was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions that came into being.
    pub created: u64,
    /// Sessions a client has destroyed.
    pub destroyed: u64,
    /// Sessions that were there when last read here, and have come to their end by themselves.
    pub expired: u64,
    /// Writes of stale writers.
    pub late: u64,
    /// Expiries that were added.
    pub given: u64,
    /// Touches that were answered here, or changed nothing.
    pub touched: u64,
    /// Values that were too large.
    pub oversized: u64,
    /// Writes by who had not read what they overwrote.
    pub overwritten: u64,
    /// Requests the configuration forbids.
    pub forbidden: u64,
}

/// Adds up what one worker does, until it is told.
#[derive(Debug, Default)]
pub struct Ledger {
    totals: Cell<Totals>,
    /// Sizes of the values that were written.
    sizes: RefCell<Vec<usize>>,
}

impl Ledger {
    /// Changes what there was.
    pub fn add(&self, change: impl FnOnce(&mut Totals)) {
        let mut totals = self.totals.get();
        change(&mut totals);
        self.totals.set(totals);
    }

    /// A value of so many bytes is written.
    pub(super) fn weigh(&self, size: usize) {
        self.sizes.borrow_mut().push(size);
    }

    /// What there was since this was last asked.
    pub fn take(&self) -> (Totals, Vec<usize>) {
        (self.totals.take(), self.sizes.take())
    }
}
