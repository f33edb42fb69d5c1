//! The tools that come with Redis, and a client library, unchanged: one address is all that tells them.

mod support;

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use redis::{Client, Connection, ErrorKind, ServerErrorKind, Value};
use support::{Proxy, RedisServer, Wire, wait_until};

/// A proxy in front of a server.
struct Place {
    // Ends first, for it would complain of a server that ended before.
    proxy: Proxy,
    server: RedisServer,
}

impl Place {
    fn new() -> Self {
        let server = RedisServer::plain();
        Self { proxy: Proxy::plain(&server), server }
    }

    /// What `redis-cli` prints, complaints included; it must succeed.
    fn cli(&self, args: &[&str], input: &[u8]) -> String {
        self.run("redis-cli", args, input)
    }

    fn run(&self, program: &str, args: &[&str], input: &[u8]) -> String {
        let mut child = Command::new(program)
            .args(["-p", &self.proxy.port().to_string()])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is missing; `make test` installs it: {error}"));
        let mut stdin = child.stdin.take().expect("a pipe was asked for");
        let Output { status, stdout, stderr } = thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().expect("the end of a child process")
        });
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{program} {args:?}: {status}\n{stdout}\n{stderr}");
        stdout.into_owned() + &stderr
    }

    fn connect(&self, protocol: &str) -> Connection {
        let url = format!("redis://127.0.0.1:{}/?protocol={protocol}", self.proxy.port());
        let connection = Client::open(url).and_then(|client| client.get_connection()).expect("a connection");
        connection.set_read_timeout(Some(support::DEADLINE)).expect("not zero");
        connection
    }
}

#[test]
fn redis_cli_speaks_both_protocols() {
    let place = Place::new();
    for protocol in ["-2", "-3"] {
        let ask = |args: &[&str]| place.cli(&[&[protocol], args].concat(), b"");
        assert_eq!(ask(&["SET", "k", "v"]), "OK\n");
        assert_eq!(ask(&["GET", "k"]), "v\n");
        assert_eq!(ask(&["GET", "none"]), "\n");
        assert_eq!(ask(&["-n", "5", "GET", "k"]), "\n");
        assert_eq!(ask(&["-x", "SET", "in"]), "OK\n");
        let typed =
            b"HSET h a 1 b 2\nHGETALL h\nMULTI\nINCR n\nINCR n\nEXEC\nSUBSCRIBE\nSELECT 2\nDBSIZE\nPING\nQUIT\n";
        let said = place.cli(&[protocol, "--no-raw"], typed);
        assert!(said.contains("2) (integer)"), "{said}");
        assert!(said.contains("(error) ERR wrong number of arguments for 'subscribe' command"), "{said}");
        assert!(said.contains("PONG"), "{said}");
        assert_eq!(ask(&["DEL", "h", "n"]), "2\n");
    }
}

/// It asks in one pipeline of its own, and waits for the reply to an `ECHO` it sends last.
#[test]
fn redis_cli_pipes_in_many_commands() {
    let place = Place::new();
    let input: Vec<u8> =
        (0..20_000).flat_map(|n| support::request(&["SET".into(), format!("k{n}"), format!("v{n}")])).collect();
    let said = place.cli(&["--pipe"], &input);
    assert!(said.contains("errors: 0, replies: 20000"), "{said}");
    assert_eq!(place.server.cli(&["DBSIZE"]), "20000");
}

#[test]
fn redis_cli_scans_and_finds_big_keys() {
    let place = Place::new();
    place.server.cli(&["EVAL", "for i = 1, 2000 do redis.call('SET', 'k' .. i, i) end", "0"]);
    place.server.cli(&["RPUSH", "list", "a", "b", "c"]);
    assert_eq!(place.cli(&["--scan"], b"").lines().count(), 2001);
    assert_eq!(place.cli(&["--scan", "--pattern", "k199*"], b"").lines().count(), 11);
    let said = place.cli(&["--bigkeys"], b"");
    assert!(said.contains("Sampled 2001 keys in the keyspace!"), "{said}");
    assert!(said.contains("Biggest   list found '\"list\"' has 3 items"), "{said}");
    let said = place.cli(&["--memkeys"], b"");
    assert!(said.contains("Sampled 2001 keys in the keyspace!"), "{said}");
}

#[test]
fn redis_cli_waits_for_messages() {
    let place = Place::new();
    for protocol in ["-2", "-3"] {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut publisher = Wire::connect(place.server.port());
                wait_until("it has subscribed", || publisher.ask("PUBLISH news hello") == ":1");
                // Then it is not connected any more, and what it printed can be read.
                assert_eq!(publisher.ask("CLIENT KILL TYPE pubsub"), ":1");
            });
            let port = place.proxy.port().to_string();
            let output = Command::new("redis-cli").args(["-p", &port, protocol, "SUBSCRIBE", "news"]).output();
            let said = String::from_utf8_lossy(&output.expect("redis-cli runs").stdout).into_owned();
            assert!(said.contains("message\nnews\nhello\n"), "{said}");
        });
    }
}

#[test]
fn redis_benchmark_runs_all_its_tests() {
    let place = Place::new();
    for pipeline in ["1", "16"] {
        let said = place.run("redis-benchmark", &["-n", "1000", "-c", "20", "-P", pipeline, "--csv", "-d", "100"], b"");
        let tests: Vec<_> = said.lines().filter(|line| line.starts_with('"')).collect();
        // The first is the header.
        assert!(tests.len() > 18, "-P {pipeline}: {said}");
        assert!(!said.to_lowercase().contains("error"), "-P {pipeline}: {said}");
    }
}

