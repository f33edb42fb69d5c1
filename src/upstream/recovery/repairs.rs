//! Sessions that must be given an expiry behind a request that may have left them without one (G5).
//!
//! A repair changes nothing where there is nothing to be done, so it may be sent any number of times: it is kept until the
//! server has answered it, over as many connections as that takes.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Recovery;
use crate::command::{Effect, Shape};
use crate::session::Aftermath;
use crate::upstream::in_flight::Desync;
use crate::upstream::phase::Phase;
use crate::upstream::ticket::{About, Audience, Ticket};

/// Before the next try of those a server was too busy for.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Repairs that wait for their next try, and since when.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    waiting: Vec<(Option<Aftermath>, Bytes)>,
    since: Option<Instant>,
}

impl Repairs {
    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Recovery {
    /// Queues a repair.
    pub(in crate::upstream) fn repair(&mut self, aftermath: Option<Aftermath>, request: &[u8], now: Instant) {
        // It may be sent again, as a read may.
        let about = About { effect: Effect::Read, shape: Shape::Integer };
        let ticket = Ticket::new(Audience::Repair, request.len(), about, now);
        self.queue.push(Ticket { aftermath, ..ticket }, request);
    }

    /// The oldest request is a repair, and was refused.
    ///
    /// # Errors
    /// It was not wholly sent.
    pub(super) fn fail_repair(&mut self, said: &[u8], now: Instant) -> Result<(), Desync> {
        let (ticket, request) = self.queue.pop_request()?;
        // Where it is forbidden, or no command, it always will be.
        let is_hopeless = said.starts_with(b"-NOPERM") || said.starts_with(b"-ERR");
        if !is_hopeless {
            self.repairs.waiting.push((ticket.aftermath, request));
            self.repairs.since.get_or_insert(now);
        }
        self.settle_if_drained(now);
        Ok(())
    }

    pub(super) fn next_repair(&self) -> Option<Instant> {
        self.repairs.since.filter(|_| self.phase == Phase::Up).map(|since| since + TRY_AGAIN)
    }

    pub(super) fn repair_again(&mut self, now: Instant) {
        if self.next_repair().is_some_and(|next| next <= now) {
            self.repairs.since = None;
            for (aftermath, request) in std::mem::take(&mut self.repairs.waiting) {
                self.repair(aftermath, &request, now);
            }
        }
    }
}
