//! The requests of one multiplexed connection: waiting, sent, answered.
//!
//! The server answers in order, so pairing a reply with its request needs only a queue. A request enters it
//! *before* its first byte is written and leaves it with its reply, whatever has become of its client: a
//! client that goes leaves its ticket, and the orphaned reply is discarded in its turn (G2,
//! `research/reliability.md`, section 4).
//!
//! ```text
//!  bytes    [GET a][SET b 1][GET c][GET d]      the requests themselves are kept until answered:
//!                            ▲ written          what was not wholly written surely did not run
//!  tickets  [ 0 ] [  1    ] [ 2  ] [ 3  ]
//! ```

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::Instant;

use super::read_back::ReadBack;
use super::ticket::{About, Audience, Endings, Look, Recipient, Ticket};
use super::{NOT_EXECUTED, UNKNOWN_OUTCOME};
use crate::command::{Effect, Shape};
use crate::outbox::{Form, Outbox};

/// How often a read whose connection was lost is sent again.
const MAX_TRIES: u8 = 2;

/// Why a connection is not understood any more and must be thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Desync {
    #[error("a reply nobody was waiting for")]
    Unasked,
    #[error("a reply that does not fit its request")]
    Shape,
    #[error("the server has forgotten who we are (NOAUTH)")]
    NoAuth,
}

/// What to do with requests when their connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnLoss {
    /// Those that surely did not run, and reads, wait for the next connection.
    Keep,
    /// Every request is answered with an error.
    Fail,
}

/// The queue.
#[derive(Default)]
pub(super) struct InFlight {
    bytes: BytesMut,
    written: usize,
    tickets: VecDeque<Ticket>,
    /// How many of the oldest tickets have no recipient any more.
    given_up: usize,
    /// The oldest ticket's reply has begun to reach its client.
    is_answering: bool,
    /// When a piece of a long reply last came: whoever waits behind it has not been forgotten.
    progress: Option<Instant>,
    /// What has been found of lost writes.
    found: Endings,
    /// Lost requests of unknown outcome. Their clients are told once the connection is severed: what may have run
    /// then either has or never will.
    unsevered: Vec<Ticket>,
}

/// Lengths only (G8).
impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests in flight", self.tickets.len())
    }
}

impl InFlight {
    pub(super) fn push(&mut self, request: &[u8], recipient: Recipient, about: About, now: Instant) {
        self.bytes.extend_from_slice(request);
        self.tickets.push_back(Ticket::new(Audience::Client(recipient), request.len(), about, now));
    }

    /// Bytes held, waiting or sent.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// What the socket has not taken yet.
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub(super) fn wrote(&mut self, len: usize) {
        self.written += len;
    }

