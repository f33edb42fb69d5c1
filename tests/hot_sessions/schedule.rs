//! One schedule: a server, two proxies and the ways to it; readers, writers and trouble, all from one seed; and the
//! judgement.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::fault::{NetworkFault, Planned};
use super::history::{Clock, History, Mark, NEVER, Through, Write};
use super::judge::{Verdict, judge};
use super::reader::Reader;
use super::support::{Certificates, Proxy, RedisServer, Relay, request};
use super::talk::{Answer, Scene, Talker};
use super::timeline::{TICK, entries, timelines};
use super::trouble::{Place, Troubled};
use super::writer::Writer;
use super::{QUEUE_TIMEOUT, REPLY_TIMEOUT};

/// How long clients go on after the last trouble, and before the first.
const PEACE: Duration = Duration::from_millis(400);

/// What the schedules of a test have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// The test's name.
    pub(crate) test: &'static str,
    /// In milliseconds: one of these.
    pub(crate) staleness: &'static [u64],
}

/// What came of schedules.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// Of keys.
    pub(crate) reads: usize,
    /// Requests to read that proxies have answered, some of many keys.
    pub(crate) through_proxies: usize,
    pub(crate) writes: usize,
    pub(crate) errors: usize,
    /// The server's log had a gap.
    pub(crate) undecided: usize,
    /// What the proxies say themselves, by metric.
    pub(crate) metrics: BTreeMap<String, u64>,
    pub(crate) troubles: BTreeMap<String, usize>,
}

/// All that comes from the seed.
#[derive(Debug)]
struct Schedule {
    seed: u64,
    course: Course,
    /// In milliseconds.
    staleness: u64,
    /// Of `upstream.reconnect`.
    mode: &'static str,
    workers: [usize; 2],
    /// One proxy, which is both: then there may be `SWAPDB`, of which the server tells nobody.
    is_one: bool,
    has_replica: bool,
    evicts: bool,
    on_the_way: [Vec<Planned<NetworkFault>>; 2],
    troubles: Vec<Troubled>,
    random: Rng,
}

impl Schedule {
    fn new(course: Course, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let staleness = course.staleness[random.usize(0..course.staleness.len())];
        let mode = ["conservative", "conservative", "eager", "off"][random.usize(0..4)];
        let workers = [random.usize(2..4), random.usize(1..4)];
        let is_one = random.u8(0..4) == 0;
        let has_replica = random.u8(0..3) == 0;
        let evicts = random.u8(0..3) == 0;
        let on_the_way = [(); 2].map(|()| (0..random.usize(0..4)).map(|_| network_fault(&mut random)).collect());
        let troubles = (0..random.usize(1..4)).map(|_| Troubled::any(&mut random, has_replica)).collect();
        Self { seed, course, staleness, mode, workers, is_one, has_replica, evicts, on_the_way, troubles, random }
    }
}

/// Mostly one that keeps what the server tells from those who hold values, or comes into the middle of it.
fn network_fault(random: &mut Rng) -> Planned<NetworkFault> {
    let silent = ["Blackhole", "HalfBlackhole", "Lag", "Trickle"];
    let is_silent = random.u8(0..3) > 0;
    loop {
        let fault = Planned::<NetworkFault>::any(random, false);
        if !is_silent || silent.contains(&fault.name().as_str()) {
            return fault;
        }
    }
}

/// Runs the schedule of `seed`. The error is everything that was wrong.
pub(crate) fn run(course: Course, seed: u64, certificates: &Certificates) -> Result<Tally, String> {
    let mut schedule = Schedule::new(course, seed);
    let mut server = start_server(schedule.evicts);
    let replica = schedule.has_replica.then(|| {
        let line = format!("replicaof 127.0.0.1 {}", server.port());
        RedisServer::with().config(line).config("repl-diskless-sync-delay 0").config("enable-debug-command yes").start()
    });
    let relays = [Relay::to(&server.address()), Relay::to(&server.address())];
    let first = start_proxy(&schedule, 0, &relays[0]);
    let second = (!schedule.is_one).then(|| start_proxy(&schedule, 1, &relays[1]));
    let proxies: Vec<&Proxy> = [Some(&first), second.as_ref()].into_iter().flatten().collect();
    let scene = Scene {
        ports: [first.port(), second.as_ref().unwrap_or(&first).port()],
        primary: AtomicU16::new(server.port()),
        moves: AtomicU32::new(0),
        clock: Clock::new(),
        is_over: AtomicBool::new(false),
        tokens: AtomicU32::new(1),
        swaps: schedule.is_one,
    };
    let (histories, ticks) = {
        let mut place =
            Place { scene: &scene, server: &mut server, replica: replica.as_ref(), proxies: &proxies, certificates };
        play(&mut schedule, &mut place, &relays)
    };
    let mut tally = tally(&schedule, &histories, &proxies);
    let mut wrong: Vec<String> = histories.iter().flat_map(|history| history.violations.clone()).collect();
    match log(&server) {
        None => tally.undecided = 1,
        Some(log) => {
            let timelines = timelines(&log, &histories, &ticks, &scene.clock);
            let staleness = u32::try_from(1000 * schedule.staleness).expect("short");
            let verdict = judge(timelines, &histories, staleness);
            if verdict.wrong > 0 {
                let Verdict { wrong: count, turned, reads, .. } = verdict;
                wrong.push(format!("{count} of {reads} reads are too old, {turned} of them in one pipeline only"));
            }
            let Verdict { reads, shown, .. } = verdict;
            tally.reads = reads;
            wrong.extend(shown);
        }
    }
    if wrong.is_empty() { Ok(tally) } else { Err(report(&schedule, &wrong, &proxies)) }
}

