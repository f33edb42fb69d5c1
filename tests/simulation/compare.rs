//! The model beside a real server: the same requests, the same bytes.

#[path = "compare_told.rs"]
mod told;

use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;

use super::keys::Millis;
use super::model::{Id, Redis};
use super::resp::integer;
use super::support::{RedisServer, Wire, frame_len, request, shown, wait_until, words};

const SEEDS: u64 = 30;
const REQUESTS: usize = 400;

/// Several clients of one server, and the same of one model.
struct Pair {
    server: RedisServer,
    wires: Vec<Wire>,
    model: Redis,
    ids: Vec<Id>,
    said: Vec<String>,
}

impl Pair {
    fn new(connections: usize) -> Self {
        let server = RedisServer::with().config("enable-debug-command yes").start();
        let info = server.cli(&["INFO", "server"]);
        let mut wires: Vec<_> = (0..connections).map(|_| Wire::connect(server.port())).collect();
        let numbers: Vec<i64> =
            wires.iter_mut().map(|wire| wire.ask("CLIENT ID")[1..].parse().expect("a number")).collect();
        let mut model = Redis::new();
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).expect("it has a version");
        model.version = version.trim().to_owned();
        let connect = |number: &i64| {
            model.next_client = *number;
            model.connect().expect("it is up")
        };
        let ids = numbers.iter().map(connect).collect();
        Self { server, wires, model, ids, said: Vec::new() }
    }

    /// Says the same to both, and compares what anybody is told then; what the model does not know, to the server alone.
    fn ask(&mut self, at: usize, line: &str) {
        if line.starts_with("DEBUG") {
            return assert_eq!(self.wires[at].ask(line), "+OK");
        }
        self.said.push(format!("{at}: {line}"));
        self.wires[at].say(&[line]);
        self.model.receive(self.ids[at], &request(&words(line)), now());
        self.compare(line);
    }

    fn compare(&mut self, line: &str) {
        let last = self.said[self.said.len().saturating_sub(60)..].join("\n");
        // Whoever waits a moment has waited before anybody asks anything else, on both sides.
        while self.model.next_wait().is_some() {
            self.model.end_waits(now());
        }
        for (at, wire) in self.wires.iter_mut().enumerate() {
            let (bytes, _) = self.model.take(self.ids[at]);
            let mut rest = bytes.as_slice();
            while let Some(len) = frame_len(rest) {
                let (expected, behind) = rest.split_at(len);
                let real =
                    wire.try_frame().unwrap_or_else(|end| panic!("{last}\n{line}: {end}, not {}", shown(expected)));
                assert!(
                    is_same(expected, &real),
                    "{last}\n{line} to {at}:\n{}\nnot\n{}",
                    shown(&real),
                    shown(expected)
                );
                rest = behind;
            }
        }
    }
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Millis::try_from(since.as_millis()).expect("not so far away")
}

/// Whether both are the same, but for what two looks at a clock, one after the other, differ by.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let millis = |line: &[u8]| integer(line.strip_prefix(b":")?.strip_suffix(b"\r")?).filter(|left| *left > 5000);
    let is_near = |one, other| millis(one).zip(millis(other)).is_some_and(|(one, other)| (one - other).abs() < 2000);
    let [mut one, mut other] = [one, other].map(|frame| frame.split(|byte| *byte == b'\n'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == other || is_near(one, other) => {}
            _ => return false,
        }
    }
}

#[test]
fn the_model_answers_as_a_real_server() {
    for seed in 0..SEEDS {
        let mut random = Rng::with_seed(seed);
        let mut pair = Pair::new(4);
        pair.ask(0, "HELLO 3");
        for _ in 0..REQUESTS {
            // The last one subscribes and waits, and is not asked otherwise.
            let (at, line) = (random.usize(0..3), any(&mut random));
            pair.ask(at, &line);
            match random.u8(0..60) {
                0 => pair.ask(3, ["SUBSCRIBE a", "SUBSCRIBE b"][random.usize(0..2)]),
                1 => ["UNSUBSCRIBE a", "UNSUBSCRIBE b"].iter().for_each(|line| pair.ask(3, line)),
                2 => pair.ask(3, "PING x"),
                3 => pair.ask(3, "RESET"),
                _ => {}
            }
        }
        (0..3).for_each(|at| pair.ask(at, "ECHO done"));
    }
}

#[test]
fn the_model_lets_wait_as_a_real_server() {
    let mut pair = Pair::new(4);
    pair.ask(1, "HELLO 3");
    for line in ["BLPOP list 0", "BLPOP other list 0"] {
        pair.ask(0, line);
        wait_for_blocked(&pair.server, 1);
        pair.ask(1, "BLPOP list other 0");
        wait_for_blocked(&pair.server, 2);
        pair.ask(2, "RPUSH list one");
        pair.ask(2, "RPUSH list two three");
        pair.ask(2, "LRANGE list 0 -1");
        pair.ask(2, "DEL list");
    }
    pair.ask(0, "BLPOP list 0");
    wait_for_blocked(&pair.server, 1);
    pair.ask(2, "MULTI");
    pair.ask(2, "RPUSH list one");
    pair.ask(2, "LPOP list");
    pair.ask(2, "RPUSH list two");
    pair.ask(2, "EXEC");
    pair.ask(2, "EXISTS list");
}

