//! Nobody ever gets another's reply (G2): ten million replies, each checked to the byte, while clients vanish in
//! the middle of everything and come back.
//!
//! ```text
//! Client ┐ says Talk.requests,            ┌ multiplexed ┐
//! Client ┼ hears Talk.replies ──▶ Proxy ──┤             ├──▶ RedisServer ◀── operator: counts connections
//! Client ┘ or vanishes                    └ pinned      ┘
//! ```
//!
//! `CLOAKROOM_REPLIES` is another number of replies, `CLOAKROOM_SEED` the seed of every choice; when things happen
//! is up to the machine. `tests/mutations` proves that a mistake is seen here.

#[path = "soak/client.rs"]
mod client;
#[path = "soak/life.rs"]
mod life;
mod support;
#[path = "soak/talk.rs"]
mod talk;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use life::DATABASES;
use support::{Proxy, RedisServer, Wire, wait_until};

const REPLIES: u64 = 10_000_000;

const WORKERS: usize = 2;
const THREADS: usize = 2;
const CLIENTS: usize = 48;

/// `limits.pinned`: fewer than there are clients who want one.
const PINNED: usize = 16;

/// A worker keeps so many pinned connections that nobody needs.
const IDLE: usize = 8;

/// A RESP2 and a RESP3 connection for each worker and database.
const LANES: usize = WORKERS * DATABASES * 2;

#[test]
fn no_client_ever_gets_anothers_reply() {
    let goal = variable("CLOAKROOM_REPLIES").unwrap_or(REPLIES);
    let seed = variable("CLOAKROOM_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("CLOAKROOM_SEED={seed}");
    let server = RedisServer::plain();
    let proxy = Proxy::with(
        &server,
        &[
            &format!("listen.workers = {WORKERS}"),
            &format!("limits.pinned = {PINNED}"),
            // Whoever wants a connection of its own gets one in the end.
            "upstream.queue_timeout = \"1m\"",
        ],
    );
    let mut operator = Wire::connect(server.port());
    let tally = Arc::new(Tally { goal, ..Tally::default() });
    let began = Instant::now();
    let most = serve(proxy.port(), seed, &tally, &mut operator);
    let (replies, cancels) = (tally.replies.load(Ordering::Relaxed), tally.cancels.load(Ordering::Relaxed));
    let seconds = began.elapsed().as_secs_f64();
    eprintln!(
        "{replies} replies, none of them wrong; {cancels} cancels; {seconds:.1} s, {:.0} replies/s; \
         at most {most} connections to the server",
        replies as f64 / seconds,
    );
    assert!(cancels > replies / 10_000, "hardly anybody vanished");
    // The pinned connections that are in use, those that are kept, those that are about to be closed.
    let bound = LANES + PINNED * 2 + IDLE * WORKERS;
    assert!(most <= bound, "{most} connections, more than {bound}");
    nothing_is_left(&proxy, &mut operator);
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

/// What has been done so far.
#[derive(Default)]
struct Tally {
    goal: u64,
    replies: AtomicU64,
    cancels: AtomicU64,
    has_failed: AtomicBool,
}

impl Tally {
    fn heard(&self, replies: usize) {
        self.replies.fetch_add(replies as u64, Ordering::Relaxed);
    }

    fn vanished(&self) {
        self.cancels.fetch_add(1, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed) || self.replies.load(Ordering::Relaxed) >= self.goal
    }
}

/// Lets all clients come, and returns when the last has gone: the most connections the server had meanwhile.
fn serve(port: u16, seed: u64, tally: &Arc<Tally>, operator: &mut Wire) -> usize {
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || clients(thread, port, seed, tally))).collect();
        let mut most = 0;
        while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            most = most.max(connections(operator));
            thread::sleep(Duration::from_millis(50));
        }
        for thread in threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        most
    })
}

/// The clients of one thread.
fn clients(thread: usize, port: u16, seed: u64, tally: &Arc<Tally>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut clients = JoinSet::new();
        for number in (thread..CLIENTS).step_by(THREADS) {
            let random = Rng::with_seed(seed.wrapping_add(number as u64));
            clients.spawn(client::run(number, port, random, Arc::clone(tally)));
        }
        while let Some(end) = clients.join_next().await {
            if let Err(panic) = end {
                tally.has_failed.store(true, Ordering::Relaxed);
                resume_unwind(panic.into_panic());
            }
        }
    });
}

/// Connections of the server, the operator's aside.
fn connections(operator: &mut Wire) -> usize {
    let info = ask(operator, "INFO clients");
    let count = info.lines().find_map(|line| line.strip_prefix("connected_clients:"));
    count.and_then(|count| count.trim().parse::<usize>().ok()).expect("a count of clients") - 1
}

fn ask(operator: &mut Wire, line: &str) -> String {
    String::from_utf8_lossy(&operator.frame_of(line)).into_owned()
}

/// Neither on the server nor in the proxy.
fn nothing_is_left(proxy: &Proxy, operator: &mut Wire) {
    let metric = |name: &str| {
        let metrics = proxy.get("/metrics").1;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse::<f64>().ok()).unwrap_or_else(|| panic!("no {name} in:\n{metrics}"))
    };
    wait_until("no client is left", || metric("cloakroom_client_connections") == 0.0);
    wait_until("no state is left on the server", || {
        let list = ask(operator, "CLIENT LIST");
        let none_is_left = list.lines().filter(|line| line.starts_with("id=")).all(|line| {
            let flags = line.split(' ').find_map(|field| field.strip_prefix("flags=")).expect("flags");
            !flags.contains(['x', 'b', 'P', 'O', 'd']) && line.contains(" multi=-1 ") && line.contains(" sub=0 psub=0 ")
        });
        // The proxy's own.
        let tracking = list.lines().filter(|line| line.contains(" flags=t ")).count();
        none_is_left && tracking as f64 == metric("cloakroom_cache_tracked_connections")
    });
    wait_until("only what is kept is left", || connections(operator) <= LANES + IDLE * WORKERS);
    let lost = ["closed", "io", "desync", "stalled"]
        .map(|cause| format!("cloakroom_upstream_losses_total{{cause=\"{cause}\"}}"));
    let never =
        ["cloakroom_not_executed_total", "cloakroom_unknown_outcome_total", "cloakroom_unexpected_pushes_total"];
    for name in lost.iter().map(String::as_str).chain(never) {
        assert_eq!(metric(name), 0.0, "{name}");
    }
}
