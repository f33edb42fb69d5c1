//! A write is never sent twice, and what a client is told of it is true (G3).
//!
//! Each increment has a counter of its own: the server's value says how often it ran.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use super::support::{Certificates, Cut, Direction, RedisServer, Relay, Wire, request, wait_until};
use super::{NOT_EXECUTED, UNKNOWN, any_cut, any_direction, proxy, seeded};

/// Cuts, over all threads.
const CUTS: usize = 400;

const THREADS: usize = 4;

/// What a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Executed,
    NotExecuted,
    Unknown,
}

impl Told {
    fn by(reply: &str) -> Self {
        match reply {
            ":1" => Self::Executed,
            NOT_EXECUTED => Self::NotExecuted,
            UNKNOWN => Self::Unknown,
            other => panic!("an increment of a new counter was answered {other}"),
        }
    }

    /// How often it may have run.
    fn times(self) -> RangeInclusive<u32> {
        match self {
            Self::Executed => 1..=1,
            Self::NotExecuted => 0..=0,
            Self::Unknown => 0..=1,
        }
    }
}

#[test]
fn an_increment_that_was_cut_runs_once_at_most() {
    let server = RedisServer::with().persistent().start();
    // A request is some 30 bytes, a handshake some 150.
    cut_at_random(&server, &[], 30, 150);
}

#[test]
fn an_increment_that_was_cut_in_tls_runs_once_at_most() {
    let certificates = Certificates::new();
    let server = RedisServer::with().persistent().tls(&certificates).start();
    let ca = format!("upstream.tls.ca_file = \"{}\"", certificates.ca.display());
    cut_at_random(&server, &["upstream.tls.enabled = true", &ca], 60, 3000);
}

/// A megabyte at once, which takes many writes: TLS has sent some of it when the next one fails, and does not tell.
#[test]
fn many_increments_that_were_cut_in_tls_run_once_at_most() {
    let certificates = Certificates::new();
    let server = RedisServer::with().tls(&certificates).start();
    let ca = format!("upstream.tls.ca_file = \"{}\"", certificates.ca.display());
    let relay = Relay::to(&server.address());
    let lines = ["upstream.tls.enabled = true", &ca, "upstream.queue_timeout = \"15s\""];
    let (proxy, mut random) = (proxy(&relay.address(), &lines), seeded());
    let mut told = BTreeMap::new();
    for round in 0..20 {
        relay.cut_after(random.usize(0..1 << 20), Direction::Requests, Cut::Reset);
        thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|number| {
                    let counters: Vec<_> = (0..128).map(|i| format!("{number}:{round}:{i}:{:0>1000}", 0)).collect();
                    let mut client = Wire::connect(proxy.port());
                    scope.spawn(move || {
                        let burst: Vec<_> = counters.iter().flat_map(|counter| request(&["INCR", counter])).collect();
                        client.send(&burst);
                        counters.into_iter().map(|counter| (counter, Told::by(&client.hear()))).collect::<Vec<_>>()
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| told.extend(client.join().expect("no panic")));
        });
        relay.forget_plan();
    }
    assert!(relay.cuts() > 5, "only {} cuts", relay.cuts());
    check(&server, &told);
}

