//! Random requests about the connection itself: what is allowed, queued, muted or pushed in one state after another.
//!
//! Each stream is short, has a connection of its own and is sent at once; a stream that is answered otherwise is
//! shortened, request by request, to what it takes.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::compare::{Both, without_hello_ids};
use crate::support::{Wire, request, words};

/// Unless `CLOAKROOM_STREAMS` says otherwise.
const STREAMS: u64 = 2_000;

/// As many different ones are worth reading.
const MOST_SHOWN: usize = 12;

/// What may stand anywhere. An empty line is an empty request.
#[rustfmt::skip]
const ANYWHERE: &[&str] = &[
    "GET a", "GET a", "SET a 1", "SET b 2", "INCR a", "MGET a b", "DEL a", "HGETALL h", "ZADD z 1 m", "ZRANGE z 0 -1 WITHSCORES",
    "RPUSH l x", "BLPOP l 0.001", "BLPOP none 0.001", "XREAD BLOCK 1 STREAMS s $", "WAIT 0 1", "FLUSHALL",
    "EVAL \"return redis.call('GET', KEYS[1])\" 1 a", "EVAL \"return redis.call('PUBLISH', 'a', 'script')\" 0",
    "PUBLISH a x", "PUBLISH b y", "SPUBLISH a z", "PING", "PING", "PING text", "ECHO x",
    "MULTI", "MULTI", "EXEC", "EXEC", "DISCARD", "WATCH a", "UNWATCH", "SELECT 1", "SELECT 0", "SELECT 99", "SELECT x", "RESET",
    "ECHO", "ECHO a b", "PING a b", "GET", "FOO", "FOO a", "SELECT", "MULTI x", "EXEC x", "DISCARD x", "WATCH", "UNWATCH x", "RESET x",
    "", "DEBUG PROTOCOL MAP", "DEBUG PROTOCOL ATTRIB", "DEBUG PROTOCOL NULL", "OBJECT FOO", "CONFIG GET",
];

/// What a transaction may not hold here, as documented, and a push, which Redis 7.0 writes into the reply of `EXEC`.
#[rustfmt::skip]
const OUTSIDE: &[&str] = &[
    "SUBSCRIBE a", "SUBSCRIBE a", "SUBSCRIBE b c", "UNSUBSCRIBE", "UNSUBSCRIBE a", "UNSUBSCRIBE none", "PSUBSCRIBE a*", "PUNSUBSCRIBE",
    "SSUBSCRIBE a", "SUNSUBSCRIBE", "SUBSCRIBE", "SSUBSCRIBE",
    "HELLO 2", "HELLO 3", "HELLO 3", "HELLO", "HELLO 9", "HELLO 3 FOO", "AUTH x", "AUTH default x", "AUTH",
    "CLIENT REPLY OFF", "CLIENT REPLY ON", "CLIENT REPLY ON", "CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "CLIENT REPLY", "CLIENT REPLY FOO",
    "CLIENT TRACKING ON", "CLIENT TRACKING ON OPTIN", "CLIENT TRACKING ON OPTOUT",
    "CLIENT TRACKING ON NOLOOP", "CLIENT TRACKING OFF", "CLIENT TRACKING", "CLIENT TRACKING FOO", "CLIENT CACHING YES", "CLIENT CACHING NO",
    "CLIENT TRACKINGINFO", "CLIENT GETREDIR", "CLIENT SETNAME me", "CLIENT GETNAME", "CLIENT GETNAME x", "CLIENT NO-EVICT ON", "CLIENT", "CLIENT FOO", "DEBUG PROTOCOL PUSH",
];

/// The same streams to both; panics with those that are answered otherwise.
pub fn compare(both: &Both) {
    let number = |variable| std::env::var(variable).ok().map(|text: String| text.parse().expect("a number"));
    let (count, seed) = (number("CLOAKROOM_STREAMS").unwrap_or(STREAMS), number("CLOAKROOM_SEED"));
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("CLOAKROOM_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut found: Vec<String> = Vec::new();
    for _ in 0..count {
        let stream = stream(&mut rng);
        if is_same(both, &stream) {
            continue;
        }
        let stream = shortened(both, stream);
        let (expected, got) = answers(both, &stream);
        let shown = format!("{}\n  Redis:     {expected}\n  cloakroom: {got}", stream.join(", "));
        if !found.contains(&shown) {
            found.push(shown);
        }
        if found.len() == MOST_SHOWN {
            break;
        }
    }
    assert_ne!(count, 0, "no stream");
    assert!(found.is_empty(), "CLOAKROOM_SEED={seed}: {} differences:\n\n{}", found.len(), found.join("\n\n"));
}

fn stream(rng: &mut Rng) -> Vec<&'static str> {
    let mut lines = Vec::from_iter(rng.bool().then_some("HELLO 3"));
    for _ in 0..rng.usize(2..16) {
        let lists = if may_be_in_transaction(&lines) || rng.bool() { ANYWHERE } else { OUTSIDE };
        lines.push(rng.choice(lists).expect("not empty"));
    }
    lines
}

/// Whether what comes next may be queued. It is not where `MULTI` itself was refused.
fn may_be_in_transaction(lines: &[&str]) -> bool {
    let ends = |line: &&&str| ["MULTI", "EXEC", "DISCARD", "RESET"].contains(*line);
    lines.iter().rfind(ends) == Some(&"MULTI")
}

/// Whether it holds nothing that is documented to differ.
fn is_valid(stream: &[&str]) -> bool {
    let is_allowed = |(at, line): (usize, &&str)| !OUTSIDE.contains(line) || !may_be_in_transaction(&stream[..at]);
    stream.iter().enumerate().all(is_allowed)
}

/// The same difference, or another, in as few requests as it takes.
fn shortened(both: &Both, mut stream: Vec<&'static str>) -> Vec<&'static str> {
    let mut at = 0;
    while at < stream.len() {
        let mut shorter = stream.clone();
        shorter.remove(at);
        match is_valid(&shorter) && !is_same(both, &shorter) {
            // What stood before may be needless now, too.
            true => (stream, at) = (shorter, 0),
            false => at += 1,
        }
    }
    stream
}

fn is_same(both: &Both, stream: &[&str]) -> bool {
    let (expected, got) = answers(both, stream);
    expected == got
}

/// What the server answers to a stream, and what the proxy does.
fn answers(both: &Both, stream: &[&str]) -> (String, String) {
    // `RESET` is allowed everywhere, and answered even where replies are off: so the end is always seen.
    let lines = stream.iter().copied().chain(["RESET", "QUIT"]);
    let bytes: Vec<u8> =
        lines.flat_map(|line| if line.is_empty() { b"\r\n".to_vec() } else { request(&words(line)) }).collect();
    let answer = |port| {
        both.clear();
        let mut wire = Wire::connect(port).patience(Duration::from_secs(5));
        let mut writer = wire.writer();
        thread::scope(|scope| {
            scope.spawn(|| std::io::Write::write_all(&mut writer, &bytes));
            match wire.rest() {
                Ok(bytes) => without_hello_ids(bytes).escape_ascii().to_string().replace("\\r\\n", " "),
                Err(end) => end,
            }
        })
    };
    (answer(both.server.port()), answer(both.proxy.port()))
}
