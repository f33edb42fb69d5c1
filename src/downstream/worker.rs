//! A worker: one thread with its own clients and its own connections to the server.
//!
//! Nothing a request touches is shared with another worker, so nothing on its path is locked or sent. What
//! workers do share ([`Shared`]) is read seldom or counted.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::{Instant, interval, timeout};
use tracing::{debug, warn};

use super::accepted::Accepted;
use super::auth::DEFAULT_USER;
use super::client::Client;
use super::close::CloseReason;
use super::connection::Connection;
use super::register::{About, Entry};
use super::workers::{Message, Settings, Shared};
use crate::budget::{Share, to_shed};
use crate::cache::{Cache, Miss, Refusal};
use crate::command::{Command, Commands};
use crate::config::Reconnect;
use crate::dispatch::Dispatch;
use crate::outbox::Outbox;
use crate::resp::request::Request;
use crate::session::{Ledger, Totals};
use crate::socket::{Socket, Stream};
use crate::upstream::Pool;

/// How often a worker looks after clients that have waited too long.
const LOOK: Duration = Duration::from_millis(50);

/// What a client has been told to do by somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    Serve,
    /// Finish what is in flight, then close.
    Close(CloseReason),
    /// Close now.
    Kill(CloseReason),
}

/// A client, as its worker sees it.
#[derive(Debug)]
pub(super) struct Handle {
    outbox: Rc<Outbox>,
    pub(super) order: Cell<Order>,
    /// When its pinned connection must have answered.
    pub(super) due: Cell<Option<Instant>>,
    /// When it is closed, and why, should it not go on before.
    pub(super) patience: Cell<Option<(Instant, CloseReason)>>,
    /// The memory it holds.
    pub(super) share: Share,
    /// It waits for others to give memory back.
    pub(super) gives_way: Cell<bool>,
}

impl Handle {
    fn give(&self, order: Order) {
        self.order.set(order);
        self.outbox.wake();
    }
}

type Handles = Rc<RefCell<HashMap<u64, Rc<Handle>>>>;

/// One thread's part.
pub struct Worker {
    index: usize,
    settings: RefCell<Rc<Settings>>,
    commands: Commands,
    pub(super) dispatch: Dispatch,
    pub(super) shared: Arc<Shared>,
    handles: Handles,
    is_draining: Cell<bool>,
    draining: Notify,
    /// Told when more memory is held than may be.
    pub(super) over_budget: Notify,
    /// When a wrong password was last logged.
    warned: Cell<Option<Instant>>,
    /// Bytes and number of the values held in memory, as last told.
    cached: Cell<(u64, usize)>,
    /// What the session rules have done.
    pub(super) ledger: Rc<Ledger>,
}

/// A worker's whole life.
pub(super) async fn run(index: usize, settings: Settings, shared: Arc<Shared>, mut inbox: UnboundedReceiver<Message>) {
    let handles = Handles::default();
    let pool = Pool::new(Arc::clone(&shared.server), Arc::clone(&shared.pinned), settings.upstream.queue_timeout);
    let on_loss: Rc<dyn Fn()> = match settings.upstream.reconnect {
        Reconnect::Off => {
            let handles = Rc::clone(&handles);
            Rc::new(move || close_all(&handles, CloseReason::UpstreamLost))
        }
        Reconnect::Conservative | Reconnect::Eager => Rc::new(|| {}),
    };
    let cache = shared.server.holds().zip(settings.cache.clone());
    let cache = cache.map(|(holds, terms)| Cache::new(terms, holds, Instant::now()));
    let dispatch = Dispatch::new(Arc::clone(&shared.server), pool, settings.upstream, cache, settings.db, on_loss);
    let settings = RefCell::new(Rc::new(settings));
    let worker = Rc::new(Worker {
        index,
        settings,
        commands: Commands::default(),
        dispatch,
        shared,
        handles,
        is_draining: Cell::new(false),
        draining: Notify::new(),
        over_budget: Notify::new(),
        warned: Cell::new(None),
        cached: Cell::default(),
        ledger: Rc::default(),
    });
    let mut clients = Vec::new();
    let mut look = interval(LOOK);
    loop {
        let message = tokio::select! {
            message = inbox.recv() => message,
            () = worker.over_budget.notified() => {
                worker.look_after_memory();
                continue;
            }
            now = look.tick() => {
                worker.look_after_clients(now);
                worker.look_after_memory();
                worker.report_cache();
                worker.report_sessions();
                worker.dispatch.close_unused(now);
                clients.retain(|client: &tokio::task::JoinHandle<()>| !client.is_finished());
                if worker.is_draining.get() && clients.is_empty() {
                    return;
                }
                continue;
            }
        };
        let Some(message) = message else { break };
        match message {
            Message::Serve(accepted) => {
                clients.push(spawn_local(Rc::clone(&worker).serve(accepted)));
            }
            Message::Kill(id) => {
                if let Some(handle) = worker.handles.borrow().get(&id) {
                    handle.give(Order::Kill(CloseReason::Killed));
                }
            }
            Message::Reload(settings) => *worker.settings.borrow_mut() = Rc::new(*settings),
            Message::Drain => {
                worker.is_draining.set(true);
                worker.draining.notify_waiters();
                close_all(&worker.handles, CloseReason::Drain);
            }
        }
    }
}

