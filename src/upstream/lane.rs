//! One upstream connection shared by many clients, for as long as its worker lives.
//!
//! Clients queue requests; one task owns the socket and does every read and every write. Clients of the same
//! turn of the event loop only *wake* it, so it runs after all of them and writes once what all of them
//! queued: half the processor time of writing at once, for us and for the server (`research/crates.md`,
//! section 2).
//!
//! ```text
//! clients ─ send() ─▶ Recovery ─ one write a turn ─▶ server
//!                       │ pop
//! outbox ◀──────────────┴─ run(): read, cut, pair ◀─ server
//! ```
//!
//! What is decided is decided by [`Recovery`]; here it is carried out.
//!
//! # Why
//! A channel per request and a task per reply cost a thousand instructions more; writing from each client's
//! own turn costs the server 2.7 times as much.

mod drive;
mod memory;

pub use memory::Recalled;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::loss::Loss;
use super::recovery::Recovery;
use super::server::{Established, Server};
use super::ticket::{About, Audience, Endings, Recipient, Ticket};
use super::timer::Timer;
use super::{Kind, NOT_EXECUTED};
use memory::Memory;

use crate::cache::{Ask, Cache, Miss};
use crate::command::{Command, Shape};
use crate::config::Reconnect;
use crate::outbox::{Form, Outbox, Slot};
use crate::resp::{Protocol, encode};
use crate::session::Aftermath;
use crate::wakeup::Wakeup;

/// How long requests may wait, and how many bytes of them.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct LaneLimits {
    pub queue_timeout: Duration,
    pub reply_timeout: Duration,
    pub queue: usize,
    /// What a lost connection means to the clients on it.
    pub reconnect: Reconnect,
}

/// What is read next is told of when it changes.
const OPTIN: &[u8] = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n";

/// What became of a request handed to [`Lane::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It will be answered through its outbox, in this slot.
    Accepted(Slot),
    /// The queue is full; the client's task is woken when there is room.
    Full,
    /// The server is known to be down. Nothing was sent.
    Refused,
}

/// A request of a client, as it is sent.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// What the client asks.
    pub command: Command<'a>,
    /// The bytes that say so: the client's own, or what the session rules say in their place.
    pub request: &'a [u8],
    /// What the rules make of its reply.
    pub aftermath: Option<Aftermath>,
    /// A key it writes besides those of the command.
    pub also: Option<&'a [u8]>,
    /// What is sent behind it.
    pub repair: Option<Repair<'a>>,
    /// Its answer may be held in memory.
    pub may_hold: bool,
}

/// What gives sessions an expiry that a request may have left without one.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Repair<'a> {
    pub request: &'a [u8],
    pub aftermath: Aftermath,
}

impl<'a> Outgoing<'a> {
    /// A request as it came, and no rule cares.
    pub fn new(command: Command<'a>) -> Self {
        Self { command, request: command.request.frame(), aftermath: None, also: None, repair: None, may_hold: true }
    }
}

/// How a connection ended.
enum End {
    Lost(Loss),
    /// It has answered everything that was sent; the next one, if there is one already.
    Left(Option<Box<Established>>),
    /// Nobody needs the lane any more.
    Unused,
}

/// The queue and the task's waker: what clients see of a multiplexed connection.
#[derive(Debug)]
pub struct Lane {
    kind: Kind,
    limits: LaneLimits,
    server: Arc<Server>,
    recovery: RefCell<Recovery>,
    /// When a request was last sent.
    last_used: Cell<Instant>,
    /// Nobody needs it any more: its task ends.
    is_closing: Cell<bool>,
    task: Wakeup,
    /// Clients that found the queue full.
    waiting: RefCell<Vec<Rc<Outbox>>>,
    /// What its worker holds in memory, where its server tells of changes.
    memory: Option<Memory>,
    /// No connection could be made since the last one.
    has_failed: Cell<bool>,
}

