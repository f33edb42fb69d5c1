//! Losing the server and finding it again, as far as it concerns what clients are told (G2, G3).
//!
//! Everything that is decided about a multiplexed connection is decided here, from what is passed in: requests, bytes
//! that were written, replies, losses, the time. Nothing here waits or touches a socket; [`super::lane`] does, and asks
//! this what is next.
//!
//! ```text
//!   send() ─▶ ┌───────────────┐ ─▶ unwritten()           what may be written now
//! answer() ─▶ │   Recovery    │ ─▶ outboxes              what clients are told
//!   lost() ─▶ │ phase · queue │ ─▶ attempt_at()          when to connect again
//! expire() ─▶ └───────────────┘ ─▶ next_deadline()       when to call `expire` again
//! ```
//!
//! | what | rule |
//! |---|---|
//! | not wholly written | surely did not run: waits for the next connection |
//! | a read | waits for it too, [`MAX_TRIES`] times |
//! | a write whose effect is plain | is looked for before anything else is sent ([`super::read_back`]) |
//! | any other write | its client is told that nobody knows, once the lost connection is severed |
//! | in `eager` mode, a write that can be repeated | is sent again if nobody else here has touched its keys ([`crate::cache::Holds`]) |
//! | refused by a server that executes nothing | waits for a server that does |
//!
//! Where those are that are not in the queue:
//!
//! | phase | `lost` | `again` | `refused` |
//! |---|---|---|---|
//! | `Away` | until the next connection | | |
//! | `Settling` | | until all looks are answered | |
//! | `Up` | | | |
//! | `Leaving` | | if it was `Settling` | until what is in flight is answered |

mod deadlines;
mod lost;
mod refused;
mod renewal;
mod repairs;
mod second;

use std::borrow::Cow;
use std::cell::LazyCell;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::refused::Refused;
use self::repairs::Repairs;
use super::UNKNOWN_OUTCOME;
use super::in_flight::{Desync, InFlight};
use super::lane::LaneLimits;
use super::phase::Phase;
use super::ticket::{About, Audience, Endings, LostWrite, Recipient, Ticket};
use crate::backoff::Backoff;
use crate::cache::Ask;
use crate::command::{Commands, Effect, Shape};
use crate::outbox::Form;
use crate::session::{Aftermath, Scripts, Which};

/// How often a request whose connection was lost is sent again.
pub(super) const MAX_TRIES: u8 = 2;

/// After this long without a reply that was due, the connection is thrown away.
const STALL: Duration = Duration::from_secs(5);

/// A server that has said nothing for so long is asked whether it is still there.
const PROBE_AFTER: Duration = Duration::from_secs(1);

/// A connection that lived this long, or answered a request, was a good one: the next attempt is not delayed.
const HEALTHY: Duration = Duration::from_secs(1);

/// A connection that is not there for longer than this is not just being made.
const OUTAGE: Duration = Duration::from_secs(1);

/// The requests of one multiplexed connection, and what becomes of them.
#[derive(Debug)]
pub(super) struct Recovery {
    phase: Phase,
    limits: LaneLimits,
    queue: InFlight,
    /// Requests of clients there were.
    pushed: u64,
    link: Link,
    /// The last connection was lost.
    was_lost: bool,
    /// Writes that may have run on a connection that is not severed yet.
    lost: Vec<LostWrite>,
    /// Lost writes that are sent again before anything else.
    again: Vec<LostWrite>,
    /// What the server would not execute.
    refused: Vec<Refused>,
    /// Repairs it was too busy for.
    repairs: Repairs,
    /// To find the write of a client in a script of ours that is lost.
    scripts: LazyCell<Scripts>,
    /// To find the keys of what is sent a second time.
    commands: LazyCell<Commands>,
    /// Clients wait for what is asked for the sake of what is held in memory.
    is_waited_for: bool,
    backoff: Backoff,
    attempt_at: Instant,
    /// What was not counted yet.
    endings: Endings,
}

/// What is known of the present connection.
#[derive(Debug, Clone, Copy)]
struct Link {
    since: Instant,
    has_answered: bool,
    /// When it last said anything.
    heard: Instant,
    /// It has been asked whether it is still there.
    is_probed: bool,
    /// When a successor is wanted.
    renew_at: Option<Instant>,
    /// A successor is being made.
    is_renewing: bool,
    /// Since when requests are held back for a successor.
    hands_over_since: Option<Instant>,
    /// Which credentials it was made with, or were last tried for a successor.
    generation: u64,
    /// Whether nothing from a lost connection can run any more.
    has_severed: bool,
    /// Which of our scripts the server knows by name.
    knows: [bool; Which::ALL.len()],
}

