//! Many clients at once while the way to the server is cut at random: nobody ever gets another's reply (G2),
//! and nobody's own writes go back in time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::support::{Certificates, RedisServer, Relay, Wire, shown};
use super::{NOT_EXECUTED, UNKNOWN, any_cut, any_direction, proxy, seeded};

const CLIENTS: usize = 24;
const BURSTS: usize = 400;

/// Keys of one client.
const KEYS: u32 = 5;

/// A value that names its key, the version it is of, and is long enough now and then to come in pieces.
fn value(key: &str, version: u32, random: &mut Rng) -> String {
    let padding = match random.u8(0..50) {
        0 => random.usize(60_000..200_000),
        1..10 => random.usize(500..5000),
        _ => random.usize(0..50),
    };
    format!("{key}={version}={}", "x".repeat(padding))
}

/// The version of a value, which must be one of `key`.
fn version(reply: &str, key: &str) -> u32 {
    let version = reply.split('=').nth(1).and_then(|version| version.parse().ok());
    assert!(reply.starts_with(&format!("{key}=")), "GET {key} was answered {}", &reply[..reply.len().min(80)]);
    version.unwrap_or_else(|| panic!("no version in {reply:.80}"))
}

#[derive(Debug, Default)]
struct Tally {
    values: u32,
    not_executed: u32,
    unknown: u32,
    closed: u32,
}

#[test]
fn no_reply_ever_goes_to_another() {
    cut_at_random(&RedisServer::plain(), &[]);
}

#[test]
fn no_reply_ever_goes_to_another_in_tls() {
    let certificates = Certificates::new();
    let ca = format!("upstream.tls.ca_file = \"{}\"", certificates.ca.display());
    cut_at_random(&RedisServer::with().tls(&certificates).start(), &["upstream.tls.enabled = true", &ca]);
}

fn cut_at_random(server: &RedisServer, lines: &[&str]) {
    let relay = Relay::to(&server.address());
    let patience = ["upstream.queue_timeout = \"10s\"", "upstream.reply_timeout = \"5s\""];
    let proxy = proxy(&relay.address(), &[lines, &patience].concat());
    let mut random = seeded();
    let is_over = AtomicBool::new(false);
    let port = proxy.port();
    let tally = thread::scope(|scope| {
        let mut dice = random.fork();
        scope.spawn({
            let (relay, is_over) = (&relay, &is_over);
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    let connections = relay.connections();
                    // As often within a request as within a long value.
                    let most = 1 << dice.usize(3..17);
                    relay.cut_after(dice.usize(0..most), any_direction(&mut dice), any_cut(&mut dice));
                    let is_back = || is_over.load(Ordering::Relaxed) || relay.connections() > connections;
                    soon(Duration::from_millis(100), || !relay.has_plan());
                    if relay.has_plan() {
                        relay.cut(any_cut(&mut dice));
                    }
                    // A moment of peace: time for a handshake, most of the time.
                    soon(Duration::from_secs(2), is_back);
                    thread::sleep(Duration::from_millis(dice.u64(0..20)));
                }
                relay.forget_plan();
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let random = random.fork();
                scope.spawn(move || Client::new(number, port, random).run())
            })
            .collect();
        let tallies: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        tallies.into_iter().map(|tally| tally.expect("a client that was answered rightly")).fold(
            Tally::default(),
            |sum, tally| Tally {
                values: sum.values + tally.values,
                not_executed: sum.not_executed + tally.not_executed,
                unknown: sum.unknown + tally.unknown,
                closed: sum.closed + tally.closed,
            },
        )
    });
    eprintln!("{} cuts, {} connections, {tally:?}", relay.cuts(), relay.connections());
    assert!(relay.cuts() > 20 && tally.values > 1000 && tally.unknown > 0);
    let metrics = proxy.get("/metrics").1;
    assert!(metrics.contains("cloakroom_upstream_losses_total{cause=\"desync\"} 0"), "{metrics}");
}

/// Returns once `is_so`, or when the time is over.
fn soon(within: Duration, is_so: impl Fn() -> bool) {
    let until = Instant::now() + within;
    while !is_so() && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
}

/// A client with keys of its own, which knows what they may hold.
struct Client {
    number: usize,
    port: u16,
    wire: Wire,
    random: Rng,
    /// Of each key, the versions it may have: the last one that is known, and those of unknown outcome since.
    may_be: BTreeMap<u32, Vec<u32>>,
    /// Of each key, the versions it left behind unanswered: nothing orders them after what came later.
    abandoned: BTreeMap<u32, Vec<u32>>,
    versions: u32,
    tally: Tally,
}

