//! One client: what it is, and what happens to each of its requests.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::info;

use super::auth::DEFAULT_USER;
use super::mode::{Decision, IN_TRANSACTION, Mode, decide};
use super::pin::{AfterLoss, Belongs, Fate, Pin, selected_database};
use super::register::Entry;
use super::worker::Worker;
use super::{CloseReason, here};
use crate::command::{Command, PinReason};
use crate::dispatch::{Forwarded, Track};
use crate::outbox::{Form, Outbox};
use crate::resp::request::{Limits, Request};
use crate::resp::{Protocol, encode};
use crate::upstream::{Item, NOT_EXECUTED, Pinned, UNKNOWN_OUTCOME};

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is answered, or will be through the outbox.
    Done,
    /// Not yet: ask again when something has been answered.
    Wait,
    /// A connection of its own is needed first; then ask again.
    CheckOut(PinReason),
    /// Its bytes go to [`Client::send_large`] as they are.
    HandOver,
    /// The client's connection ends once everything is answered.
    Close(CloseReason),
}

/// One client.
pub(super) struct Client {
    pub(super) worker: Rc<Worker>,
    pub(super) entry: Arc<Entry>,
    pub(super) outbox: Rc<Outbox>,
    pub(super) protocol: Protocol,
    pub(super) db: u32,
    pub(super) mode: Mode<Pinned>,
    /// A key it watches may have changed unseen: its next `EXEC` answers null.
    is_doomed: bool,
    pub(super) replies: Replies,
    track: Track,
    /// The number of its last command, and how often it was repeated in this turn.
    last_command: (usize, u64),
    log: VecDeque<Logged>,
}

/// What `CLIENT REPLY` has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replies {
    On,
    Off,
    /// The next request is not answered.
    SkipNext,
    /// This request is not answered.
    Skip,
}

/// A request that is logged once it is answered.
struct Logged {
    command: &'static str,
    bytes: usize,
    asked: Instant,
}

impl Client {
    pub(super) fn new(worker: Rc<Worker>, entry: Arc<Entry>, outbox: Rc<Outbox>) -> Self {
        let mut client = Self {
            db: worker.settings.db,
            worker,
            entry,
            outbox,
            protocol: Protocol::Resp2,
            mode: Mode::Open,
            is_doomed: false,
            replies: Replies::On,
            track: Track::default(),
            last_command: (0, 0),
            log: VecDeque::new(),
        };
        client.forget_credentials();
        client
    }

    /// Limits of its next request: strict until it has authenticated.
    pub(super) fn limits(&self) -> Limits {
        match self.mode {
            Mode::Unauthenticated => Limits::UNAUTHENTICATED,
            Mode::Open | Mode::Pinned { .. } | Mode::Aborted => Limits {
                arguments: self.worker.settings.limits.arguments,
                bulk: self.worker.settings.limits.request.bytes(),
                request: self.worker.settings.limits.request.bytes(),
                authenticated: true,
            },
        }
    }

    /// Acts on a request.
    pub(super) fn act(&mut self, request: Request<'_>, now: Instant) -> Outcome {
        let command = self.worker.commands.understand(request);
        let decision = decide(&self.mode, &command, self.outbox.in_flight(), self.is_doomed);
        if decision == Decision::CheckIn {
            self.check_in();
            return self.act(request, now);
        }
        self.begin_reply();
        let outcome = self.carry_out(decision, &command, now);
        match outcome {
            Outcome::Done | Outcome::HandOver | Outcome::Close(_) => self.accepted(&command),
            Outcome::Wait | Outcome::CheckOut(_) => self.begin_reply_again(),
        }
        outcome
    }

    fn carry_out(&mut self, decision: Decision, command: &Command<'_>, now: Instant) -> Outcome {
        match decision {
            Decision::Here(local) => return here::answer(self, local, command),
            Decision::Wait => return Outcome::Wait,
            Decision::CheckOut(reason) => return Outcome::CheckOut(reason),
            Decision::CheckIn => unreachable!("act gives the connection back before it carries out"),
            Decision::Forward => return self.forward(command, now),
            Decision::Through(reason) => return self.through(command, reason, now),
            Decision::Refuse(text) => self.error(text),
            Decision::RefuseInTransaction => self.refuse_in_transaction(now),
            Decision::RefuseWhileSubscribed => {
                let name = here::full_name(command);
                self.error(format!(
                    "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                     this context"
                ));
            }
            Decision::Queued => self.say(|out, _| encode::simple(out, "QUEUED")),
            Decision::Abort => {
                self.mode = Mode::Open;
                self.error("EXECABORT Transaction discarded because of previous errors.");
            }
            Decision::Discard | Decision::Unwatch => {
                self.mode = Mode::Open;
                self.is_doomed = false;
                self.say(|out, _| encode::simple(out, "OK"));
            }
        }
        Outcome::Done
    }

