//! Four hundred clients want their server back at the same moment: it is met by a few connections, well apart,
//! and all of them are served at once.
//!
//! ```text
//! 400 × Wire ─▶ Proxy ─▶ Turnstile ─▶ RedisServer
//!                           └ says when each connection came; closed during the outage
//! ```

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::support::{Proxy, RedisServer, Wire, wait_until};
use super::{NOT_EXECUTED, wait_lost};

const CLIENTS: usize = 400;

/// Some of them use transactions, each on a connection of its own.
const IN_TRANSACTIONS: usize = 100;

/// Each of them attempts to come back by itself.
const MANY_WORKERS: usize = 16;

/// Longer than the wait between attempts takes to grow to its bound of 2 s.
const OUTAGE: Duration = Duration::from_secs(10);

/// Between two requests of a client.
const PACE: Duration = Duration::from_millis(100);

/// A refusal that waits for nothing, on a machine busy with 400 threads and more: half of `queue_timeout`, which one that waits
/// would take. Where there is room, most take less than a millisecond.
const AT_ONCE: Duration = Duration::from_millis(250);

/// Connections that may come within [`WINDOW`]: five hundredths of the clients, and fewer where two workers share theirs.
const MOST: usize = 20;
const MOST_SHARED: usize = 12;
const WINDOW: Duration = Duration::from_millis(10);

/// The longest wait between attempts, and a little.
const RECOVERY: Duration = Duration::from_millis(2500);

/// Four hundred handshakes, a millisecond apart at least.
const ONE_AFTER_THE_OTHER: Duration = Duration::from_millis(800);

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Write,
    /// A connection of its own for a moment.
    Transaction,
    /// A connection of its own, to be kept.
    Subscription,
}

#[test]
fn a_server_that_comes_back_is_not_met_by_a_herd() {
    come_back(2, |_| Wish::Write).assert_calm(MOST_SHARED);
}

#[test]
fn many_workers_do_not_make_a_herd() {
    come_back(MANY_WORKERS, |_| Wish::Write).assert_calm(MOST);
}

/// Whoever wants a connection of its own does not try for one by itself while there is no server.
#[test]
fn transactions_do_not_make_a_herd_either() {
    let wish = |number| if number < IN_TRANSACTIONS { Wish::Transaction } else { Wish::Write };
    come_back(2, wish).assert_calm(MOST);
}

/// Four hundred connections that must all be made: two at a time, and never less than a millisecond apart, since a quick
/// server is done with twenty-five within [`WINDOW`].
#[test]
fn connections_of_their_own_are_made_one_after_the_other() {
    come_back(MANY_WORKERS, |_| Wish::Subscription).assert_calm_within(RECOVERY + ONE_AFTER_THE_OTHER, MOST);
}

#[derive(Debug)]
#[allow(dead_code, reason = "some is only shown")]
struct Back {
    workers: usize,
    attempts_while_away: usize,
    attempts_when_back: usize,
    /// Within [`WINDOW`], at most.
    most_while_away: usize,
    most_when_back: usize,
    failures: usize,
    /// The median time until a request fails while the server is known to be down.
    fails_within: Duration,
    /// Of the 400 clients, the median, the last but three and the last time until the first success.
    median: Duration,
    p99: Duration,
    last: Duration,
}

impl Back {
    fn assert_calm(&self, most: usize) {
        self.assert_calm_within(RECOVERY, most);
    }

    fn assert_calm_within(&self, recovery: Duration, most: usize) {
        // Those of a worker are ever rarer, about a dozen altogether.
        assert!(self.attempts_while_away < 25 * self.workers, "an attempt for each client: {self:#?}");
        assert!(self.most_while_away <= most && self.most_when_back <= most, "a herd: {self:#?}");
        assert!(self.p99 < recovery, "served too late: {self:#?}");
        assert!(self.failures > 10 * CLIENTS && self.fails_within < AT_ONCE, "not told at once: {self:#?}");
    }
}

/// What a client saw.
struct Seen {
    /// How long each failure took while the server was known to be down.
    failures: Vec<Duration>,
    /// After the server's return.
    first_success: Instant,
    /// A subscriber stays.
    _client: Wire,
}

