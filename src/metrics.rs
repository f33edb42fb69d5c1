//! What Prometheus is told.
//!
//! Every handle is made once, here, with its description; the code that counts holds the handle. Labels come
//! from closed lists: no key, no address, no text of a client (G8).

mod describe;

use std::collections::HashMap;
use std::hash::Hash;

use metrics::{Counter, Gauge, Histogram, Recorder, counter, gauge, histogram};

/// Every metric, by the part that moves it. Cloning shares the numbers.
#[derive(Debug, Clone)]
pub struct Metrics {
    #[allow(missing_docs)]
    pub client: ClientMetrics,
    #[allow(missing_docs)]
    pub upstream: UpstreamMetrics,
    #[allow(missing_docs)]
    pub cache: CacheMetrics,
    #[allow(missing_docs)]
    pub session: SessionMetrics,
}

/// The clients' side.
#[derive(Debug, Clone)]
pub struct ClientMetrics {
    /// Connected now.
    pub connections: Gauge,
    /// Bytes held for clients.
    pub memory: Gauge,
    /// Wrong passwords of clients.
    pub auth_failures: Counter,
    /// Connected ever.
    pub accepted: Counter,
    /// Gone, by reason.
    pub closed: Labelled<&'static str>,
    /// Requests by command, in the order of the command table; the last one counts all others.
    pub requests: Vec<Counter>,
    /// Bytes read.
    pub received: Counter,
    /// Bytes written.
    pub sent: Counter,
}

/// The server's side.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    /// Multiplexed connections that are ready.
    pub lanes: Gauge,
    /// Connections held by one client each.
    pub pinned: Gauge,
    /// Pins, by reason.
    pub pins: Labelled<&'static str>,
    /// Attempts to connect, by result.
    pub connects: Labelled<&'static str>,
    /// Multiplexed connections lost, by cause.
    pub losses: Labelled<&'static str>,
    /// Lost connections the server was asked to forget, by what became of them.
    pub severs: Labelled<&'static str>,
    /// From sending the oldest request of a burst to its reply.
    pub round_trip: Histogram,
    /// Requests answered as surely not executed.
    pub not_executed: Counter,
    /// Requests answered as perhaps executed.
    pub unknown_outcome: Counter,
    /// Reads sent again on a new connection.
    pub resent: Counter,
    /// Lost writes that were found to have been executed.
    pub found_executed: Counter,
    /// Lost writes that were sent again.
    pub replayed: Counter,
    /// Requests the server refused for now, and that were sent again.
    pub refused: Counter,
    /// Connections that took over from another one, by result.
    pub renewals: Labelled<&'static str>,
    /// Subscribers that may have missed messages and do not know it.
    pub subscription_gaps: Counter,
    /// Pushes nobody asked for.
    pub unexpected_pushes: Counter,
    /// Connections whose server tells of changes.
    pub tracked: Gauge,
    /// Those whose server does not, by cause.
    pub untracked: Labelled<&'static str>,
}

/// Values held in memory.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    #[allow(missing_docs)]
    pub bytes: Gauge,
    #[allow(missing_docs)]
    pub entries: Gauge,
    /// Reads answered from memory.
    pub hits: Counter,
    /// Of these, those that have waited for a fence, or would have been one had it found the value unchanged.
    pub waits: Counter,
    /// Reads answered with what was known before the server was lost.
    pub stale: Counter,
    /// Reads that were not, by cause.
    pub misses: Labelled<&'static str>,
    #[allow(missing_docs)]
    pub fills: Counter,
    /// What was fetched and not kept, by cause.
    pub refusals: Labelled<&'static str>,
    /// By result.
    pub fences: Labelled<&'static str>,
    /// By what has told of the change.
    pub invalidations: Labelled<&'static str>,
    /// Keys the server was told of that they are in use.
    pub touches: Counter,
    #[allow(missing_docs)]
    pub evictions: Counter,
    /// The age of the oldest proof that made a hit, as often as it is looked at.
    pub proof_age: Histogram,
}

