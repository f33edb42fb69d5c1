//! What a client is told, and what becomes of it, when the connection it holds is lost.

use super::Pin;
use super::expected::{Expected, What};
use crate::command::Effect;
use crate::outbox::Slot;

/// What the client is told, and what it may do, when the connection is lost.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::downstream) struct Loss {
    /// Each request in flight, and what it is answered.
    pub(in crate::downstream) in_flight: Vec<(Slot, Fate)>,
    pub(in crate::downstream) then: AfterLoss,
}

/// What a request in flight is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::downstream) enum Fate {
    /// It may have run.
    Unknown,
    /// It surely did not, or changed nothing.
    NotExecuted,
    /// `OK`: a `MULTI` or `DISCARD`, as true as if the server had said it.
    Ok,
    /// `QUEUED`: what becomes of it is for `EXEC` to say.
    Queued,
    /// Not yet: it is sent again.
    Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::downstream) enum AfterLoss {
    /// It goes on; nothing was left on the connection.
    Open,
    /// It goes on, but its next `EXEC` answers null.
    Doomed,
    /// Its transaction was not executed: the next `EXEC` is answered `EXECABORT`.
    Aborted,
    /// It goes on, and is subscribed again: [`Pin::again`].
    Again,
    /// It must see the gap: its connection closes.
    Close,
}

impl Pin {
    /// The connection is lost.
    pub(in crate::downstream) fn lost(&self) -> Loss {
        let subscribes = self.expected.iter().any(|expected| matches!(expected.what, What::Subscribe(_)));
        let is_subscriber = subscribes || !self.subscriptions.are_none();
        let mut is_in_transaction = self.is_in_transaction();
        let mut watches = self.is_watching || self.is_doomed;
        let in_flight = self.expected.iter().map(|expected| {
            let fate = fate(expected, &mut is_in_transaction, &mut watches);
            (expected.slot, fate)
        });
        let mut in_flight: Vec<_> = in_flight.collect();
        let is_more = self.is_monitoring || self.is_tracking || !self.behind.is_empty();
        let is_subscriber_only = is_subscriber && !is_more && !is_in_transaction && !watches;
        let then = if is_subscriber_only && self.subscriptions.are_remembered() {
            let sent_again = self.expected.iter().zip(&mut in_flight).filter(|(expected, _)| expected.is_again());
            sent_again.for_each(|(_, (_, fate))| *fate = Fate::Again);
            AfterLoss::Again
        } else if is_subscriber || self.is_monitoring || self.is_tracking {
            AfterLoss::Close
        } else if is_in_transaction {
            AfterLoss::Aborted
        } else if watches {
            AfterLoss::Doomed
        } else {
            AfterLoss::Open
        };
        Loss { in_flight, then }
    }
}

/// What one request is answered; what it would have changed, changes.
fn fate(expected: &Expected, is_in_transaction: &mut bool, watches: &mut bool) -> Fate {
    match expected.what {
        What::Multi if !*is_in_transaction => {
            *is_in_transaction = true;
            Fate::Ok
        }
        What::Exec | What::DoomedExec => {
            (*is_in_transaction, *watches) = (false, false);
            if expected.what == What::Exec { Fate::Unknown } else { Fate::NotExecuted }
        }
        What::Discard if *is_in_transaction => {
            (*is_in_transaction, *watches) = (false, false);
            Fate::Ok
        }
        What::Refused(_) => Fate::NotExecuted,
        _ if *is_in_transaction => Fate::Queued,
        What::Watch => {
            *watches = true;
            Fate::NotExecuted
        }
        What::Plain | What::Block | What::Unknown if expected.effect == Effect::Write => Fate::Unknown,
        What::Plain
        | What::Block
        | What::Unknown
        | What::Multi
        | What::Discard
        | What::Unwatch
        | What::Select(_)
        | What::Subscribe(_)
        | What::UnsubscribeAll(_)
        | What::Monitor
        | What::TrackingOn { .. }
        | What::TrackingOff
        | What::Hello(_)
        | What::Ours => Fate::NotExecuted,
    }
}
