//! A worker: one thread with its own clients and its own connections to the server.
//!
//! Nothing a request touches is shared with another worker, so nothing on its path is locked or sent. What
//! workers do share ([`Shared`]) is read seldom or counted.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::LocalRuntime;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio::time::{Instant, interval, timeout};
use tracing::{debug, warn};

use super::accepted::Accepted;
use super::auth::{DEFAULT_USER, Users};
use super::client::Client;
use super::close::CloseReason;
use super::connection::Connection;
use super::listener::TlsListener;
use super::register::{About, Entry, Register};
use crate::budget::{Budget, Share, to_shed};
use crate::command::{Command, Commands};
use crate::config::Limits;
use crate::dispatch::Dispatch;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::resp::request::Request;
use crate::socket::{Socket, Stream};
use crate::upstream::{LaneLimits, Pool, Server};

/// How often a worker looks after clients that have waited too long.
const LOOK: Duration = Duration::from_millis(50);

/// What every worker is told at its start.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Settings {
    pub limits: Limits,
    pub upstream: LaneLimits,
    /// The database clients start in.
    pub db: u32,
    pub logs_commands: bool,
}

/// Who may come in, and how: what a reload can replace.
#[derive(Debug, Clone)]
pub struct Door {
    /// The passwords of `listen.password_file`.
    pub users: Arc<Users>,
    /// TLS towards clients.
    pub tls: Option<TlsListener>,
    /// `listen.max_clients`.
    pub max_clients: usize,
}

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) register: Register,
    pub(super) metrics: Metrics,
    server: Arc<Server>,
    pinned: Arc<Semaphore>,
    /// Who may come in, and how. The lock guards this one field, for a copy.
    door: Mutex<Door>,
    budget: Arc<Budget>,
    ends: Vec<End>,
}

/// The acceptor's end of a worker.
#[derive(Debug)]
struct End {
    orders: UnboundedSender<Message>,
    clients: AtomicUsize,
}

/// What a worker is told.
#[derive(Debug)]
enum Message {
    /// Serve this client.
    Serve(Accepted),
    /// Close the client of this number.
    Kill(u64),
    /// From now on these.
    Reload(Settings),
    /// Finish what is in flight, then end.
    Drain,
}

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
    /// At the last look there was more memory held than allowed.
    was_over_budget: Cell<bool>,
    /// When a wrong password was last logged.
    warned: Cell<Option<Instant>>,
}

