//! One schedule: a server, the way to it, a proxy; faults and clients, all from one seed; and the judgement.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::client::{BRIEF, Client, LAST, LISTS, REGISTERS, Scene, key};
use super::fault::{self, NetworkFault, PASSWORD, Planned, ServerFault, USER};
use super::history::{Entry, History, Reply, Told};
use super::register::{self, Verdict};
use super::support::{Certificates, Proxy, RedisServer, Relay, Wire};
use super::tokens::{self, Kept};
use super::{QUEUE_TIMEOUT, REPLY_TIMEOUT};

/// Clients that ask at random.
const CLIENTS: usize = 5;

/// How long clients go on after the last fault.
const PEACE: Duration = Duration::from_millis(150);

/// What came of schedules.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) executed: usize,
    pub(crate) not_executed: usize,
    pub(crate) unknown: usize,
    pub(crate) closed: usize,
    /// Keys whose history was too much to judge.
    pub(crate) undecided: usize,
}

/// All that comes from the seed.
struct Schedule {
    seed: u64,
    mode: &'static str,
    is_tls: bool,
    workers: usize,
    network: Vec<Planned<NetworkFault>>,
    server: Vec<Planned<ServerFault>>,
    /// What clients do.
    random: Rng,
}

impl Schedule {
    fn new(mode: &'static str, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let (is_tls, workers) = (random.u8(0..3) == 0, random.usize(1..3));
        let network = (0..random.usize(2..6)).map(|_| Planned::<NetworkFault>::any(&mut random)).collect();
        let server = (0..random.usize(0..3)).map(|_| Planned::<ServerFault>::any(&mut random, is_tls)).collect();
        Self { seed, mode, is_tls, workers, network, server, random }
    }
}

/// Runs the schedule of `seed` in a mode of `upstream.reconnect`. The error is everything that was wrong.
pub(crate) fn run(mode: &'static str, seed: u64, certificates: &Certificates) -> Result<Tally, String> {
    let mut schedule = Schedule::new(mode, seed);
    let mut server = start_server(&schedule, certificates);
    let relay = Relay::to(&server.address());
    let proxy = start_proxy(&schedule, &relay, certificates);
    let scene = Scene {
        port: proxy.port(),
        began: Instant::now(),
        is_over: AtomicBool::new(false),
        may_close: mode == "off",
        never_blocks: schedule.server.iter().any(Planned::loads),
    };
    let mut history = play(&mut schedule, &scene, &mut server, &relay, &proxy);
    // Twice: what is late, comes in between.
    for _ in 0..2 {
        history.merge(Client::new(0, &scene, schedule.random.fork()).look());
        thread::sleep(Duration::from_millis(20));
    }
    let (mut wrong, tally) = judge(&history, &kept(&scene));
    if !proxy.get("/metrics").1.contains("cloakroom_upstream_losses_total{cause=\"desync\"} 0") {
        wrong.push("replies came out of step".to_owned());
    }
    if wrong.is_empty() { Ok(tally) } else { Err(report(&schedule, &wrong, &proxy)) }
}

fn start_server(schedule: &Schedule, certificates: &Certificates) -> RedisServer {
    let mut options = RedisServer::with().persistent().config("enable-debug-command yes");
    if schedule.is_tls {
        let user = format!("user {USER} on >{PASSWORD} ~* &* +@all");
        options = options.tls(certificates).password("operator").config(user);
    }
    let server = options.start();
    fault::fill(&server);
    server
}

fn start_proxy(schedule: &Schedule, relay: &Relay, certificates: &Certificates) -> Proxy {
    let (mode, workers) = (schedule.mode, schedule.workers);
    let mut config = format!(
        "listen.address = \"127.0.0.1:0\"\nlisten.workers = {workers}\nmetrics.address = \"127.0.0.1:0\"\n\
         log.format = \"json\"\nupstream.server = \"{}\"\nupstream.reconnect = \"{mode}\"\n\
         upstream.queue_timeout = \"{}ms\"\nupstream.reply_timeout = \"{}ms\"\nupstream.connect_timeout = \"500ms\"\n",
        relay.address(),
        QUEUE_TIMEOUT.as_millis(),
        REPLY_TIMEOUT.as_millis(),
    );
    if schedule.is_tls {
        let ca = certificates.ca.display();
        let _ = write!(
            config,
            "upstream.tls.enabled = true\nupstream.tls.ca_file = \"{ca}\"\n\
             upstream.username = \"{USER}\"\nupstream.password = \"{PASSWORD}\"\n",
        );
    }
    let proxy = Proxy::start(&config);
    proxy.allow("upstream connection lost");
    proxy.allow("upstream unavailable");
    proxy.wait_ready();
    proxy
}

