//! The server is lost, and comes back (G2, G3): what clients see of it.
//!
//! ```text
//! Wire ─▶ Proxy ─▶ Relay ─▶ RedisServer
//!                    │         └ killed, ended, restarted, stopped
//!                    └ cut at any byte, a blackhole, late
//! ```
//!
//! A failure of what is random shows its seed: set `CLOAKROOM_SEED` to it to see the same again.

mod support;

#[path = "loss/at_most_once.rs"]
mod at_most_once;
#[path = "loss/crowd.rs"]
mod crowd;
#[path = "loss/drain.rs"]
mod drain;
#[path = "loss/eager_subscribers.rs"]
mod eager_subscribers;
#[path = "loss/eager_writes.rs"]
mod eager_writes;
#[path = "loss/herd.rs"]
mod herd;
#[path = "loss/off.rs"]
mod off;
#[path = "loss/outage.rs"]
mod outage;
#[path = "loss/pinned.rs"]
mod pinned;
#[path = "loss/reads.rs"]
mod reads;
#[path = "loss/refused.rs"]
mod refused;
#[path = "loss/renewal.rs"]
mod renewal;
#[path = "loss/rotation.rs"]
mod rotation;
#[path = "loss/silence.rs"]
mod silence;
#[path = "loss/transactions.rs"]
mod transactions;

use fastrand::Rng;
use support::{Cut, Direction, Proxy, RedisServer, Relay};

const NOT_EXECUTED: &str = "-LOADING upstream unavailable; command not executed";
const UNKNOWN: &str = "-UNKNOWN upstream connection lost; outcome unknown";

/// What is left of a connection that was closed after its last reply.
const NOTHING: Result<Vec<u8>, String> = Ok(Vec::new());

/// A proxy in front of `server`, ready. One worker, and none that proves that changes are told: its connections are known
/// by number. Nothing is answered from memory.
///
/// It may complain of the server as much as it likes.
fn proxy(server: &str, lines: &[&str]) -> Proxy {
    let proxy = Proxy::start(&format!(
        "listen.address = \"127.0.0.1:0\"\nlisten.workers = 1\nmetrics.address = \"127.0.0.1:0\"\n\
         log.format = \"json\"\ncache.enabled = false\nupstream.server = \"{server}\"\n{}\n",
        lines.join("\n"),
    ));
    proxy.allow("upstream connection lost");
    proxy.allow("upstream unavailable");
    proxy.wait_ready();
    proxy
}

/// A server, the way to it, and a proxy that uses it.
fn behind_relay(lines: &[&str]) -> (RedisServer, Relay, Proxy) {
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    let proxy = proxy(&relay.address(), lines);
    (server, relay, proxy)
}

/// Returns when the proxy knows that it has lost its server.
fn wait_lost(proxy: &Proxy) {
    support::wait_until("/readyz answers 503", || proxy.get("/readyz").0 == 503);
}

/// Everything random comes from here.
fn seeded() -> Rng {
    let seed =
        std::env::var("CLOAKROOM_SEED").ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    eprintln!("CLOAKROOM_SEED={seed}");
    Rng::with_seed(seed)
}

fn any_direction(random: &mut Rng) -> Direction {
    if random.bool() { Direction::Requests } else { Direction::Replies }
}

fn any_cut(random: &mut Rng) -> Cut {
    if random.bool() { Cut::Reset } else { Cut::Finish }
}

/// Requests of a name.
fn counted(proxy: &Proxy, command: &str) -> u32 {
    let metrics = proxy.get("/metrics").1;
    let name = format!("cloakroom_requests_total{{command=\"{command}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

/// Connections held by one client each.
fn pinned(proxy: &Proxy) -> u32 {
    let metrics = proxy.get("/metrics").1;
    let line = metrics.lines().find_map(|line| line.strip_prefix("cloakroom_upstream_connections{kind=\"pinned\"} "));
    line.and_then(|count| count.parse().ok()).expect("a count")
}
