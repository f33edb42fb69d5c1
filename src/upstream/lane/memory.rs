//! What a lane has its worker's cache for: reads that are answered from memory, and what that needs of the server.
//!
//! The cache decides ([`crate::cache`]); here its decisions meet the queue and the clients.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use super::Lane;
use crate::cache::{Ask, Cache, FenceNumber, Lease, Link, Miss, Question, Recall};
use crate::command::{Command, Commands, Effect, Shape};
use crate::config::Reconnect;
use crate::outbox::{Form, Outbox};
use crate::resp::request::Parser;
use crate::resp::{Protocol, encode};
use crate::upstream::NOT_EXECUTED;
use crate::upstream::recovery::Recovery;
use crate::upstream::ticket::{About, Audience, Recipient, Ticket};
use crate::upstream::tracking::Tracking;

/// A lane's part of its worker's cache.
#[derive(Debug)]
pub(super) struct Memory {
    cache: Rc<RefCell<Cache>>,
    link: RefCell<Link<Waiting>>,
    /// `DEL own_key`: a `PING` is answered by a server that is no primary any more, this is not.
    fence: Bytes,
    commands: Commands,
}

/// A read that would be a hit, and waits for a fence.
#[derive(Debug)]
struct Waiting {
    recipient: Recipient,
    request: Bytes,
    since: Instant,
}

/// What memory has to say about a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recalled {
    /// It is answered, or will be through the outbox.
    Answered,
    /// It waits for a fence, and will be answered through the outbox.
    Waits,
    /// Only the server can answer; why, if it is a read of the kind that memory can answer.
    Forward(Option<Miss>),
}

impl Memory {
    pub(super) fn new(cache: Rc<RefCell<Cache>>, db: u32, own_key: &str) -> Self {
        let mut fence = Vec::new();
        encode::request(&mut fence, &[b"DEL", own_key.as_bytes()]);
        Self { cache, link: RefCell::new(Link::new(db)), fence: fence.into(), commands: Commands::default() }
    }

    fn parts(&self) -> (RefMut<'_, Cache>, RefMut<'_, Link<Waiting>>) {
        (self.cache.borrow_mut(), self.link.borrow_mut())
    }

    /// A read that has waited is for the server to answer after all.
    fn forward(&self, recovery: &mut Recovery, waiting: Waiting) {
        let Waiting { recipient, request, since } = waiting;
        let shape = self.ask(&request, |_, command| command.shape());
        let about = About { effect: Effect::Read, shape };
        recovery.push(Ticket::new(Audience::Client(recipient), request.len(), about, since), &request);
    }

    /// What a request that was kept is.
    fn ask<T>(&self, request: &[u8], then: impl FnOnce(Option<Question<'_>>, Command<'_>) -> T) -> T {
        let mut parser = Parser::default();
        let command = self.commands.understand(parser.known(request).expect("it was read before"));
        then(Question::of(&command), command)
    }
}

/// The protocol of a client whose replies take this form on a connection in RESP3.
fn protocol(form: Form) -> Protocol {
    match form {
        Form::AsIs => Protocol::Resp3,
        Form::Resp2 => Protocol::Resp2,
    }
}

impl Lane {
    /// Answers a read from memory, if that is right. `floor` is the last fence that proves nothing to its client: it has
    /// been answered on another connection since.
    pub fn recall(
        &self,
        command: &Command<'_>,
        outbox: &Rc<Outbox>,
        form: Form,
        floor: FenceNumber,
        now: Instant,
    ) -> Recalled {
        let Some(memory) = &self.memory else { return Recalled::Forward(None) };
        let Some(question) = Question::of(command) else { return Recalled::Forward(None) };
        let (mut cache, mut link) = memory.parts();
        cache.look_at_clocks((std::time::Instant::now(), std::time::SystemTime::now(), std::time::Instant::now()));
        // What the client has asked before may be answered by what is newer: then a fence behind it tells as much here.
        let is_behind = outbox.in_flight() > 0;
        let floor = if is_behind { cache.fences() } else { floor };
        let recalled = match cache.recall(&mut link, &question, floor, now) {
            Recall::Hit(answer) => {
                outbox.answer(|out| answer.write(out, protocol(form)));
                Recalled::Answered
            }
            Recall::Unproven => {
                let recipient = Recipient { outbox: Rc::clone(outbox), slot: outbox.reserve(), form };
                let request = Bytes::copy_from_slice(command.request.frame());
                cache.wait(&mut link, Waiting { recipient, request, since: now });
                Recalled::Waits
            }
            Recall::Miss(miss) => {
                let is_away = self.has_failed.get() && !is_behind;
                match is_away.then(|| cache.recall_stale(&link, &question, floor, now)).flatten() {
                    Some(answer) => {
                        outbox.answer(|out| answer.write(out, protocol(form)));
                        Recalled::Answered
                    }
                    None => Recalled::Forward(Some(miss)),
                }
            }
        };
        if link.has_to_send() {
            self.task.wake();
        }
        self.last_used.set(now);
        recalled
    }

