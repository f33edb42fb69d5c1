//! cloakroom is a Redis proxy for web sessions.
//!
//! A session client is pointed at it by changing one address and sees a plain Redis; behind it stands the real
//! one. The modules stand on floors and import downwards only:
//!
//! | floor | module | what it is for |
//! |---|---|---|
//! | 7 | this file, `main`, [`embedded`] | read arguments, build the parts, start and stop them in order |
//! | 6 | [`downstream`] | the clients: their sockets, their modes, the commands answered here |
//! | 6 | [`admin`] | `/metrics`, `/livez`, `/readyz` |
//! | 5 | [`dispatch`] | which connection carries a command |
//! | 4 | [`upstream`] | the server: TLS, handshake, multiplexed and pinned connections, what is in flight |
//! | 3 | [`session`] | what holds for web sessions: their end, and that a destroyed one stays so |
//! | 3 | [`cache`] | what is known of keys without asking the server |
//! | 2 | [`command`] | what a request is: effect, route, reply form |
//! | 2 | [`outbox`] | one client's replies, each waiting for its turn |
//! | 1 | [`resp`] | bytes and frames |
//! | 0 | [`config`], [`metrics`], [`backoff`], [`budget`], [`glob`], [`socket`], [`supervisor`], [`wakeup`], [`watch`] | plain values and names |
//!
//! The path of a request: [`downstream`] reads and cuts it, [`command`] says what it is, `downstream::mode`
//! decides, [`session`] says what the rules make of it, [`dispatch`] chooses a connection, [`upstream`] sends it and pairs the reply, [`outbox`] keeps the
//! order.

pub mod admin;
pub mod backoff;
pub mod budget;
pub mod cache;
pub mod command;
pub mod config;
pub mod dispatch;
pub mod downstream;
pub mod embedded;
pub mod glob;
pub mod metrics;
pub mod outbox;
pub mod resp;
pub mod session;
pub mod socket;
pub mod supervisor;
pub mod upstream;
pub mod wakeup;
pub mod watch;

use std::future::Future;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, interval, sleep};
use tracing::{error, info, warn};

use crate::admin::{Admin, Port};
use crate::cache::{Miss, Refusal, Terms};
use crate::command::{Commands, PinReason};
use crate::config::{Config, ConfigError, Loaded, Verify};
use crate::downstream::{CloseReason, Door, Listener, Settings, TlsListener, Users, Workers};
use crate::glob::Globs;
use crate::metrics::{Labels, Metrics, ROUND_TRIP_BUCKETS, SIZE_BUCKETS};
use crate::session::Rules;
use crate::supervisor::Inherited;
use crate::upstream::{Access, LaneLimits, Server};

/// How often the files are looked at the server is reached with.
const LOOK: Duration = Duration::from_secs(1);

/// Values a worker must be able to hold, for any to be worth it.
const LEAST_VALUES: usize = 4;

/// A configuration whose files have been read: what can only fail by the network's or the system's doing.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    access: Access,
    door: Door,
    inherited: Option<Inherited>,
}

impl Prepared {
    /// Reads every file the configuration names.
    ///
    /// # Errors
    /// The first that cannot be used, with the key that names it.
    pub fn new(loaded: &Loaded) -> Result<Self, ConfigError> {
        let Config { listen, upstream, .. } = &loaded.config;
        let access = Access::read(upstream).map_err(|(key, problem)| loaded.error(&key, problem))?;
        let users = match &listen.password_file {
            None => Users::default(),
            Some(path) => Users::read(path).map_err(|problem| loaded.error("listen.password_file", problem))?,
        };
        let listen_tls = TlsListener::new(&listen.tls)
            .map_err(|error| loaded.error(&format!("listen.tls.{}", error.key), error.problem))?;
        let door = Door { users: Arc::new(users), tls: listen_tls, max_clients: listen.max_clients };
        let prepared = Self { config: loaded.config.clone(), access, door, inherited: None };
        match prepared.terms() {
            Some(terms) if terms.max_size < LEAST_VALUES * terms.max_value_size => {
                let problem = format!(
                    "each of {} workers has {} bytes of it: too few for {LEAST_VALUES} values of cache.max_value_size",
                    prepared.workers(),
                    terms.max_size
                );
                Err(loaded.error("cache.max_size", problem))
            }
            Some(_) | None => Ok(prepared),
        }
    }

    /// Clients come to this socket, whatever `listen.address` says.
    pub fn listen_on(&mut self, inherited: Inherited) {
        self.inherited = Some(inherited);
    }

    /// `[log]`, for whoever writes the log.
    pub fn log(&self) -> &config::Log {
        &self.config.log
    }

