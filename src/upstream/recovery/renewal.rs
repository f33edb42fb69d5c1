//! One connection after another, without a loss between them.

use std::time::Duration;

use tokio::time::Instant;

use super::{Arrival, Recovery};
use crate::config::Reconnect;
use crate::upstream::NOT_EXECUTED;
use crate::upstream::phase::{Event, Phase};

/// A successor that could not be made is tried again after this long, or when the credentials change.
pub(super) const RENEW_AGAIN: Duration = Duration::from_secs(30);

impl Recovery {
    /// Whether another connection is to be made that takes over: this one is old, or the credentials have changed.
    /// Then [`Recovery::succeeded`] or [`Recovery::not_succeeded`] must follow, unless it is lost.
    pub(in crate::upstream) fn begin_renewal(&mut self, generation: u64, now: Instant) -> bool {
        let is_old = self.link.renew_at.is_some_and(|at| at <= now);
        let is_due = is_old || self.link.generation != generation;
        let begins = self.phase == Phase::Up && !self.link.is_renewing && is_due;
        self.link.is_renewing |= begins;
        begins
    }

    /// The successor is ready: what was sent is waited for, what was not is for the successor. Whether it is still
    /// wanted.
    pub(in crate::upstream) fn succeeded(&mut self) -> bool {
        self.link.is_renewing = false;
        if self.phase != Phase::Up {
            return false;
        }
        self.phase = self.phase.on(Event::Succeeded);
        self.queue.hold_back();
        true
    }

    /// There is none: the present connection goes on.
    pub(in crate::upstream) fn not_succeeded(&mut self, generation: u64, now: Instant) {
        self.link.is_renewing = false;
        self.link.generation = generation;
        self.link.renew_at = Some(now + RENEW_AGAIN);
    }

    /// Whether the present connection has nothing left to do.
    pub(in crate::upstream) fn has_left(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. }) && self.queue.is_drained()
    }

    /// It is gone, with nothing lost. The next connection is tried after a while, unless there is a successor.
    pub(in crate::upstream) fn left(&mut self, successor: Option<Arrival>, now: Instant, random: f64) {
        self.phase = self.phase.on(Event::Drained);
        self.queue.let_go();
        let refused = self.take_refused();
        self.endings.refused += refused.len() as u64;
        self.queue.put_first(refused);
        match successor {
            Some(arrival) => self.begin_link(arrival, now, random),
            None => self.attempt_at = now + self.backoff.next(random),
        }
        // Clients are closed with their connection.
        if successor.is_none() && self.limits.reconnect == Reconnect::Off {
            self.give_up(Duration::ZERO, NOT_EXECUTED, now);
        }
    }
}
