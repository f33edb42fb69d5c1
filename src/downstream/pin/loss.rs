//! What a client is told, and what becomes of it, when the connection it holds is lost.

use super::{Expected, Pin, What};
use crate::command::Effect;
use crate::outbox::Slot;

/// What the client is told, and what it may do, when the connection is lost.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::downstream) struct Loss {
    /// Each request in flight, and whether it may have run.
    pub(in crate::downstream) in_flight: Vec<(Slot, bool)>,
    pub(in crate::downstream) then: AfterLoss,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::downstream) enum AfterLoss {
    /// It goes on; nothing was left on the connection.
    Open,
    /// It goes on, but its next `EXEC` answers null.
    Doomed,
    /// Its transaction was not executed: the next `EXEC` is answered `EXECABORT`.
    Aborted,
    /// It must see the gap: its connection closes.
    Close,
}

impl Pin {
    /// The connection is lost.
    pub(in crate::downstream) fn lost(self) -> Loss {
        let has_multi = self.expected.iter().any(|expected| expected.what == What::Multi);
        let exec_at = self.expected.iter().position(|expected| expected.what == What::Exec);
        let is_in_transaction = self.is_in_transaction() || has_multi;
        let watches = self.is_watching || self.expected.iter().any(|expected| expected.what == What::Watch);
        let subscribes = self.expected.iter().any(|expected| matches!(expected.what, What::Subscribe(_)));
        let then = if self.is_monitoring
            || self.is_tracking
            || subscribes
            || self.channels + self.patterns + self.shards > 0
        {
            AfterLoss::Close
        } else if is_in_transaction && exec_at.is_none() {
            AfterLoss::Aborted
        } else if (watches || self.is_doomed) && exec_at.is_none() {
            AfterLoss::Doomed
        } else {
            AfterLoss::Open
        };
        // What `MULTI` has queued runs with its `EXEC` only.
        let is_queued = is_in_transaction && exec_at.is_none();
        let may_have_run = |expected: &Expected| match expected.what {
            What::Exec => true,
            What::Plain => !is_queued && expected.effect == Effect::Write,
            _ => false,
        };
        let in_flight = self.expected.iter().map(|expected| (expected.slot, may_have_run(expected))).collect();
        Loss { in_flight, then }
    }
}