impl Link {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            has_answered: false,
            heard: now,
            is_probed: false,
            renew_at: None,
            is_renewing: false,
            hands_over_since: None,
            generation: 0,
            has_severed: false,
            knows: [false; Which::ALL.len()],
        }
    }
}

/// A connection that is ready, as far as the machine is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Which credentials it was made with.
    pub(super) generation: u64,
    /// How long it may live, if not for ever.
    pub(super) lifetime: Option<Duration>,
    /// Whether the server has forgotten all that were lost before: it may forbid to be asked.
    pub(super) has_severed: bool,
}

impl Recovery {
    pub(super) fn new(limits: LaneLimits, now: Instant) -> Self {
        Self {
            phase: Phase::Away,
            limits,
            queue: InFlight::default(),
            pushed: 0,
            link: Link::new(now),
            was_lost: false,
            lost: Vec::new(),
            again: Vec::new(),
            refused: Vec::new(),
            repairs: Repairs::default(),
            scripts: LazyCell::new(Scripts::default),
            commands: LazyCell::new(Commands::default),
            is_waited_for: false,
            backoff: Backoff::default(),
            attempt_at: now,
            endings: Endings::default(),
        }
    }

    /// Queues a request.
    pub(super) fn push(&mut self, ticket: Ticket, request: &[u8]) {
        self.pushed += 1;
        self.queue.push(Ticket { number: self.pushed, ..ticket }, request);
    }

    /// Queues a request of ours, for the sake of what is held in memory.
    pub(super) fn ask(&mut self, ask: Ask, request: &[u8], shape: Shape, now: Instant) {
        let about = About { effect: Effect::Read, shape };
        self.queue.push(Ticket::new(Audience::Ask(ask), request.len(), about, now), request);
    }

    /// While there is no connection: reads that wait for one leave where `answer` has something to say to them.
    pub(super) fn answer_waiting(&mut self, mut answer: impl FnMut(&Recipient, &[u8]) -> bool) {
        let requests = self.queue.take_all().requests;
        self.queue.put_first(requests.into_iter().filter(|(ticket, request)| match &ticket.audience {
            Some(Audience::Client(recipient)) if ticket.about.effect == Effect::Read => !answer(recipient, request),
            _ => true,
        }));
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Bytes of requests held.
    pub(super) fn size(&self) -> usize {
        let lost = self.lost.iter().chain(&self.again).map(|lost| lost.request.len());
        let refused = self.refused.iter().map(|refused| refused.ticket.len);
        self.queue.size() + lost.chain(refused).sum::<usize>()
    }

    /// Whether there is nothing to be done for any client.
    pub(super) fn is_idle(&self) -> bool {
        let is_waited_for = self.repairs.are_waiting() || !self.refused.is_empty();
        self.queue.is_empty() && self.lost.is_empty() && self.again.is_empty() && !is_waited_for
    }

    /// What may be written now and is not.
    pub(super) fn unwritten(&self) -> &[u8] {
        self.queue.unwritten()
    }

    pub(super) fn wrote(&mut self, len: usize) {
        self.queue.wrote(len);
    }

    /// How long the oldest request has been waiting.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.queue.age(now)
    }

    /// How requests have ended since this was last asked.
    pub(super) fn take_endings(&mut self) -> Endings {
        std::mem::take(&mut self.endings)
    }

    /// When to try to connect.
    pub(super) fn attempt_at(&self) -> Instant {
        self.attempt_at
    }

    /// The server is there, and would answer every request with this word of its own. `random` is in `0.0..1.0`.
    pub(super) fn turned_away(&mut self, said: &str, now: Instant, random: f64) {
        self.attempt_at = now + self.backoff.next(random);
        self.give_up(Duration::ZERO, said, now);
    }

    /// Answers what has waited for `timeout` to be sent with `text`.
    pub(super) fn give_up(&mut self, timeout: Duration, text: &str, now: Instant) {
        self.endings.add(self.queue.expire_unsent(timeout, now, text));
        let queue_timeout = self.limits.queue_timeout;
        for lost in self.lost.extract_if(.., |lost| lost.since + queue_timeout <= now) {
            self.endings.add(lost.ticket.fail(UNKNOWN_OUTCOME));
        }
        let has_waited =
            |refused: &mut Refused| !refused.ticket.is_patient() && refused.ticket.unsent_since + timeout <= now;
        for refused in self.refused.extract_if(.., has_waited) {
            self.endings.add(refused.ticket.fail(text));
        }
    }

