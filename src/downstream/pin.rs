//! What a client has done to the connection it holds.
//!
//! Pure: requests go in when they are sent, replies when they come, and at every moment it is known which
//! request a frame answers, whether anything is left on the connection, and what becomes of the client if
//! the connection is lost.

mod expected;
mod loss;
mod meaning;
mod subscriptions;
mod transaction;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::Hold;
use crate::command::{Command, Effect, PinReason};
use crate::outbox::Slot;
use crate::resp::{Protocol, peek};

use super::register::View;
use expected::{Expected, What};
use subscriptions::{Gap, Subscriptions};
use transaction::{Queued, Ran};

pub(super) use expected::{Owed, Then, selected_database};
pub(super) use loss::{AfterLoss, Fate};
pub(super) use meaning::{Belongs, Meaning};

/// The state of a pinned connection, as its client made it.
#[derive(Debug)]
pub(super) struct Pin {
    reason: PinReason,
    protocol: Protocol,
    /// Commands queued since `MULTI`.
    transaction: Option<Vec<Queued>>,
    is_watching: bool,
    /// A watched key may have changed unseen: the next `EXEC` must answer null.
    is_doomed: bool,
    subscriptions: Subscriptions,
    is_monitoring: bool,
    is_tracking: bool,
    is_broadcast: bool,
    /// Commands of an `EXEC` whose replies come behind its frame.
    behind: VecDeque<Queued>,
    expected: VecDeque<Expected>,
    /// While the client is being subscribed again.
    gap: Option<Gap>,
}

impl Pin {
    pub(super) fn new(reason: PinReason, protocol: Protocol, is_doomed: bool) -> Self {
        Self {
            reason,
            protocol,
            transaction: None,
            is_watching: false,
            is_doomed,
            subscriptions: Subscriptions::default(),
            is_monitoring: false,
            is_tracking: false,
            is_broadcast: false,
            behind: VecDeque::new(),
            expected: VecDeque::new(),
            gap: None,
        }
    }

