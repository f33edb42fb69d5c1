//! `redis-cli`: what it prints in front of the proxy is what it prints in front of the server.

use std::cell::RefCell;
use std::fs;

use super::{Place, Printed, run_until, without_numbers};
use crate::support::{RedisServer, Wire, request};

/// Keys of every type, some of them large.
fn filled(place: &Place) {
    place.server.cli(&["EVAL", "for i = 1, 2000 do redis.call('SET', 'k' .. i, i) end", "0"]);
    place.server.cli(&[
        "EVAL",
        "for i = 1, 500 do redis.call('HSET', 'hash', i, i) redis.call('ZADD', 'zset', i, i) end",
        "0",
    ]);
    for line in
        [&["RPUSH", "list", "a", "b", "c"][..], &["SADD", "set", "a", "b"], &["XADD", "stream", "1-1", "f", "v"]]
    {
        place.server.cli(line);
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
fn redis_cli_pipes_in_very_many_commands() {
    const COUNT: usize = 300_000;
    let place = Place::new();
    let input: Vec<u8> = (0..COUNT).flat_map(|n| request(&["SET".into(), format!("k{n}"), format!("v{n}")])).collect();
    let said = place.cli(&["--pipe"], &input);
    assert!(said.contains(&format!("errors: 0, replies: {COUNT}")), "{said}");
    assert_eq!(place.server.cli(&["DBSIZE"]), COUNT.to_string());
}

#[test]
fn redis_cli_pipes_in_what_is_refused() {
    let place = Place::new();
    let input = [
        &b"SET a x\r\nINCR a\r\nLPUSH a x\r\nHGETALL a\r\nFOO\r\nSELECT 3\r\nSET b y\r\n"[..],
        &b"GET a\r\n".repeat(5_000),
    ]
    .concat();
    let [direct, through] = place.both("redis-cli", &["--pipe"], &input);
    assert!(direct.text.contains("errors: 4"), "{direct:?}");
    assert_eq!(through, direct);
}

#[test]
fn redis_cli_scans_and_samples_keys() {
    let place = Place::of(RedisServer::with().config("maxmemory-policy allkeys-lfu").start());
    filled(&place);
    let sampled = [
        &["--scan"][..],
        &["--scan", "--pattern", "k199*"],
        &["--scan", "--pattern", "none*"],
        &["--bigkeys"],
        &["--memkeys"],
        &["--memkeys-samples", "3"],
        &["--hotkeys"],
        &["--hotkeys", "--pattern", "k*"],
        &["-3", "--scan"],
        &["-3", "--bigkeys"],
    ];
    for args in sampled {
        let [direct, through] = place.both("redis-cli", args, b"");
        assert!(direct.succeeded, "{args:?}: {direct:?}");
        // How hot a key is changes while it is looked at.
        let shown = |printed: &Printed| match args.contains(&"--hotkeys") {
            true => printed
                .text
                .lines()
                .filter(|line| line.starts_with("Sampled") || line.starts_with('#'))
                .collect::<String>(),
            false => printed.text.clone(),
        };
        assert!(!shown(&direct).is_empty() || args.contains(&"none*"), "{args:?}: {direct:?}");
        assert_eq!(shown(&through), shown(&direct), "{args:?}");
    }
}

#[test]
fn redis_cli_measures() {
    let place = Place::new();
    let [direct, through] = place.both("redis-cli", &["--latency", "-i", "0.3"], b"");
    assert!(direct.succeeded && through.succeeded, "{direct:?} {through:?}");
    assert_eq!(without_numbers(&through.text), without_numbers(&direct.text));
    for (args, text, times) in [
        (&["--latency-history", "-i", "0.2", "--no-raw"][..], "avg", 1),
        (&["--latency-dist", "-i", "0.2"], "---------", 2),
        (&["--stat", "-i", "0.05"], "keys", 1),
    ] {
        let shown = place.both_until(args, text, times).map(|lines| without_numbers(&lines.join(" ")));
        let [direct, through] = shown;
        // A spectrum differs; its frame does not.
        if !args.contains(&"--latency-dist") && !args.contains(&"--latency-history") {
            assert_eq!(through, direct, "{args:?}");
        }
        assert!(!through.contains("ERR"), "{args:?}: {through}");
    }
}

#[test]
fn redis_cli_runs_scripts() {
    let place = Place::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = directory.path().join("script.lua");
    fs::write(&script, "redis.call('SET', KEYS[1], ARGV[1]) return {redis.call('GET', KEYS[1]), 7, {'x'}}")
        .expect("writable");
    let script = script.to_str().expect("a path of text");
    for protocol in ["-2", "-3"] {
        let [direct, through] = place.both("redis-cli", &[protocol, "--eval", script, "key", ",", "value"], b"");
        assert!(direct.text.contains("value"), "{direct:?}");
        assert_eq!(through, direct);
    }
}

/// It would take a replica's stream.
#[test]
fn redis_cli_is_told_why_it_gets_no_dump() {
    let place = Place::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("dump.rdb");
    let file = file.to_str().expect("a path of text");
    for option in ["--rdb", "--functions-rdb"] {
        let [direct, through] = place.both("redis-cli", &[option, file], b"");
        assert!(direct.succeeded, "{direct:?}");
        assert!(!through.succeeded, "{through:?}");
        assert!(through.text.contains("does not pass through a proxy; connect to the server itself"), "{through:?}");
    }
}

#[test]
fn redis_cli_monitors() {
    let place = Place::new();
    for protocol in ["-2", "-3"] {
        let [direct, through] = [place.server.port(), place.proxy.port()].map(|port| {
            let mut other = Wire::connect(place.server.port());
            let lines = run_until(port, &[protocol, "MONITOR"], "\"SET\" \"watched\" \"a\\r\\n\"", 1, || {
                assert_eq!(other.ask("SET watched \"a\\r\\n\""), "+OK");
            });
            (lines.first().cloned(), without_numbers(lines.last().expect("a line")))
        });
        assert_eq!(through, direct, "{protocol}");
    }
}

#[test]
fn redis_cli_hears_messages() {
    let place = Place::new();
    let publisher = RefCell::new(Wire::connect(place.server.port()));
    for protocol in ["-2", "-3"] {
        for (args, text) in [
            (&["SUBSCRIBE", "news", "other"][..], "hello"),
            (&["PSUBSCRIBE", "n*"], "hello"),
            (&["SSUBSCRIBE", "news"], "hello"),
        ] {
            let command = if args[0] == "SSUBSCRIBE" { "SPUBLISH" } else { "PUBLISH" };
            let [direct, through] = [place.server.port(), place.proxy.port()].map(|port| {
                run_until(port, &[&[protocol], args].concat(), text, 1, || {
                    publisher.borrow_mut().ask(&format!("{command} news hello"));
                })
            });
            assert_eq!(through, direct, "{protocol} {args:?}");
        }
    }
}
