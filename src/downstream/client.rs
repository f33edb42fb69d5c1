//! One client: what it is, and what happens to each of its requests.

mod pinned;
mod rules;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::info;

use super::auth::DEFAULT_USER;
use super::mode::{Decision, IN_TRANSACTION, Mode, decide};
use super::pin::selected_database;
use super::register::{Entry, View};
use super::worker::Worker;
use super::{CloseReason, here};
use crate::command::{Command, PinReason};
use crate::config;
use crate::dispatch::{Forwarded, Track};
use crate::outbox::{Outbox, Slot};
use crate::resp::request::{Limits, Parser, Request};
use crate::resp::{Protocol, encode};
use crate::session::Sightings;
use crate::upstream::{NOT_EXECUTED, Outgoing, Pinned};

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

/// Bytes of a request besides its longest argument.
const BESIDES_VALUE: usize = 1 << 20;

/// Bytes of replies a client may leave unread before it has authenticated.
const UNREAD_UNAUTHENTICATED: usize = 1 << 10;

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
    /// The connection it held was lost, and may still run something.
    is_severing: Rc<Cell<bool>>,
    /// A wrong password, and when the client is told; nothing else is done for it before.
    wrong_password: Option<(Slot, Instant)>,
    /// What others have been shown of it.
    view: View,
    track: Track,
    /// It has held a connection since it last asked on a shared one.
    was_pinned: bool,
    /// The number of its last command, and how often it was repeated in this turn.
    last_command: (usize, u64),
    log: VecDeque<Logged>,
    /// What its connection has seen of sessions.
    sightings: Rc<Sightings>,
    /// It has sent more than the request that is acted on.
    pub(super) has_more: bool,
    /// Its last request may have to be sent in another form: nothing is done for it before that is answered.
    is_trying: bool,
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
        let sightings = Sightings::new(Rc::clone(&worker.ledger), Arc::clone(&worker.shared.versions));
        let mut client = Self {
            db: worker.settings().db,
            worker,
            entry,
            outbox,
            protocol: Protocol::Resp2,
            mode: Mode::Open,
            is_doomed: false,
            replies: Replies::On,
            is_severing: Rc::default(),
            wrong_password: None,
            view: View::default(),
            track: Track::default(),
            was_pinned: false,
            last_command: (0, 0),
            log: VecDeque::new(),
            sightings,
            has_more: false,
            is_trying: false,
        };
        client.forget_credentials();
        client
    }

    /// Limits of its next request: strict until it has authenticated.
    pub(super) fn limits(&self, limits: &config::Limits) -> Limits {
        match self.mode {
            Mode::Unauthenticated => Limits::UNAUTHENTICATED,
            Mode::Open | Mode::Pinned { .. } | Mode::Lost { .. } | Mode::Aborted => {
                let bulk = limits.request.bytes().min(limits.memory.bytes());
                Limits { arguments: limits.arguments, bulk, request: bulk + BESIDES_VALUE, authenticated: true }
            }
        }
    }

    /// Bytes of replies it may leave unread before its requests wait.
    pub(super) fn unread_most(&self, limits: &config::Limits) -> usize {
        match self.mode {
            Mode::Unauthenticated => UNREAD_UNAUTHENTICATED,
            Mode::Open | Mode::Pinned { .. } | Mode::Lost { .. } | Mode::Aborted => limits.unread_replies.bytes(),
        }
    }

    /// Whether the connection it holds, if it holds one, may be given more to write.
    pub(super) fn has_room_upstream(&self, limits: &config::Limits) -> bool {
        !matches!(&self.mode, Mode::Pinned { conn, .. } if conn.unwritten() >= limits.queue.bytes())
    }

    /// Bytes held for it besides its socket's input, until they are passed on.
    pub(super) fn held(&self) -> usize {
        self.outbox.memory() + if let Mode::Pinned { conn, .. } = &self.mode { conn.held() } else { 0 }
    }

    /// Bytes held of what it is subscribed to: waiting gives none of them back.
    pub(super) fn remembers(&self) -> usize {
        match &self.mode {
            Mode::Pinned { pin, .. } | Mode::Lost { pin } => pin.held(),
            Mode::Unauthenticated | Mode::Open | Mode::Aborted => 0,
        }
    }

    /// Acts on a request.
    pub(super) fn act(&mut self, request: Request<'_>, now: Instant) -> Outcome {
        // What it has tried is answered, or it would not be its turn.
        self.is_trying = false;
        let command = self.worker.understand(request);
        if let Some(outcome) = self.refuse_by_rule(&command, now) {
            return outcome;
        }
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
            Decision::Through(Some(PinReason::Tracking)) => return self.track(command, now),
            Decision::Through(reason) => return self.through(command, reason, now),
            Decision::ThroughBlank => {
                let words: Vec<_> = std::iter::once(command.request.name())
                    .chain(command.request.args_from(1).map(|_| &b"-"[..]))
                    .collect();
                return self.ask_server(&words, None);
            }
            Decision::Refuse(text) => self.error(text),
            Decision::RefuseInTransaction => self.refuse_in_transaction(IN_TRANSACTION.into(), now),
            Decision::Queued => self.say(|out, _| encode::simple(out, "QUEUED")),
            Decision::Abort => {
                self.mode = Mode::Open;
                self.is_doomed = false;
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
        if std::mem::take(&mut self.was_pinned) {
            self.worker.dispatch.answered_elsewhere(&mut self.track);
        }
        let forwarded = match self.worker.settings().rules.clone() {
            None => self.send(Outgoing::new(*command), now),
            Some(rules) => self.forward_by_rule(&rules, command, now),
        };
        match forwarded {
            Forwarded::Sent => Outcome::Done,
            Forwarded::Wait => Outcome::Wait,
            Forwarded::Refused => {
                self.error(NOT_EXECUTED);
                Outcome::Done
            }
        }
    }

    /// Sends a request on a connection shared with others.
    fn send(&mut self, mut outgoing: Outgoing<'_>, now: Instant) -> Forwarded {
        let dispatch = &self.worker.dispatch;
        dispatch.forward(&mut outgoing, self.protocol, self.db, &mut self.track, &self.outbox, now)
    }

    /// Sends a request in place of the client's own; its reply is the client's. `reason` is for the connection it
    /// holds.
    pub(super) fn ask_server(&mut self, words: &[&[u8]], reason: Option<PinReason>) -> Outcome {
        let (mut bytes, mut parser) = (Vec::new(), Parser::default());
        encode::request(&mut bytes, words);
        let command = self.worker.understand(parser.known(&bytes).expect("we write it as it is read"));
        match self.mode {
            Mode::Pinned { .. } => self.through(&command, reason, Instant::now()),
            Mode::Unauthenticated | Mode::Open | Mode::Lost { .. } | Mode::Aborted => {
                self.forward(&command, Instant::now())
            }
        }
    }

    /// `RESET`: as if it had just connected.
    pub(super) fn reset(&mut self) {
        // The pinned connection, if any, is closed with everything that was on it.
        self.mode = Mode::Open;
        self.is_doomed = false;
        self.protocol = Protocol::Resp2;
        self.db = self.worker.settings().db;
        // What `CLIENT REPLY SKIP` has said of this very request still holds.
        if self.replies == Replies::Off {
            self.replies = Replies::On;
            self.outbox.mute(false);
        }
        {
            let mut about = self.entry.about();
            (about.db, about.protocol) = (self.db, self.protocol);
            about.name.clear();
        }
        self.forget_credentials();
    }

    fn forget_credentials(&mut self) {
        if self.worker.shared.users().is_required() {
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

    /// The credentials were wrong: it is told so after a while, and whoever guesses cannot guess often.
    pub(super) fn refuse_password(&mut self, now: Instant) {
        self.worker.password_refused(&self.entry, now);
        self.wrong_password = Some((self.outbox.reserve(), now + self.worker.settings().limits.auth_delay));
    }

    /// Whether its next request must wait for something that is not its own doing.
    pub(super) fn is_held_up(&self) -> bool {
        let is_trying = self.is_trying && self.outbox.in_flight() > 0;
        is_trying || self.is_severing.get() || self.wrong_password.is_some()
    }

    /// When the client is told of a wrong password.
    pub(super) fn wrong_password_due(&self) -> Option<Instant> {
        self.wrong_password.map(|(_, due)| due)
    }

    /// Tells it, if it is time. Whether it was.
    pub(super) fn tell_wrong_password(&mut self, now: Instant) -> bool {
        let Some((slot, _)) = self.wrong_password.take_if(|(_, due)| *due <= now) else { return false };
        self.outbox.fail(slot, here::WRONGPASS);
        true
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

    /// A request without a word is over: it used up what `CLIENT REPLY SKIP` had said.
    pub(super) fn skip_empty(&mut self) {
        self.begin_reply();
        self.end_reply();
    }

    pub(super) fn begin_reply(&mut self) {
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

    /// The request is answered, or will be.
    fn end_reply(&mut self) {
        if self.replies == Replies::Skip {
            self.replies = Replies::On;
        }
    }

    fn accepted(&mut self, command: &Command<'_>) {
        self.end_reply();
        // Counted when another command comes, or the turn ends: a pipeline repeats itself.
        if self.last_command.0 != command.number() {
            self.count_requests();
        }
        self.last_command = (command.number(), self.last_command.1 + 1);
        if command.has_subcommands() {
            self.shows(command);
        }
        if self.worker.settings().logs_commands {
            let bytes = command.request.frame().len();
            self.log.push_back(Logged { command: command.label(), bytes, asked: Instant::now() });
        }
    }

    /// Lets others, and itself, see which command it runs, and in what state.
    pub(super) fn shows(&mut self, command: &Command<'_>) {
        self.show_view();
        self.entry.about().subcommand = command.subcommand();
        self.worker.shared.register.touch(&self.entry, command.number());
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
        self.show_view();
        while self.log.len() > self.outbox.in_flight() {
            let Some(Logged { command, bytes, asked }) = self.log.pop_front() else { return };
            let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            info!(client = self.entry.id, command, bytes, micros, "command");
        }
    }
}
