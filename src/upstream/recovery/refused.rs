//! What a server says that executes nothing: it loads its data, or is no primary any more.
//!
//! Such a request surely did not run. It waits for a connection to a server that executes again, together with all that
//! came behind it: nothing overtakes it.

use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use super::Recovery;
use crate::cache::Ask;
use crate::command::Shape;
use crate::config::Reconnect;
use crate::outbox::{Form, Outbox};
use crate::upstream::UNKNOWN_OUTCOME;
use crate::upstream::in_flight::Desync;
use crate::upstream::phase::Event;
use crate::upstream::ticket::{Audience, Recipient, Ticket};

/// How a server begins that executes nothing, for now or ever: these were refused before they ran.
const REFUSALS: [&[u8]; 5] = [b"-LOADING ", b"-READONLY ", b"-MASTERDOWN ", b"-CLUSTERDOWN ", b"-TRYAGAIN "];

/// A request the server would not execute, and its own word on it.
pub(super) struct Refused {
    pub(super) ticket: Ticket,
    request: Bytes,
    said: Box<[u8]>,
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a refused request of {} bytes", self.ticket.len)
    }
}

impl Recovery {
    /// Whether a server says so that it has not executed the oldest request, and nothing else for now. What a script
    /// passes on of an error may come after it has written.
    pub(super) fn is_refusal(&self, frame: &[u8]) -> bool {
        self.queue.oldest().is_some_and(|ticket| ticket.about.shape != Shape::Script)
            && REFUSALS.iter().any(|refusal| frame.starts_with(refusal))
    }

    /// The oldest request is answered so: it waits, unless somebody would see that it did. What it was, if it was asked
    /// for the sake of what is held in memory.
    ///
    /// # Errors
    /// It was not wholly sent.
    pub(super) fn refuse(&mut self, said: &[u8], now: Instant) -> Result<Option<Ask>, Desync> {
        let (ticket, request) = self.queue.pop_request()?;
        self.leave(Event::Refused);
        let may_wait = self.limits.reconnect != Reconnect::Off && ticket.unsent_since + self.limits.queue_timeout > now;
        match &ticket.audience {
            Some(Audience::Ask(_)) => {
                let ask = |audience| if let Audience::Ask(ask) = audience { Some(ask) } else { None };
                return Ok(ticket.audience.and_then(ask));
            }
            // It may have run the first time.
            Some(audience) if ticket.may_have_run() => self.endings.add(audience.fail(UNKNOWN_OUTCOME)),
            Some(Audience::Client(Recipient { outbox, .. })) if may_wait && !outbox.is_closed() => {
                self.refused.push(Refused { ticket, request, said: said.into() });
            }
            Some(Audience::Client(Recipient { outbox, slot, .. })) => {
                self.pass_on_refusals(outbox);
                outbox.deliver(*slot, said, Form::AsIs);
            }
            Some(Audience::Look(look)) => self.hear(look, said, now),
            Some(Audience::Repair) => self.refused.push(Refused { ticket, request, said: said.into() }),
            Some(Audience::Probe(_)) | None => {}
        }
        Ok(None)
    }

    /// Of this client's requests one was executed: those before it cannot be any more.
    pub(super) fn pass_on_refusals(&mut self, client: &Rc<Outbox>) {
        let is_theirs = |refused: &mut Refused| match &refused.ticket.audience {
            Some(Audience::Client(own)) => Rc::ptr_eq(&own.outbox, client),
            Some(Audience::Look(_) | Audience::Probe(_) | Audience::Ask(_) | Audience::Repair) | None => false,
        };
        for Refused { ticket, said, .. } in self.refused.extract_if(.., is_theirs) {
            if let Some(Audience::Client(Recipient { outbox, slot, .. })) = ticket.audience {
                outbox.deliver(slot, &said, Form::AsIs);
            }
        }
    }

    pub(super) fn take_refused(&mut self) -> Vec<(Ticket, Bytes)> {
        self.refused.drain(..).map(|Refused { ticket, request, .. }| (ticket, request)).collect()
    }
}
