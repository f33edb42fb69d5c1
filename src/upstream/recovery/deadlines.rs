//! What happens because time passes.

use tokio::time::Instant;

use super::{PROBE_AFTER, Recovery, STALL};
use crate::command::{Effect, Shape};
use crate::resp::encode;
use crate::upstream::NOT_EXECUTED;
use crate::upstream::loss::Loss;
use crate::upstream::phase::Phase;
use crate::upstream::ticket::{About, Audience, Ticket};

impl Recovery {
    /// Whether all that is in flight is of no use to any client but to know that the server is there.
    fn is_only_probed(&self) -> bool {
        !self.is_waited_for && self.queue.is_only_probed()
    }

    /// Whether clients wait for what we have asked for the sake of what is held in memory.
    pub(in crate::upstream) fn waited_for(&mut self, is_waited_for: bool) {
        self.is_waited_for = is_waited_for;
    }

    /// When to call [`Recovery::expire`] again. `stuck_since`: since when the socket takes nothing.
    pub(in crate::upstream) fn next_deadline(&self, stuck_since: Option<Instant>, now: Instant) -> Option<Instant> {
        let Self { limits, link, queue, .. } = self;
        let reply = queue.next_expiry(limits.reply_timeout, STALL);
        let unsent = match self.may_give_up(stuck_since, now) {
            true => self.next_to_give_up(limits.queue_timeout),
            false => stuck_since.map(|since| since + limits.queue_timeout),
        };
        let probed = queue.silent_since().filter(|_| self.is_only_probed()).map(|since| since + STALL);
        let probe = self.may_probe().then(|| link.heard + PROBE_AFTER);
        let renewal = link.renew_at.filter(|_| self.phase == Phase::Up && !link.is_renewing);
        let repair = self.next_repair();
        [reply, unsent, probed, probe, renewal, repair, self.hands_over_until()].into_iter().flatten().min()
    }

    /// Answers what has waited too long, and asks a server that has been silent for long whether it is still there;
    /// `nonce` is what it is to answer.
    ///
    /// # Errors
    /// It has been silent for too long: the connection must be thrown away.
    pub(in crate::upstream) fn expire(
        &mut self,
        stuck_since: Option<Instant>,
        now: Instant,
        nonce: impl FnOnce() -> String,
    ) -> Result<(), Loss> {
        self.endings.add(self.queue.expire_sent(self.limits.reply_timeout, now));
        if self.may_give_up(stuck_since, now) {
            self.give_up(self.limits.queue_timeout, NOT_EXECUTED, now);
            self.settle_if_drained(now);
        }
        // What was refused may have been the last to wait for the successor.
        if self.hands_over_until().is_some_and(|until| until <= now) {
            self.postpone(now);
        }
        let patience = if self.is_only_probed() { STALL } else { self.limits.reply_timeout + STALL };
        if self.queue.silent_since().is_some_and(|since| since + patience <= now) {
            return Err(Loss::Stalled);
        }
        if self.may_probe() && self.link.heard + PROBE_AFTER <= now {
            self.probe(&nonce(), now);
        }
        self.repair_again(now);
        Ok(())
    }

    /// Whether requests that have not left may be told so: nothing is sent for now.
    fn may_give_up(&self, stuck_since: Option<Instant>, now: Instant) -> bool {
        self.phase != Phase::Up || stuck_since.is_some_and(|since| since + self.limits.queue_timeout <= now)
    }

    fn may_probe(&self) -> bool {
        self.phase == Phase::Up && !self.link.is_probed
    }

    fn probe(&mut self, nonce: &str, now: Instant) {
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        encode::request(&mut request, &[b"ECHO", nonce.as_bytes()]);
        encode::bulk(&mut reply, nonce.as_bytes());
        let about = About { effect: Effect::Read, shape: Shape::Text };
        self.queue.push(Ticket::new(Audience::Probe(reply.into()), request.len(), about, now), &request);
        self.link.is_probed = true;
    }
}