/// What was asked.
enum Asked {
    Get(u32),
    Set(u32, u32),
    /// Answered by the proxy itself, between the server's replies.
    Echo(u32),
}

impl Client {
    fn new(number: usize, port: u16, random: Rng) -> Self {
        let wire = connect(number, port);
        let (may_be, abandoned) = (BTreeMap::new(), BTreeMap::new());
        Self { number, port, wire, random, may_be, abandoned, versions: 0, tally: Tally::default() }
    }

    fn run(mut self) -> Tally {
        for _ in 0..BURSTS {
            let mut asked = Vec::new();
            for _ in 0..self.random.usize(1..12) {
                let next = self.choose(&asked);
                asked.push(next);
            }
            let lines: Vec<_> = asked.iter().map(|asked| self.line(asked)).collect();
            self.wire.say(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            if self.random.u8(0..20) == 0 {
                // Gone with its requests under way: their replies are nobody's.
                self.leave(&asked);
                continue;
            }
            for (index, request) in asked.iter().enumerate() {
                let Ok(frame) = self.wire.try_frame() else {
                    self.tally.closed += 1;
                    self.leave(&asked[index..]);
                    break;
                };
                self.hear(request, &frame);
            }
        }
        self.tally
    }

    /// Nothing is written behind a read of the same key: that is another test's.
    fn choose(&mut self, before: &[Asked]) -> Asked {
        let key = self.random.u32(0..KEYS);
        let is_read = before.iter().any(|asked| matches!(asked, Asked::Get(read) if *read == key));
        match self.random.u8(0..10) {
            0..3 if !is_read => {
                self.versions += 1;
                Asked::Set(key, self.versions)
            }
            3 => Asked::Echo(self.random.u32(..)),
            _ => Asked::Get(key),
        }
    }

    fn key(&self, key: u32) -> String {
        format!("{}:{key}", self.number)
    }

    fn line(&mut self, asked: &Asked) -> String {
        match asked {
            Asked::Get(key) => format!("GET {}", self.key(*key)),
            Asked::Set(key, version) => {
                let key = self.key(*key);
                format!("SET {key} {}", value(&key, *version, &mut self.random))
            }
            Asked::Echo(text) => format!("ECHO {text}"),
        }
    }

    fn hear(&mut self, asked: &Asked, frame: &[u8]) {
        let text = String::from_utf8_lossy(frame);
        match (asked, text.trim_end()) {
            (Asked::Echo(text), _) => assert_eq!(shown(frame), text.to_string()),
            (Asked::Get(_), NOT_EXECUTED) => self.tally.not_executed += 1,
            (Asked::Get(key), _) => {
                self.tally.values += 1;
                let name = self.key(*key);
                let body = text.split_once("\r\n").map_or("", |(_, body)| body.trim_end());
                let seen = if matches!(&frame[..2], b"$-" | b"_\r") { 0 } else { version(body, &name) };
                let may_be = self.may_be.entry(*key).or_insert_with(|| vec![0]);
                let is_abandoned = self.abandoned.get(key).is_some_and(|abandoned| abandoned.contains(&seen));
                assert!(
                    may_be.contains(&seen) || is_abandoned,
                    "GET {name} shows version {seen}; it may only be one of {may_be:?}"
                );
            }
            (Asked::Set(key, version), "+OK") => {
                self.may_be.insert(*key, vec![*version]);
            }
            (Asked::Set(..), NOT_EXECUTED) => self.tally.not_executed += 1,
            (Asked::Set(key, version), UNKNOWN) => {
                self.tally.unknown += 1;
                self.may_be.entry(*key).or_insert_with(|| vec![0]).push(*version);
            }
            (Asked::Set(key, _), other) => panic!("SET {} was answered {other:.80}", self.key(*key)),
        }
    }

    /// Comes back on a new connection. What it has not heard of may have happened, and may happen still.
    fn leave(&mut self, unheard: &[Asked]) {
        for asked in unheard {
            if let Asked::Set(key, version) = asked {
                self.abandoned.entry(*key).or_default().push(*version);
            }
        }
        self.wire = connect(self.number, self.port);
    }
}

fn connect(number: usize, port: u16) -> Wire {
    if number.is_multiple_of(2) { Wire::connect(port) } else { Wire::connect_resp3(port) }
}
