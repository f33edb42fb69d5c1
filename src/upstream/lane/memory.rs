//! What a lane has its worker's cache for: reads that are answered from memory, and what that needs of the server.
//!
//! The cache decides ([`crate::cache`]); here its decisions meet the queue and the clients.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Lane, Outgoing};
use crate::cache::{Answer, Ask, Asker, Cache, Lease, Link, Miss, Question, Recall};
use crate::command::{Command, Commands, Shape};
use crate::config::Reconnect;
use crate::outbox::{Form, Outbox, Slot};
use crate::resp::request::Parser;
use crate::resp::{Protocol, encode};
use crate::session::{Aftermath, Touch};
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
    /// Bytes of the requests that wait for a fence.
    waiting: Cell<usize>,
}

/// A read that would be a hit, and waits for a fence.
struct Waiting {
    recipient: Recipient,
    request: Bytes,
    about: About,
    since: Instant,
    aftermath: Option<Aftermath>,
}

/// Lengths only (G8).
impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiting read of {} bytes", self.request.len())
    }
}

/// What memory has to say about a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recalled {
    /// It is answered, or will be through the outbox.
    Answered,
    /// It waits for a fence, and will be answered through the outbox.
    Waits(Slot),
    /// Only the server can answer; why, if it is a read of the kind that memory can answer.
    Forward(Option<Miss>),
}

impl Memory {
    pub(super) fn new(cache: Rc<RefCell<Cache>>, db: u32, own_key: &str) -> Self {
        let mut fence = Vec::new();
        encode::request(&mut fence, &[b"DEL", own_key.as_bytes()]);
        Self {
            cache,
            link: RefCell::new(Link::new(db)),
            fence: fence.into(),
            commands: Commands::default(),
            waiting: Cell::new(0),
        }
    }

    fn parts(&self) -> (RefMut<'_, Cache>, RefMut<'_, Link<Waiting>>) {
        (self.cache.borrow_mut(), self.link.borrow_mut())
    }

    /// A read that has waited is for the server to answer after all.
    fn forward(&self, recovery: &mut Recovery, waiting: Waiting, now: Instant) {
        let Waiting { recipient, request, about, since, aftermath } = waiting;
        self.waiting.update(|bytes| bytes - request.len());
        if recipient.outbox.is_closed() {
            return;
        }
        let ticket = Ticket::new(Audience::Client(recipient), request.len(), about, now);
        // For its reply it has been waiting.
        recovery.push(Ticket { since, aftermath, ..ticket }, &request);
    }

