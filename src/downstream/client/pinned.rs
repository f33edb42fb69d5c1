//! A client and the connection it holds: what goes through it, what comes back, and its loss.

use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use super::rules::Refusal;
use super::{Client, Outcome};
use crate::command::{Command, PinReason};
use crate::config::Reconnect;
use crate::downstream::close::CloseReason;
use crate::downstream::mode::Mode;
use crate::downstream::pin::{AfterLoss, Belongs, Fate, Owed, Pin};
use crate::downstream::register::View;
use crate::outbox::{Form, Slot};
use crate::resp::{Protocol, decimal, encode};
use crate::upstream::{Item, NOT_EXECUTED, Pinned, Repair, UNKNOWN_OUTCOME};

impl Client {
    pub(in crate::downstream) fn through(
        &mut self,
        command: &Command<'_>,
        reason: Option<PinReason>,
        now: Instant,
    ) -> Outcome {
        let ruled = self.ruled(command, now);
        let Mode::Pinned { conn, pin } = &mut self.mode else { unreachable!("only a pinned client is sent through") };
        if pin.is_not_answered(command) {
            return Outcome::Done;
        }
        if pin.is_clear() {
            let reason = reason.unwrap_or(PinReason::Database);
            self.worker.shared.metrics.upstream.pins.add(reason.label());
        }
        let is_sent_as_is = ruled.request.is_none();
        let is_large = reason == Some(PinReason::Large) && pin.is_clear() && is_sent_as_is;
        if waits_for_writes(command) && !pin.may_be_in_transaction() {
            // It waits for what its connection has written, and the client wrote on others. A connection that has run
            // anything since waits for all of that.
            conn.send(b"*1\r\n$4\r\nPING\r\n");
            pin.sent_ping(now);
        }
        if pin.is_doomed() && command.is("exec") && command.request.len() == 1 {
            conn.send(b"*1\r\n$7\r\nDISCARD\r\n");
        } else if !is_large {
            conn.send(ruled.request.as_deref().unwrap_or(command.request.frame()));
        }
        let hold = self.worker.dispatch.hold(command, ruled.also.as_deref());
        pin.sent(command, reason, self.outbox.reserve(), now);
        pin.holds(hold);
        pin.follows(ruled.then);
        if is_large { Outcome::HandOver } else { Outcome::Done }
    }

    /// `CLIENT TRACKING ON REDIRECT id`: the number a client knows is the proxy's. The server is told the number of
    /// the connection that client holds, which a subscriber does.
    pub(in crate::downstream) fn track(&mut self, command: &Command<'_>, now: Instant) -> Outcome {
        let reason = Some(PinReason::Tracking);
        let Some((index, id)) = redirection(command) else { return self.through(command, reason, now) };
        let target = self.worker.shared.register.find(id);
        // It may be the client itself, whose connection is not shown yet.
        self.show_view();
        let Some(connection) = target.and_then(|entry| entry.name_connection()) else {
            self.error("ERR The client ID you want redirect to does not exist");
            return Outcome::Done;
        };
        let connection = connection.to_string();
        let mut words: Vec<_> = command.request.args_from(0).collect();
        words[index] = connection.as_bytes();
        self.ask_server(&words, reason)
    }

    /// The bytes of a request that was to be handed over.
    pub(in crate::downstream) fn send_large(&mut self, request: Bytes) {
        if let Mode::Pinned { conn, .. } = &mut self.mode {
            conn.send_large(request);
        }
    }

    /// Refuses a command the server must not see, and makes the server abort the transaction as it would have.
    pub(in crate::downstream) fn refuse_in_transaction(&mut self, text: Refusal, now: Instant) {
        let Mode::Pinned { conn, pin } = &mut self.mode else {
            unreachable!("only a pinned client is in a transaction")
        };
        // Too few arguments: the server refuses it, and with it the transaction.
        conn.send(b"*1\r\n$4\r\nECHO\r\n");
        pin.sent_refused(text, self.outbox.reserve(), now);
    }

    /// Lets the connection the client holds, if it holds one, speak the client's new protocol.
    pub(in crate::downstream) fn set_protocol(&mut self, protocol: Protocol) {
        if let Mode::Pinned { conn, pin } = &mut self.mode
            && self.protocol != protocol
        {
            conn.send(format!("*2\r\n$5\r\nHELLO\r\n$1\r\n{}\r\n", protocol.number()).as_bytes());
            pin.sent_hello(protocol, Instant::now());
        }
        self.protocol = protocol;
        self.entry.about().protocol = protocol;
    }

    /// The client now holds a connection.
    pub(in crate::downstream) fn pinned(&mut self, conn: Pinned, reason: PinReason) {
        let pin = Pin::new(reason, self.protocol, self.is_doomed);
        self.was_pinned = true;
        let is_eager = self.worker.settings().upstream.reconnect == Reconnect::Eager;
        self.mode = Mode::Pinned { conn, pin: if is_eager { pin.remembering() } else { pin } };
    }