/// Cuts bursts of increments anywhere: in requests, in replies, and now and then in the handshake after them.
fn cut_at_random(server: &RedisServer, lines: &[&str], request_len: usize, handshake_len: usize) {
    let mut random = seeded();
    let lines = [lines, &["upstream.queue_timeout = \"15s\""]].concat();
    let told = thread::scope(|scope| {
        let rounds = CUTS / THREADS;
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let (mut random, lines) = (random.fork(), &lines);
                scope.spawn(move || {
                    let relay = Relay::to(&server.address());
                    let proxy = proxy(&relay.address(), lines);
                    let mut client = Wire::connect(proxy.port());
                    let mut told = BTreeMap::new();
                    for round in 0..rounds {
                        let counters: Vec<_> =
                            (0..random.usize(1..=4)).map(|i| format!("{number}:{round}:{i}")).collect();
                        let (direction, how) = (any_direction(&mut random), any_cut(&mut random));
                        let burst_len = request_len * counters.len();
                        let longest = if random.u8(0..10) == 0 { burst_len + handshake_len } else { burst_len };
                        relay.cut_after(random.usize(0..=longest), direction, how);
                        let burst: Vec<_> = counters.iter().flat_map(|counter| request(&["INCR", counter])).collect();
                        client.send(&burst);
                        for counter in counters {
                            told.insert(counter, Told::by(&client.hear()));
                        }
                        relay.forget_plan();
                    }
                    assert!(relay.cuts() > rounds / 4, "only {} cuts", relay.cuts());
                    told
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    check(server, &told);
}

#[test]
fn an_increment_is_not_sent_to_the_next_server_that_was_sent_to_a_killed_one() {
    let mut server = RedisServer::with().persistent().start();
    let proxy = proxy(&server.address(), &["upstream.queue_timeout = \"15s\""]);
    let mut random = seeded();
    let mut told = BTreeMap::new();
    for round in 0..15 {
        let mut clients: Vec<_> = (0..8).map(|_| Wire::connect(proxy.port())).collect();
        thread::scope(|scope| {
            let moment = Duration::from_micros(random.u64(0..20_000));
            let server = &mut server;
            scope.spawn(move || {
                // Somewhere in the middle of what the clients are doing, or before it, or after it.
                thread::sleep(moment);
                server.kill();
                server.start();
            });
            for (number, client) in clients.iter_mut().enumerate() {
                let counters: Vec<_> = (0..20).map(|i| format!("{round}:{number}:{i}")).collect();
                for counter in &counters {
                    client.say(&[&format!("INCR {counter}")]);
                }
                for counter in counters {
                    told.insert(counter, Told::by(&client.hear()));
                }
            }
        });
    }
    check(&server, &told);
}

/// A write whose reply did not come in time may still run: once.
#[test]
fn an_increment_whose_reply_is_late_runs_once() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &["upstream.reply_timeout = \"100ms\""]);
    let mut client = Wire::connect(proxy.port());
    let mut told = BTreeMap::new();
    for round in 0..10 {
        server.pause();
        let counter = format!("0:{round}:0");
        told.insert(counter.clone(), Told::by(&client.ask(&format!("INCR {counter}"))));
        server.resume();
    }
    assert!(told.values().all(|told| *told == Told::Unknown), "{told:?}");
    wait_until("the server has done what it was sent", || client.ask("GET 0:9:0") == "1");
    check(&server, &told);
}

/// Compares what was told with what the server has.
fn check(server: &RedisServer, told: &BTreeMap<String, Told>) {
    // What was under way when its connection was cut arrives first.
    let increments = || {
        let stats = server.cli(&["INFO", "commandstats"]);
        stats.lines().find(|line| line.starts_with("cmdstat_incr:")).map(str::to_owned)
    };
    let mut last = None;
    wait_until("the server has nothing more to do", || {
        thread::sleep(Duration::from_millis(100));
        let now = Some(increments());
        std::mem::replace(&mut last, now.clone()) == now
    });
    let mut summary = BTreeMap::new();
    let told: Vec<_> = told.iter().collect();
    for some in told.chunks(500) {
        let keys: Vec<_> = some.iter().map(|(counter, _)| counter.as_str()).collect();
        let values = server.cli(&[&["--json", "MGET"], &keys[..]].concat());
        let values: Vec<_> = values.trim_matches(['[', ']']).split(',').collect();
        assert_eq!(values.len(), some.len());
        for ((counter, told), value) in some.iter().zip(values) {
            let times = if value == "null" { 0 } else { value.trim_matches('"').parse().expect("a counter") };
            assert!(told.times().contains(&times), "{counter} ran {times} times; its client was told {told:?}");
            *summary.entry((told, times)).or_insert(0) += 1;
        }
    }
    eprintln!("what was told, and how often it ran: {summary:?}");
    assert!(!summary.is_empty());
}