    fn forward(&mut self, command: &Command<'_>, now: Instant) -> Outcome {
        let dispatch = &self.worker.dispatch;
        match dispatch.forward(command, self.protocol, self.db, &mut self.track, &self.outbox, now) {
            Forwarded::Sent => Outcome::Done,
            Forwarded::Wait => Outcome::Wait,
            Forwarded::Refused => {
                self.error(NOT_EXECUTED);
                Outcome::Done
            }
        }
    }

    fn through(&mut self, command: &Command<'_>, reason: Option<PinReason>, now: Instant) -> Outcome {
        let Mode::Pinned { conn, pin } = &mut self.mode else { unreachable!("only a pinned client is sent through") };
        if pin.is_clear() {
            let reason = reason.unwrap_or(PinReason::Database);
            self.worker.shared.metrics.upstream.pins.add(reason.label());
        }
        let is_large = reason == Some(PinReason::Large) && pin.is_clear();
        if pin.is_doomed() && command.is("exec") {
            conn.send(b"*1\r\n$7\r\nDISCARD\r\n");
        } else if !is_large {
            conn.send(command.request.frame());
        }
        pin.sent(command, reason, self.outbox.reserve(), now);
        if is_large { Outcome::HandOver } else { Outcome::Done }
    }

    /// The bytes of a request that was to be handed over.
    pub(super) fn send_large(&mut self, request: Bytes) {
        if let Mode::Pinned { conn, .. } = &mut self.mode {
            conn.send_large(request);
        }
    }

    /// Refuses a command the server must not see, and makes the server abort the transaction as it would have.
    fn refuse_in_transaction(&mut self, now: Instant) {
        let Mode::Pinned { conn, pin } = &mut self.mode else {
            unreachable!("only a pinned client is in a transaction")
        };
        // Too few arguments: the server refuses it, and with it the transaction.
        conn.send(b"*1\r\n$4\r\nECHO\r\n");
        pin.sent_refused(self.outbox.reserve(), now);
    }