    /// A client that was subscribed on a connection it has lost now holds another.
    pub(in crate::downstream) fn pinned_again(&mut self, mut conn: Pinned) {
        if let Mode::Lost { mut pin } = std::mem::replace(&mut self.mode, Mode::Open) {
            if pin.gap().is_some_and(|gap| gap.again == 0) && pin.has_missed() {
                self.worker.shared.metrics.upstream.subscription_gaps.increment(1);
            }
            pin.send_again(|request| conn.send(request), Instant::now());
            self.mode = Mode::Pinned { conn, pin };
        }
    }

    /// There is no connection for a request that needs one of its own: answers it.
    pub(in crate::downstream) fn not_pinned(&mut self, reason: PinReason, text: &str) {
        self.begin_reply();
        self.worker.shared.metrics.upstream.not_executed.increment(1);
        match reason {
            // What is sent behind it must not run command by command: EXEC will say that nothing ran.
            PinReason::Transaction => {
                self.mode = Mode::Aborted;
                self.say(|out, _| encode::simple(out, "OK"));
            }
            PinReason::Watch => {
                self.is_doomed = true;
                self.error(text);
            }
            _ => self.error(text),
        }
        self.end_reply();
    }

    /// Gives back a connection nothing is left on.
    pub(in crate::downstream) fn check_in(&mut self) {
        if let Mode::Pinned { conn, pin } = std::mem::replace(&mut self.mode, Mode::Open) {
            self.is_doomed = pin.is_doomed();
            // The same connection may be its own again, and must be shown again.
            self.view.connection = 0;
            if !self.entry.gives_up() {
                self.worker.dispatch.check_in(conn);
            }
        }
    }

    /// Shows others what it does on the connection it holds.
    pub(in crate::downstream) fn show_view(&mut self) {
        let view = match &self.mode {
            Mode::Pinned { conn, pin } => pin.view(conn.number()),
            // As if nothing had happened.
            Mode::Lost { .. } => return,
            Mode::Unauthenticated | Mode::Open | Mode::Aborted => View::default(),
        };
        if view != self.view {
            self.entry.holds(view.connection);
            self.entry.about().view = view;
            self.view = view;
        }
    }

    /// Gives the connection back if nothing is left on it.
    pub(in crate::downstream) fn check_in_if_clear(&mut self) {
        if matches!(&self.mode, Mode::Pinned { pin, .. } if pin.is_clear()) {
            self.check_in();
        }
    }

    /// Hands on what the pinned connection has said.
    ///
    /// # Errors
    /// The client must be closed: a frame nobody asked for, or one that is not understood.
    pub(in crate::downstream) fn hear(&mut self, now: Instant) -> Result<(), CloseReason> {
        while let Mode::Pinned { conn, pin } = &mut self.mode {
            let Ok(item) = conn.next_item() else { return Err(CloseReason::UpstreamLost) };
            let (frame, meaning) = match item {
                None => return Ok(()),
                Some(Item::Piece { bytes, is_last }) if pin.is_behind() => {
                    self.outbox.push(&bytes);
                    if is_last {
                        pin.received(b"", now);
                    }
                    continue;
                }
                Some(Item::Piece { bytes, is_last }) => {
                    let Some(slot) = pin.oldest() else { return Err(CloseReason::UpstreamLost) };
                    self.outbox.deliver_part(slot, bytes, is_last);
                    pin.received_piece(is_last, now);
                    continue;
                }
                Some(Item::Frame { frame, .. }) => (frame, pin.received(frame, now)),
            };
            if let Some(db) = meaning.database {
                self.db = db;
                self.entry.about().db = db;
                self.worker.dispatch.learn_database(db);
            }
            for Owed { request, aftermath, db } in meaning.owed {
                self.worker.dispatch.repair(Repair { request: &request, aftermath }, db, now);
            }
            match meaning.belongs {
                // The server has forgotten who we are; the client must not think that it was meant.
                Belongs::Reply(slot) if frame.starts_with(b"-NOAUTH") => self.outbox.fail(slot, NOT_EXECUTED),
                Belongs::Reply(slot) => {
                    self.outbox.deliver(slot, meaning.told.as_deref().unwrap_or(frame), Form::AsIs);
                }
                Belongs::Confirmation { slot, is_last } => {
                    self.outbox.unmute(slot);
                    self.outbox.deliver_part(slot, frame.to_vec().into(), is_last);
                }
                Belongs::NullInstead(slot) => {
                    let mut null = Vec::new();
                    encode::null_array(&mut null, self.protocol);
                    self.outbox.deliver(slot, &null, Form::AsIs);
                }
                Belongs::RefusalInstead(slot, text) => self.outbox.fail(slot, &text),
                Belongs::Push => self.outbox.push(meaning.told.as_deref().unwrap_or(frame)),
                Belongs::Us => {}
                Belongs::Gap | Belongs::Nobody => return Err(CloseReason::UpstreamLost),
            }
        }
        Ok(())
    }