pub(crate) fn start_server(evicts: bool) -> RedisServer {
    // What is executed is in a file before it is answered, and stays there.
    let options = RedisServer::with()
        .config("appendonly yes")
        .config("appendfsync no")
        .config("auto-aof-rewrite-percentage 0")
        .config("aof-disable-auto-gc yes")
        .config("repl-diskless-sync-delay 0")
        .config("busy-reply-threshold 30")
        .config("enable-debug-command yes");
    match evicts {
        true => options.config("maxmemory 12mb").config("maxmemory-policy allkeys-lru").start(),
        false => options.start(),
    }
}

fn start_proxy(schedule: &Schedule, number: usize, relay: &Relay) -> Proxy {
    let mut config = format!(
        "listen.address = \"127.0.0.1:0\"\nlisten.workers = {}\nmetrics.address = \"127.0.0.1:0\"\n\
         log.format = \"json\"\nupstream.server = \"{}\"\nupstream.queue_timeout = \"{}ms\"\n\
         upstream.reply_timeout = \"{}ms\"\nupstream.connect_timeout = \"500ms\"\n\
         upstream.reconnect = \"{}\"\n",
        schedule.workers[number],
        relay.address(),
        QUEUE_TIMEOUT.as_millis(),
        REPLY_TIMEOUT.as_millis(),
        schedule.mode,
    );
    let staleness = if schedule.staleness == 0 { "0".to_owned() } else { format!("{}ms", schedule.staleness) };
    for line in [format!("staleness = \"{staleness}\""), "max_value_size = \"4KiB\"".into(), "enabled = true".into()] {
        config += &format!("cache.{line}\n");
    }
    let proxy = Proxy::start(&config);
    proxy.allow("upstream connection lost");
    proxy.allow("upstream unavailable");
    // A connection that is lost while it is tried out.
    proxy.allow("the server tells of no changes");
    proxy.wait_ready();
    proxy
}

/// Lets trouble happen while clients ask, and returns what these have seen.
fn play(schedule: &mut Schedule, place: &mut Place<'_>, relays: &[Relay; 2]) -> (Vec<History>, Vec<Write>) {
    let scene = place.scene;
    // One proxy is one, whatever it is called.
    let proxy = |number: usize| Through::Proxy(if schedule.is_one { 0 } else { number });
    let random = &mut schedule.random;
    let both = [proxy(0), proxy(1)];
    let mut readers: Vec<_> =
        both.iter().cycle().take(6).map(|through| Reader::new(scene, *through, 1_500, random.fork())).collect();
    readers.push(Reader::new(scene, Through::Direct, 20_000, random.fork()));
    let writers: Vec<_> = both
        .iter()
        .chain([&Through::Direct])
        .cycle()
        .take(6)
        .map(|through| Writer::new(scene, *through, 60_000, random.fork()))
        .collect();
    let evicts = schedule.evicts;
    thread::scope(|scope| {
        // However this ends, they go.
        let _over = Over(scene);
        let mut clients: Vec<_> = readers.into_iter().map(|reader| scope.spawn(move || reader.run())).collect();
        clients.extend(writers.into_iter().map(|writer| scope.spawn(move || writer.run())));
        let ticker = scope.spawn(move || tick(scene));
        if evicts {
            let random = random.fork();
            scope.spawn(move || fill(scene, random));
        }
        thread::sleep(PEACE);
        let on_the_way: Vec<_> = schedule
            .on_the_way
            .iter()
            .zip(relays)
            .take(place.proxies.len())
            .map(|(faults, relay)| scope.spawn(move || faults.iter().for_each(|fault| fault.happen(relay))))
            .collect();
        schedule.troubles.iter().for_each(|trouble| trouble.happen(place));
        on_the_way.into_iter().for_each(|fault| fault.join().expect("no panic"));
        place.proxies.iter().for_each(|proxy| proxy.wait_ready());
        thread::sleep(PEACE);
        scene.is_over.store(true, Ordering::Relaxed);
        let histories = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
        (histories, ticker.join().expect("no panic"))
    })
}

