//! Sessions that must be given an expiry behind a request that may have left them without one (G5).
//!
//! A repair changes nothing where there is nothing to be done, so it may be sent any number of times: it is kept until the
//! server has answered it, over as many connections as that takes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Recovery;
use crate::backoff::Backoff;
use crate::command::{Effect, Shape};
use crate::session::Aftermath;
use crate::upstream::in_flight::Desync;
use crate::upstream::phase::Phase;
use crate::upstream::ticket::{About, Audience, Ticket};

/// Repairs that are tried again at a time.
const AT_A_TIME: usize = 100;

/// Repairs that wait to be tried again (G7); beyond it the oldest are given up.
const MOST: usize = 10_000;

/// Repairs the server would not make for now: each once, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    waiting: VecDeque<(Option<Aftermath>, Bytes)>,
    backoff: Backoff,
    next: Option<Instant>,
}

impl Repairs {
    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn wait(&mut self, aftermath: Option<Aftermath>, request: Bytes, now: Instant) {
        if self.waiting.iter().any(|(_, other)| *other == request) {
            return;
        }
        if self.waiting.len() >= MOST {
            self.waiting.pop_front();
        }
        self.waiting.push_back((aftermath, request));
        // No two proxies would be in step that matter: the wait need not be random.
        self.next.get_or_insert(now + self.backoff.next(1.0).max(Duration::from_millis(10)));
    }
}

impl Recovery {
    /// Queues a repair.
    pub(in crate::upstream) fn repair(&mut self, mut aftermath: Option<Aftermath>, request: &[u8], now: Instant) {
        let spelled_out = self.spell_out(aftermath.as_mut(), request);
        let request = spelled_out.as_deref().unwrap_or(request);
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
            self.repairs.wait(ticket.aftermath, request, now);
        }
        self.settle_if_drained(now);
        Ok(())
    }

    /// A repair was made: the others that wait may be, too.
    pub(super) fn repaired(&mut self) {
        self.repairs.backoff.reset();
    }

    pub(super) fn next_repair(&self) -> Option<Instant> {
        self.repairs.next.filter(|_| self.phase == Phase::Up)
    }

    pub(super) fn repair_again(&mut self, now: Instant) {
        if self.next_repair().is_some_and(|next| next <= now) {
            let waiting = &mut self.repairs.waiting;
            let first: Vec<_> = waiting.drain(..waiting.len().min(AT_A_TIME)).collect();
            self.repairs.next = self.repairs.are_waiting().then(|| now + self.repairs.backoff.next(1.0));
            for (aftermath, request) in first {
                self.repair(aftermath, &request, now);
            }
        }
    }
}
