//! One request on a multiplexed connection, and who hears its reply.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::Instant;

use super::UNKNOWN_OUTCOME;
use super::read_back::ReadBack;
use crate::command::{Effect, Shape};
use crate::outbox::{Form, Outbox, Slot};

/// Whom a reply is for.
#[derive(Debug)]
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

/// Who hears the reply to a request.
pub(super) enum Audience {
    /// The client that sent it.
    Client(Recipient),
    /// Whoever looks what became of a lost write, for the client that sent that.
    Look(Rc<RefCell<Look>>),
}

/// A lost write that is being looked for.
pub(super) struct Look {
    pub(super) read_back: ReadBack,
    /// `None` once the client has been answered.
    pub(super) recipient: Option<Recipient>,
}

/// One request.
pub(super) struct Ticket {
    /// `None` once the client was answered without waiting for the server.
    pub(super) audience: Option<Audience>,
    pub(super) len: usize,
    pub(super) about: About,
    /// Since when it waits to be sent, as often as there was a connection meanwhile that did not last.
    pub(super) unsent_since: Instant,
    /// Since when it waits for its reply.
    pub(super) since: Instant,
    /// How often it was sent on a connection that was then lost.
    pub(super) tries: u8,
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
}

impl Endings {
    pub(super) fn add(&mut self, other: Self) {
        self.not_executed += other.not_executed;
        self.unknown += other.unknown;
        self.kept += other.kept;
        self.executed += other.executed;
    }
}

impl Audience {
    /// The client that waits, and where; `None` if it has been answered.
    pub(super) fn client(&self) -> Option<(Rc<Outbox>, Slot)> {
        let of = |recipient: &Recipient| (Rc::clone(&recipient.outbox), recipient.slot);
        match self {
            Self::Client(recipient) => Some(of(recipient)),
            Self::Look(look) => look.borrow().recipient.as_ref().map(of),
        }
    }
}

impl Look {
    /// The next reply has come; the last one decides.
    pub(super) fn hear(&mut self, frame: &[u8], now: Instant) -> Endings {
        let Some(said) = self.read_back.hear(frame, now) else { return Endings::default() };
        let Some(Recipient { outbox, slot, .. }) = self.recipient.take() else { return Endings::default() };
        match said {
            Some(answer) => {
                outbox.deliver(slot, answer, Form::AsIs);
                Endings { executed: 1, ..Endings::default() }
            }
            None => {
                outbox.fail(slot, UNKNOWN_OUTCOME);
                Endings { unknown: 1, ..Endings::default() }
            }
        }
    }
}

impl Ticket {
    /// A request of `len` bytes that has just been queued.
    pub(super) fn new(audience: Audience, len: usize, about: About, now: Instant) -> Self {
        Self { audience: Some(audience), len, about, unsent_since: now, since: now, tries: 0 }
    }

    /// Answers whoever waits for it with an error: `text`, or that nobody knows, where it only looked for a write.
    pub(super) fn fail(self, text: &str) -> Endings {
        let (recipient, text) = match self.audience {
            None => (None, text),
            Some(Audience::Client(recipient)) => (Some(recipient), text),
            Some(Audience::Look(look)) => (look.borrow_mut().recipient.take(), UNKNOWN_OUTCOME),
        };
        let Some(Recipient { outbox, slot, .. }) = recipient else { return Endings::default() };
        outbox.fail(slot, text);
        match text == UNKNOWN_OUTCOME {
            true => Endings { unknown: 1, ..Endings::default() },
            false => Endings { not_executed: 1, ..Endings::default() },
        }
    }
}