fn wait_for_blocked(server: &RedisServer, count: usize) {
    let text = format!("blocked_clients:{count}\r\n");
    wait_until("they wait", || server.cli(&["INFO", "clients"]).contains(text.trim()));
}

#[test]
fn the_model_refuses_writes_as_a_real_replica() {
    let mut pair = Pair::new(2);
    pair.ask(0, "SET key value");
    pair.ask(0, "WATCH key");
    pair.ask(0, "MULTI");
    pair.ask(0, "SET key other");
    pair.ask(1, "MULTI");
    assert_eq!(pair.server.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    pair.model.demote();
    for line in ["EXEC", "GET key", "SET key other", "HELLO 3", "PUBLISH a b", "MULTI", "GET key", "EXEC", "DEL key"] {
        pair.ask(0, line);
    }
    ["SET key other", "GET key", "EXEC", "EXEC"].iter().for_each(|line| pair.ask(1, line));
    assert_eq!(pair.server.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    pair.model.promote();
    pair.ask(0, "SET key other");
}

/// Any request, most of which make sense.
fn any(random: &mut Rng) -> String {
    let mut of = |choices: &[&'static str]| *random.choice(choices).expect("some");
    let (text, list, hash, any) =
        (of(&["t1", "t2", "t3"]), of(&["l1", "l2"]), of(&["h1", "h2"]), of(&["t1", "t2", "l1", "h1", "none"]));
    let (value, number, field) = (
        of(&["v", "7", "\"\"", "\"a\\r\\n\"", "9223372036854775807"]),
        of(&["1", "100", "0", "-1", "x"]),
        of(&["f", "g"]),
    );
    let unit = of(&["EX", "PX", "ex", "FOO"]);
    let option = of(&["NX", "XX", "GET", "NX GET", "XX EX 100", "EX 100 GET", "NX XX", "PX"]);
    let command = of(&[
        "GET any",
        "GET text",
        "MGET text any none",
        "EXISTS any text any",
        "TTL any",
        "PTTL any",
        "LRANGE list 0 -1",
        "LRANGE any number number",
        "HMGET hash f g",
        "HMGET any field",
        "SET any value",
        "SET text value",
        "SET text value unit number0000",
        "SET text value option",
        "SET text value",
        "SETEX text number00 value",
        "PSETEX text number0000 value",
        "GETSET any value",
        "MSET text value any 1",
        "MSET text value any",
        "DEL any text",
        "DEL any",
        "UNLINK any",
        "EXPIRE any number00",
        "PEXPIRE any number0000",
        "EXPIREAT any 1999999999",
        "PEXPIREAT any 1999999999999",
        "EXPIREAT text 1",
        "PERSIST any",
        "INCR text",
        "INCR any",
        "INCR counter",
        "APPEND any value",
        "RPUSH list value",
        "RPUSH list a value c",
        "RPUSH any value",
        "LPOP list",
        "LPOP any",
        "HSET hash field value",
        "HMSET hash f value g 1",
        "HSET any field value",
        "HSET hash field",
        "STRLEN any",
        "TOUCH any text",
        "FLUSHDB",
        "SWAPDB 0 1",
        "CLIENT TRACKING ON OPTIN",
        "CLIENT CACHING YES",
        "PING",
        "PING value",
        "ECHO value",
        "SELECT 0",
        "SELECT 1",
        "SELECT 99",
        "SELECT x",
        "MULTI",
        "MULTI",
        "EXEC",
        "EXEC",
        "EXEC",
        "DISCARD",
        "WATCH any text",
        "WATCH text",
        "UNWATCH",
        "PUBLISH a value",
        "PUBLISH b value",
        "CLIENT ID",
        "CLIENT SETNAME n",
        "CLIENT KILL ID 999999",
        "CLIENT KILL ID 0",
        "CLIENT FOO",
        "HELLO",
        "HELLO 2",
        "HELLO 3",
        "HELLO 4",
        "GET",
        "SET a",
        "NOSUCH a b",
        "BLPOP list x",
        "BLPOP list -1",
        "BLPOP list any 0.001",
        "UNSUBSCRIBE a",
        "UNSUBSCRIBE",
        "RESET",
    ]);
    let words = [
        ("any", any),
        ("text", text),
        ("list", list),
        ("hash", hash),
        ("value", value),
        ("number", number),
        ("field", field),
        ("unit", unit),
        ("option", option),
    ];
    words.iter().fold(command.to_owned(), |line, (name, word)| line.replace(name, word))
}