    /// How long the oldest request has been waiting.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.tickets.front().map(|ticket| now.saturating_duration_since(ticket.since))
    }

    /// How long nothing has come of the oldest reply.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        self.tickets.front().map(|ticket| now.saturating_duration_since(self.waits_since(ticket)))
    }

    fn waits_since(&self, ticket: &Ticket) -> Instant {
        self.progress.map_or(ticket.since, |progress| progress.max(ticket.since))
    }

    /// The oldest request is answered by `frame`.
    pub(super) fn answer(&mut self, frame: &[u8], is_resp3: bool, now: Instant) -> Result<(), Desync> {
        let shape = self.tickets.front().map(|ticket| ticket.about.shape);
        if frame == b"-NOAUTH Authentication required.\r\n" && shape != Some(Shape::Script) {
            return Err(Desync::NoAuth);
        }
        if !shape.is_some_and(|shape| shape.fits(frame[0])) {
            return Err(if shape.is_some() { Desync::Shape } else { Desync::Unasked });
        }
        match self.pop()? {
            None => {}
            Some(Audience::Client(Recipient { outbox, slot, form })) => {
                outbox.deliver(slot, frame, if is_resp3 { form } else { Form::AsIs });
            }
            Some(Audience::Look(look)) => self.found.add(look.borrow_mut().hear(frame, now)),
        }
        Ok(())
    }

    /// What has been found of lost writes since this was last asked.
    pub(super) fn take_found(&mut self) -> Endings {
        std::mem::take(&mut self.found)
    }

    /// A piece of the reply to the oldest request.
    pub(super) fn answer_piece(&mut self, bytes: Bytes, is_last: bool, now: Instant) -> Result<(), Desync> {
        self.progress = Some(now);
        if is_last {
            self.is_answering = false;
            match self.pop()? {
                None => {}
                Some(Audience::Client(Recipient { outbox, slot, .. })) => outbox.deliver_part(slot, bytes, true),
                // Longer than what is looked for.
                Some(Audience::Look(look)) => self.found.add(look.borrow_mut().hear(b"", now)),
            }
            return Ok(());
        }
        let front = self.tickets.front().filter(|ticket| ticket.len <= self.written).ok_or(Desync::Unasked)?;
        // Only strings come in pieces.
        if !front.about.shape.fits(b'$') {
            return Err(Desync::Shape);
        }
        if let Some(Audience::Client(Recipient { outbox, slot, .. })) = &front.audience {
            outbox.deliver_part(*slot, bytes, false);
        }
        self.is_answering = true;
        Ok(())
    }

    /// Removes the oldest request; it must have been wholly written.
    fn pop(&mut self) -> Result<Option<Audience>, Desync> {
        let Some(ticket) = self.tickets.pop_front_if(|ticket| ticket.len <= self.written) else {
            return Err(Desync::Unasked);
        };
        self.bytes.advance(ticket.len);
        self.written -= ticket.len;
        if self.bytes.is_empty() {
            self.bytes.clear();
        }
        self.given_up = self.given_up.saturating_sub(1);
        Ok(ticket.audience)
    }

    /// The connection is lost: answers what must be answered, keeps what may be sent again.
    ///
    /// What was not wholly written, and reads, surely change nothing when they are sent again; everything else
    /// may have run.
    pub(super) fn lose(&mut self, on_loss: OnLoss, now: Instant) -> Endings {
        let mut endings = Endings::default();
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut written = std::mem::take(&mut self.written);
        let was_answering = std::mem::take(&mut self.is_answering);
        self.given_up = 0;
        self.progress = None;
        let last_writes = self.last_sent_writes(written);
        for (index, mut ticket) in std::mem::take(&mut self.tickets).into_iter().enumerate() {
            let request = bytes.split_to(ticket.len);
            let is_sent = ticket.len <= written;
            written = written.saturating_sub(ticket.len);
            let Some(audience) = &ticket.audience else { continue };
            let Some((outbox, slot)) = audience.client() else { continue };
            // Nobody would hear what this read finds.
            if outbox.is_closed() && ticket.about.effect == Effect::Read {
                continue;
            }
            if index == 0 && was_answering && matches!(audience, Audience::Client(_)) {
                outbox.break_off();
                continue;
            }
            let is_harmless = !is_sent || ticket.about.effect == Effect::Read;
            // A read must not find what the same client wrote behind it.
            let is_overtaken = last_writes.get(&Rc::as_ptr(&outbox)).is_some_and(|last| is_sent && index < *last);
            let may_wait = on_loss == OnLoss::Keep && is_harmless && !is_overtaken && ticket.tries < MAX_TRIES;
            if may_wait {
                if is_sent {
                    ticket.tries += 1;
                    ticket.unsent_since = now;
                }
                endings.kept += 1;
                self.bytes.extend_from_slice(&request);
                self.tickets.push_back(ticket);
            } else if is_harmless {
                endings.add(ticket.fail(NOT_EXECUTED));
            } else if on_loss == OnLoss::Keep
                && !outbox.is_closed()
                && let Some((read_back, requests)) = ReadBack::of(&request, ticket.since, now)
            {
                self.look(read_back, &requests, Recipient { outbox, slot, form: Form::AsIs }, now);
            } else if on_loss == OnLoss::Keep {
                self.unsevered.push(Ticket { unsent_since: now, ..ticket });
            } else {
                endings.add(ticket.fail(UNKNOWN_OUTCOME));
            }
        }
        endings
    }

    /// The lost connection is severed: tells the clients whose requests may have run on it.
    pub(super) fn severed(&mut self) -> Endings {
        self.tell_unsevered(|_| true)
    }

    fn tell_unsevered(&mut self, is_due: impl Fn(&Ticket) -> bool) -> Endings {
        let mut endings = Endings::default();
        for ticket in self.unsevered.extract_if(.., |ticket| is_due(ticket)) {
            endings.add(ticket.fail(UNKNOWN_OUTCOME));
        }
        endings
    }

    /// Asks on the next connection what became of a lost write.
    fn look(&mut self, read_back: ReadBack, requests: &[Vec<u8>], recipient: Recipient, now: Instant) {
        let look = Rc::new(RefCell::new(Look { read_back, recipient: Some(recipient) }));
        let about = About { effect: Effect::Read, shape: Shape::Any };
        for request in requests {
            self.bytes.extend_from_slice(request);
            self.tickets.push_back(Ticket::new(Audience::Look(Rc::clone(&look)), request.len(), about, now));
        }
    }

    /// For each client the place of its last write that was wholly written.
    fn last_sent_writes(&self, mut written: usize) -> HashMap<*const Outbox, usize> {
        let mut places = HashMap::new();
        for (index, ticket) in self.tickets.iter().enumerate() {
            let Some(left) = written.checked_sub(ticket.len) else { break };
            written = left;
            if let (Effect::Write, Some(Audience::Client(recipient))) = (ticket.about.effect, &ticket.audience) {
                places.insert(Rc::as_ptr(&recipient.outbox), index);
            }
        }
        places
    }

    /// A connection is there: the wait for a reply begins.
    pub(super) fn restart_clocks(&mut self, now: Instant) {
        self.tickets.iter_mut().for_each(|ticket| ticket.since = now);
    }

    /// Tells the clients that have waited for `queue_timeout` to hear that an outcome is unknown.
    pub(super) fn expire_unsevered(&mut self, queue_timeout: Duration, now: Instant) -> Endings {
        self.tell_unsevered(|ticket| ticket.unsent_since + queue_timeout <= now)
    }

    /// Answers the requests that have waited longer than `queue_timeout` to be sent with `text`, and forgets them.
    pub(super) fn expire_unsent(&mut self, queue_timeout: Duration, now: Instant, text: &str) -> Endings {
        let mut endings = Endings::default();
        if self.next_unsent_expiry(queue_timeout).is_none_or(|next| next > now) {
            return endings;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        for ticket in std::mem::take(&mut self.tickets) {
            let request = bytes.split_to(ticket.len);
            if ticket.unsent_since + queue_timeout > now {
                self.bytes.extend_from_slice(&request);
                self.tickets.push_back(ticket);
            } else {
                endings.add(ticket.fail(text));
            }
        }
        endings
    }

    /// When the next request will have waited for `queue_timeout` to be sent, or to hear that nobody knows.
    pub(super) fn next_unsent_expiry(&self, queue_timeout: Duration) -> Option<Instant> {
        self.tickets.iter().chain(&self.unsevered).map(|ticket| ticket.unsent_since + queue_timeout).min()
    }

    /// Answers the requests that have waited longer than `reply_timeout`. Their tickets stay: the late reply
    /// is discarded in its turn.
    pub(super) fn expire_sent(&mut self, reply_timeout: Duration, now: Instant) -> Endings {
        let mut endings = Endings::default();
        while let Some(ticket) = self.tickets.get(self.given_up)
            && self.waits_since(ticket) + reply_timeout <= now
            // What has not left waits for the connection, not for its reply.
            && self.is_sent(self.given_up)
        {
            let ticket = &mut self.tickets[self.given_up];
            self.given_up += 1;
            let is_oldest = self.given_up == 1;
            let ticket = Ticket { audience: ticket.audience.take(), ..*ticket };
            match &ticket.audience {
                Some(Audience::Client(recipient)) if is_oldest && self.is_answering => recipient.outbox.break_off(),
                _ if ticket.about.effect == Effect::Read => endings.add(ticket.fail(NOT_EXECUTED)),
                _ => endings.add(ticket.fail(UNKNOWN_OUTCOME)),
            }
        }
        endings
    }

    /// Whether the request at that place has wholly left.
    fn is_sent(&self, place: usize) -> bool {
        self.tickets.iter().take(place + 1).map(|ticket| ticket.len).sum::<usize>() <= self.written
    }

    /// When the next request will have waited for `timeout`, or the oldest given-up one for `stall` longer.
    pub(super) fn next_expiry(&self, timeout: Duration, stall: Duration) -> Option<Instant> {
        let ends = |ticket: &Ticket| self.waits_since(ticket) + timeout;
        // The first that has not wholly left may be stuck as well.
        let is_overdue = self.given_up > 0 || !self.is_sent(0);
        let oldest = self.tickets.front().filter(|_| is_overdue).map(|ticket| ends(ticket) + stall);
        let next = self.tickets.get(self.given_up).filter(|_| self.is_sent(self.given_up)).map(ends);
        oldest.into_iter().chain(next).min()
    }
}

#[cfg(test)]
mod tests;