#[test]
fn redis_benchmark_runs_many_threads_and_resp3() {
    let place = Place::new();
    for args in [&["--threads", "2"][..], &["-3"], &["-k", "0"], &["-r", "100", "SET", "key:__rand_int__", "v"]] {
        let args = [&["-n", "500", "-c", "20", "-t", "set,get,incr,lpush,zadd", "-q"], args].concat();
        let said = place.run("redis-benchmark", &args, b"");
        assert!(said.contains("requests per second"), "{args:?}: {said}");
        assert!(!said.to_lowercase().contains("error"), "{args:?}: {said}");
    }
}

#[test]
fn a_client_library_reads_and_writes() {
    let place = Place::new();
    for protocol in ["resp2", "resp3"] {
        let mut client = place.connect(protocol);
        let ok: Value = redis::cmd("SET").arg("k").arg(b"\0\r\n\xff").query(&mut client).expect("written");
        assert_eq!(ok, Value::Okay);
        let value: Vec<u8> = redis::cmd("GET").arg("k").query(&mut client).expect("read");
        assert_eq!(value, b"\0\r\n\xff");
        let none: Option<String> = redis::cmd("GET").arg("none").query(&mut client).expect("read");
        assert_eq!(none, None);
        let _: () = redis::cmd("HSET").arg("h").arg("a").arg(1).arg("b").arg(2).query(&mut client).expect("written");
        let map: std::collections::BTreeMap<String, i64> =
            redis::cmd("HGETALL").arg("h").query(&mut client).expect("read");
        assert_eq!(map.into_iter().collect::<Vec<_>>(), [("a".into(), 1), ("b".into(), 2)]);
        let error = redis::cmd("LPUSH").arg("k").arg(1).query::<Value>(&mut client).expect_err("the wrong type");
        assert_eq!(error.code(), Some("WRONGTYPE"));
        let score: f64 = redis::cmd("ZADD").arg("z").arg("INCR").arg(1.5).arg("m").query(&mut client).expect("written");
        assert_eq!(score.fract(), if protocol == "resp2" { 0.5 } else { 0.0 });
    }
}

#[test]
fn a_client_library_pipelines_and_transacts() {
    let place = Place::new();
    for protocol in ["resp2", "resp3"] {
        let mut client = place.connect(protocol);
        let mut pipe = redis::pipe();
        for n in 0..500 {
            pipe.cmd("SET").arg(format!("k{n}")).arg(n).ignore().cmd("GET").arg(format!("k{n}"));
        }
        let values: Vec<i64> = pipe.query(&mut client).expect("all of them");
        assert!(values.into_iter().eq(0..500));
        let (one, two): (i64, i64) =
            redis::pipe().atomic().cmd("INCR").arg("n").cmd("INCRBY").arg("n").arg(10).query(&mut client).expect("run");
        assert_eq!(two - one, 10);
        let watched: Value = redis::transaction(&mut client, &["w"], |client, pipe| {
            let before: i64 = redis::cmd("GET").arg("w").query::<Option<i64>>(client)?.unwrap_or(0);
            pipe.cmd("SET").arg("w").arg(before + 1).query(client)
        })
        .expect("nobody else writes");
        assert_eq!(watched, Value::Array(vec![Value::Okay]));
    }
}

#[test]
fn a_client_library_runs_scripts_by_their_digest() {
    const SCRIPT: &str = "return redis.call('GET', KEYS[1])";
    const DIGEST: &str = "d3c21d0c2b9ca22f82737626a27bcaf5d288f99f";
    let place = Place::new();
    for protocol in ["resp2", "resp3"] {
        let mut client = place.connect(protocol);
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut client).expect("forgotten");
        let unknown = redis::cmd("EVALSHA").arg(DIGEST).arg(1).arg("k").query::<Value>(&mut client);
        assert_eq!(unknown.expect_err("not loaded").kind(), ErrorKind::Server(ServerErrorKind::NoScript));
        let digest: String = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query(&mut client).expect("loaded");
        assert_eq!(digest, DIGEST);
        let _: () = redis::cmd("SET").arg("k").arg("v").query(&mut client).expect("written");
        // Whoever loaded it, it is there for all.
        let value: String =
            redis::cmd("EVALSHA").arg(&digest).arg(1).arg("k").query(&mut place.connect(protocol)).expect("run");
        assert_eq!(value, "v");
    }
}

#[test]
fn a_client_library_blocks_and_subscribes() {
    let place = Place::new();
    for protocol in ["resp2", "resp3"] {
        let (mut waiting, mut other) = (place.connect(protocol), place.connect(protocol));
        thread::scope(|scope| {
            let waiter =
                scope.spawn(move || redis::cmd("BLPOP").arg("l").arg(0).query::<(String, String)>(&mut waiting));
            let mut operator = Wire::connect(place.server.port());
            wait_until("it blocks", || {
                String::from_utf8_lossy(&operator.frame_of("INFO clients")).contains("blocked_clients:1")
            });
            let _: () = redis::cmd("RPUSH").arg("l").arg("x").query(&mut other).expect("written");
            assert_eq!(waiter.join().expect("no panic").expect("woken"), ("l".into(), "x".into()));
        });
        let nothing: Option<(String, String)> =
            redis::cmd("BLPOP").arg("l").arg(0.01).query(&mut other).expect("given up");
        assert_eq!(nothing, None);
        let mut subscriber = place.connect(protocol);
        let mut subscription = subscriber.as_pubsub();
        subscription.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
        subscription.subscribe("news").expect("subscribed");
        let heard: i64 = redis::cmd("PUBLISH").arg("news").arg("hello").query(&mut other).expect("published");
        assert_eq!(heard, 1);
        let message = subscription.get_message().expect("a message");
        assert_eq!(message.get_payload::<String>().expect("text"), "hello");
    }
}