    /// The answer to a request that was kept, if `answer` has one to what it asks.
    fn ask(&self, request: &[u8], answer: impl FnOnce(&Question<'_>) -> Option<Answer>) -> Option<Answer> {
        let mut parser = Parser::default();
        let command = self.commands.understand(parser.known(request).expect("it was read before"));
        answer(&Question::of(&command)?)
    }
}

/// Lets the session rules hear what a client is told from memory.
fn note(aftermath: Option<&Aftermath>, answer: &Answer, now: Instant) {
    let Some(aftermath) = aftermath else { return };
    match answer {
        Answer::Value(Some(_)) => aftermath.hear_text(now),
        Answer::Value(None) | Answer::Values(_) | Answer::Integer(_) => {
            let mut frame = Vec::new();
            answer.write(&mut frame, Protocol::Resp3);
            aftermath.hear(&frame, now);
        }
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
    /// Answers a read from memory, if that is right.
    pub fn recall(
        &self,
        outgoing: &mut Outgoing<'_>,
        outbox: &Rc<Outbox>,
        form: Form,
        asker: Asker,
        now: Instant,
    ) -> Recalled {
        let command = &outgoing.command;
        let Some(memory) = &self.memory else { return Recalled::Forward(None) };
        let Some(question) = Question::of(command) else { return Recalled::Forward(None) };
        let (mut cache, mut link) = memory.parts();
        cache.look_at_clocks(now, || {
            (std::time::Instant::now(), std::time::SystemTime::now(), std::time::Instant::now())
        });
        // What it has asked before may be answered by what is newer: a fence behind that tells as much here, and takes no
        // longer.
        let floor = if outbox.in_flight() > 0 { cache.fences() } else { asker.floor };
        let len = command.request.frame().len();
        let recalled = match cache.recall(&mut link, &question, Asker { floor, ..asker }, now) {
            Recall::Hit(answer) => {
                note(outgoing.aftermath.as_ref(), &answer, now);
                outbox.deliver_now(|out| answer.write(out, protocol(form)));
                Recalled::Answered
            }
            // There is no more room for those who wait.
            Recall::Unproven if memory.waiting.get() + len > self.limits.queue => {
                Recalled::Forward(Some(Miss::Unproven))
            }
            Recall::Unproven => {
                memory.waiting.update(|bytes| bytes + len);
                let slot = outbox.reserve();
                let recipient = Recipient { outbox: Rc::clone(outbox), slot, form };
                let request = Bytes::copy_from_slice(command.request.frame());
                let (about, aftermath) = (About::of(command), outgoing.aftermath.take());
                cache.wait(&mut link, Waiting { recipient, request, about, since: now, aftermath });
                Recalled::Waits(slot)
            }
            Recall::Miss(miss) => {
                let is_away = self.has_failed.get() && outbox.in_flight() == 0;
                match is_away.then(|| cache.recall_stale(&link, &question, floor, now)).flatten() {
                    Some(answer) => {
                        outbox.deliver_now(|out| answer.write(out, protocol(form)));
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

    /// A touch is answered here, if its session is known to live long enough as it is; its reply takes the next slot.
    pub fn touch(&self, touch: &Touch<'_>, outbox: &Rc<Outbox>, asker: Asker, now: Instant) -> bool {
        let Some(memory) = self.memory.as_ref().filter(|_| outbox.in_flight() == 0) else { return false };
        let (cache, link) = memory.parts();
        let is_needless = cache.ends_between(&link, touch.key, asker, now).is_some_and(|(earliest, latest)| {
            let wanted = now + touch.length;
            latest <= wanted && wanted - earliest <= touch.slack
        });
        if is_needless {
            outbox.deliver_now(|out| encode::integer(out, 1));
            self.last_used.set(now);
        }
        is_needless
    }

    /// A read is sent that was not answered from memory for that reason: the right to keep what comes.
    pub(super) fn lease(&self, command: &Command<'_>, miss: Miss, now: Instant) -> Option<Lease> {
        let (mut cache, mut link) = self.memory.as_ref()?.parts();
        let key = Question::of(command).and_then(|question| question.value_of());
        cache.lease(&mut link, key, miss, now)
    }

    /// Sends what the cache wants to know, if it does.
    pub(super) fn tend_memory(&self) {
        let Some(memory) = self.memory.as_ref().filter(|_| self.has_to_tend()) else { return };
        let (mut cache, mut link) = memory.parts();
        let (mut recovery, now) = (self.recovery.borrow_mut(), Instant::now());
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
        let is_of_them = |forwarded: &[Rc<Outbox>], waiting: &Waiting| {
            forwarded.iter().any(|outbox| Rc::ptr_eq(outbox, &waiting.recipient.outbox))
        };
        for waiting in due {
            let Recipient { outbox, slot, form } = &waiting.recipient;
            let answer = match is_proven && !is_of_them(&forwarded, &waiting) {
                true => memory.ask(&waiting.request, |question| cache.recall_proven(&mut link, question, now)),
                false => None,
            };
            match answer {
                Some(answer) => {
                    memory.waiting.update(|bytes| bytes - waiting.request.len());
                    note(waiting.aftermath.as_ref(), &answer, now);
                    outbox.fill(*slot, |out| answer.write(out, protocol(*form)));
                }
                None => {
                    forwarded.push(Rc::clone(outbox));
                    memory.forward(recovery, waiting, now);
                }
            }
        }
        if !forwarded.is_empty() {
            let behind = link.take_waiting(|waiting| is_of_them(&forwarded, waiting));
            behind.into_iter().for_each(|waiting| memory.forward(recovery, waiting, now));
        }
    }

    /// The server has pushed something. Whether it is what it was asked to tell.
    pub(super) fn told(&self, push: &[u8]) -> bool {
        self.memory.as_ref().is_some_and(|memory| {
            let (mut cache, mut link) = memory.parts();
            cache.told(&mut link, push)
        })
    }

    /// Something of this client is about to be sent: its reads that wait for a fence go before.
    pub fn forward_waiting(&self, outbox: &Rc<Outbox>, now: Instant) {
        let Some(memory) = &self.memory else { return };
        let is_theirs = |waiting: &Waiting| Rc::ptr_eq(outbox, &waiting.recipient.outbox);
        let waiting = memory.link.borrow_mut().take_waiting(is_theirs);
        let mut recovery = self.recovery.borrow_mut();
        waiting.into_iter().for_each(|waiting| memory.forward(&mut recovery, waiting, now));
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
        let (mut recovery, now) = (self.recovery.borrow_mut(), Instant::now());
        waiting.into_iter().for_each(|waiting| memory.forward(&mut recovery, waiting, now));
    }

    /// The connection is gone: who waited for it asks the next one.
    pub(super) fn end_memory(&self) {
        let Some(memory) = &self.memory else { return };
        let (mut cache, mut link) = memory.parts();
        self.count_tracked(link.is_tracked(), false);
        for waiting in cache.end(&mut link) {
            match self.limits.reconnect {
                Reconnect::Off => self.not_executed(memory, &waiting),
                Reconnect::Conservative | Reconnect::Eager => {
                    memory.forward(&mut self.recovery.borrow_mut(), waiting, Instant::now());
                }
            }
        }
    }

    /// The server is away: reads that wait for it are answered with what was known, where that is allowed.
    pub(super) fn answer_stale(&self, now: Instant) {
        let Some(memory) = &self.memory else { return };
        let (mut cache, link) = memory.parts();
        if !link.may_be_stale() {
            return;
        }
        self.recovery.borrow_mut().answer_waiting(|Recipient { outbox, slot, form }, request| {
            let answer = memory.ask(request, |question| cache.recall_stale(&link, question, 0, now));
            answer.is_some_and(|answer| {
                outbox.fill(*slot, |out| answer.write(out, protocol(*form)));
                true
            })
        });
    }

    /// When the oldest read will have waited too long for a fence.
    pub(super) fn waiting_until(&self) -> Option<Instant> {
        let since = self.memory.as_ref()?.link.borrow().oldest_waiting()?.since;
        Some(since + self.limits.reply_timeout)
    }

    /// Answers the reads that have waited too long for a fence.
    pub(super) fn expire_waiting(&self, now: Instant) {
        let Some(memory) = &self.memory else { return };
        let is_late = |waiting: &Waiting| waiting.since + self.limits.reply_timeout <= now;
        let expired = memory.link.borrow_mut().give_up(is_late);
        expired.iter().for_each(|waiting| self.not_executed(memory, waiting));
    }

    fn count_tracked(&self, was: bool, is: bool) {
        self.server.metrics.tracked.increment(f64::from(u8::from(is)) - f64::from(u8::from(was)));
    }

    fn not_executed(&self, memory: &Memory, waiting: &Waiting) {
        memory.waiting.update(|bytes| bytes - waiting.request.len());
        let Recipient { outbox, slot, .. } = &waiting.recipient;
        if !outbox.is_closed() {
            outbox.fail(*slot, NOT_EXECUTED);
            self.server.metrics.not_executed.increment(1);
        }
    }

    /// The lane is of no use any more.
    pub(super) fn close_memory(&self) {
        self.end_memory();
        if let Some(memory) = &self.memory {
            let (mut cache, mut link) = memory.parts();
            cache.forget_lost(&mut link);
        }
    }
}