fn come_back(workers: usize, wish: fn(usize) -> Wish) -> Back {
    let mut server = RedisServer::with().persistent().start();
    let turnstile = Turnstile::to(&server.address());
    let proxy = Proxy::start(&format!(
        "listen.address = \"127.0.0.1:0\"\nlisten.workers = {workers}\nmetrics.address = \"127.0.0.1:0\"\nlog.format = \"json\"\n\
         upstream.server = \"{}\"\nupstream.queue_timeout = \"500ms\"\n",
        turnstile.address,
    ));
    proxy.allow("upstream connection lost");
    proxy.allow("upstream unavailable");
    proxy.wait_ready();
    let clients: Vec<_> = (0..CLIENTS).map(|_| Wire::connect(proxy.port())).collect();

    turnstile.close();
    server.kill();
    wait_lost(&proxy);
    // What is sent on a connection nobody has noticed the end of may have run.
    wait_until("every worker has lost its connection", || {
        proxy.get("/metrics").1.contains("cloakroom_upstream_connections{kind=\"multiplexed\"} 0\n")
    });
    let away = Instant::now();
    let is_back = AtomicBool::new(false);
    let (seen, back) = thread::scope(|scope| {
        let asking = |(number, client)| {
            let is_back = &is_back;
            thread::Builder::new()
                .stack_size(128 << 10)
                .spawn_scoped(scope, move || ask_until_served(number, client, wish(number), is_back, away))
                .expect("a thread")
        };
        let clients: Vec<_> = clients.into_iter().enumerate().map(asking).collect();
        thread::sleep(OUTAGE);
        server.start();
        is_back.store(true, Ordering::Relaxed);
        turnstile.open();
        let back = Instant::now();
        let seen: Vec<_> = clients.into_iter().map(|client| client.join().expect("a client that is served")).collect();
        (seen, back)
    });

    let arrivals = turnstile.arrivals();
    let mut waits: Vec<_> = seen.iter().map(|seen| seen.first_success.saturating_duration_since(back)).collect();
    waits.sort_unstable();
    let mut failures: Vec<_> = seen.iter().flat_map(|seen| &seen.failures).copied().collect();
    failures.sort_unstable();
    let back = Back {
        workers,
        attempts_while_away: arrivals.iter().filter(|at| (away..back).contains(*at)).count(),
        attempts_when_back: arrivals.iter().filter(|at| **at >= back).count(),
        most_while_away: most_within(WINDOW, arrivals.iter().copied().filter(|at| (away..back).contains(at))),
        most_when_back: most_within(WINDOW, arrivals.iter().copied().filter(|at| *at >= back)),
        failures: failures.len(),
        fails_within: failures[failures.len() / 2],
        median: waits[CLIENTS / 2],
        p99: waits[CLIENTS - 4],
        last: waits[CLIENTS - 1],
    };
    eprintln!("{back:?}");
    back
}

/// Asks again and again until the server is back, and then until it is served.
fn ask_until_served(number: usize, mut client: Wire, wish: Wish, is_back: &AtomicBool, away: Instant) -> Seen {
    let mut failures = Vec::new();
    let set = format!("SET k{number} v");
    loop {
        let asked = Instant::now();
        let said = match wish {
            Wish::Write => client.ask(&set),
            Wish::Transaction => {
                client.say(&["MULTI", &set, "EXEC"]);
                [client.hear(), client.hear(), client.hear()][2].clone()
            }
            Wish::Subscription => client.ask("SUBSCRIBE channel"),
        };
        match said.as_str() {
            "+OK" | "*1 +OK" | "*3 $9 subscribe $7 channel :1" => {
                return Seen { failures, first_success: Instant::now(), _client: client };
            }
            NOT_EXECUTED => {}
            said => assert!(wish == Wish::Transaction && said.starts_with("-EXECABORT"), "{said}"),
        }
        // Not those that still waited for the server.
        let is_known_down = asked - away > OUTAGE / 3;
        if is_known_down && wish != Wish::Transaction && !is_back.load(Ordering::Relaxed) {
            failures.push(asked.elapsed());
        }
        thread::sleep(PACE);
    }
}

fn most_within(window: Duration, times: impl Iterator<Item = Instant>) -> usize {
    let times: Vec<_> = times.collect();
    let within = |start: &Instant| times.iter().filter(|at| (*start..*start + window).contains(*at)).count();
    times.iter().map(within).max().unwrap_or(0)
}

/// The way to a server that knows when each connection came. Closes those that come while it is closed.
struct Turnstile {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    is_open: AtomicBool,
    arrivals: Mutex<Vec<Instant>>,
}

impl Turnstile {
    fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the port of a listener");
        let is_open = AtomicBool::new(true);
        let shared = Arc::new(Shared { server: server.to_owned(), is_open, arrivals: Mutex::default() });
        // Ends with the test's process.
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || listener.incoming().flatten().for_each(|proxy| shared.arrive(proxy))
        });
        Self { address, shared }
    }

    fn close(&self) {
        self.shared.is_open.store(false, Ordering::Relaxed);
    }

    fn open(&self) {
        self.shared.is_open.store(true, Ordering::Relaxed);
    }

    fn arrivals(&self) -> Vec<Instant> {
        self.shared.arrivals.lock().expect("no thread panics while it holds this lock").clone()
    }
}

impl Shared {
    fn arrive(&self, proxy: TcpStream) {
        self.arrivals.lock().expect("no thread panics while it holds this lock").push(Instant::now());
        if !self.is_open.load(Ordering::Relaxed) {
            return;
        }
        let Ok(server) = TcpStream::connect(&self.server) else { return };
        for (from, to) in [(&proxy, &server), (&server, &proxy)] {
            let (mut from, mut to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
            let _ = to.set_nodelay(true);
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
}