    /// The keys that differ from `self` in `new` and are read at the start only.
    fn fixed_keys_changed(&self, new: &Self) -> Vec<&'static str> {
        let (old, new) = (&self.config, &new.config);
        let changes = [
            ("listen.address", old.listen.address != new.listen.address),
            ("listen.unix_mode", old.listen.unix_mode != new.listen.unix_mode),
            ("listen.workers", old.listen.workers != new.listen.workers),
            ("limits.queue", old.limits.queue != new.limits.queue),
            ("limits.pinned", old.limits.pinned != new.limits.pinned),
            ("upstream.server", old.upstream.server != new.upstream.server),
            ("upstream.db", old.upstream.db != new.upstream.db),
            ("upstream.queue_timeout", old.upstream.queue_timeout != new.upstream.queue_timeout),
            ("upstream.reply_timeout", old.upstream.reply_timeout != new.upstream.reply_timeout),
            ("upstream.reconnect", old.upstream.reconnect != new.upstream.reconnect),
            ("cache", old.cache != new.cache),
            ("metrics.address", old.metrics.address != new.metrics.address),
            ("log.format", old.log.format != new.log.format),
        ];
        changes.into_iter().filter(|(_, has_changed)| *has_changed).map(|(key, _)| key).collect()
    }

    /// Takes from `new` what may change while the proxy runs.
    fn reload(&mut self, mut new: Self) {
        let fixed = self.fixed_keys_changed(&new);
        let old = &self.config;
        new.config.listen.address = old.listen.address.clone();
        new.config.listen.unix_mode = old.listen.unix_mode;
        new.config.listen.workers = old.listen.workers;
        new.config.limits.queue = old.limits.queue;
        new.config.limits.pinned = old.limits.pinned;
        new.config.cache = old.cache.clone();
        new.config.metrics = old.metrics.clone();
        new.config.log.format = old.log.format;
        let now = &mut new.config.upstream;
        now.server = old.upstream.server.clone();
        now.db = old.upstream.db;
        now.queue_timeout = old.upstream.queue_timeout;
        now.reply_timeout = old.upstream.reply_timeout;
        now.reconnect = old.upstream.reconnect;
        // What was meant for another address is not for this one: neither its secrets nor its lack of them.
        if fixed.contains(&"upstream.server") {
            new.access = self.access.clone();
            new.config.upstream = self.config.upstream.clone();
        }
        if fixed.contains(&"listen.address") {
            new.door = self.door.clone();
        }
        *self = new;
        match fixed.as_slice() {
            [] => info!("configuration reloaded"),
            keys => warn!(keys = keys.join(", "), "configuration reloaded, but these keys need a restart"),
        }
    }

    /// A file the server is reached with has changed: connections are made with what it holds now, if that is of use.
    fn renew_access(&mut self, file: &Path, server: &Server) {
        match Access::read(&self.config.upstream) {
            Ok(access) => {
                info!(file = %file.display(), "file has changed; upstream connections are renewed");
                self.access = access;
                server.reload(self.access.clone());
            }
            Err((key, problem)) => {
                error!(key, problem, "file has changed and cannot be used; what was read before stays in force");
            }
        }
    }

    /// A mistyped name in `commands.deny` forbids nothing; but a newer server, or a module, may have a command of that name.
    fn warn_of_unknown_commands(&self) {
        for denied in &self.config.commands.deny {
            let name = denied.split('|').next().unwrap_or_default();
            if !Commands::rows().iter().any(|row| row.name == name) {
                warn!(command = denied, "commands.deny names a command that Redis 7.0 does not have");
            }
        }
    }

    fn settings(&self) -> Settings {
        let Config { limits, upstream, log, .. } = &self.config;
        Settings {
            limits: limits.clone(),
            upstream: LaneLimits {
                queue_timeout: upstream.queue_timeout,
                reply_timeout: upstream.reply_timeout,
                queue: limits.queue.bytes(),
                reconnect: upstream.reconnect,
            },
            db: upstream.db,
            logs_commands: log.commands,
            cache: self.terms(),
            rules: Rules::new(&self.config.sessions, &self.config.commands).map(Arc::new),
        }
    }

    /// What each worker may hold in memory: of what all may, its part.
    fn terms(&self) -> Option<Terms> {
        let config::Cache { enabled, keys, max_size, max_value_size, staleness, max_residency, .. } =
            &self.config.cache;
        enabled.then(|| Terms {
            keys: Globs::new(keys.iter().map(String::as_str)),
            max_size: max_size.bytes() / self.workers(),
            max_value_size: max_value_size.bytes(),
            staleness: *staleness,
            max_residency: *max_residency,
            serve_stale_on_error: self.config.cache.serve_stale_on_error,
        })
    }

    fn workers(&self) -> usize {
        match self.config.listen.workers {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            count => count,
        }
    }
}