/// Lets faults happen while clients ask, and returns what these have seen.
fn play(schedule: &mut Schedule, scene: &Scene, server: &mut RedisServer, relay: &Relay, proxy: &Proxy) -> History {
    let mut client = {
        let random = &mut schedule.random;
        let mut number = 0;
        move || {
            number += 1;
            Client::new(number, scene, random.fork())
        }
    };
    thread::scope(|scope| {
        let subscriber = client();
        let subscriber = scope.spawn(move || subscriber.subscribe());
        let (enqueuer, dequeuer, publisher) = (client(), client(), client());
        let mut others = vec![
            scope.spawn(move || enqueuer.enqueue()),
            scope.spawn(move || dequeuer.dequeue()),
            scope.spawn(move || publisher.publish()),
        ];
        others.extend((0..CLIENTS).map(|_| {
            let client = client();
            scope.spawn(move || client.run())
        }));
        let network = &schedule.network;
        let on_the_way = scope.spawn(move || network.iter().for_each(|fault| fault.happen(relay)));
        schedule.server.iter().for_each(|fault| fault.happen(server, proxy));
        on_the_way.join().expect("no panic");
        proxy.wait_ready();
        thread::sleep(PEACE);
        scene.is_over.store(true, Ordering::Relaxed);
        let mut history = History::default();
        others.into_iter().for_each(|client| history.merge(client.join().expect("no panic")));
        let mut last_word = Wire::connect(scene.port);
        while !subscriber.is_finished() {
            last_word.ask(&format!("PUBLISH channel t={LAST}"));
            thread::sleep(Duration::from_millis(10));
        }
        history.merge(subscriber.join().expect("no panic"));
        history
    })
}

/// What the server holds now.
fn kept(scene: &Scene) -> Kept {
    let mut wire = Wire::connect(scene.port);
    let mut list = |key: &str| tokens::tokens(&Reply::parse(&wire.frame_of(&format!("LRANGE {key} 0 -1"))));
    Kept {
        lists: (0..LISTS).map(|at| list(&format!("list:{at}"))).collect(),
        both: [list("both:0"), list("both:1")],
        queue: list("queue"),
        counter: match Reply::parse(&wire.frame_of("GET counter")) {
            Reply::Text(count) => count.parse().expect("a number"),
            _ => 0,
        },
    }
}

/// Everything that must not have happened, and what happened.
fn judge(history: &History, kept: &Kept) -> (Vec<String>, Tally) {
    let mut wrong = history.violations.clone();
    wrong.extend(tokens::violations(history, kept));
    let entries = &history.entries;
    let count = |is_so: fn(&Entry) -> bool| entries.iter().filter(|entry| is_so(entry)).count();
    let mut tally = Tally {
        executed: count(|entry| matches!(entry.told, Told::Executed(_))),
        not_executed: count(|entry| entry.told == Told::NotExecuted),
        unknown: count(|entry| entry.told == Told::Unknown),
        closed: count(|entry| entry.told == Told::Closed),
        undecided: 0,
    };
    for at in 0..REGISTERS + BRIEF {
        match register::judge(entries, at) {
            Verdict::Linearizable => {}
            Verdict::Violated(why) => wrong.push(format!("{}: {why}", key(at))),
            Verdict::Undecided => tally.undecided += 1,
        }
    }
    (wrong, tally)
}

/// For a schedule that came to no end.
pub(crate) fn panicked(mode: &'static str, seed: u64) -> String {
    let Schedule { is_tls, workers, network, server, .. } = Schedule::new(mode, seed);
    format!(
        "CLOAKROOM_SEED={seed} cargo test --test faults {mode}\n\
         {workers} workers, TLS: {is_tls}\non the way: {network:?}\nat the server: {server:?}\na panic, see above"
    )
}

fn report(schedule: &Schedule, wrong: &[String], proxy: &Proxy) -> String {
    let Schedule { seed, mode, is_tls, workers, network, server, .. } = schedule;
    format!(
        "CLOAKROOM_SEED={seed} cargo test --test faults {mode}\n\
         {workers} workers, TLS: {is_tls}\non the way: {network:?}\nat the server: {server:?}\n{}\nthe proxy wrote:\n{}",
        wrong.join("\n"),
        proxy.logs().join("\n"),
    )
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.executed += other.executed;
        self.not_executed += other.not_executed;
        self.unknown += other.unknown;
        self.closed += other.closed;
        self.undecided += other.undecided;
    }
}
