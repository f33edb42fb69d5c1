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
//!
//! What becomes of them when their connection is lost is for [`super::recovery`] to say.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::Instant;

use super::ticket::{Audience, Endings, Recipient, Ticket};
use super::{NOT_EXECUTED, UNKNOWN_OUTCOME};
use crate::command::{Effect, Shape};

/// Why a connection is not understood any more and must be thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Desync {
    #[error("a reply nobody was waiting for")]
    Unasked,
    #[error("a reply that does not fit its request")]
    Shape,
    #[error("the server has forgotten who we are (NOAUTH)")]
    NoAuth,
    #[error("ECHO was answered with another text")]
    Nonce,
}

/// The queue.
#[derive(Default)]
pub(super) struct InFlight {
    bytes: BytesMut,
    written: usize,
    /// Bytes from here on are held back, whatever the socket would take.
    bound: Option<usize>,
    tickets: VecDeque<Ticket>,
    /// How many of the oldest tickets have no recipient any more.
    given_up: usize,
    /// The oldest ticket's reply has begun to reach its client.
    is_answering: bool,
    /// When a piece of a long reply last came: whoever waits behind it has not been forgotten.
    progress: Option<Instant>,
}

/// What was in the queue of a lost connection.
pub(super) struct Left {
    /// Each request with its bytes, oldest first.
    pub(super) requests: Vec<(Ticket, Bytes)>,
    /// How many of them had wholly left.
    pub(super) sent: usize,
    /// The oldest one's reply has begun to reach its client.
    pub(super) was_answering: bool,
}

/// Lengths only (G8).
impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests in flight", self.tickets.len())
    }
}

impl InFlight {
    pub(super) fn push(&mut self, ticket: Ticket, request: &[u8]) {
        debug_assert_eq!(ticket.len, request.len());
        self.bytes.extend_from_slice(request);
        self.tickets.push_back(ticket);
    }

