//! All workers, seen from the thread that accepts, and what they share.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use tokio::io::DuplexStream;
use tokio::runtime::LocalRuntime;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::accepted::Accepted;
use super::auth::Users;
use super::close::CloseReason;
use super::listener::TlsListener;
use super::register::{Entry, Register};
use super::worker::run;
use crate::budget::Budget;
use crate::cache::Terms;
use crate::config::Limits;
use crate::metrics::Metrics;
use crate::session::{Rules, Versions};
use crate::upstream::{LaneLimits, Server};

/// What every worker is told at its start.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Settings {
    pub limits: Limits,
    pub upstream: LaneLimits,
    /// The database clients start in.
    pub db: u32,
    pub logs_commands: bool,
    /// What one worker holds in memory, if anything.
    pub cache: Option<Terms>,
    /// What holds for sessions, and what is refused.
    pub rules: Option<Arc<Rules>>,
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
    pub(super) server: Arc<Server>,
    pub(super) pinned: Arc<Semaphore>,
    /// Who may come in, and how. The lock guards this one field, for a copy.
    door: Mutex<Door>,
    pub(super) budget: Arc<Budget>,
    /// How often each session was written.
    pub(super) versions: Arc<Versions>,
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
pub(super) enum Message {
    /// Serve this client.
    Serve(Accepted),
    /// Close the client of this number.
    Kill(u64),
    /// From now on these.
    Reload(Box<Settings>),
    /// Finish what is in flight, then end.
    Drain,
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
        let (shared, inboxes) = prepare(count, settings, server, door, metrics);
        let threads = inboxes.into_iter().enumerate().map(|(index, inbox)| {
            let (settings, shared) = (settings.clone(), Arc::clone(&shared));
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            thread
                .spawn(move || LocalRuntime::new().map(|runtime| runtime.block_on(run(index, settings, shared, inbox))))
        });
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Self { shared, threads })
    }

    /// The same without threads: each worker is a future for the caller's own runtime, where time may be its own.
    /// Clients come by [`Workers::serve_in_memory`].
    pub fn simulate(
        count: usize,
        settings: &Settings,
        server: Arc<Server>,
        door: Door,
        metrics: Metrics,
    ) -> (Self, Vec<impl Future<Output = ()> + use<>>) {
        let (shared, inboxes) = prepare(count, settings, server, door, metrics);
        let workers = inboxes.into_iter().enumerate();
        let workers = workers.map(|(index, inbox)| run(index, settings.clone(), Arc::clone(&shared), inbox)).collect();
        (Self { shared, threads: Vec::new() }, workers)
    }

    /// Serves a client of a simulated network.
    pub fn serve_in_memory(&self, client: DuplexStream) {
        self.serve(Accepted::Memory(client));
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
            let _ = end.orders.send(Message::Reload(Box::new(settings.clone())));
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

/// What the workers share, and what each is told by.
fn prepare(
    count: usize,
    settings: &Settings,
    server: Arc<Server>,
    door: Door,
    metrics: Metrics,
) -> (Arc<Shared>, Vec<UnboundedReceiver<Message>>) {
    let (ends, inboxes) = (0..count)
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
        versions: Versions::new(),
        ends,
    });
    (shared, inboxes)
}

impl Shared {
    pub(super) fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().expect("no thread panics while it holds this lock")
    }

    /// Who may come in.
    pub(super) fn users(&self) -> Arc<Users> {
        Arc::clone(&self.door().users)
    }

    /// A client of that worker has gone.
    pub(super) fn gone(&self, worker: usize, reason: CloseReason) {
        self.ends[worker].clients.fetch_sub(1, Ordering::Relaxed);
        self.metrics.client.closed.add(reason.label());
    }

    /// Closes a client, of whatever worker.
    pub(super) fn close(&self, entry: &Entry) {
        if let Some(end) = self.ends.get(entry.worker) {
            let _ = end.orders.send(Message::Kill(entry.id));
        }
    }
}
