//! One upstream connection shared by many clients, for as long as its worker lives.
//!
//! Clients queue requests; one task owns the socket and does every read and every write. Clients of the same
//! turn of the event loop only *wake* it, so it runs after all of them and writes once what all of them
//! queued: half the processor time of writing at once, for us and for the server (`research/crates.md`,
//! section 2).
//!
//! ```text
//! clients ─ send() ─▶ InFlight ─ one write a turn ─▶ server
//!                       │ pop
//! outbox ◀──────────────┴─ run(): read, cut, pair ◀─ server
//! ```
//!
//! # Why
//! A channel per request and a task per reply cost a thousand instructions more; writing from each client's
//! own turn costs the server 2.7 times as much.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, sleep};

use super::error::ConnectError;
use super::in_flight::{InFlight, OnLoss};
use super::loss::Loss;
use super::replies::{Item, Replies};
use super::server::{Established, Server};
use super::ticket::{About, Endings, Recipient};
use super::timer::Timer;
use super::{Kind, NOT_EXECUTED};
use crate::backoff::Backoff;
use crate::command::Command;
use crate::config::Reconnect;
use crate::outbox::{Form, Outbox};
use crate::socket::Stream;
use crate::wakeup::Wakeup;

/// After this long without a reply that was due, the connection is thrown away.
const STALL: Duration = Duration::from_secs(5);

/// Reads before others of the worker get their turn: a reply of 300 MB is many turns long.
const READS_A_TURN: usize = 8;

/// A connection that lived this long, or answered a request, was a good one: the next attempt is not delayed.
const HEALTHY: Duration = Duration::from_secs(1);

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

/// What became of a request handed to [`Lane::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It will be answered through its outbox.
    Accepted,
    /// The queue is full; the client's task is woken when there is room.
    Full,
    /// The server is known to be down. Nothing was sent.
    Refused,
}

/// The queue and the task's waker: what clients see of a multiplexed connection.
#[derive(Debug)]
pub struct Lane {
    kind: Kind,
    limits: LaneLimits,
    server: Arc<Server>,
    queue: RefCell<InFlight>,
    is_ready: Cell<bool>,
    /// The present connection has answered a request.
    has_answered: Cell<bool>,
    /// When a request was last sent.
    last_used: Cell<Instant>,
    /// Nobody needs it any more: its task ends.
    is_closing: Cell<bool>,
    task: Wakeup,
    /// Clients that found the queue full.
    waiting: RefCell<Vec<Rc<Outbox>>>,
}

impl Lane {
    /// A lane whose task does not run yet.
    pub fn new(kind: Kind, limits: LaneLimits, server: Arc<Server>) -> Rc<Self> {
        Rc::new(Self {
            kind,
            limits,
            server,
            queue: RefCell::default(),
            is_ready: Cell::new(false),
            has_answered: Cell::new(false),
            last_used: Cell::new(Instant::now()),
            is_closing: Cell::new(false),
            task: Wakeup::default(),
            waiting: RefCell::default(),
        })
    }