    /// Puts requests before those that wait. Nothing may be in flight.
    pub(super) fn put_first(&mut self, requests: impl IntoIterator<Item = (Ticket, Bytes)>) {
        debug_assert_eq!(self.written, 0);
        let (bytes, tickets) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.tickets));
        requests.into_iter().for_each(|(ticket, request)| self.push(ticket, &request));
        self.bytes.extend_from_slice(&bytes);
        self.tickets.extend(tickets);
    }

    /// Bytes held, waiting or sent.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// What the socket has not taken yet, and may take now.
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..self.bound.unwrap_or(self.bytes.len())]
    }

    pub(super) fn wrote(&mut self, len: usize) {
        self.written += len;
    }

    /// From now on only the oldest requests, of so many bytes, are written.
    pub(super) fn hold_back_behind(&mut self, bytes: usize) {
        self.bound = Some(bytes);
    }

    /// From now on no other request is begun.
    pub(super) fn hold_back(&mut self) {
        let mut end = 0;
        for ticket in &self.tickets {
            if end >= self.written {
                break;
            }
            end += ticket.len;
        }
        self.bound = Some(end);
    }

    /// The bytes of the oldest requests, as many of them as are such.
    pub(super) fn len_of_first(&self, is_such: impl Fn(&Ticket) -> bool) -> usize {
        self.tickets.iter().take_while(|ticket| is_such(ticket)).map(|ticket| ticket.len).sum()
    }

    /// Everything may be written again.
    pub(super) fn let_go(&mut self) {
        self.bound = None;
    }

    /// Whether nothing is in flight but what is held back.
    pub(super) fn is_drained(&self) -> bool {
        self.bound == Some(0)
    }

    /// How long the oldest request has been waiting.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.tickets.front().map(|ticket| now.saturating_duration_since(ticket.since))
    }

    /// Since when nothing has come of the oldest reply.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.tickets.front().map(|ticket| self.waits_since(ticket))
    }

    fn waits_since(&self, ticket: &Ticket) -> Instant {
        self.progress.map_or(ticket.since, |progress| progress.max(ticket.since))
    }

    /// Whether nothing is in flight but what no client waits for.
    pub(super) fn is_only_probed(&self) -> bool {
        !self.is_empty() && self.tickets.iter().all(Ticket::is_ours)
    }

    /// Whether `frame` can be the reply to the oldest request.
    pub(super) fn check(&self, frame: &[u8]) -> Result<(), Desync> {
        let oldest = self.tickets.front();
        let is_script = oldest.is_some_and(|ticket| ticket.about.shape == Shape::Script);
        if frame == b"-NOAUTH Authentication required.\r\n" && !is_script {
            return Err(Desync::NoAuth);
        }
        match oldest {
            None => Err(Desync::Unasked),
            Some(ticket) if !ticket.fits(frame[0]) => Err(Desync::Shape),
            Some(_) => Ok(()),
        }
    }

    /// Each request with its bytes, oldest first.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&Ticket, &[u8])> {
        let mut rest = &self.bytes[..];
        self.tickets.iter().map(move |ticket| {
            let (request, after) = rest.split_at(ticket.len);
            rest = after;
            (ticket, request)
        })
    }

    /// The oldest request.
    pub(super) fn oldest(&self) -> Option<&Ticket> {
        self.tickets.front()
    }

    /// A piece of the reply to the oldest request, which must be taken out with the last one.
    pub(super) fn piece(&mut self, bytes: Bytes, is_last: bool, now: Instant) -> Result<(), Desync> {
        self.progress = Some(now);
        self.is_answering = !is_last;
        let front = self.tickets.front().filter(|ticket| ticket.len <= self.written).ok_or(Desync::Unasked)?;
        // Only strings come in pieces.
        if !front.about.shape.fits(b'$') {
            return Err(Desync::Shape);
        }
        if let Some(lease) = &front.lease {
            lease.hear_piece(&bytes, is_last);
        }
        if let Some(Audience::Client(Recipient { outbox, slot, .. })) = &front.audience {
            outbox.deliver_part(*slot, bytes, is_last);
        }
        Ok(())
    }

    /// Takes out the oldest request; it must have been wholly written.
    pub(super) fn pop(&mut self) -> Result<Ticket, Desync> {
        let ticket = self.pop_ticket()?;
        self.bytes.advance(ticket.len);
        if self.bytes.is_empty() {
            self.bytes.clear();
        }
        Ok(ticket)
    }

    /// The same, with its bytes.
    pub(super) fn pop_request(&mut self) -> Result<(Ticket, Bytes), Desync> {
        let ticket = self.pop_ticket()?;
        let request = self.bytes.split_to(ticket.len).freeze();
        Ok((ticket, request))
    }

    fn pop_ticket(&mut self) -> Result<Ticket, Desync> {
        let Some(ticket) = self.tickets.pop_front_if(|ticket| ticket.len <= self.written) else {
            return Err(Desync::Unasked);
        };
        self.written -= ticket.len;
        self.bound = self.bound.map(|bound| bound - ticket.len);
        self.given_up = self.given_up.saturating_sub(1);
        Ok(ticket)
    }

    /// The connection is lost: everything is taken out.
    pub(super) fn take_all(&mut self) -> Left {
        let Self { mut bytes, mut written, tickets, is_answering, .. } = std::mem::take(self);
        let mut sent = 0;
        let requests = tickets.into_iter().map(|ticket| {
            if let Some(left) = written.checked_sub(ticket.len) {
                (written, sent) = (left, sent + 1);
            } else {
                written = 0;
            }
            let request = bytes.split_to(ticket.len).freeze();
            (ticket, request)
        });
        let requests = requests.collect();
        Left { requests, sent, was_answering: is_answering }
    }

    /// Takes out those that are such, oldest first. Nothing may be in flight or held back.
    pub(super) fn take_such(&mut self, is_such: impl Fn(&Ticket) -> bool) -> Vec<(Ticket, Bytes)> {
        let (such, others): (Vec<_>, Vec<_>) =
            self.take_all().requests.into_iter().partition(|(ticket, _)| is_such(ticket));
        self.put_first(others);
        such
    }

    /// A connection is there: the wait for a reply begins.
    pub(super) fn restart_clocks(&mut self, now: Instant) {
        self.tickets.iter_mut().for_each(|ticket| ticket.since = now);
    }

    /// Takes out the requests of which not a byte has left and that have waited longer than `queue_timeout`, and
    /// answers them with `text`.
    pub(super) fn expire_unsent(&mut self, queue_timeout: Duration, now: Instant, text: &str) -> Endings {
        let mut endings = Endings::default();
        if self.next_unsent_expiry(queue_timeout).is_none_or(|next| next > now) {
            return endings;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut start = 0;
        for ticket in std::mem::take(&mut self.tickets) {
            let request = bytes.split_to(ticket.len);
            let is_begun = start < self.written;
            start += ticket.len;
            if is_begun || ticket.is_patient() || ticket.unsent_since + queue_timeout > now {
                self.push(ticket, &request);
            } else {
                // Its bytes may stand before the bound only while nothing is sent at all.
                self.bound = self.bound.map(|bound| if start <= bound { bound - ticket.len } else { bound });
                start -= ticket.len;
                endings.add(ticket.fail(text));
            }
        }
        endings
    }

    /// When the next of them will have waited for `queue_timeout`.
    pub(super) fn next_unsent_expiry(&self, queue_timeout: Duration) -> Option<Instant> {
        let mut start = 0;
        let unsent = self.tickets.iter().filter(|ticket| {
            let is_begun = start < self.written;
            start += ticket.len;
            !is_begun && !ticket.is_patient()
        });
        unsent.map(|ticket| ticket.unsent_since + queue_timeout).min()
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
            // Whether the server answers is still of interest.
            let audience = if ticket.is_patient() { None } else { ticket.audience.take() };
            match &audience {
                Some(Audience::Client(recipient)) if is_oldest && self.is_answering => recipient.outbox.break_off(),
                Some(audience) if ticket.about.effect == Effect::Read => endings.add(audience.fail(NOT_EXECUTED)),
                Some(audience) => endings.add(audience.fail(UNKNOWN_OUTCOME)),
                None => {}
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
