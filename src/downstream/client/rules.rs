//! A client and the session rules: what becomes of its requests that concern sessions.

use std::borrow::Cow;

use tokio::time::Instant;

use super::{Client, Outcome};
use crate::command::Command;
use crate::dispatch::Forwarded;
use crate::downstream::mode::Mode;
use crate::downstream::pin::{Owed, Then};
use crate::session::{Asking, Decision, Rewritten, Rules};
use crate::upstream::{Outgoing, Repair};

/// What a request is refused with.
pub(in crate::downstream) type Refusal = Cow<'static, str>;

/// A request on a connection of the client's own, as the rules have it.
#[derive(Default)]
pub(super) struct Ruled {
    /// What is sent in its place, if anything.
    pub(super) request: Option<Vec<u8>>,
    /// A key it writes besides those of the command.
    pub(super) also: Option<Vec<u8>>,
    pub(super) then: Then,
}

impl Client {
    /// Answers a request the rules do not let through. `None`: they do.
    pub(super) fn refuse_by_rule(&mut self, command: &Command<'_>, now: Instant) -> Option<Outcome> {
        // Before it has authenticated, and while it is given another connection, something else is to be said.
        let is_heard = !matches!(self.mode, Mode::Unauthenticated | Mode::Lost { .. });
        let rules = self.worker.settings().rules.clone().filter(|_| is_heard)?;
        let text = rules.refusal(command, self.database())?;
        if let Mode::Pinned { pin, .. } = &self.mode
            && pin.may_be_in_transaction()
            && pin.in_flight() > 0
        {
            // What the replies will say decides whether a transaction is to be aborted.
            return Some(Outcome::Wait);
        }
        self.sightings.count_refusal(&text);
        self.begin_reply();
        match &self.mode {
            Mode::Pinned { pin, .. } if pin.is_in_transaction() => self.refuse_in_transaction(text, now),
            _ => self.error(text.as_bytes()),
        }
        self.accepted(command);
        Some(Outcome::Done)
    }

    /// What the rules make of a request that is about to be sent on the connection the client holds.
    pub(super) fn ruled(&self, command: &Command<'_>, now: Instant) -> Ruled {
        let Some(rules) = self.worker.settings().rules.clone() else { return Ruled::default() };
        // The server refuses it, in words that name it.
        if matches!(&self.mode, Mode::Pinned { pin, .. } if pin.is_subscribed_in_resp2()) {
            return Ruled::default();
        }
        let mut ruled = Ruled::default();
        match self.decide_by_rule(&rules, command, now) {
            Decision::AsIs(aftermath) => ruled.then.aftermath = aftermath,
            Decision::Rewritten(Rewritten { mut request, mut aftermath, also }) => {
                // What it is answered there, in a transaction perhaps, is final.
                if let Some(spelled_out) = aftermath.spelled_out(&request) {
                    request = spelled_out;
                }
                ruled = Ruled { request: Some(request), also, then: Then { aftermath: Some(aftermath), owed: None } };
            }
            Decision::Repaired(Rewritten { request, aftermath, .. }) => {
                ruled.then.owed = Some(Owed { request, aftermath, db: self.database() });
            }
        }
        if let Some(aftermath) = &mut ruled.then.aftermath {
            aftermath.begins();
        }
        ruled
    }

    /// The database its next request will run in.
    fn database(&self) -> u32 {
        match &self.mode {
            Mode::Pinned { pin, .. } => pin.selected().unwrap_or(self.db),
            Mode::Unauthenticated | Mode::Open | Mode::Lost { .. } | Mode::Aborted => self.db,
        }
    }

    /// What the rules make of a request.
    fn decide_by_rule(&self, rules: &Rules, command: &Command<'_>, now: Instant) -> Decision {
        let is_alone = matches!(self.mode, Mode::Pinned { .. });
        let asking = Asking {
            db: self.database(),
            protocol: self.protocol,
            sightings: &self.sightings,
            may_try: !is_alone && !self.has_more && self.outbox.in_flight() == 0,
            is_alone,
            now,
        };
        rules.decide(command, &asking)
    }

    /// Sends a request on a shared connection, as the rules have it.
    pub(super) fn forward_by_rule(&mut self, rules: &Rules, command: &Command<'_>, now: Instant) -> Forwarded {
        if let Some(touch) = rules.touch(command, self.db)
            && self.worker.dispatch.touch(&touch, self.db, &self.track, &self.outbox, now)
        {
            self.sightings.count_touch();
            return Forwarded::Sent;
        }
        let may_hold = rules.may_hold_those_of(command, self.db);
        let outgoing = Outgoing { may_hold, ..Outgoing::new(*command) };
        match self.decide_by_rule(rules, command, now) {
            Decision::AsIs(aftermath) => self.send(Outgoing { aftermath, ..outgoing }, now),
            Decision::Rewritten(Rewritten { request, aftermath, also }) => {
                self.is_trying = aftermath.is_try();
                let (request, aftermath) = (&request[..], Some(aftermath));
                self.send(Outgoing { request, aftermath, also: also.as_deref(), ..outgoing }, now)
            }
            Decision::Repaired(Rewritten { request, aftermath, .. }) => {
                let repair = Some(Repair { request: &request, aftermath });
                self.send(Outgoing { repair, ..outgoing }, now)
            }
        }
    }
}