    /// Has the server forget a lost connection before anybody is told that it may have run something: from then on it
    /// runs nothing more. Until then the client's next requests wait, for they come behind.
    fn sever(&mut self, lost: Pinned, unknown: Vec<Slot>, owed: Vec<Owed>) {
        let (outbox, is_severing) = (Rc::clone(&self.outbox), Rc::clone(&self.is_severing));
        is_severing.set(true);
        // Whatever it may still run.
        let hold = self.worker.dispatch.hold_any();
        let worker = Rc::clone(&self.worker);
        self.worker.dispatch.sever(lost, move || {
            drop(hold);
            for Owed { request, aftermath, db } in owed {
                worker.dispatch.repair(Repair { request: &request, aftermath }, db, Instant::now());
            }
            is_severing.set(false);
            unknown.into_iter().for_each(|slot| outbox.fail(slot, UNKNOWN_OUTCOME));
            outbox.wake();
        });
    }

    /// The client goes, whatever was in flight on the connection it holds: sessions that may have been left without an expiry
    /// get one once nothing more can run there.
    pub(in crate::downstream) fn pay_what_is_owed(&mut self) {
        let Mode::Pinned { pin, .. } = &mut self.mode else { return };
        let owed = pin.take_owed();
        if !owed.is_empty()
            && let Mode::Pinned { conn, .. } = std::mem::replace(&mut self.mode, Mode::Open)
        {
            self.sever(conn, Vec::new(), owed);
        }
    }

    /// The pinned connection is lost: answers what was in flight on it.
    ///
    /// # Errors
    /// The client must see the gap: it is closed, with `reconnect = "off"` once it has read what it is told.
    pub(in crate::downstream) fn lost_pinned(&mut self) -> Result<(), CloseReason> {
        let Mode::Pinned { conn, mut pin } = std::mem::replace(&mut self.mode, Mode::Open) else { return Ok(()) };
        let mut loss = pin.lost();
        let owed = pin.take_owed();
        // The only request, not wholly written, surely did not run.
        if let ([(_, fate @ Fate::Unknown)], false) = (loss.in_flight.as_mut_slice(), conn.is_written()) {
            *fate = Fate::NotExecuted;
        }
        let metrics = &self.worker.shared.metrics.upstream;
        let mut unknown = Vec::new();
        for (slot, fate) in loss.in_flight {
            match fate {
                // A request of ours.
                _ if slot == Slot::NONE => {}
                Fate::Unknown => {
                    metrics.unknown_outcome.increment(1);
                    unknown.push(slot);
                }
                Fate::NotExecuted => {
                    metrics.not_executed.increment(1);
                    self.outbox.fail(slot, NOT_EXECUTED);
                }
                Fate::Ok => self.outbox.deliver(slot, b"+OK\r\n", Form::AsIs),
                Fate::Queued => self.outbox.deliver(slot, b"+QUEUED\r\n", Form::AsIs),
                Fate::Again => {}
            }
        }
        let is_off = self.worker.settings().upstream.reconnect == Reconnect::Off;
        if !unknown.is_empty() || !owed.is_empty() {
            // One that is closed is told before.
            let at_once = if is_off { std::mem::take(&mut unknown) } else { Vec::new() };
            at_once.into_iter().for_each(|slot| self.outbox.fail(slot, UNKNOWN_OUTCOME));
            self.sever(conn, unknown, owed);
        }
        if is_off {
            return Err(CloseReason::UpstreamLost);
        }
        self.is_doomed = loss.then == AfterLoss::Doomed;
        match loss.then {
            AfterLoss::Open | AfterLoss::Doomed => {}
            AfterLoss::Aborted => self.mode = Mode::Aborted,
            // The server was told to send somebody's invalidations to the connection that is lost.
            AfterLoss::Again if self.entry.gives_up() => return Err(CloseReason::UpstreamLost),
            AfterLoss::Again => {
                // The next connection may have the same number, and must be shown again.
                self.view.connection = 0;
                self.mode = Mode::Lost { pin: pin.again(self.protocol, Instant::now()) };
            }
            AfterLoss::Close => return Err(CloseReason::UpstreamLost),
        }
        Ok(())
    }
}

/// Whether a command waits until the replicas, or the disk, have what its connection has written.
fn waits_for_writes(command: &Command<'_>) -> bool {
    ["wait", "waitaof"].iter().any(|name| command.request.is(0, name))
}

/// Where `CLIENT TRACKING` says whom to redirect to, and whom, if that is well formed: all else is for the server.
fn redirection(command: &Command<'_>) -> Option<(usize, i64)> {
    let request = &command.request;
    let mut index = 3;
    while index < request.len() {
        if request.is(index, "redirect") {
            let id = request.arg(index + 1).and_then(decimal)?;
            return Some((index + 1, id));
        }
        index += if request.is(index, "prefix") { 2 } else { 1 };
    }
    None
}