    /// Queues a request; it takes the next slot of `outbox`, and its reply comes there.
    pub fn send(&self, command: &Command<'_>, outbox: &Rc<Outbox>, form: Form, now: Instant) -> Admission {
        let request = command.request.frame();
        let mut queue = self.queue.borrow_mut();
        let is_full = !queue.is_empty() && queue.size() + request.len() > self.limits.queue;
        if !self.is_ready.get() && (is_full || self.server.is_known_to_be_down(now)) {
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
        let about = About { effect: command.effect(), shape: command.shape() };
        queue.push(request, Recipient { outbox: outbox.clone(), slot: outbox.reserve(), form }, about, now);
        drop(queue);
        self.last_used.set(now);
        self.task.wake();
        Admission::Accepted
    }

    /// Closes a lane whose last request was longer ago than `longest`; it must not be sent to any more. Whether it
    /// was closed.
    pub fn close_if_unused(&self, longest: Duration, now: Instant) -> bool {
        let is_unused = self.is_ready.get()
            && self.queue.borrow().is_empty()
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
        let mut backoff = Backoff::default();
        loop {
            let established = self.connect(&mut backoff).await;
            let trace = established.trace.clone();
            let connected = Instant::now();
            let told = self.queue.borrow_mut().severed();
            self.count(told);
            self.queue.borrow_mut().restart_clocks(connected);
            self.set_ready(true, is_first);
            let loss = self.drive(established).await;
            self.set_ready(false, is_first);
            let Some(loss) = loss else { return };
            self.server.condemn(trace);
            self.server.metrics.losses.add(loss.label());
            let now = Instant::now();
            self.server.lost(&loss, now);
            let on = if self.limits.reconnect == Reconnect::Off { OnLoss::Fail } else { OnLoss::Keep };
            let endings = self.queue.borrow_mut().lose(on, now);
            self.count(endings);
            self.wake_waiting();
            on_loss();
            if self.has_answered.take() || connected.elapsed() > HEALTHY {
                backoff.reset();
            } else {
                self.pause(backoff.next(fastrand::f64())).await;
            }
        }
    }

    fn set_ready(&self, is_ready: bool, is_first: bool) {
        self.is_ready.set(is_ready);
        self.server.metrics.lanes.increment(if is_ready { 1.0 } else { -1.0 });
        if is_first {
            self.server.worker_is_ready(is_ready);
        }
    }

    /// Waits; meanwhile answers the requests that have waited too long.
    async fn pause(&self, length: Duration) {
        tokio::select! {
            () = sleep(length) => {}
            never = self.expire_unsent() => match never {},
        }
    }

    /// Tries until there is a connection; meanwhile answers the requests that have waited too long.
    async fn connect(&self, backoff: &mut Backoff) -> Established {
        let attempts = async {
            loop {
                self.server.wait_for_attempt().await;
                match self.server.connect(self.kind).await {
                    Ok(established) => return established,
                    // As it would answer the requests themselves.
                    Err(ConnectError::Busy(text) | ConnectError::Database(text)) => {
                        self.give_up_unsent(Duration::ZERO, &text);
                    }
                    Err(_) => {}
                }
                sleep(backoff.next(fastrand::f64())).await;
            }
        };
        tokio::select! {
            established = attempts => established,
            never = self.expire_unsent() => match never {},
        }
    }

    /// Answers requests that have waited for longer than `queue_timeout`, for ever.
    async fn expire_unsent(&self) -> Infallible {
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
                self.give_up_unsent(timeout, NOT_EXECUTED);
                let next = self.queue.borrow().next_unsent_expiry(timeout);
                // The server may become known to be down while requests wait: look again soon.
                let next = next.map(|next| next.min(now + Duration::from_millis(50)));
                ready!(timer.poll(next, cx));
            }
        })
        .await
    }

    /// Answers requests that have waited for `timeout` with `text`.
    fn give_up_unsent(&self, timeout: Duration, text: &str) {
        let now = Instant::now();
        let mut endings = self.queue.borrow_mut().expire_unsent(timeout, now, text);
        endings.add(self.queue.borrow_mut().expire_unsevered(self.limits.queue_timeout, now));
        self.count(endings);
        if endings != Endings::default() {
            self.wake_waiting();
        }
    }

    /// Moves bytes until the connection is lost, or the lane is closed: `None`.
    async fn drive(&self, established: Established) -> Option<Loss> {
        let mut stream = established.stream;
        let mut replies = Replies::new();
        let mut timer = Timer::default();
        poll_fn(|cx| {
            self.task.register(cx);
            if self.is_closing.get() {
                return Poll::Ready(None);
            }
            let written = self.poll_write(&mut stream, cx);
            // What has been answered is taken in, whatever became of the requests behind it.
            if let Poll::Ready(loss) = self.poll_replies(&mut stream, &mut replies, cx) {
                return Poll::Ready(Some(loss));
            }
            if let Err(error) = written {
                return Poll::Ready(Some(Loss::of_io(error)));
            }
            self.poll_timeouts(&mut timer, cx).map(Some)
        })
        .await
    }

    /// Writes what is queued, as far as the socket takes it.
    fn poll_write(&self, stream: &mut Stream, cx: &mut Context<'_>) -> io::Result<()> {
        let mut queue = self.queue.borrow_mut();
        while !queue.unwritten().is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, queue.unwritten()) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(len)) => queue.wrote(len),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        if matches!(stream, Stream::Tls(_)) {
            // Only TLS holds bytes back.
            match Pin::new(stream).poll_flush(cx) {
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        Ok(())
    }

    fn poll_replies(&self, stream: &mut Stream, replies: &mut Replies, cx: &mut Context<'_>) -> Poll<Loss> {
        for _ in 0..READS_A_TURN {
            match ready!(replies.poll_read(stream, cx)) {
                Ok(0) => return Poll::Ready(Loss::Closed),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Loss::of_io(error)),
            }
            let (mut queue, now) = (self.queue.borrow_mut(), Instant::now());
            if let Some(age) = queue.age(now) {
                self.server.metrics.round_trip.record(age.as_secs_f64());
            }
            let paired = self.pair(&mut queue, replies, now);
            self.count(queue.take_found());
            if let Err(loss) = paired {
                return Poll::Ready(loss);
            }
            if queue.size() <= self.limits.queue / 2 {
                drop(queue);
                self.wake_waiting();
            }
        }
        // Those who have been answered go on before more is read.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands each reply that is here to the oldest request.
    fn pair(&self, queue: &mut InFlight, replies: &mut Replies, now: Instant) -> Result<(), Loss> {
        while let Some(item) = replies.next_item()? {
            match item {
                // Not tracking, not subscribed: nothing should be pushed here. It answers nobody.
                Item::Frame { frame: [b'>', ..], .. } => {
                    self.server.metrics.unexpected_pushes.increment(1);
                    continue;
                }
                Item::Frame { frame, is_resp3 } => queue.answer(frame, is_resp3, now)?,
                Item::Piece { bytes, is_last } => queue.answer_piece(bytes, is_last, now)?,
            }
            self.has_answered.set(true);
        }
        Ok(())
    }

    fn poll_timeouts(&self, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<Loss> {
        loop {
            let next = self.queue.borrow().next_expiry(self.limits.reply_timeout, STALL);
            ready!(timer.poll(next, cx));
            let now = Instant::now();
            let mut queue = self.queue.borrow_mut();
            let endings = queue.expire_sent(self.limits.reply_timeout, now);
            let is_stalled = queue.silence(now).is_some_and(|silence| silence >= self.limits.reply_timeout + STALL);
            drop(queue);
            self.count(endings);
            if is_stalled {
                return Poll::Ready(Loss::Stalled);
            }
        }
    }

    fn count(&self, endings: Endings) {
        let metrics = &self.server.metrics;
        metrics.not_executed.increment(endings.not_executed);
        metrics.unknown_outcome.increment(endings.unknown);
        metrics.resent.increment(endings.kept);
        metrics.found_executed.increment(endings.executed);
    }

    fn wake_waiting(&self) {
        for client in self.waiting.borrow_mut().drain(..) {
            client.wake();
        }
    }
}
