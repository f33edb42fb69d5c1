//! What all workers share about the server.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::Kind;
use super::access::Access;
use super::attempts::Attempts;
use super::error::ConnectError;
use super::handshake::{self, Identity, Introduced, Introduction, Severed, Trace};
use super::lane::LaneLimits;
use super::recovery::Arrival;
use crate::cache::{Hold, Holds};
use crate::command::{Catalogue, Command};
use crate::config::Reconnect;
use crate::metrics::UpstreamMetrics;
use crate::socket::Stream;

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
    /// `reconnect = "eager"`: what has been written.
    holds: Option<Arc<Holds>>,
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
}

/// A connection that is ready.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) stream: Stream,
    /// Which credentials it was made with.
    pub(super) generation: u64,
    /// For whoever replaces it, should it be lost.
    pub(super) trace: Trace,
}

impl Server {
    /// A server nobody has connected to yet.
    pub fn new(access: Access, db: u32, limits: &LaneLimits, metrics: UpstreamMetrics) -> Arc<Self> {
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
            holds: (limits.reconnect == Reconnect::Eager).then(Holds::new),
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

    /// Which credentials connections are made with now.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Somebody may write any key: tells others so, where lost writes may be sent again.
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
            lifetime: self.access().lifetime,
            has_severed: self.may_sever.load(Ordering::Relaxed),
        }
    }

    /// A command is about to be sent: tells others that its keys are written, where lost writes may be sent again.
    pub(crate) fn hold(&self, command: &Command<'_>) -> Option<Hold> {
        self.holds.as_ref().and_then(|holds| holds.begin(command))
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

    /// Opens a connection and makes it ready; what is left of lost ones is severed before. Waits for its turn: after
    /// an attempt that failed the next is made by one for all, after a while that grows.
    ///
    /// # Errors
    /// Why there is none; it is logged here, once until it changes.
    ///
    /// # Cancel safety
    /// Dropping this closes whatever was opened.
    pub(super) async fn connect(&self, kind: Kind) -> Result<Established, ConnectError> {
        let _turn = self.attempts.begin().await.ok_or(ConnectError::HeldOff)?;
        // Before the credentials: newer ones than these are never taken for these.
        let generation = self.generation();
        let access = self.access();
        let result = self.establish(&access, generation, kind).await;
        self.note(&result.as_ref().map(|(_, identity)| identity));
        if result.is_ok() {
            self.proven.fetch_max(generation, Ordering::Relaxed);
        }
        result.map(|(established, _)| established)
    }

    /// Makes a connection ready, on a socket that is new or has been `RESET`.
    pub(super) async fn introduce(
        &self,
        kind: Kind,
        condemned: &[Trace],
        stream: &mut Stream,
    ) -> Result<Introduced, ConnectError> {
        let access = self.access();
        let key = "upstream.password_file";
        let password = access.password.read().map_err(|problem| ConnectError::File { key, problem })?;
        let introduction = Introduction {
            username: &access.username,
            password: password.as_ref(),
            name: &access.name,
            kind,
            nonce: nonce(),
            condemned,
        };
        introduction.perform(stream).await.map_err(|error| match error {
            ConnectError::Database(text) if kind.db == self.db => {
                ConnectError::NotRedis(format!("upstream.db: the server has no such database ({text})"))
            }
            error => error,
        })
    }

    async fn establish(
        &self,
        access: &Access,
        generation: u64,
        kind: Kind,
    ) -> Result<(Established, Identity), ConnectError> {
        let deadline = Instant::now() + access.dial.timeout;
        let socket = timeout_at(deadline, access.dial.open()).await.unwrap_or(Err(ConnectError::Timeout))?;
        let secured = timeout_at(deadline, access.dial.secure(socket)).await;
        let mut stream = secured.unwrap_or(Err(ConnectError::TlsTimeout))?;
        let condemned = self.condemned().clone();
        let introduced = timeout_at(deadline, self.introduce(kind, &condemned, &mut stream)).await;
        let introduced = introduced.unwrap_or(Err(ConnectError::Timeout)).map_err(|error| match &stream {
            // With TLS 1.3 a server refuses our certificate only now.
            Stream::Tls(_) if matches!(error, ConnectError::Closed) => error.with_tls(),
            Stream::Plain(_) | Stream::Tls(_) => error,
        })?;
        let Introduced { identity, trace, severed } = introduced;
        self.condemned().retain(|lost| !condemned.contains(lost));
        if severed.contains(&Severed::Denied) {
            self.may_sever.store(false, Ordering::Relaxed);
        } else if severed.contains(&Severed::Killed) {
            self.may_sever.store(true, Ordering::Relaxed);
        }
        for severed in severed {
            self.metrics.severs.add(severed.label());
        }
        // Where `INFO` is forbidden, so is `COMMAND`, most likely.
        if !trace.run_id.is_empty() && self.state().learned_run.as_ref() != Some(&trace.run_id) {
            // Asked once a run, whatever comes of it: a server whose list is no use is still of use.
            self.state().learned_run = Some(trace.run_id.clone());
            *self.catalogue() = Arc::default();
            let catalogue = timeout_at(deadline, handshake::catalogue(&mut stream, &nonce())).await;
            *self.catalogue() = Arc::new(catalogue.unwrap_or(Err(ConnectError::Timeout))?);
        }
        Ok((Established { stream, generation, trace }, identity))
    }

    /// Remembers how an attempt ended, and logs what is new.
    fn note(&self, result: &Result<&Identity, &ConnectError>) {
        let now = Instant::now();
        let mut state = self.state();
        match result {
            Ok(identity) => {
                self.metrics.connects.add("ok");
                // A connection in RESP2 has learned less.
                let known = state.identity.clone().filter(|_| identity.modules.is_empty());
                let identity = &known.unwrap_or_else(|| (*identity).clone());
                if state.trouble.take().is_some() || state.identity.as_ref() != Some(identity) {
                    let Identity { server, version, mode, modules: _ } = identity;
                    info!(address = %self.access().dial.address, server, version, mode, "upstream ready");
                }
                state.identity = Some(identity.clone());
                (state.away_since, state.trouble) = (None, None);
                self.attempts.succeeded();
                self.connected.notify_waiters();
            }
            // The server is well.
            Err(error) if error.own_word().is_some() => self.metrics.connects.add(error.label()),
            Err(error) => {
                self.metrics.connects.add(error.label());
                self.attempts.failed(error.is_configuration(), now, fastrand::f64());
                // Whoever has a connection keeps it.
                if self.ready_workers.load(Ordering::Relaxed) == 0 {
                    state.away_since.get_or_insert(now);
                }
                let trouble = error.to_string();
                if state.trouble.as_ref() != Some(&trouble) {
                    let retry = if error.is_configuration() { "every 30 s" } else { "with backoff" };
                    warn!(address = %self.access().dial.address, cause = trouble, retry, "upstream unavailable");
                    state.trouble = Some(trouble);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds this lock")
    }
}

/// A text nobody else's `ECHO` would bear.
pub(super) fn nonce() -> String {
    format!("cloakroom-{:016x}", fastrand::u64(..))
}
