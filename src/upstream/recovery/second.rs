//! Requests that did nothing the first time, and are sent again in another form.
//!
//! A script the server does not know by its name; a write of a session that its client has read and that is not there any
//! more ([`crate::session`]). Neither has run. The second request comes behind what its client has asked meanwhile, where it
//! may have asked anything: if that is about the same session, or tells of any, the client is told that the first did not
//! run.

use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use super::Recovery;
use crate::command::{Commands, Touches};
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

    /// What waits for a connection that is there now: its server may know no script by its name.
    pub(super) fn spell_out_waiting(&mut self) {
        let calls = |ticket: &Ticket| ticket.aftermath.as_ref().is_some_and(|aftermath| aftermath.calls().is_some());
        if !self.queue.requests().any(|(ticket, _)| calls(ticket)) {
            return;
        }
        let requests = self.queue.take_all().requests.into_iter();
        self.queue.put_first(requests.map(|(mut ticket, request)| {
            let spelled_out = ticket.aftermath.as_mut().and_then(|aftermath| aftermath.spelled_out(&request));
            let request = spelled_out.map_or(request, Bytes::from);
            ticket.len = request.len();
            (ticket, request)
        }));
    }

    /// Whether its client has asked something meanwhile that tells whether it has run: about the same keys, or about any.
    fn has_gone_on(&self, ticket: &Ticket, request: &[u8]) -> bool {
        let Some(client) = ticket.client() else { return false };
        let own = Named::of(request, &self.commands);
        let is_theirs = |other: &Ticket| other.client().is_some_and(|own| Rc::ptr_eq(&own, &client));
        let others = self.queue.requests().filter(|(other, _)| is_theirs(other));
        others.map(|(_, bytes)| Named::of(bytes, &self.commands)).any(|other| own.may_tell_of(&other))
    }
}

/// The keys a request names.
enum Named {
    These(Vec<Vec<u8>>),
    /// None, or any.
    Others,
}

impl Named {
    fn of(bytes: &[u8], commands: &Commands) -> Self {
        let mut parser = Parser::default();
        let Some(request) = parser.known(bytes) else { return Self::Others };
        match commands.understand(request).keys() {
            Touches::These(keys) => Self::These(keys.map(<[u8]>::to_vec).collect()),
            Touches::None | Touches::Any => Self::Others,
        }
    }

    fn may_tell_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::These(own), Self::These(others)) => own.iter().any(|key| others.contains(key)),
            (Self::Others, _) | (_, Self::Others) => true,
        }
    }
}
