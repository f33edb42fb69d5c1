//! What all workers share about the server.

mod connect;

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use super::access::Access;
use super::attempts::Attempts;
use super::handshake::{Identity, Trace};
use super::lane::LaneLimits;
use super::recovery::Arrival;
use super::tracking::Tracking;
use crate::cache::{Hold, Holds};
use crate::command::{Catalogue, Command};
use crate::config::Reconnect;
use crate::metrics::UpstreamMetrics;
use crate::socket::Stream;

/// A server that tells of no changes for a reason that may pass is asked again after so long.
const TRACK_AGAIN: Duration = Duration::from_secs(30);

/// Lost connections that are remembered, to be severed.
const MOST_CONDEMNED: usize = 4096;

/// The server.
#[derive(Debug)]
pub struct Server {
    /// The lock guards this one field, for a copy.
    access: Mutex<Arc<Access>>,
    /// How often that was replaced, or the server has turned out to be none that executes anything.
    generation: AtomicU64,
    /// The newest of these a connection has been made with.
    proven: AtomicU64,
    /// The database clients start in.
    db: u32,
    queue_timeout: Duration,
    pub(super) attempts: Attempts,
    state: Mutex<State>,
    /// Lost connections the server may still run something from: whoever connects next severs them first. The lock
    /// guards this one field, for a few lines.
    condemned: Mutex<Vec<Trace>>,
    /// The commands of the server's present run. The lock guards this one field, for a copy.
    catalogue: Mutex<Arc<Catalogue>>,
    /// Told when a connection has been made.
    connected: Notify,
    is_stopping: AtomicBool,
    ready_workers: AtomicUsize,
    /// Whether the server lets us sever lost connections, as far as that was tried.
    may_sever: AtomicBool,
    /// What has been written here: for values held in memory, and for `reconnect = "eager"`.
    holds: Option<Arc<Holds>>,
    /// `cache.own_key`; `None` if nothing is held in memory.
    own_key: Option<String>,
    pub(super) metrics: UpstreamMetrics,
}

/// What was last seen. The lock guards these fields for a few lines at a time, never across an `await`.
#[derive(Debug, Default)]
struct State {
    identity: Option<Identity>,
    /// Since when no connection could be made.
    away_since: Option<Instant>,
    /// The last failure, so that each is logged once.
    trouble: Option<String>,
    /// The run of the server whose commands are known.
    learned_run: Option<String>,
    /// Why the server does not tell of changes, so that it is logged once.
    untracked: Option<String>,
    /// With which credentials our scripts were last forbidden.
    forbidden: Option<u64>,
}

/// A connection that is ready.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) stream: Stream,
    /// Which credentials it was made with.
    pub(super) generation: u64,
    /// For whoever replaces it, should it be lost.
    pub(super) trace: Trace,
    pub(super) tracking: Tracking,
}