/// Runs the proxy until `stop` is ready, then drains it. `stop_now` cuts the drain short. What comes from
/// `reloads` is put in force without losing a client.
///
/// # Errors
/// An address cannot be listened on, or the system gives no thread.
///
/// # Cancel safety
/// Dropping this closes the listener; workers go on until the process ends. Let `stop` be ready instead.
pub async fn run(
    mut prepared: Prepared,
    mut reloads: UnboundedReceiver<Prepared>,
    stop: impl Future<Output = ()>,
    stop_now: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), ROUND_TRIP_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_value_bytes".to_owned()), SIZE_BUCKETS)?
        .build_recorder();
    let metrics = Metrics::new(&recorder, &labels());
    let count = prepared.workers();
    let config = prepared.config.clone();
    if config.upstream.tls.enabled && config.upstream.tls.verify == Verify::None {
        warn!("upstream.tls.verify is \"none\": anyone between here and the server can read and change every session");
    }
    prepared.warn_of_unknown_commands();
    let listener = match prepared.inherited.take() {
        Some(inherited) => Listener::adopt(inherited).context("the socket of the service manager cannot be used")?,
        None => Listener::bind(&config.listen.address, config.listen.unix_mode)
            .await
            .with_context(|| format!("listen.address: cannot listen on {}", config.listen.address))?,
    };
    let address = listener.address()?;
    if let Some(problem) = config.listen.openness(&address) {
        bail!("the socket of the service manager: {problem}");
    }
    let port = Port::bind(&config.metrics.address)
        .await
        .with_context(|| format!("metrics.address: cannot listen on {}", config.metrics.address))?;
    let server = Server::new(
        prepared.access.clone(),
        config.upstream.db,
        &prepared.settings().upstream,
        config.cache.enabled.then(|| config.cache.own_key.clone()),
        metrics.upstream.clone(),
    );
    let door = prepared.door.clone();
    let workers = Workers::start(count, &prepared.settings(), Arc::clone(&server), door, metrics)?;
    let admin_address =
        port.address().map_or_else(|| config.metrics.address.to_string(), |address| address.to_string());
    info!(address = %admin_address, "admin listening");
    info!(%address, workers = workers.count(), "listening");
    supervisor::ready();
    let admin = tokio::spawn(Admin::new(recorder, Arc::clone(&server), count).run(port));
    let reload = async {
        let mut files = prepared.access.files.clone();
        let mut look = interval(LOOK);
        loop {
            let new = tokio::select! {
                Some(new) = reloads.recv() => new,
                _ = look.tick() => {
                    if let Some(file) = files.changed() {
                        prepared.renew_access(file, &server);
                    }
                    continue;
                }
            };
            // A socket that was handed over is not the one the file names.
            let is_same = new.config.listen.address == prepared.config.listen.address;
            if let Some(problem) = new.config.listen.openness(&address).filter(|_| is_same) {
                error!(problem, "reload refused; the present configuration stays in force");
                continue;
            }
            prepared.reload(new);
            prepared.warn_of_unknown_commands();
            files = prepared.access.files.clone();
            server.reload(prepared.access.clone());
            workers.reload(&prepared.settings(), prepared.door.clone());
        }
    };
    tokio::select! {
        () = listener.run(&workers) => {}
        () = reload => {}
        () = stop => {}
    }
    drop(listener);
    supervisor::stopping();
    drain(&workers, prepared.config.listen.drain_timeout, stop_now).await;
    admin.abort();
    Ok(())
}

/// Lets every client finish what it has in flight.
async fn drain(workers: &Workers, longest: Duration, stop_now: impl Future<Output = ()>) {
    info!(clients = workers.clients(), "draining");
    workers.drain();
    let deadline = Instant::now() + longest;
    let all_gone = async {
        while !workers.has_drained() && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = all_gone => {}
        () = stop_now => {}
    }
    info!(clients = workers.clients(), "stopped");
}

/// The labels of the metrics, from the lists of the floors that own them.
fn labels() -> Labels {
    Labels {
        commands: Commands::rows().iter().map(|row| row.name).collect(),
        pins: PinReason::ALL.iter().map(|reason| reason.label()).collect(),
        misses: Miss::ALL.iter().map(|miss| miss.label()).collect(),
        refusals: Refusal::ALL.iter().map(|refusal| refusal.label()).collect(),
        closes: CloseReason::ALL.iter().map(|reason| reason.label()).collect(),
    }
}