/// All workers, seen from the thread that accepts.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        count: usize,
        settings: &Settings,
        server: Arc<Server>,
        door: Door,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let (ends, inboxes): (Vec<_>, Vec<_>) = (0..count)
            .map(|_| {
                let (orders, inbox) = unbounded_channel();
                (End { orders, clients: AtomicUsize::new(0) }, inbox)
            })
            .unzip();
        let shared = Arc::new(Shared {
            register: Register::default(),
            metrics,
            server,
            pinned: Arc::new(Semaphore::new(settings.limits.pinned)),
            door: Mutex::new(door),
            budget: Budget::new(settings.limits.memory.bytes()),
            ends,
        });
        let threads = inboxes.into_iter().enumerate().map(|(index, inbox)| {
            let (settings, shared) = (settings.clone(), Arc::clone(&shared));
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            thread
                .spawn(move || LocalRuntime::new().map(|runtime| runtime.block_on(run(index, settings, shared, inbox))))
        });
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Self { shared, threads })
    }

    /// The server all workers use.
    pub fn server(&self) -> &Server {
        &self.shared.server
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Clients connected now.
    pub fn clients(&self) -> usize {
        self.shared.register.len()
    }

    /// Whether one more client may come in.
    pub(super) fn has_room(&self) -> bool {
        // Counted from the moment they are accepted, TLS agreed on or not.
        let clients: usize = self.shared.ends.iter().map(|end| end.clients.load(Ordering::Relaxed)).sum();
        clients < self.shared.door().max_clients
    }

    /// Whether clients must speak TLS.
    pub(super) fn speaks_tls(&self) -> bool {
        self.shared.door().tls.is_some()
    }

    /// Puts new settings in force, for clients that are connected as well.
    pub fn reload(&self, settings: &Settings, door: Door) {
        *self.shared.door() = door;
        self.shared.budget.set_most(settings.limits.memory.bytes());
        for end in &self.shared.ends {
            let _ = end.orders.send(Message::Reload(settings.clone()));
        }
    }

    /// Gives a client to the least loaded worker.
    pub(super) fn serve(&self, accepted: Accepted) {
        let ends = &self.shared.ends;
        let least = ends.iter().min_by_key(|end| end.clients.load(Ordering::Relaxed)).expect("at least one worker");
        least.clients.fetch_add(1, Ordering::Relaxed);
        // A worker that has ended takes the socket with it: the client sees a close.
        let _ = least.orders.send(Message::Serve(accepted));
    }

    /// A client was turned away before it had a worker.
    pub(super) fn turned_away(&self, reason: CloseReason) {
        self.shared.metrics.client.closed.add(reason.label());
    }

    /// Tells every worker to finish. Their threads end when their clients have gone.
    pub fn drain(&self) {
        self.shared.server.stopping();
        for end in &self.shared.ends {
            let _ = end.orders.send(Message::Drain);
        }
    }

    /// Whether every thread has ended.
    pub fn has_drained(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

impl Shared {
    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().expect("no thread panics while it holds this lock")
    }

    /// Who may come in.
    pub(super) fn users(&self) -> Arc<Users> {
        Arc::clone(&self.door().users)
    }

    /// Closes a client, of whatever worker.
    pub(super) fn close(&self, entry: &Entry) {
        if let Some(end) = self.ends.get(entry.worker) {
            let _ = end.orders.send(Message::Kill(entry.id));
        }
    }
}

/// A worker's whole life.
async fn run(index: usize, settings: Settings, shared: Arc<Shared>, mut inbox: UnboundedReceiver<Message>) {
    let handles = Handles::default();
    let pool = Pool::new(Arc::clone(&shared.server), Arc::clone(&shared.pinned), settings.upstream.queue_timeout);
    let on_loss: Rc<dyn Fn()> = match settings.upstream.fail_on_loss {
        true => {
            let handles = Rc::clone(&handles);
            Rc::new(move || close_all(&handles, CloseReason::UpstreamLost))
        }
        false => Rc::new(|| {}),
    };
    let dispatch = Dispatch::new(Arc::clone(&shared.server), pool, settings.upstream, settings.db, on_loss);
    let settings = RefCell::new(Rc::new(settings));
    let worker = Rc::new(Worker {
        index,
        settings,
        commands: Commands::default(),
        dispatch,
        shared,
        handles,
        is_draining: Cell::new(false),
        was_over_budget: Cell::new(false),
        warned: Cell::new(None),
    });
    let mut clients = Vec::new();
    let mut look = interval(LOOK);
    loop {
        let message = tokio::select! {
            message = inbox.recv() => message,
            now = look.tick() => {
                worker.look_after_clients(now);
                worker.look_after_memory();
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
            Message::Reload(settings) => *worker.settings.borrow_mut() = Rc::new(settings),
            Message::Drain => {
                worker.is_draining.set(true);
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
        if command.row().is_some() { command } else { command.learned_from(&self.dispatch.server().catalogue()) }
    }

    /// Wakes the clients whose pinned connection has not answered in time, and closes those that have kept
    /// the proxy waiting for too long.
    fn look_after_clients(&self, now: Instant) {
        for handle in self.handles.borrow().values() {
            if handle.due.get().is_some_and(|due| due <= now) {
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
        let excess = budget.excess();
        let handles = self.handles.borrow();
        if self.was_over_budget.replace(excess > 0) && excess == 0 {
            // Those who gave way may go on.
            handles.values().filter(|handle| handle.share.held() > 0).for_each(|handle| handle.outbox.wake());
        }
        if excess == 0 {
            return;
        }
        let mut holders: Vec<_> = handles.iter().map(|(id, handle)| (handle.share.held(), *id)).collect();
        let ours: usize = holders.iter().map(|(held, _)| held).sum();
        let part = (excess as f64 * ours as f64 / budget.held().max(1) as f64).ceil() as usize;
        for client in to_shed(&mut holders, part) {
            handles[&client].give(Order::Kill(CloseReason::Memory));
        }
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
        self.shared.ends[self.index].clients.fetch_sub(1, Ordering::Relaxed);
        self.shared.metrics.client.closed.add(reason.label());
    }

    async fn serve_socket(self: &Rc<Self>, socket: Socket, peer: String, local: String) -> CloseReason {
        let tls = self.shared.door().tls.clone();
        let stream = match tls {
            None => Stream::Plain(socket),
            Some(tls) => match timeout(self.settings().limits.auth_timeout, tls.accept(socket)).await {
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