    /// Lets the connection the client holds, if it holds one, speak the client's new protocol.
    pub(super) fn set_protocol(&mut self, protocol: Protocol) {
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
    pub(super) fn pinned(&mut self, conn: Pinned, reason: PinReason) {
        let pin = Pin::new(reason, self.protocol, self.is_doomed);
        self.mode = Mode::Pinned { conn, pin };
    }

    /// There is no connection for a request that needs one of its own: answers it.
    pub(super) fn not_pinned(&mut self, reason: PinReason, text: &str) {
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
    }

    /// Gives back a connection nothing is left on.
    fn check_in(&mut self) {
        if let Mode::Pinned { conn, pin } = std::mem::replace(&mut self.mode, Mode::Open) {
            self.is_doomed = pin.is_doomed();
            self.worker.dispatch.check_in(conn);
        }
    }

    /// Gives the connection back if nothing is left on it.
    pub(super) fn check_in_if_clear(&mut self) {
        if matches!(&self.mode, Mode::Pinned { pin, .. } if pin.is_clear()) {
            self.check_in();
        }
    }

    /// Hands on what the pinned connection has said.
    ///
    /// # Errors
    /// The client must be closed: a frame nobody asked for, or one that is not understood.
    pub(super) fn hear(&mut self) -> Result<(), CloseReason> {
        while let Mode::Pinned { conn, pin } = &mut self.mode {
            let Ok(item) = conn.next_item() else { return Err(CloseReason::UpstreamLost) };
            let (frame, meaning) = match item {
                None => return Ok(()),
                Some(Item::Piece { bytes, is_last }) => {
                    let Some(slot) = pin.oldest() else { return Err(CloseReason::UpstreamLost) };
                    self.outbox.deliver_part(slot, bytes, is_last);
                    if is_last {
                        pin.received_last_piece();
                    }
                    continue;
                }
                Some(Item::Frame { frame, .. }) => (frame, pin.received(frame)),
            };
            if let Some(db) = meaning.database {
                self.db = db;
                self.entry.about().db = db;
                self.worker.dispatch.learn_database(db);
            }
            match meaning.belongs {
                // The server has forgotten who we are; the client must not think that it was meant.
                Belongs::Reply(slot) if frame.starts_with(b"-NOAUTH") => self.outbox.fail(slot, NOT_EXECUTED),
                Belongs::Reply(slot) => self.outbox.deliver(slot, frame, Form::AsIs),
                Belongs::Part(slot) => self.outbox.deliver_part(slot, frame.to_vec().into(), false),
                Belongs::LastPart(slot) => self.outbox.deliver_part(slot, frame.to_vec().into(), true),
                Belongs::NullInstead(slot) => {
                    let mut null = Vec::new();
                    encode::null_array(&mut null, self.protocol);
                    self.outbox.deliver(slot, &null, Form::AsIs);
                }
                Belongs::RefusalInstead(slot) => self.outbox.fail(slot, IN_TRANSACTION),
                Belongs::Push => self.outbox.push(frame),
                Belongs::Us => {}
            }
        }
        Ok(())
    }

    /// The pinned connection is lost: answers what was in flight on it.
    ///
    /// # Errors
    /// The client must see the gap: it is closed.
    pub(super) fn lost_pinned(&mut self) -> Result<(), CloseReason> {
        let Mode::Pinned { conn, pin } = std::mem::replace(&mut self.mode, Mode::Open) else { return Ok(()) };
        let mut loss = pin.lost();
        // The only request, not wholly written, surely did not run.
        if let ([(_, fate)], false) = (loss.in_flight.as_mut_slice(), conn.is_written()) {
            *fate = Fate::NotExecuted;
        }
        if loss.in_flight.iter().any(|(_, fate)| *fate == Fate::Unknown) {
            self.worker.dispatch.sever(conn);
        }
        let metrics = &self.worker.shared.metrics.upstream;
        for (slot, fate) in loss.in_flight {
            match fate {
                Fate::Unknown => {
                    metrics.unknown_outcome.increment(1);
                    self.outbox.fail(slot, UNKNOWN_OUTCOME);
                }
                Fate::NotExecuted => {
                    metrics.not_executed.increment(1);
                    self.outbox.fail(slot, NOT_EXECUTED);
                }
                Fate::Ok => self.outbox.deliver(slot, b"+OK\r\n", Form::AsIs),
                Fate::Queued => self.outbox.deliver(slot, b"+QUEUED\r\n", Form::AsIs),
            }
        }
        if self.worker.settings.closes_clients_on_loss {
            return Err(CloseReason::UpstreamLost);
        }
        match loss.then {
            AfterLoss::Open => {}
            AfterLoss::Doomed => self.is_doomed = true,
            AfterLoss::Aborted => self.mode = Mode::Aborted,
            AfterLoss::Close => return Err(CloseReason::UpstreamLost),
        }
        Ok(())
    }

    /// `RESET`: as if it had just connected.
    pub(super) fn reset(&mut self) {
        // The pinned connection, if any, is closed with everything that was on it.
        self.mode = Mode::Open;
        self.is_doomed = false;
        self.protocol = Protocol::Resp2;
        self.db = self.worker.settings.db;
        self.replies = Replies::On;
        self.outbox.mute(false);
        {
            let mut about = self.entry.about();
            (about.db, about.protocol, about.flags) = (self.db, self.protocol, "");
            about.name.clear();
        }
        self.forget_credentials();
    }

    fn forget_credentials(&mut self) {
        if self.worker.shared.users.is_required() {
            self.mode = Mode::Unauthenticated;
        }
        self.entry.about().user = DEFAULT_USER.to_owned();
    }

    /// The credentials were right.
    pub(super) fn authenticated(&mut self, user: &[u8]) {
        self.entry.about().user = String::from_utf8_lossy(user).into_owned();
        if matches!(self.mode, Mode::Unauthenticated) {
            self.mode = Mode::Open;
        }
    }

    /// Answers in the client's protocol.
    pub(super) fn say(&mut self, write: impl FnOnce(&mut bytes::BytesMut, Protocol)) {
        let protocol = self.protocol;
        self.outbox.answer(|out| write(out, protocol));
    }

    /// Answers with an error.
    pub(super) fn error(&mut self, text: impl AsRef<[u8]>) {
        self.say(|out, _| encode::error(out, text.as_ref()));
    }

    /// Whether a database is known to exist, so that `SELECT` may be answered here.
    pub(super) fn may_select(&self, command: &Command<'_>) -> Option<u32> {
        selected_database(command).filter(|db| self.worker.dispatch.knows_database(*db))
    }

    fn begin_reply(&mut self) {
        if self.replies == Replies::SkipNext {
            self.replies = Replies::Skip;
        }
        self.outbox.mute(matches!(self.replies, Replies::Off | Replies::Skip));
    }

    /// The request was not accepted: it will be acted on again.
    fn begin_reply_again(&mut self) {
        if self.replies == Replies::Skip {
            self.replies = Replies::SkipNext;
        }
    }

    fn accepted(&mut self, command: &Command<'_>) {
        if self.replies == Replies::Skip {
            self.replies = Replies::On;
        }
        // Counted when another command comes, or the turn ends: a pipeline repeats itself.
        if self.last_command.0 != command.number() {
            self.count_requests();
        }
        self.last_command = (command.number(), self.last_command.1 + 1);
        if self.worker.settings.logs_commands {
            let bytes = command.request.frame().len();
            self.log.push_back(Logged { command: command.label(), bytes, asked: Instant::now() });
        }
    }

    fn count_requests(&mut self) {
        let (command, times) = (self.last_command.0, std::mem::take(&mut self.last_command.1));
        if let Some(counter) = self.worker.shared.metrics.client.requests.get(command) {
            counter.increment(times);
        }
    }

    /// After a turn: shows others what it did, and logs the requests that have been answered.
    pub(super) fn end_turn(&mut self) {
        if self.last_command.1 > 0 {
            self.worker.shared.register.touch(&self.entry, self.last_command.0);
            self.count_requests();
        }
        while self.log.len() > self.outbox.in_flight() {
            let Some(Logged { command, bytes, asked }) = self.log.pop_front() else { return };
            let micros = asked.elapsed().as_micros();
            info!(client = self.entry.id, command, bytes, micros, "command");
        }
    }
}