/// Everything is over when this is dropped.
struct Over<'a>(&'a Scene);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// Writes all the time, so that it is known when the server did what nobody asked for.
pub(crate) fn tick(scene: &Scene) -> Vec<Write> {
    let mut talker = Talker::new(scene, Through::Direct, 0, false);
    let mut ticks = Vec::new();
    while !scene.is_over() {
        if !talker.is_connected() {
            talker.close();
            talker.connect();
        }
        let token = u32::try_from(ticks.len() + 1).expect("few");
        let invoked = scene.clock.now();
        talker.send(&request(&["SET", TICK, &format!("t{token};")]));
        let answer = talker.hear();
        if answer.is_none() {
            talker.close();
        }
        let acknowledged = if answer == Some(Answer::Ok) { scene.clock.now() } else { NEVER };
        ticks.push(Write { mark: Mark::Token(token), invoked, acknowledged });
        thread::sleep(Duration::from_micros(800));
    }
    ticks
}

/// Fills the server so that it has to throw something away.
fn fill(scene: &Scene, mut random: Rng) {
    let mut talker = Talker::new(scene, Through::Direct, 0, false);
    while !scene.is_over() {
        if !talker.is_connected() {
            talker.close();
            talker.connect();
        }
        let key = format!("fill:{}", random.u32(0..6000));
        if talker.send(&request(&["SETRANGE", &key, "3000", "x"])).and_then(|()| talker.hear()).is_none() {
            talker.close();
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// What the server has executed since it was empty. `None` if part of it came as a whole, from another server.
pub(crate) fn log(server: &RedisServer) -> Option<Vec<Vec<String>>> {
    let directory = server.directory().join("appendonlydir");
    let is_whole = !directory.join("appendonly.aof.2.base.rdb").exists();
    is_whole.then(|| entries(&fs::read(directory.join("appendonly.aof.1.incr.aof")).expect("the server's log")))
}

fn tally(schedule: &Schedule, histories: &[History], proxies: &[&Proxy]) -> Tally {
    let mut tally = Tally::default();
    for history in histories {
        tally.through_proxies += if history.through == Through::Direct { 0 } else { history.answers };
        tally.writes += history.writes.len();
        tally.errors += history.errors;
    }
    for proxy in proxies {
        for line in proxy.get("/metrics").1.lines().filter(|line| line.starts_with("cloakroom_cache_")) {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let name = name.strip_prefix("cloakroom_cache_").unwrap_or(name);
            *tally.metrics.entry(name.to_owned()).or_default() += value.parse::<f64>().map_or(0, |value| value as u64);
        }
    }
    let on_the_way = schedule.on_the_way.iter().take(proxies.len()).flatten().map(Planned::name);
    for name in on_the_way.chain(schedule.troubles.iter().map(Troubled::name)) {
        *tally.troubles.entry(name).or_default() += 1;
    }
    tally
}

/// For a schedule that came to no end.
pub(crate) fn panicked(course: Course, seed: u64) -> String {
    format!("{}\na panic, see above", described(&Schedule::new(course, seed)))
}

fn report(schedule: &Schedule, wrong: &[String], proxies: &[&Proxy]) -> String {
    let logs: Vec<String> = proxies.iter().map(|proxy| proxy.logs().join("\n")).collect();
    format!("{}\n{}\nthe proxies wrote:\n{}", described(schedule), wrong.join("\n"), logs.join("\n--\n"))
}

fn described(schedule: &Schedule) -> String {
    let Schedule { seed, course, staleness, mode, workers, is_one, has_replica, evicts, on_the_way, troubles, .. } =
        schedule;
    format!(
        "CLOAKROOM_SEED={seed} cargo test --test hot_sessions {}\n{mode}, staleness {staleness} ms, {workers:?} \
         workers, one proxy: {is_one}, replica: \
         {has_replica}, evicts: {evicts}\non the way: {on_the_way:?}\ntroubles: {troubles:?}",
        course.test
    )
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.through_proxies += other.through_proxies;
        self.writes += other.writes;
        self.errors += other.errors;
        self.undecided += other.undecided;
        other.metrics.iter().for_each(|(name, value)| *self.metrics.entry(name.clone()).or_default() += value);
        other.troubles.iter().for_each(|(name, count)| *self.troubles.entry(name.clone()).or_default() += count);
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let is_it = |key: &str| key.split('{').next() == Some(name);
        self.metrics.iter().filter(|(key, _)| is_it(key)).map(|(_, value)| value).sum()
    }
}
