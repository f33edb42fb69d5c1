//! One schedule: a server, the way to it, a proxy; faults and clients, all from one seed; and the judgement.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::client::{BRIEF, Client, LAST, LISTS, REGISTERS, Scene, key};
use super::fault::{self, LOADS_IN_PIECES, NetworkFault, PASSWORD, Planned, ServerFault, Silence, USER};
use super::history::{Entry, History, Reply, Told};
use super::register::{self, Verdict};
use super::support::{Certificates, Proxy, RedisServer, Relay, Wire};
use super::tokens::{self, Gaps, Kept};
use super::{QUEUE_TIMEOUT, REPLY_TIMEOUT};

/// Clients that ask at random.
const CLIENTS: usize = 5;

/// How long clients go on after the last fault.
const PEACE: Duration = Duration::from_millis(150);

/// What the schedules of a test have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// The test's name.
    pub(crate) test: &'static str,
    /// Of `upstream.reconnect`.
    mode: &'static str,
    /// One of the faults is a long silence.
    pub(crate) is_long: bool,
}

impl Course {
    pub(crate) fn new(test: &'static str, mode: &'static str) -> Self {
        Self { test, mode, is_long: false }
    }

    pub(crate) fn silent(self) -> Self {
        Self { is_long: true, ..self }
    }
}

/// What came of schedules.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) executed: usize,
    pub(crate) not_executed: usize,
    pub(crate) unknown: usize,
    pub(crate) closed: usize,
    /// Keys whose history was too much to judge.
    pub(crate) undecided: usize,
    /// How often each fault happened, with TLS and without.
    pub(crate) faults: BTreeMap<String, usize>,
}

/// All that comes from the seed.
struct Schedule {
    seed: u64,
    course: Course,
    is_tls: bool,
    workers: usize,
    network: Vec<Planned<NetworkFault>>,
    server: Vec<Planned<ServerFault>>,
    /// What clients do.
    random: Rng,
}

impl Schedule {
    fn new(course: Course, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let (is_tls, workers) = (random.u8(0..3) == 0, random.usize(1..3));
        let (network_faults, server_faults) = match course.is_long {
            true => (0..2, 0..1),
            false => (2..6, 0..3),
        };
        let mut network: Vec<_> =
            (0..random.usize(network_faults)).map(|_| Planned::<NetworkFault>::any(&mut random, is_tls)).collect();
        let mut server: Vec<_> =
            (0..random.usize(server_faults)).map(|_| Planned::<ServerFault>::any(&mut random, is_tls)).collect();
        if course.is_long {
            match Silence::any(&mut random) {
                Silence::OnTheWay(fault) => network.insert(0, fault),
                Silence::AtTheServer(fault) => server.push(fault),
            }
        }
        Self { seed, course, is_tls, workers, network, server, random }
    }

    fn faults(&self) -> impl Iterator<Item = String> {
        let names = self.network.iter().map(Planned::name).chain(self.server.iter().map(Planned::name));
        names.map(|name| if self.is_tls { format!("{name}/TLS") } else { name })
    }
}

/// Runs the schedule of `seed`. The error is everything that was wrong.
pub(crate) fn run(course: Course, seed: u64, certificates: &Certificates) -> Result<Tally, String> {
    let mut schedule = Schedule::new(course, seed);
    let mut server = start_server(&schedule, certificates);
    let relay = Relay::to(&server.address());
    let proxy = start_proxy(&schedule, &relay, certificates);
    let scene = Scene {
        port: proxy.port(),
        began: Instant::now(),
        is_over: AtomicBool::new(false),
        may_close: course.mode == "off",
        never_blocks: schedule.server.iter().any(Planned::loads),
        silence: if course.is_long { fault::LONGEST_SILENCE } else { Duration::ZERO },
    };
    let mut history = play(&mut schedule, &scene, &mut server, &relay, &proxy, certificates);
    // Twice: what is late, comes in between.
    for _ in 0..2 {
        history.merge(Client::new(0, &scene, schedule.random.fork()).look());
        thread::sleep(Duration::from_millis(20));
    }
    let gaps = if course.mode == "eager" { Gaps::Silent } else { Gaps::Seen };
    let (mut wrong, mut tally) = judge(&history, &kept(&scene), gaps);
    if !proxy.get("/metrics").1.contains("cloakroom_upstream_losses_total{cause=\"desync\"} 0") {
        wrong.push("replies came out of step".to_owned());
    }
    schedule.faults().for_each(|fault| *tally.faults.entry(fault).or_default() += 1);
    if wrong.is_empty() { Ok(tally) } else { Err(report(&schedule, &wrong, &proxy)) }
}

fn start_server(schedule: &Schedule, certificates: &Certificates) -> RedisServer {
    let mut options = RedisServer::with().persistent().config("enable-debug-command yes").config(LOADS_IN_PIECES);
    if schedule.is_tls {
        let user = format!("user {USER} on >{PASSWORD} ~* &* +@all");
        options = options.tls(certificates).password("operator").config(user);
    }
    let server = options.start();
    fault::fill(&server);
    server
}

fn start_proxy(schedule: &Schedule, relay: &Relay, certificates: &Certificates) -> Proxy {
    let (mode, workers) = (schedule.course.mode, schedule.workers);
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
fn play(
    schedule: &mut Schedule,
    scene: &Scene,
    server: &mut RedisServer,
    relay: &Relay,
    proxy: &Proxy,
    certificates: &Certificates,
) -> History {
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
        schedule.server.iter().for_each(|fault| fault.happen(server, proxy, certificates));
        on_the_way.join().expect("no panic");
        if schedule.server.iter().any(Planned::holds_off) {
            // What it was told before may have been late on its way.
            proxy.signal("HUP");
        }
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
fn judge(history: &History, kept: &Kept, gaps: Gaps) -> (Vec<String>, Tally) {
    let mut wrong = history.violations.clone();
    wrong.extend(tokens::violations(history, kept, gaps));
    let entries = &history.entries;
    let count = |is_so: fn(&Entry) -> bool| entries.iter().filter(|entry| is_so(entry)).count();
    let mut tally = Tally {
        executed: count(|entry| matches!(entry.told, Told::Executed(_))),
        not_executed: count(|entry| entry.told == Told::NotExecuted),
        unknown: count(|entry| entry.told == Told::Unknown),
        closed: count(|entry| entry.told == Told::Closed),
        ..Tally::default()
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
pub(crate) fn panicked(course: Course, seed: u64) -> String {
    format!("{}\na panic, see above", described(&Schedule::new(course, seed)))
}

fn report(schedule: &Schedule, wrong: &[String], proxy: &Proxy) -> String {
    format!("{}\n{}\nthe proxy wrote:\n{}", described(schedule), wrong.join("\n"), proxy.logs().join("\n"))
}

fn described(schedule: &Schedule) -> String {
    let Schedule { seed, course: Course { test, .. }, is_tls, workers, network, server, .. } = schedule;
    format!(
        "CLOAKROOM_SEED={seed} cargo test --test faults {test}\n{workers} workers, TLS: {is_tls}\n\
         on the way: {network:?}\nat the server: {server:?}"
    )
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.executed += other.executed;
        self.not_executed += other.not_executed;
        self.unknown += other.unknown;
        self.closed += other.closed;
        self.undecided += other.undecided;
        other.faults.iter().for_each(|(fault, count)| *self.faults.entry(fault.clone()).or_default() += count);
    }
}