/// What the session rules see and do.
#[derive(Debug, Clone)]
pub struct SessionMetrics {
    /// Sessions that came into being.
    pub created: Counter,
    /// Sessions a client has destroyed.
    pub destroyed: Counter,
    /// Sessions that were there when last read, and are not any more, though nobody here has destroyed them.
    pub expired: Counter,
    /// Writes that would have brought a destroyed session back.
    pub late_writes: Counter,
    /// Expiries that were added to sessions without one.
    pub expiries_added: Counter,
    /// Touches that cost the server nothing, or less.
    pub touches_saved: Counter,
    /// Values that were refused for their size.
    pub oversized: Counter,
    /// Writes of a session that somebody else has written since its writer read it.
    pub lost_updates: Counter,
    /// Requests the configuration forbids.
    pub forbidden: Counter,
    /// Sizes of the values that were written.
    pub value_bytes: Histogram,
}

/// A family of counters that differ in one label.
#[derive(Debug, Clone)]
pub struct Labelled<L> {
    counters: HashMap<L, Counter>,
}

impl<L: Eq + Hash + Copy> Labelled<L> {
    fn new(labels: impl IntoIterator<Item = L>, counter: impl Fn(L) -> Counter) -> Self {
        Self { counters: labels.into_iter().map(|label| (label, counter(label))).collect() }
    }

    /// One more of `label`. A label that is not in the list is a mistake of ours, not counted.
    pub fn add(&self, label: L) {
        self.add_many(label, 1);
    }

    /// So many more.
    pub fn add_many(&self, label: L, count: u64) {
        if let Some(counter) = self.counters.get(&label) {
            counter.increment(count);
        }
    }
}

/// Which labels a family has: known to floors above this one.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    /// Commands, in the order of their numbers.
    pub commands: Vec<&'static str>,
    /// Why an upstream connection is pinned.
    pub pins: Vec<&'static str>,
    /// Why clients go.
    pub closes: Vec<&'static str>,
    /// Why reads are not answered from memory.
    pub misses: Vec<&'static str>,
    /// Why what was fetched is not kept.
    pub refusals: Vec<&'static str>,
}

/// How an attempt to connect may end.
const CONNECT_RESULTS: [&str; 14] = [
    "ok",
    "held_off",
    "io",
    "timeout",
    "closed",
    "loading",
    "replica",
    "refused",
    "auth",
    "tls",
    "not_redis",
    "database",
    "busy",
    "file",
];

/// What becomes of a lost connection on the server.
const SEVER_RESULTS: [&str; 3] = ["killed", "gone", "denied"];

/// Why a server does not tell of changes.
const UNTRACKED_CAUSES: [&str; 4] = ["version", "refused", "silent", "unproven"];

/// Why a multiplexed connection is lost.
const LOSS_CAUSES: [&str; 5] = ["closed", "io", "desync", "stalled", "refused"];

impl Metrics {
    /// Makes every handle in `recorder`.
    pub fn new(recorder: &dyn Recorder, labels: &Labels) -> Self {
        metrics::with_local_recorder(recorder, || {
            describe::describe();
            gauge!("cloakroom_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            Self {
                client: ClientMetrics::new(labels),
                upstream: UpstreamMetrics::new(labels),
                cache: CacheMetrics::new(labels),
                session: SessionMetrics::new(),
            }
        })
    }
}

impl ClientMetrics {
    fn new(labels: &Labels) -> Self {
        let requests = labels.commands.iter().chain(&["other"]);
        Self {
            connections: gauge!("cloakroom_client_connections"),
            memory: gauge!("cloakroom_client_memory_bytes"),
            auth_failures: counter!("cloakroom_auth_failures_total"),
            accepted: counter!("cloakroom_client_connections_total"),
            closed: Labelled::new(
                labels.closes.iter().copied(),
                |reason| counter!("cloakroom_client_disconnects_total", "reason" => reason),
            ),
            requests: requests.map(|command| counter!("cloakroom_requests_total", "command" => *command)).collect(),
            received: counter!("cloakroom_client_received_bytes_total"),
            sent: counter!("cloakroom_client_sent_bytes_total"),
        }
    }
}

