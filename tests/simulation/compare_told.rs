//! What the model tells those who cache, beside a real server: where among the replies, and what it keeps to itself.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{Pair, REQUESTS, SEEDS, any};
use crate::support::wait_until;

/// Whatever was to be said before is said before this is answered.
const FENCE: &str = "ECHO fence";

/// Those who cache, and others; whoever is told something is told it where the model says, among his replies.
#[test]
fn the_model_tells_of_changes_as_a_real_server() {
    for seed in 0..SEEDS {
        let mut random = Rng::with_seed(seed);
        let mut pair = Pair::new(3);
        // One that cannot be told, since it speaks RESP2, has all the same whatever else was read forgotten.
        for line in ["HELLO 3", "CLIENT TRACKING ON OPTIN"] {
            (0..2).for_each(|at| pair.ask(at, line));
        }
        for _ in 0..REQUESTS {
            let at = random.usize(0..3);
            let line = match random.u8(0..10) {
                0..2 => any(&mut random),
                2..4 => "CLIENT CACHING YES".to_owned(),
                _ => any_cached(&mut random),
            };
            if line == "RESET" || line.starts_with("HELLO") && random.u8(0..4) > 0 {
                continue;
            }
            pair.ask(at, &line);
            // Whatever else anybody may be told is told before this is answered.
            (0..3).for_each(|at| pair.ask(at, FENCE));
        }
    }
}

/// Until the server comes across it, nobody is told that the time of a key is over.
#[test]
fn the_model_tells_of_keys_whose_time_is_over_as_a_real_server() {
    let scripts: &[&[(usize, &str)]] = &[
        &[(1, "GET k")],
        &[(0, "CLIENT CACHING YES"), (0, "GET k"), (1, "SET k 2")],
        &[(0, "CLIENT CACHING YES"), (0, "MGET l k l"), (1, "MSET k 2 l 2")],
        &[(1, "SET k 2"), (1, "SET k 3")],
        &[(1, "SET k 2 NX")],
        &[(1, "DEL k")],
        &[(1, "EXPIRE k 10"), (1, "PTTL k")],
        &[(1, "APPEND k x"), (0, "STRLEN k")],
        &[(1, "TOUCH k l"), (1, "EXISTS k")],
        &[(0, "MULTI"), (0, "GET k"), (0, "SET k 2"), (0, "EXEC")],
        &[(1, "WATCH k"), (1, "MULTI"), (1, "GET l"), (1, "EXEC"), (1, "GET k")],
        &[(1, "WATCH k"), (0, "GET k"), (1, "MULTI"), (1, "GET l"), (1, "EXEC")],
        &[(1, "WATCH k"), (0, "SET k 2"), (1, "MULTI"), (1, "GET l"), (1, "EXEC")],
        &[(1, "SWAPDB 0 1"), (1, "GET k"), (1, "SWAPDB 0 1"), (1, "GET k")],
        &[(1, "FLUSHDB"), (1, "GET k")],
    ];
    let mut pair = Pair::new(2);
    pair.ask(0, "DEBUG SET-ACTIVE-EXPIRE 0");
    for (at, line) in [(0, "HELLO 3"), (0, "CLIENT TRACKING ON OPTIN")] {
        pair.ask(at, line);
    }
    for is_watched in [false, true] {
        for script in scripts {
            pair.ask(1, "FLUSHALL");
            pair.ask(1, "MSET k 1 l 1");
            [(0, "CLIENT CACHING YES"), (0, "MGET k l")].iter().for_each(|(at, line)| pair.ask(*at, line));
            if is_watched {
                pair.ask(1, "WATCH k l");
            }
            pair.ask(1, "PEXPIRE k 20");
            [(0, "CLIENT CACHING YES"), (0, "MGET k l")].iter().for_each(|(at, line)| pair.ask(*at, line));
            let born = Instant::now();
            wait_until("its time has come", || born.elapsed() > Duration::from_millis(40));
            for (at, line) in *script {
                pair.ask(*at, line);
                (0..2).for_each(|at| pair.ask(at, FENCE));
            }
            pair.ask(1, "UNWATCH");
        }
    }
}

/// A replica removes nothing of itself, and answers as if it had.
#[test]
fn the_model_hides_what_is_over_as_a_real_replica() {
    let mut pair = Pair::new(2);
    for line in ["HELLO 3", "CLIENT TRACKING ON OPTIN", "SET k 1 PX 20", "CLIENT CACHING YES", "STRLEN l"] {
        pair.ask(0, line);
    }
    pair.ask(0, "DEBUG SET-ACTIVE-EXPIRE 0");
    assert_eq!(pair.server.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    pair.model.demote();
    let born = Instant::now();
    wait_until("its time has come", || born.elapsed() > Duration::from_millis(40));
    for line in ["CLIENT CACHING YES", "GET k", "TTL k", "EXISTS k", "DEL absent", "DEL k", "FLUSHALL", "SWAPDB 0 1"] {
        (0..2).for_each(|at| pair.ask(at, line));
    }
    assert_eq!(pair.server.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    pair.model.promote();
    ["GET k", "DEL absent", "SET l 1"].iter().for_each(|line| pair.ask(1, line));
    (0..2).for_each(|at| pair.ask(at, FENCE));
}

/// A request about keys that are cached.
fn any_cached(random: &mut Rng) -> String {
    let mut of = |choices: &[&'static str]| *random.choice(choices).expect("some");
    let (key, other, value) = (of(&["t1", "t2"]), of(&["t1", "t2", "l1", "none"]), of(&["v", "w"]));
    let line = of(&[
        "GET key",
        "GET key",
        "GET key",
        "MGET key other key",
        "STRLEN other",
        "EXISTS key other",
        "TOUCH key other",
        "TTL key",
        "PTTL key",
        "SET key value",
        "SET key value PX 100000",
        "SET key value NX",
        "MSET key value other value",
        "DEL key",
        "DEL key other",
        "DEL absent",
        "EXPIRE key 1000",
        "EXPIRE key 1000",
        "EXPIRE key -1",
        "PERSIST key",
        "APPEND key value",
        "GETSET key value",
        "EVAL \"return redis.call('set', KEYS[1], ARGV[1])\" 1 key value",
        "EVAL \"return redis.call('set', ARGV[1], ARGV[2])\" 0 key value",
        "FLUSHDB",
        "FLUSHALL",
        "FLUSHALL SYNC",
        "FLUSHDB FOO",
        "SWAPDB 0 1",
        "SWAPDB 1 1",
        "SWAPDB x 1",
        "SWAPDB 0 99",
        "SELECT 0",
        "SELECT 0",
        "SELECT 1",
        "MULTI",
        "EXEC",
        "EXEC",
        "DISCARD",
        "WATCH key",
        "CLIENT CACHING NO",
        "CLIENT CACHING YES",
        "CLIENT TRACKINGINFO",
        "CLIENT TRACKING ON OPTIN",
        "CLIENT TRACKING ON OPTIN",
        "CLIENT TRACKING OFF",
        "CLIENT TRACKING ON FOO",
        "CLIENT ID",
    ]);
    let words = [("key", key), ("other", other), ("value", value)];
    // `KEYS` is none of them.
    words.iter().fold(line.to_owned(), |line, (name, word)| line.replace(name, word))
}