fn close_all(handles: &Handles, reason: CloseReason) {
    for handle in handles.borrow().values() {
        handle.give(Order::Close(reason));
    }
}

impl Worker {
    /// The settings now in force.
    pub(super) fn settings(&self) -> Rc<Settings> {
        Rc::clone(&self.settings.borrow())
    }

    /// Finds out which command a request is, by our table and then by what the server has told.
    pub(super) fn understand<'a>(&self, request: Request<'a>) -> Command<'a> {
        let command = self.commands.understand(request);
        if command.row().is_some() { command } else { command.learned_from(&self.dispatch.server().learned()) }
    }

    /// Wakes the clients whose pinned connection has not answered in time, and closes those that have kept
    /// the proxy waiting for too long.
    fn look_after_clients(&self, now: Instant) {
        for handle in self.handles.borrow().values() {
            let may_go_on = handle.gives_way.get() && !handle.share.must_wait();
            if may_go_on || handle.due.get().is_some_and(|due| due <= now) {
                handle.gives_way.set(false);
                handle.outbox.wake();
            }
            if let Some((end, reason)) = handle.patience.get()
                && end <= now
            {
                handle.give(Order::Kill(reason));
            }
        }
    }

    /// Past `limits.memory`, closes those who hold most: of what is too much, this worker's part.
    fn look_after_memory(&self) {
        let budget = &self.shared.budget;
        if self.index == 0 {
            self.shared.metrics.client.memory.set(budget.held() as f64);
        }
        if budget.excess() == 0 {
            return;
        }
        let handles = self.handles.borrow();
        let is_going = |handle: &Handle| matches!(handle.order.get(), Order::Kill(_));
        let (going, staying): (Vec<_>, Vec<_>) = handles.iter().partition(|(_, handle)| is_going(handle));
        let given_back: usize = going.iter().map(|(_, handle)| handle.share.held()).sum();
        let mut holders: Vec<_> = staying.iter().map(|(id, handle)| (handle.share.held(), **id)).collect();
        let ours: usize = given_back + holders.iter().map(|(held, _)| held).sum::<usize>();
        let part = (budget.excess() as f64 * ours as f64 / budget.held().max(1) as f64).ceil() as usize;
        for client in to_shed(&mut holders, part.saturating_sub(given_back)) {
            handles[&client].give(Order::Kill(CloseReason::Memory));
        }
    }

    /// Tells what has become of the values held in memory.
    fn report_cache(&self) {
        if let Some((counts, bytes, entries)) = self.dispatch.take_counts() {
            let (last_bytes, last_entries) = self.cached.replace((bytes, entries));
            let metrics = &self.shared.metrics.cache;
            metrics.bytes.increment(bytes as f64 - last_bytes as f64);
            metrics.entries.increment(entries as f64 - last_entries as f64);
            metrics.hits.increment(counts.hits);
            metrics.waits.increment(counts.waits);
            metrics.stale.increment(counts.stale);
            for (miss, count) in Miss::ALL.iter().zip(counts.misses) {
                metrics.misses.add_many(miss.label(), count);
            }
            metrics.fills.increment(counts.fills);
            for (refusal, count) in Refusal::ALL.iter().zip(counts.refusals) {
                metrics.refusals.add_many(refusal.label(), count);
            }
            metrics.fences.add_many("ok", counts.fences);
            metrics.fences.add_many("refused", counts.fences_refused);
            metrics.invalidations.add_many("key", counts.told);
            metrics.invalidations.add_many("everything", counts.flushed);
            metrics.invalidations.add_many("clock", counts.jumps);
            metrics.touches.increment(counts.touches);
            metrics.evictions.increment(counts.evictions);
            if let Some(age) = counts.oldest_proof {
                metrics.proof_age.record(age.as_secs_f64());
            }
        }
    }

    /// Tells what the session rules have done.
    fn report_sessions(&self) {
        let (totals, sizes) = self.ledger.take();
        let metrics = &self.shared.metrics.session;
        if totals != Totals::default() {
            metrics.created.increment(totals.created);
            metrics.destroyed.increment(totals.destroyed);
            metrics.expired.increment(totals.expired);
            metrics.late_writes.increment(totals.late);
            metrics.expiries_added.increment(totals.given);
            metrics.touches_saved.increment(totals.touched);
            metrics.oversized.increment(totals.oversized);
            metrics.lost_updates.increment(totals.overwritten);
            metrics.forbidden.increment(totals.forbidden);
        }
        sizes.into_iter().for_each(|size| metrics.value_bytes.record(size as f64));
    }

    /// A client has given a wrong password. Logged once a second at most: whoever tries them all fills no disk.
    pub(super) fn password_refused(&self, entry: &Entry, now: Instant) {
        self.shared.metrics.client.auth_failures.increment(1);
        if self.warned.get().is_none_or(|warned| now.duration_since(warned) >= Duration::from_secs(1)) {
            self.warned.set(Some(now));
            warn!(client = entry.id, peer = entry.peer, "a client's password was refused");
        }
    }

    async fn serve(self: Rc<Self>, accepted: Accepted) {
        let reason = match accepted.into_socket() {
            Ok((socket, peer, local)) => self.serve_socket(socket, peer, local).await,
            Err(_) => CloseReason::Io,
        };
        self.shared.gone(self.index, reason);
    }

    async fn serve_socket(self: &Rc<Self>, socket: Socket, peer: String, local: String) -> CloseReason {
        let tls = self.shared.door().tls.clone();
        let stream = match tls {
            None => Stream::Plain(socket),
            // Who has not even come in need not be waited for when the house closes.
            Some(_) if self.is_draining.get() => return CloseReason::Drain,
            Some(tls) => match tokio::select! {
                accepted = timeout(self.settings().limits.auth_timeout, tls.accept(socket)) => accepted,
                () = self.draining.notified() => return CloseReason::Drain,
            } {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    debug!(peer, %error, "a client's TLS handshake failed");
                    return CloseReason::Tls;
                }
                Err(_) => return CloseReason::Tls,
            },
        };
        let about = About { db: self.settings().db, user: DEFAULT_USER.to_owned(), ..About::default() };
        let entry = self.shared.register.add(self.index, peer, local, about);
        let outbox = Rc::new(Outbox::default());
        let handle = Rc::new(Handle {
            outbox: Rc::clone(&outbox),
            order: Cell::new(if self.is_draining.get() { Order::Close(CloseReason::Drain) } else { Order::Serve }),
            due: Cell::new(None),
            patience: Cell::new(None),
            share: Share::new(Arc::clone(&self.shared.budget)),
            gives_way: Cell::new(false),
        });
        self.handles.borrow_mut().insert(entry.id, Rc::clone(&handle));
        self.shared.metrics.client.accepted.increment(1);
        self.shared.metrics.client.connections.increment(1.0);
        debug!(client = entry.id, peer = entry.peer, "client connected");
        let client = Client::new(Rc::clone(self), Arc::clone(&entry), outbox);
        let reason = Connection::new(stream, client, handle).serve().await;
        self.handles.borrow_mut().remove(&entry.id);
        self.shared.register.remove(entry.id);
        self.shared.metrics.client.connections.decrement(1.0);
        debug!(client = entry.id, reason = reason.label(), "client gone");
        reason
    }
}