impl UpstreamMetrics {
    fn new(labels: &Labels) -> Self {
        Self {
            lanes: gauge!("cloakroom_upstream_connections", "kind" => "multiplexed"),
            pinned: gauge!("cloakroom_upstream_connections", "kind" => "pinned"),
            pins: Labelled::new(
                labels.pins.iter().copied(),
                |reason| counter!("cloakroom_pins_total", "reason" => reason),
            ),
            connects: Labelled::new(
                CONNECT_RESULTS,
                |result| counter!("cloakroom_upstream_connects_total", "result" => result),
            ),
            losses: Labelled::new(LOSS_CAUSES, |cause| counter!("cloakroom_upstream_losses_total", "cause" => cause)),
            severs: Labelled::new(SEVER_RESULTS, |result| counter!("cloakroom_severs_total", "result" => result)),
            round_trip: histogram!("cloakroom_upstream_round_trip_seconds"),
            not_executed: counter!("cloakroom_not_executed_total"),
            unknown_outcome: counter!("cloakroom_unknown_outcome_total"),
            resent: counter!("cloakroom_resent_reads_total"),
            found_executed: counter!("cloakroom_lost_writes_found_total"),
            replayed: counter!("cloakroom_replayed_writes_total"),
            refused: counter!("cloakroom_refused_requests_total"),
            renewals: Labelled::new(
                CONNECT_RESULTS,
                |result| counter!("cloakroom_upstream_renewals_total", "result" => result),
            ),
            subscription_gaps: counter!("cloakroom_subscription_gaps_total"),
            unexpected_pushes: counter!("cloakroom_unexpected_pushes_total"),
            tracked: gauge!("cloakroom_cache_tracked_connections"),
            untracked: Labelled::new(
                UNTRACKED_CAUSES,
                |cause| counter!("cloakroom_cache_untracked_total", "cause" => cause),
            ),
        }
    }
}

impl CacheMetrics {
    fn new(labels: &Labels) -> Self {
        let fences = |result| counter!("cloakroom_cache_fences_total", "result" => result);
        let invalidations = |source| counter!("cloakroom_cache_invalidations_total", "source" => source);
        Self {
            bytes: gauge!("cloakroom_cache_bytes"),
            entries: gauge!("cloakroom_cache_entries"),
            hits: counter!("cloakroom_cache_hits_total"),
            waits: counter!("cloakroom_cache_waits_total"),
            stale: counter!("cloakroom_cache_stale_total"),
            misses: Labelled::new(
                labels.misses.iter().copied(),
                |cause| counter!("cloakroom_cache_misses_total", "cause" => cause),
            ),
            fills: counter!("cloakroom_cache_fills_total"),
            refusals: Labelled::new(
                labels.refusals.iter().copied(),
                |cause| counter!("cloakroom_cache_fills_refused_total", "cause" => cause),
            ),
            fences: Labelled::new(["ok", "refused"], fences),
            invalidations: Labelled::new(["key", "everything", "clock"], invalidations),
            touches: counter!("cloakroom_cache_touches_total"),
            evictions: counter!("cloakroom_cache_evictions_total"),
            proof_age: histogram!("cloakroom_cache_proof_age_seconds"),
        }
    }
}

impl SessionMetrics {
    fn new() -> Self {
        Self {
            created: counter!("cloakroom_sessions_created_total"),
            destroyed: counter!("cloakroom_sessions_destroyed_total"),
            expired: counter!("cloakroom_sessions_expired_total"),
            late_writes: counter!("cloakroom_session_late_writes_total"),
            expiries_added: counter!("cloakroom_session_expiries_added_total"),
            touches_saved: counter!("cloakroom_session_touches_saved_total"),
            oversized: counter!("cloakroom_session_oversized_total"),
            lost_updates: counter!("cloakroom_session_lost_updates_total"),
            forbidden: counter!("cloakroom_forbidden_requests_total"),
            value_bytes: histogram!("cloakroom_session_value_bytes"),
        }
    }
}

/// Bounds of the histogram of values, in bytes.
pub const SIZE_BUCKETS: &[f64] =
    &[64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// Bounds of the round trip's histogram, in seconds.
pub const ROUND_TRIP_BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