impl Lane {
    /// A lane whose task does not run yet.
    pub fn new(kind: Kind, limits: LaneLimits, server: Arc<Server>, cache: Option<Rc<RefCell<Cache>>>) -> Rc<Self> {
        let now = Instant::now();
        let cache = cache.filter(|_| kind.protocol == Protocol::Resp3);
        let memory = cache.zip(server.own_key()).map(|(cache, own_key)| Memory::new(cache, kind.db, own_key));
        Rc::new(Self {
            kind,
            limits,
            server,
            recovery: RefCell::new(Recovery::new(limits, now)),
            last_used: Cell::new(now),
            is_closing: Cell::new(false),
            task: Wakeup::default(),
            waiting: RefCell::default(),
            memory,
            has_failed: Cell::new(false),
        })
    }

    /// Queues a request; it takes the next slot of `outbox`, and its reply comes there. `miss`: why it was not answered
    /// from memory, if it might have been.
    pub fn send(
        &self,
        outgoing: &mut Outgoing<'_>,
        outbox: &Rc<Outbox>,
        form: Form,
        miss: Option<Miss>,
        now: Instant,
    ) -> Admission {
        let Outgoing { command, request, .. } = *outgoing;
        let mut recovery = self.recovery.borrow_mut();
        let spelled_out = recovery.spell_out(outgoing.aftermath.as_mut(), request);
        let request = spelled_out.as_deref().unwrap_or(request);
        let size = recovery.size();
        let is_full = size > 0 && size + request.len() > self.limits.queue;
        if !recovery.phase().is_connected() && (is_full || self.server.is_known_to_be_down(now)) {
            self.server.metrics.not_executed.increment(1);
            return Admission::Refused;
        }
        if is_full {
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.last().is_some_and(|last| Rc::ptr_eq(last, outbox)) {
                waiting.push(outbox.clone());
            }
            return Admission::Full;
        }
        let slot = outbox.reserve();
        let recipient = Recipient { outbox: outbox.clone(), slot, form };
        let lease = miss.and_then(|miss| self.lease(&command, miss, now));
        let mut aftermath = outgoing.aftermath.take();
        if let Some(aftermath) = &mut aftermath {
            aftermath.begins();
        }
        if let Some(lease) = &lease {
            recovery.ask(Ask::Optin(lease.clone()), OPTIN, Shape::Status, now);
        }
        let ticket = Ticket::new(Audience::Client(recipient), request.len(), About::of(&command), now);
        let hold = self.server.hold(&command, outgoing.also);
        recovery.push(Ticket { hold, lease: lease.clone(), aftermath, ..ticket }, request);
        if let Some(Repair { request, aftermath }) = outgoing.repair.take() {
            recovery.repair(Some(aftermath), request, now);
        }
        if let Some(lease) = lease {
            let mut life = Vec::new();
            encode::request(&mut life, &[b"PTTL", lease.key()]);
            recovery.ask(Ask::Life(lease), &life, Shape::Integer, now);
        }
        drop(recovery);
        self.last_used.set(now);
        self.task.wake();
        Admission::Accepted(slot)
    }

    /// Queues a repair of sessions that were written elsewhere.
    pub fn repair(&self, repair: Repair<'_>, now: Instant) {
        self.recovery.borrow_mut().repair(Some(repair.aftermath), repair.request, now);
        self.last_used.set(now);
        self.task.wake();
    }

    /// Closes a lane whose last request was longer ago than `longest`; it must not be sent to any more. Whether it
    /// was closed.
    pub fn close_if_unused(&self, longest: Duration, now: Instant) -> bool {
        let recovery = self.recovery.borrow();
        let is_unused = recovery.phase().is_connected()
            && recovery.is_idle()
            && now.saturating_duration_since(self.last_used.get()) > longest;
        if is_unused {
            self.is_closing.set(true);
            self.task.wake();
        }
        is_unused
    }

    /// Keeps the lane connected until it is closed. `on_loss` is called each time a connection is lost; `is_first`
    /// marks the lane that stands for its worker's readiness.
    ///
    /// # Cancel safety
    /// Dropping this closes the connection; requests in flight stay unanswered.
    pub async fn run(self: Rc<Self>, is_first: bool, on_loss: impl Fn()) {
        let mut established = self.connect(is_first).await;
        loop {
            let trace = established.trace.clone();
            match self.drive(established).await {
                End::Left(Some(successor)) => {
                    self.left(Some(&successor));
                    self.server.metrics.renewals.add("ok");
                    established = *successor;
                    continue;
                }
                End::Left(None) => {
                    self.left(None);
                    self.server.refuses();
                    self.disconnected(&Loss::Refused, is_first);
                }
                End::Lost(loss) => {
                    self.server.condemn(trace);
                    self.recovery.borrow_mut().lost(Instant::now(), fastrand::f64());
                    self.end_memory();
                    self.disconnected(&loss, is_first);
                }
                End::Unused => {
                    self.close_memory();
                    return self.set_ready(false, is_first);
                }
            }
            on_loss();
            established = self.connect(is_first).await;
        }
    }

