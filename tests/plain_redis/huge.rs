//! More than a client usually sends before it looks: a value as long as Redis allows, a pipeline nobody reads yet,
//! more arguments than fit in any buffer.

use std::io::Write;

use super::compare::Both;
use crate::support::{Wire, request};

/// `proto-max-bulk-len`.
const LONGEST: usize = 512 << 20;

const CHUNK: usize = 1 << 20;

/// Of no use to a session, but a value Redis takes must not end a connection here.
#[test]
fn the_longest_value_goes_both_ways() {
    let both = Both::plain();
    let port = both.proxy.port();
    let mut wire = Wire::connect(port);
    let chunk: Vec<u8> = (0..CHUNK).map(|at| (at * at / 251 + at) as u8).collect();
    wire.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${LONGEST}\r\n").as_bytes());
    (0..LONGEST / CHUNK).for_each(|_| wire.send(&chunk));
    wire.send(b"\r\n");
    assert_eq!(wire.hear(), "+OK");
    assert_eq!(wire.ask("STRLEN k"), format!(":{LONGEST}"));
    wire.say(&["GET k"]);
    assert_eq!(wire.bytes(12), format!("${LONGEST}\r\n").as_bytes());
    for at in 0..LONGEST / CHUNK {
        assert!(wire.bytes(CHUNK) == chunk, "megabyte {at}");
    }
    assert_eq!(wire.bytes(2), b"\r\n");
    assert_eq!(wire.ask("DEL k"), ":1");
}

/// Many client libraries write a pipeline to its end before they read the first reply.
#[test]
fn a_pipeline_is_answered_to_whom_reads_only_when_it_is_written() {
    let both = Both::plain();
    let value = "x".repeat(1000);
    let one = request(&["SET", "k", &value, "GET"]);
    let count = 20_000;
    let mut wire = Wire::connect(both.proxy.port());
    wire.send(&one.repeat(count));
    wire.send(&request(&["PING"]));
    assert_eq!(wire.hear(), "$-1");
    for at in 1..count {
        assert_eq!(wire.frame().len(), value.len() + 9, "reply {at}");
    }
    assert_eq!(wire.hear(), "+PONG");
}

/// And by whoever reads and writes at once: every tenth command waits for another's, or takes a connection of its own.
#[test]
fn a_hundred_thousand_commands_of_all_kinds_are_answered_in_order() {
    let both = Both::plain();
    let ten = [
        "INCR n",
        "GET n",
        "ZADD z 1 m",
        "ZRANGE z 0 -1 WITHSCORES",
        "SET a x",
        "GET a",
        "HGETALL none",
        "PING",
        "RPUSH l e",
        "BLPOP l 0",
    ];
    let five = ["INCR n", "WATCH a", "MULTI", "GET n", "EXEC"];
    let bytes =
        |lines: &[&str]| lines.iter().flat_map(|line| request(&crate::support::words(line))).collect::<Vec<u8>>();
    let [ten, five] = [bytes(&ten), bytes(&five)];
    let stream: Vec<u8> = [ten.repeat(9_000), five.repeat(2_000), request(&["QUIT"])].concat();
    let answer = |port| {
        both.clear();
        let mut wire = Wire::connect(port);
        let mut writer = wire.writer();
        std::thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&stream));
            wire.rest().expect("a close")
        })
    };
    let (expected, got) = (answer(both.server.port()), answer(both.proxy.port()));
    let same = expected.iter().zip(&got).take_while(|(one, other)| one == other).count();
    assert!(expected == got, "{} and {} bytes, the first {same} the same", expected.len(), got.len());
}

#[test]
fn a_request_has_as_many_arguments_as_redis_takes() {
    let both = Both::plain();
    let count = 1_500_000;
    let mut wire = Wire::connect(both.proxy.port());
    wire.send(&[format!("*{}\r\n$6\r\nEXISTS\r\n", count + 1).into_bytes(), b"$1\r\na\r\n".repeat(count)].concat());
    assert_eq!(wire.hear(), ":0");
}