impl Server {
    /// A server nobody has connected to yet.
    ///
    /// `own_key` is `cache.own_key`, where values are to be held in memory.
    pub fn new(
        access: Access,
        db: u32,
        limits: &LaneLimits,
        own_key: Option<String>,
        metrics: UpstreamMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            access: Mutex::new(Arc::new(access)),
            generation: AtomicU64::new(0),
            proven: AtomicU64::new(0),
            db,
            queue_timeout: limits.queue_timeout,
            attempts: Attempts::default(),
            state: Mutex::default(),
            condemned: Mutex::default(),
            catalogue: Mutex::default(),
            connected: Notify::new(),
            is_stopping: AtomicBool::new(false),
            ready_workers: AtomicUsize::new(0),
            may_sever: AtomicBool::new(true),
            holds: (limits.reconnect == Reconnect::Eager || own_key.is_some()).then(Holds::new),
            own_key,
            metrics,
        })
    }

    /// Connections from now on are made so, and those there are give way to new ones. One that was waiting for
    /// something to be mended is tried at once.
    pub fn reload(&self, access: Access) {
        *self.access.lock().expect("no thread panics while it holds this lock") = Arc::new(access);
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.attempts.may_go_on();
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.lock().expect("no thread panics while it holds this lock"))
    }

    /// What has been written here, where anybody wants to know.
    pub fn holds(&self) -> Option<Arc<Holds>> {
        self.holds.clone()
    }

    /// The key nobody else uses, where values are held in memory.
    pub(super) fn own_key(&self) -> Option<&str> {
        self.own_key.as_deref()
    }

    /// Which credentials connections are made with now.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Somebody may write any key: tells others so, where that is of interest.
    pub(crate) fn hold_any(&self) -> Option<Hold> {
        self.holds.as_ref().map(Holds::begin_any)
    }

    /// Whether a connection is older than it may be, or made with credentials that have been replaced by others that
    /// the server accepts.
    pub(super) fn is_old(&self, since: Instant, generation: u64) -> bool {
        let is_too_old = self.access().lifetime.is_some_and(|lifetime| since.elapsed() > lifetime);
        is_too_old || generation < self.proven.load(Ordering::Relaxed)
    }

    /// What whoever decides must know of a connection.
    pub(super) fn arrival(&self, established: &Established) -> Arrival {
        Arrival {
            generation: established.generation,
            lifetime: match established.tracking {
                // It may track in a while: it is to be asked again.
                Tracking::Off { may_pass: true } => {
                    Some(self.access().lifetime.map_or(TRACK_AGAIN, |lifetime| lifetime.min(TRACK_AGAIN)))
                }
                Tracking::On { .. } | Tracking::Off { may_pass: false } => self.access().lifetime,
            },
            has_severed: self.may_sever.load(Ordering::Relaxed),
        }
    }

    /// A command is about to be sent: tells others that its keys are written, and `also`, where that is of interest.
    pub(crate) fn hold(&self, command: &Command<'_>, also: Option<&[u8]>) -> Option<Hold> {
        self.holds.as_ref().and_then(|holds| holds.begin(command, also))
    }

    /// What the server last said of itself, if it was ever reached.
    pub fn identity(&self) -> Option<Identity> {
        self.state().identity.clone()
    }

    /// The commands the server has and our table has not, as far as it was reached.
    pub fn learned(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue())
    }

    fn catalogue(&self) -> MutexGuard<'_, Arc<Catalogue>> {
        self.catalogue.lock().expect("no thread panics while it holds this lock")
    }

    /// Workers whose first connection is ready; none once the proxy is stopping.
    pub fn ready_workers(&self) -> usize {
        if self.is_stopping.load(Ordering::Relaxed) { 0 } else { self.ready_workers.load(Ordering::Relaxed) }
    }

    /// From now on nobody should send new clients here.
    pub fn stopping(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn worker_is_ready(&self, is_ready: bool) {
        if is_ready {
            self.ready_workers.fetch_add(1, Ordering::Relaxed);
        } else if self.ready_workers.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Other connections may have been away for long: the server is only now.
            self.state().away_since = None;
        }
    }

    /// Whether waiting for the server is useless: it has been away for longer than a request may wait, or
    /// somebody must change something first. Requests then fail at once.
    pub(super) fn is_known_to_be_down(&self, now: Instant) -> bool {
        // Whoever has a connection knows better.
        if self.ready_workers.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let is_away_for_long = || self.state().away_since.is_some_and(|since| since + self.queue_timeout < now);
        self.attempts.are_held_off(now) || is_away_for_long()
    }

    /// Waits while the server is away, and others try: those who have lost their first connection. A crowd of clients
    /// that want one of their own must not be a crowd of attempts.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn wait_for_others(&self) {
        loop {
            let connected = self.connected.notified();
            let is_away = self.ready_workers.load(Ordering::Relaxed) == 0 && self.state().away_since.is_some();
            if !is_away {
                return;
            }
            connected.await;
        }
    }

    /// The server executes nothing any more, as one connection has heard: the others are to be made anew as well.
    pub(super) fn refuses(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was lost: from now on the server counts as away, until one is made. Logged once for all
    /// connections that are lost together.
    pub(super) fn lost(&self, cause: &dyn Display, now: Instant) {
        let mut state = self.state();
        state.away_since.get_or_insert(now);
        if state.trouble.is_none() {
            let cause = cause.to_string();
            warn!(address = %self.access().dial.address, cause, "upstream connection lost");
            state.trouble = Some(cause);
        }
    }

    /// The server does not let us run a script the session rules need. Logged once for each configuration.
    pub(super) fn scripts_are_forbidden(&self) {
        let generation = self.generation();
        if self.state().forbidden.replace(generation) != Some(generation) {
            warn!(
                "the server's ACL forbids what session rules need, and clients are told so: give our user +eval, +evalsha \
                 and the keys cloakroom:*"
            );
        }
    }

    /// A connection was lost with requests that may have run on it: before anybody is served on another one, the
    /// server must have forgotten it.
    pub(super) fn condemn(&self, lost: Trace) {
        let mut condemned = self.condemned();
        // More than a server has connections were lost in many runs of it; the oldest are over.
        if condemned.len() >= MOST_CONDEMNED {
            condemned.remove(0);
        }
        condemned.push(lost);
    }

    /// Whether nobody has severed it yet.
    pub(super) fn is_condemned(&self, lost: &Trace) -> bool {
        self.condemned().contains(lost)
    }

    fn condemned(&self) -> MutexGuard<'_, Vec<Trace>> {
        self.condemned.lock().expect("no thread panics while it holds this lock")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds this lock")
    }
}

/// A text nobody else's `ECHO` would bear.
pub(super) fn nonce() -> String {
    format!("cloakroom-{:016x}", fastrand::u64(..))
}
