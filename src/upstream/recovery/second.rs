//! Requests that did nothing the first time, and are sent again in another form.
//!
//! A script the server does not know by its name; a write of a session that its client has read and that is not there any
//! more ([`crate::session`]). Neither has run. The second request comes behind what its client has asked meanwhile, where it
//! may have asked anything: if that is about the same session, the client is told that the first did not run.

use std::rc::Rc;

use tokio::time::Instant;

use super::Recovery;
use crate::resp::request::Parser;
use crate::session::Aftermath;
use crate::upstream::NOT_EXECUTED;
use crate::upstream::in_flight::Desync;
use crate::upstream::ticket::Ticket;

impl Recovery {
    /// The request as it is to be sent on this connection: with the text of the script it calls, if the server may not
    /// know that by name.
    pub(in crate::upstream) fn spell_out(&self, aftermath: Option<&mut Aftermath>, request: &[u8]) -> Option<Vec<u8>> {
        let aftermath = aftermath?;
        let which = aftermath.calls()?;
        // What waits for a connection does not know which that will be.
        let is_known = self.link.knows[which as usize] && self.phase.is_connected();
        if is_known { None } else { aftermath.spelled_out(request) }
    }

    /// The oldest request has done nothing: sends the second in its place.
    ///
    /// # Errors
    /// It was not wholly sent.
    pub(super) fn send_second(&mut self, now: Instant) -> Result<(), Desync> {
        let (mut ticket, request) = self.queue.pop_request()?;
        self.link.has_answered = true;
        if let Some(which) = ticket.aftermath.as_ref().and_then(Aftermath::calls) {
            self.link.knows[which as usize] = false;
        }
        let second = ticket.aftermath.as_mut().and_then(|aftermath| aftermath.second(&request));
        match second.filter(|_| !self.has_gone_on(&ticket, &request)) {
            Some(second) => {
                ticket.len = second.len();
                self.queue.push(ticket, &second);
            }
            None => self.endings.add(ticket.fail(NOT_EXECUTED)),
        }
        self.settle_if_drained(now);
        Ok(())
    }

    /// Whether its client has asked something else about the same keys meanwhile.
    fn has_gone_on(&self, ticket: &Ticket, request: &[u8]) -> bool {
        let Some(client) = ticket.client() else { return false };
        let mut parser = Parser::default();
        let Some(request) = parser.known(request) else { return true };
        let names: Vec<&[u8]> = match request.is(0, "evalsha") {
            true => request.args_from(3).collect(),
            false => request.arg(1).into_iter().collect(),
        };
        let is_theirs = |other: &Ticket| other.client().is_some_and(|own| Rc::ptr_eq(&own, &client));
        self.queue.requests().any(|(other, bytes)| {
            // A key of few letters may stand there for another reason: then the client is told so without need.
            is_theirs(other) && names.iter().any(|name| bytes.windows(name.len().max(1)).any(|part| part == *name))
        })
    }
}