    /// When the next request will have waited for `timeout` to be sent, or to hear that nobody knows.
    pub(super) fn next_to_give_up(&self, timeout: Duration) -> Option<Instant> {
        let lost = self.lost.iter().map(|lost| lost.since + self.limits.queue_timeout).min();
        let refused = self.refused.iter().filter(|refused| !refused.ticket.is_patient());
        let refused = refused.map(|refused| refused.ticket.unsent_since + timeout).min();
        [self.queue.next_unsent_expiry(timeout), lost, refused].into_iter().flatten().min()
    }

    /// Something has come from the server.
    pub(super) fn heard(&mut self, now: Instant) {
        self.link.heard = now;
    }

    /// The oldest request is answered by `frame`: what it was, if it was asked for the sake of what is held in memory.
    ///
    /// # Errors
    /// It cannot be: the connection must be thrown away.
    pub(super) fn answer(&mut self, frame: &[u8], is_resp3: bool, now: Instant) -> Result<Option<Ask>, Desync> {
        self.queue.check(frame)?;
        if self.queue.oldest().is_some_and(|ticket| ticket.asks_again(frame)) {
            self.send_second(now)?;
            return Ok(None);
        }
        if frame[0] == b'-' && self.is_refusal(frame) {
            return self.refuse(frame, now);
        }
        if frame[0] == b'-' && self.queue.oldest().is_some_and(Ticket::is_repair) {
            self.fail_repair(frame, now)?;
            return Ok(None);
        }
        let Ticket { audience, hold, lease, aftermath, .. } = self.queue.pop()?;
        self.link.has_answered = true;
        if let Some(which) = aftermath.as_ref().and_then(Aftermath::teaches) {
            let is_forbidden = frame.starts_with(b"-NOPERM this user") || frame.starts_with(b"-NOPERM User");
            self.link.knows[which as usize] = !is_forbidden;
            self.endings.forbidden += u64::from(is_forbidden);
        }
        if let Some(lease) = lease {
            lease.hear(frame);
        }
        let mut asked = None;
        match audience {
            None => {}
            Some(Audience::Ask(ask)) => asked = Some(ask),
            Some(Audience::Client(Recipient { outbox, slot, form })) => {
                self.pass_on_refusals(&outbox);
                // Ended before its client can know, and ask others to write.
                drop(hold);
                let told = aftermath.as_ref().map_or(Cow::Borrowed(frame), |aftermath| aftermath.hear(frame, now));
                outbox.deliver(slot, &told, if is_resp3 { form } else { Form::AsIs });
            }
            Some(Audience::Repair) => {
                if let Some(aftermath) = aftermath {
                    aftermath.hear(frame, now);
                }
                self.repaired();
            }
            Some(Audience::Look(look)) => self.hear(&look, frame, now),
            Some(Audience::Probe(expected)) => {
                self.link.is_probed = false;
                // It may be too busy to say more than that.
                if frame[0] != b'-' && *frame != *expected {
                    return Err(Desync::Nonce);
                }
            }
        }
        self.settle_if_drained(now);
        Ok(asked)
    }

    /// A piece of the reply to the oldest request.
    ///
    /// # Errors
    /// It cannot be: the connection must be thrown away.
    pub(super) fn answer_piece(&mut self, bytes: Bytes, is_last: bool, now: Instant) -> Result<(), Desync> {
        // Pieces go to the client as they come: nothing of its own may be before them.
        if let Some(outbox) = self.queue.oldest().and_then(Ticket::client) {
            self.pass_on_refusals(&outbox);
        }
        self.queue.piece(bytes, is_last, now)?;
        if !is_last {
            return Ok(());
        }
        self.link.has_answered = true;
        let Ticket { audience, aftermath, .. } = self.queue.pop()?;
        match audience {
            // Longer than what is looked for.
            Some(Audience::Look(look)) => self.hear(&look, b"", now),
            Some(Audience::Probe(_)) => return Err(Desync::Nonce),
            // Nothing of what is asked is answered by a string so long.
            Some(Audience::Ask(_) | Audience::Repair) => return Err(Desync::Shape),
            Some(Audience::Client(_)) => {
                if let Some(aftermath) = aftermath {
                    aftermath.hear_text(now);
                }
            }
            None => {}
        }
        self.settle_if_drained(now);
        Ok(())
    }

    fn begin_link(&mut self, arrival: Arrival, now: Instant, random: f64) {
        // Those that were made together are not renewed together.
        let renew_at = arrival.lifetime.map(|lifetime| now + lifetime.mul_f64(0.9 + 0.2 * random));
        let Arrival { generation, has_severed, .. } = arrival;
        self.link = Link { renew_at, generation, has_severed, ..Link::new(now) };
        self.queue.restart_clocks(now);
        self.spell_out_waiting();
    }
}

#[cfg(test)]
mod tests;
