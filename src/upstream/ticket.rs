//! One request on a multiplexed connection, and who hears its reply.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use super::UNKNOWN_OUTCOME;
use super::read_back::ReadBack;
use crate::cache::{Ask, Hold, Lease};
use crate::command::{Command, Effect, Shape};
use crate::outbox::{Form, Outbox, Slot};
use crate::session::Aftermath;

/// Whom a reply is for.
#[derive(Debug, Clone)]
pub(super) struct Recipient {
    pub(super) outbox: Rc<Outbox>,
    pub(super) slot: Slot,
    pub(super) form: Form,
}

/// What must be known of a request to judge its reply, and its loss.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub(super) effect: Effect,
    pub(super) shape: Shape,
}

impl About {
    pub(super) fn of(command: &Command<'_>) -> Self {
        Self { effect: command.effect(), shape: command.shape() }
    }
}

/// Who hears the reply to a request.
pub(super) enum Audience {
    /// The client that sent it.
    Client(Recipient),
    /// Whoever looks what became of a lost write, for the client that sent that.
    Look(Rc<RefCell<Look>>),
    /// Ourselves, who want to know that the server answers, and that nothing has come out of step. The reply.
    Probe(Box<[u8]>),
    /// Ourselves, for the sake of what is held in memory.
    Ask(Ask),
    /// Nobody: sessions a request may have left without an expiry get one. Done sooner or later, whatever is lost (G5).
    Repair,
}

/// A lost write that is being looked for.
pub(super) struct Look {
    pub(super) read_back: ReadBack,
    /// `None` once it is decided.
    pub(super) lost: Option<LostWrite>,
}

/// A write that may have run.
pub(super) struct LostWrite {
    pub(super) ticket: Ticket,
    pub(super) request: Bytes,
    /// Since when its client waits to hear what became of it.
    pub(super) since: Instant,
}

/// Lengths only (G8).
impl fmt::Debug for LostWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a lost write of {} bytes", self.request.len())
    }
}

/// One request.
pub(super) struct Ticket {
    /// `None` once the client was answered without waiting for the server.
    pub(super) audience: Option<Audience>,
    pub(super) len: usize,
    /// Its place among all that were asked.
    pub(super) number: u64,
    pub(super) about: About,
    /// Since when it waits to be sent, as often as there was a connection meanwhile that did not last.
    pub(super) unsent_since: Instant,
    /// Since when it waits for its reply.
    pub(super) since: Instant,
    /// How often it was sent on a connection that was then lost.
    pub(super) tries: u8,
    /// While it is a write: what tells others so, and whether anybody else has written the same keys.
    pub(super) hold: Option<Hold>,
    /// What comes may be held in memory.
    pub(super) lease: Option<Lease>,
    /// What the session rules make of its reply.
    pub(super) aftermath: Option<Aftermath>,
}

/// How requests ended that the server did not answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endings {
    pub(super) not_executed: u64,
    pub(super) unknown: u64,
    /// Reads that will be sent again.
    pub(super) kept: u64,
    /// Lost writes that were found to have been executed.
    pub(super) executed: u64,
    /// Lost writes that are sent again.
    pub(super) replayed: u64,
    /// Requests the server would not execute for now, and that are sent again.
    pub(super) refused: u64,
    /// Scripts of ours the server does not let us run.
    pub(super) forbidden: u64,
}

impl Endings {
    pub(super) fn add(&mut self, other: Self) {
        self.not_executed += other.not_executed;
        self.unknown += other.unknown;
        self.kept += other.kept;
        self.executed += other.executed;
        self.replayed += other.replayed;
        self.refused += other.refused;
        self.forbidden += other.forbidden;
    }
}

impl Audience {
    /// The client that waits; `None` if it has been answered, or there is none.
    pub(super) fn client(&self) -> Option<Rc<Outbox>> {
        match self {
            Self::Client(recipient) => Some(Rc::clone(&recipient.outbox)),
            Self::Look(look) => look.borrow().lost.as_ref().and_then(|lost| lost.ticket.client()),
            Self::Probe(_) | Self::Ask(_) | Self::Repair => None,
        }
    }

    /// Answers whoever waits for it with an error: `text`, or that nobody knows, where it only looked for a write.
    pub(super) fn fail(&self, text: &str) -> Endings {
        match self {
            Self::Client(Recipient { outbox, slot, .. }) => outbox.fail(*slot, text),
            Self::Look(look) => {
                let lost = look.borrow_mut().lost.take();
                return lost.map(|lost| lost.ticket.fail(UNKNOWN_OUTCOME)).unwrap_or_default();
            }
            Self::Probe(_) | Self::Ask(_) | Self::Repair => return Endings::default(),
        }
        match text == UNKNOWN_OUTCOME {
            true => Endings { unknown: 1, ..Endings::default() },
            false => Endings { not_executed: 1, ..Endings::default() },
        }
    }
}

impl Ticket {
    /// A request of `len` bytes that has just been queued.
    pub(super) fn new(audience: Audience, len: usize, about: About, now: Instant) -> Self {
        Self {
            audience: Some(audience),
            len,
            number: 0,
            about,
            unsent_since: now,
            since: now,
            tries: 0,
            hold: None,
            lease: None,
            aftermath: None,
        }
    }

    /// Whether it is asked for nobody in particular, and is not given up before it is answered.
    pub(super) fn is_patient(&self) -> bool {
        self.is_ours() || self.is_repair()
    }

    /// Whether it must be done sooner or later.
    pub(super) fn is_repair(&self) -> bool {
        matches!(self.audience, Some(Audience::Repair))
    }

    /// Whether this reply to it says that it has done nothing, and is to be sent again in another form.
    pub(super) fn asks_again(&self, frame: &[u8]) -> bool {
        let is_heard = !matches!(self.audience, None | Some(Audience::Look(_)));
        is_heard && self.aftermath.as_ref().is_some_and(|aftermath| aftermath.asks_again(frame))
    }

    /// Whether its reply may begin so.
    pub(super) fn fits(&self, first: u8) -> bool {
        self.about.shape.fits(first) || self.aftermath.as_ref().is_some_and(|aftermath| aftermath.fits(first))
    }

    /// Whether no client has asked for it: it is of use on its connection only.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.audience, Some(Audience::Probe(_) | Audience::Ask(_)))
    }

    /// The client that waits for it, or for what it looks for.
    pub(super) fn client(&self) -> Option<Rc<Outbox>> {
        self.audience.as_ref().and_then(Audience::client)
    }

    /// Whether that client is still there.
    pub(super) fn is_waited_for(&self) -> bool {
        self.client().is_some_and(|outbox| !outbox.is_abandoned())
    }

    /// Whether it was sent before, and nobody knows what became of that.
    pub(super) fn may_have_run(&self) -> bool {
        self.tries > 0 && self.about.effect == Effect::Write
    }

    /// Answers whoever waits for it with an error: `text`, or that nobody knows, where it may have run.
    pub(super) fn fail(self, text: &str) -> Endings {
        let text = if self.may_have_run() { UNKNOWN_OUTCOME } else { text };
        self.audience.map(|audience| audience.fail(text)).unwrap_or_default()
    }
}