    /// A read is sent that was not answered from memory for that reason: the right to keep what comes.
    pub(super) fn lease(&self, command: &Command<'_>, miss: Miss, now: Instant) -> Option<Lease> {
        let (mut cache, mut link) = self.memory.as_ref()?.parts();
        let key = Question::of(command).and_then(|question| question.value_of());
        cache.lease(&mut link, key, miss, now)
    }

    /// Sends what the cache wants to know, if it does.
    pub(super) fn tend_memory(&self, now: Instant) {
        let Some(memory) = &self.memory else { return };
        let (mut cache, mut link) = memory.parts();
        let mut recovery = self.recovery.borrow_mut();
        if let Some(ask) = cache.fence(&mut link, now) {
            recovery.ask(ask, &memory.fence, Shape::Integer, now);
        }
        let touches = link.take_touches();
        if !touches.is_empty() {
            let words: Vec<_> = std::iter::once(&b"TOUCH"[..]).chain(touches.iter().map(|key| &key[..])).collect();
            let mut request = Vec::new();
            encode::request(&mut request, &words);
            recovery.ask(Ask::Touch, &request, Shape::Integer, now);
        }
    }

    /// Whether the cache wants to know something.
    pub(super) fn has_to_tend(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.link.borrow().has_to_send())
    }

    /// The server has answered what was asked for the cache's sake.
    pub(super) fn hear_ask(&self, recovery: &mut Recovery, ask: Ask, frame: &[u8], now: Instant) {
        let Some(memory) = &self.memory else { return };
        let (mut cache, mut link) = memory.parts();
        let (due, is_proven) = cache.hear(&mut link, ask, frame, now);
        // Of a client whose read only the server can answer, the next ones come behind it.
        let mut forwarded: Vec<Rc<Outbox>> = Vec::new();
        for waiting in due {
            let Recipient { outbox, slot, form } = &waiting.recipient;
            let may_answer = is_proven && !forwarded.iter().any(|other| Rc::ptr_eq(other, outbox));
            let answer = memory
                .ask(&waiting.request, |question, _| cache.recall_proven(&mut link, &question?, now))
                .filter(|_| may_answer);
            match answer {
                Some(answer) => outbox.fill(*slot, |out| answer.write(out, protocol(*form))),
                None => {
                    forwarded.push(Rc::clone(outbox));
                    memory.forward(recovery, waiting);
                }
            }
        }
    }

    /// The server has pushed something. Whether it is what it was asked to tell.
    pub(super) fn told(&self, push: &[u8]) -> bool {
        self.memory.as_ref().is_some_and(|memory| {
            let (mut cache, mut link) = memory.parts();
            cache.told(&mut link, push)
        })
    }

    /// A connection is there.
    pub(super) fn begin_memory(&self, tracking: Tracking) {
        let Some(memory) = &self.memory else { return };
        let (mut cache, mut link) = memory.parts();
        let was_tracked = link.is_tracked();
        let waiting = match tracking {
            Tracking::On { keeps_nil } => cache.begin(&mut link, keeps_nil),
            Tracking::Off { .. } => cache.end(&mut link),
        };
        self.count_tracked(was_tracked, link.is_tracked());
        waiting.into_iter().for_each(|waiting| memory.forward(&mut self.recovery.borrow_mut(), waiting));
    }

    /// The connection is gone: who waited for it asks the next one.
    pub(super) fn end_memory(&self) {
        let Some(memory) = &self.memory else { return };
        let (mut cache, mut link) = memory.parts();
        self.count_tracked(link.is_tracked(), false);
        for waiting in cache.end(&mut link) {
            match self.limits.reconnect {
                Reconnect::Off => self.not_executed(&waiting),
                Reconnect::Conservative | Reconnect::Eager => {
                    memory.forward(&mut self.recovery.borrow_mut(), waiting);
                }
            }
        }
    }

    /// When the oldest read will have waited too long for a fence.
    pub(super) fn waiting_until(&self) -> Option<Instant> {
        let since = self.memory.as_ref()?.link.borrow().oldest_waiting()?.since;
        Some(since + self.limits.reply_timeout)
    }

    /// Answers the reads that have waited too long for a fence.
    pub(super) fn expire_waiting(&self, now: Instant) {
        let Some(memory) = &self.memory else { return };
        let expired = memory.link.borrow_mut().give_up(|waiting| waiting.since + self.limits.reply_timeout <= now);
        expired.iter().for_each(|waiting| self.not_executed(waiting));
    }

    fn count_tracked(&self, was: bool, is: bool) {
        self.server.metrics.tracked.increment(f64::from(u8::from(is)) - f64::from(u8::from(was)));
    }

    fn not_executed(&self, waiting: &Waiting) {
        waiting.recipient.outbox.fail(waiting.recipient.slot, NOT_EXECUTED);
        self.server.metrics.not_executed.increment(1);
    }
}