    /// Requests not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.expected.len()
    }

    /// Whether the next reply comes behind the frame of an `EXEC`.
    pub(super) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Whether the client is between `MULTI` and `EXEC`, as far as the replies have said.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Whether a `MULTI` is in flight, or has been answered.
    pub(super) fn may_be_in_transaction(&self) -> bool {
        self.is_in_transaction() || self.expected.iter().any(|expected| expected.what == What::Multi)
    }

    /// Whether only the commands of subscriptions are allowed, as RESP2 has it.
    pub(super) fn is_subscribed_in_resp2(&self) -> bool {
        self.protocol == Protocol::Resp2 && !self.subscriptions.are_none()
    }

    /// Whether a watched key may have changed unseen.
    pub(super) fn is_doomed(&self) -> bool {
        self.is_doomed
    }

    /// Whether the client waits for one reply and nothing may be sent behind it.
    pub(super) fn is_exclusive(&self) -> bool {
        let is_single =
            matches!(self.reason, PinReason::Blocking | PinReason::Database | PinReason::Large | PinReason::Unknown);
        is_single && !self.is_lasting() && !self.expected.is_empty()
    }

    /// Whether it was checked out for a `SELECT` the server must judge.
    pub(super) fn asks_for_database(&self) -> bool {
        self.reason == PinReason::Database
    }

    /// What others see of it.
    pub(super) fn view(&self, connection: i64) -> View {
        View {
            connection,
            is_blocked: self.expected.iter().any(|expected| expected.what == What::Block),
            is_monitoring: self.is_monitoring,
            is_tracking: self.is_tracking,
            is_broadcast: self.is_broadcast,
            queued: self.transaction.as_ref().map(Vec::len),
            channels: self.subscriptions.channels,
            patterns: self.subscriptions.patterns,
            shards: self.subscriptions.shards,
        }
    }

    /// Whether what the client waits for is up to others: it would wait for ever.
    pub(super) fn waits_for_others(&self) -> bool {
        match self.expected.front() {
            Some(expected) => expected.what == What::Block,
            None => self.is_lasting(),
        }
    }

    /// Whether the server does not answer this one: a second `MONITOR`.
    pub(super) fn is_not_answered(&self, command: &Command<'_>) -> bool {
        let monitors = self.is_monitoring || self.expected.iter().any(|expected| expected.what == What::Monitor);
        monitors && command.is("monitor") && command.has_its_arity()
    }

    /// When the oldest request in flight must have been answered. What blocks may take the time it says, or for ever,
    /// and so may what is not known.
    pub(super) fn due(&self, reply_timeout: Duration) -> Option<Instant> {
        let front = self.expected.front()?;
        front.patience.map(|patience| front.since + patience + reply_timeout)
    }

    /// Whether nothing is in flight and nothing is left on the connection.
    pub(super) fn is_clear(&self) -> bool {
        self.expected.is_empty() && self.behind.is_empty() && !self.is_lasting()
    }

    fn is_lasting(&self) -> bool {
        self.transaction.is_some()
            || self.is_watching
            || !self.subscriptions.are_none()
            || self.is_monitoring
            || self.is_tracking
    }

    /// A request is about to be sent.
    pub(super) fn sent(&mut self, command: &Command<'_>, reason: Option<PinReason>, slot: Slot, now: Instant) {
        if let Some(reason) = reason.filter(|_| !self.is_lasting()) {
            self.reason = reason;
        }
        let what = match reason {
            Some(PinReason::Blocking) => What::Block,
            Some(PinReason::Unknown) => What::Unknown,
            _ => What::of(command, self.is_doomed),
        };
        let is_again = what.is_subscription() && self.subscriptions.are_remembered();
        let request = if is_again { command.request.frame().into() } else { Box::default() };
        let patience = match what {
            What::Block => command.longest_block(),
            What::Unknown => None,
            _ => Some(Duration::ZERO),
        };
        let (effect, then) = (command.effect(), Then::default());
        self.expect(Expected { slot, effect, what, since: now, patience, request, hold: None, then });
    }

    /// What the session rules make of the reply to what was sent last.
    pub(super) fn follows(&mut self, then: Then) {
        if let Some(newest) = self.expected.back_mut() {
            newest.then = then;
        }
    }

    /// The database the next request will run in, where a `SELECT` before it has not run yet.
    pub(super) fn selected(&self) -> Option<u32> {
        let select = |what: &What| if let What::Select(db) = what { Some(*db) } else { None };
        let in_flight = self.expected.iter().rev().find_map(|expected| select(&expected.what));
        in_flight.or_else(|| self.transaction.iter().flatten().rev().find_map(Queued::select))
    }

    /// Takes what is owed to sessions that requests in flight may have written.
    pub(super) fn take_owed(&mut self) -> Vec<Owed> {
        let queued = self.transaction.iter_mut().flatten().filter_map(Queued::take_owed);
        let runs = self.expected.iter().any(|expected| expected.what == What::Exec);
        let mut owed: Vec<_> = queued.filter(|_| runs).collect();
        owed.extend(self.expected.iter_mut().filter_map(|expected| expected.then.owed.take()));
        owed
    }

    /// What was sent last writes these keys until it is answered.
    pub(super) fn holds(&mut self, hold: Option<Hold>) {
        if let Some(newest) = self.expected.back_mut() {
            newest.hold = hold;
        }
    }

    /// A command that makes the server abort the transaction is about to be sent in place of one refused here.
    pub(super) fn sent_refused(&mut self, text: Cow<'static, str>, slot: Slot, now: Instant) {
        self.expect_read(slot, What::Refused(text), now);
    }

    /// A `HELLO` of ours is about to be sent: the client is answered here.
    pub(super) fn sent_hello(&mut self, protocol: Protocol, now: Instant) {
        self.expect_read(Slot::NONE, What::Hello(protocol), now);
    }

    /// A request of ours that changes nothing is about to be sent.
    pub(super) fn sent_ping(&mut self, now: Instant) {
        self.expect_read(Slot::NONE, What::Ours, now);
    }

    fn expect_read(&mut self, slot: Slot, what: What, since: Instant) {
        let patience = Some(Duration::ZERO);
        self.expect(Expected {
            slot,
            effect: Effect::Read,
            what,
            since,
            patience,
            request: Box::default(),
            hold: None,
            then: Then::default(),
        });
    }

    fn expect(&mut self, expected: Expected) {
        self.subscriptions.held += expected.request.len();
        self.expected.push_back(expected);
    }

    /// The oldest request in flight is answered.
    fn pop(&mut self) -> Option<Expected> {
        let expected = self.expected.pop_front()?;
        self.subscriptions.held -= expected.request.len();
        if let Some(gap) = &mut self.gap {
            gap.left = gap.left.saturating_sub(1);
            self.gap = self.gap.filter(|gap| gap.left > 0);
        }
        Some(expected)
    }

    /// A frame has come.
    pub(super) fn received(&mut self, frame: &[u8], now: Instant) -> Meaning {
        if self.is_monitoring && peek::is_monitor_line(frame) {
            return Meaning::new(Belongs::Push);
        }
        if let Some(confirmed) = self.confirmation(frame) {
            return Meaning::new(confirmed);
        }
        let is_message = frame.first() == Some(&b'>')
            || self.is_subscribed_in_resp2()
                && matches!(peek::first_word(frame), Some(b"message" | b"pmessage" | b"smessage"));
        if is_message {
            return Meaning::new(Belongs::Push);
        }
        if let Some(queued) = self.behind.pop_front() {
            let (database, told) = (queued.selected(frame), queued.told(frame, now));
            return Meaning { database, told: told.map(Cow::into_owned), ..Meaning::new(Belongs::Push) };
        }
        match self.pop() {
            Some(Expected { slot, what, hold, then, .. }) => {
                // What was sent behind a command that blocked has waited for it, not for the server.
                if let (What::Block | What::Unknown, Some(next)) = (&what, self.expected.front_mut()) {
                    next.since = now;
                }
                self.answered(slot, what, (hold, then), frame, now)
            }
            None => Meaning::new(Belongs::Nobody),
        }
    }

    /// A piece of a long string has come: a plain reply.
    pub(super) fn received_piece(&mut self, is_last: bool, now: Instant) {
        if is_last && let Some(Expected { then: Then { aftermath: Some(aftermath), .. }, .. }) = self.pop() {
            aftermath.hear_text(now);
        }
        if let Some(front) = self.expected.front_mut() {
            front.since = now;
        }
    }

    /// The oldest request in flight.
    pub(super) fn oldest(&self) -> Option<Slot> {
        self.expected.front().map(|expected| expected.slot)
    }

    fn answered(
        &mut self,
        slot: Slot,
        what: What,
        (hold, then): (Option<Hold>, Then),
        frame: &[u8],
        now: Instant,
    ) -> Meaning {
        let is_ok = frame == b"+OK\r\n";
        let mut meaning = Meaning::new(Belongs::Reply(slot));
        if frame == b"+QUEUED\r\n"
            && let Some(queued) = &mut self.transaction
        {
            queued.push(Queued::new(&what, hold, then));
            return meaning;
        }
        meaning.owed.extend(then.owed);
        meaning.told = then.aftermath.and_then(|aftermath| match aftermath.hear(frame, now) {
            told if *told == *frame => None,
            told => Some(told.into_owned()),
        });
        match what {
            What::Multi if is_ok => self.transaction = Some(Vec::new()),
            What::Watch if is_ok => self.is_watching = true,
            What::Unwatch if is_ok => (self.is_watching, self.is_doomed) = (false, false),
            What::Select(db) if is_ok => meaning.database = Some(db),
            What::Monitor if is_ok => self.is_monitoring = true,
            What::TrackingOn { is_broadcast } if is_ok => (self.is_tracking, self.is_broadcast) = (true, is_broadcast),
            What::TrackingOff if is_ok => (self.is_tracking, self.is_broadcast) = (false, false),
            What::Discard if is_ok => self.end_transaction(),
            What::Refused(text) => meaning.belongs = Belongs::RefusalInstead(slot, text),
            What::Hello(protocol) => {
                self.protocol = protocol;
                meaning.belongs = Belongs::Us;
            }
            What::Ours => meaning.belongs = Belongs::Us,
            What::Subscribe(_) if slot == Slot::NONE => meaning.belongs = Belongs::Gap,
            What::DoomedExec if is_ok => {
                meaning.belongs = Belongs::NullInstead(slot);
                self.end_transaction();
            }
            // Outside a transaction it is an error, and changes nothing.
            What::Exec if self.transaction.is_some() => {
                let Ran { database, told, owed } = self.ran(frame, now);
                meaning = Meaning { database, told, owed, ..meaning };
                self.end_transaction();
            }
            What::Plain
            | What::Block
            | What::Unknown
            | What::Multi
            | What::Exec
            | What::DoomedExec
            | What::Discard
            | What::Watch
            | What::Unwatch
            | What::Select(_)
            | What::Subscribe(_)
            | What::UnsubscribeAll(_)
            | What::Monitor
            | What::TrackingOn { .. }
            | What::TrackingOff => {}
        }
        meaning
    }

    /// Whether the frame confirms a (un)subscription, and of which request.
    fn confirmation(&mut self, frame: &[u8]) -> Option<Belongs> {
        let front = self.expected.front_mut().filter(|front| front.what.is_subscription())?;
        self.subscriptions.confirm(frame)?;
        let slot = front.slot;
        let is_last = match &mut front.what {
            What::Subscribe(left) => {
                *left -= 1;
                *left == 0
            }
            What::UnsubscribeAll(topic) => self.subscriptions.count(*topic) == 0,
            _ => return None,
        };
        if is_last {
            self.pop();
        }
        Some(if slot == Slot::NONE { Belongs::Us } else { Belongs::Confirmation { slot, is_last } })
    }
}

#[cfg(test)]
mod tests;
