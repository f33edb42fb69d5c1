//! One connection after another, without a loss between them.

use std::time::Duration;

use tokio::time::Instant;

use super::{Arrival, Recovery};
use crate::config::Reconnect;
use crate::upstream::NOT_EXECUTED;
use crate::upstream::phase::{Event, Phase};

/// A successor that could not be made is tried again after this long, or when the credentials change.
pub(super) const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// A hand-over that takes longer is put off: requests wait for it.
const HAND_OVER: Duration = Duration::from_millis(200);

impl Recovery {
    /// Whether another connection is to be made that takes over: this one is old, or the credentials have changed.
    /// Then [`Recovery::succeeded`] or [`Recovery::not_succeeded`] must follow, unless it is lost.
    pub(in crate::upstream) fn begin_renewal(&mut self, generation: u64, now: Instant) -> bool {
        let is_old = self.link.renew_at.is_some_and(|at| at <= now);
        let is_due = is_old || self.link.generation != generation;
        let begins = self.phase == Phase::Up && !self.link.is_renewing && is_due;
        if begins {
            self.link.is_renewing = true;
            self.link.generation = generation;
        }
        begins
    }

    /// The successor is ready: what was sent is waited for, what was not is for the successor. Whether it is still
    /// wanted.
    pub(in crate::upstream) fn succeeded(&mut self, now: Instant) -> bool {
        self.link.is_renewing = false;
        if self.phase != Phase::Up {
            return false;
        }
        self.leave(Event::Succeeded);
        self.link.hands_over_since = Some(now);
        true
    }

    /// What is in flight takes long: nobody else must wait for it, so the present connection goes on for a while.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.phase = self.phase.on(Event::Postponed);
        self.queue.let_go();
        self.link.hands_over_since = None;
        self.link.renew_at = Some(now + RENEW_AGAIN);
    }

    /// Until when requests are held back for a successor, if they are.
    pub(super) fn hands_over_until(&self) -> Option<Instant> {
        // What was refused waits for the successor.
        let may_go_on = self.phase == Phase::Leaving { has_successor: true } && self.refused.is_empty();
        let since = self.link.hands_over_since.filter(|_| may_go_on);
        since.map(|since| since + HAND_OVER)
    }

    /// There is none: the present connection goes on, unless its server executes nothing any more.
    pub(in crate::upstream) fn not_succeeded(&mut self, is_refusal: bool, now: Instant) {
        self.link.is_renewing = false;
        self.link.renew_at = Some(now + RENEW_AGAIN);
        if is_refusal && self.phase == Phase::Up {
            self.leave(Event::Refused);
        }
    }

    /// From now on what is in flight is waited for, and nothing else is sent.
    pub(super) fn leave(&mut self, why: Event) {
        self.phase = self.phase.on(why);
        self.queue.hold_back();
    }

    /// Whether the present connection has nothing left to do.
    pub(in crate::upstream) fn has_left(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. }) && self.queue.is_drained()
    }

    /// It is gone, with nothing lost. The next connection is tried after a while, unless there is a successor.
    pub(in crate::upstream) fn left(&mut self, successor: Option<Arrival>, now: Instant, random: f64) {
        self.phase = self.phase.on(Event::Drained);
        self.queue.let_go();
        self.judge_unsent_again(now);
        let refused = self.take_refused();
        self.endings.refused += refused.len() as u64;
        self.queue.put_first(refused);
        match successor {
            Some(arrival) => {
                self.begin_link(arrival, now, random);
                self.judge_lost(now);
                self.send_again(now);
            }
            None => {
                self.attempt_at = now + self.backoff.next(random);
                // Clients are closed with their connection.
                if self.limits.reconnect == Reconnect::Off {
                    self.give_up(Duration::ZERO, NOT_EXECUTED, now);
                }
            }
        }
    }
}