    fn left(&self, successor: Option<&Established>) {
        let arrival = successor.map(|successor| self.server.arrival(successor));
        self.recovery.borrow_mut().left(arrival, Instant::now(), fastrand::f64());
        match successor {
            Some(successor) => self.begin_memory(successor.tracking),
            None => self.end_memory(),
        }
        self.count();
    }

    fn disconnected(&self, loss: &Loss, is_first: bool) {
        self.set_ready(false, is_first);
        self.server.metrics.losses.add(loss.label());
        self.server.lost(loss, Instant::now());
        self.count();
        self.wake_waiting();
    }

    fn set_ready(&self, is_ready: bool, is_first: bool) {
        self.server.metrics.lanes.increment(if is_ready { 1.0 } else { -1.0 });
        if is_first {
            self.server.worker_is_ready(is_ready);
        }
    }

    /// Tries until there is a connection; meanwhile answers the requests that have waited too long.
    async fn connect(&self, is_first: bool) -> Established {
        let attempts = async {
            loop {
                let attempt_at = self.recovery.borrow().attempt_at();
                sleep_until(attempt_at).await;
                self.server.attempts.wait_until_mended().await;
                let error = match self.server.connect_tracked(self.kind).await {
                    Ok(established) => return established,
                    Err(error) => error,
                };
                self.has_failed.set(true);
                self.answer_stale(Instant::now());
                if let Some(said) = error.own_word() {
                    self.recovery.borrow_mut().turned_away(said, Instant::now(), fastrand::f64());
                    self.count();
                    self.wake_waiting();
                }
            }
        };
        let established = tokio::select! {
            established = attempts => established,
            never = self.give_up_waiting() => match never {},
        };
        let arrival = self.server.arrival(&established);
        self.recovery.borrow_mut().connected(arrival, Instant::now(), fastrand::f64());
        self.has_failed.set(false);
        self.begin_memory(established.tracking);
        self.count();
        self.set_ready(true, is_first);
        established
    }

    /// Answers requests that have waited for longer than `queue_timeout`, for ever.
    async fn give_up_waiting(&self) -> Infallible {
        let mut timer = Timer::default();
        poll_fn(|cx| {
            self.task.register(cx);
            loop {
                let now = Instant::now();
                // Somebody must change something first: nothing is worth waiting for.
                let timeout = match self.server.is_known_to_be_down(now) {
                    true => Duration::ZERO,
                    false => self.limits.queue_timeout,
                };
                self.recovery.borrow_mut().give_up(timeout, NOT_EXECUTED, now);
                if self.count() {
                    self.wake_waiting();
                }
                let next = self.recovery.borrow().next_to_give_up(timeout);
                // The server may become known to be down while requests wait: look again soon.
                let next = next.map(|next| next.min(now + Duration::from_millis(50)));
                ready!(timer.poll(next, cx));
            }
        })
        .await
    }

    /// Counts how requests have ended; whether any did.
    fn count(&self) -> bool {
        let endings = self.recovery.borrow_mut().take_endings();
        let metrics = &self.server.metrics;
        metrics.not_executed.increment(endings.not_executed);
        metrics.unknown_outcome.increment(endings.unknown);
        metrics.resent.increment(endings.kept);
        metrics.found_executed.increment(endings.executed);
        metrics.replayed.increment(endings.replayed);
        metrics.refused.increment(endings.refused);
        if endings.forbidden > 0 {
            self.server.scripts_are_forbidden();
        }
        endings != Endings::default()
    }

    fn wake_waiting(&self) {
        for client in self.waiting.borrow_mut().drain(..) {
            client.wake();
        }
    }
}
