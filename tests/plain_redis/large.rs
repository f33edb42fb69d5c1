//! Much of everything: long values, long pipelines, many arguments, deep replies.

use crate::support::{request, words};

/// A value that is no text and holds line ends.
fn value(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * at / 251 + at) as u8).collect()
}

/// Requests by name.
pub fn streams() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    requests().into_iter().map(|(name, stream)| (name, [stream, request(&["QUIT"])].concat()))
}

fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let ask = |line: &str| request(&words(line));
    let set = |key: &str, len: usize| request(&[b"SET", key.as_bytes(), &value(len)]);
    let many = |name: &str, count: usize, words_each: usize| {
        let args = (0..count * words_each).map(|at| format!("{name}-{at}"));
        [name.to_owned(), "key".to_owned()].into_iter().chain(args).collect::<Vec<_>>()
    };
    vec![
        ("a value of 1 MB", [set("a", 1 << 20), ask("STRLEN a"), ask("GET a"), ask("PING")].concat()),
        ("a value of 20 MB", [set("a", 20 << 20), ask("STRLEN a"), ask("GET a"), ask("PING")].concat()),
        ("values around the sizes at which buffers change", {
            let sizes = [16 << 10, 64 << 10, 128 << 10].into_iter().flat_map(|size| size - 20..size + 20);
            sizes.flat_map(|size| [set("a", size), ask("GET a"), ask("MGET a none a")].concat()).collect()
        }),
        ("long values among short ones", {
            [set("a", 1 << 20), ask("SET b 2"), [ask("GET a"), ask("GET b"), ask("MGET a b a")].concat().repeat(5)]
                .concat()
        }),
        ("a long value in a transaction", {
            [ask("MULTI"), set("a", 1 << 20), ask("GET a"), ask("EXEC"), ask("GET a")].concat()
        }),
        ("a long value on a connection of its own", {
            let push = request(&[b"RPUSH", &b"l"[..], &value(1 << 20), &value(3)]);
            [
                ask("WATCH w"),
                push,
                ask("LRANGE l 0 -1"),
                ask("LINDEX l 0"),
                ask("UNWATCH"),
                ask("BLPOP l 0"),
                ask("BLPOP l 0"),
            ]
            .concat()
        }),
        ("a long echo", [request(&[b"ECHO", &value(1 << 20)[..]]), request(&[b"PING", &value(1 << 20)[..]])].concat()),
        ("long arguments in errors", {
            [
                request(&[&value(1 << 20)[..]]),
                request(&[b"FOO", &value(1 << 20)[..]]),
                request(&[b"CLIENT", &value(1 << 20)[..]]),
            ]
            .concat()
        }),
        ("a pipeline of 10 000 commands", {
            (0..2_500)
                .flat_map(|n| [format!("SET k{n} v{n}"), format!("GET k{n}"), "INCR n".into(), "HGETALL h".into()])
                .flat_map(|line| ask(&line))
                .collect()
        }),
        ("a pipeline of 10 000 commands that change connections", {
            let lines = [
                "SET a 1",
                "ZADD z 1.5 m",
                "ZRANGE z 0 -1 WITHSCORES",
                "PING",
                "ECHO x",
                "SELECT 1",
                "GET a",
                "SELECT 0",
                "FOO",
                "EVAL \"return {1,{2}}\" 0",
            ];
            lines.map(ask).concat().repeat(1_000)
        }),
        ("a thousand transactions in a pipeline", {
            [ask("MULTI"), ask("INCR n"), ask("EXEC"), ask("GET n")].concat().repeat(1_000)
        }),
        ("a transaction of 10 000 commands", [ask("MULTI"), ask("INCR n").repeat(10_000), ask("EXEC")].concat()),
        ("100 000 arguments", {
            [
                request(&many("RPUSH", 100_000, 1)),
                ask("LLEN key"),
                ask("LRANGE key 0 -1"),
                request(&many("DEL", 100_000, 1)),
            ]
            .concat()
        }),
        (
            "a hash of 50 000 fields",
            [request(&many("HSET", 50_000, 2)), ask("HLEN key"), ask("HGETALL key"), ask("HKEYS key")].concat(),
        ),
        ("a deep reply", { ask("EVAL \"local t = {1} for i = 1, 5000 do t = {t, i} end return t\" 0") }),
        ("a long status and a long error", {
            [
                ask("EVAL \"return {ok=string.rep('x', 100000)}\" 0"),
                ask("PING"),
                ask("EVAL \"return {err='ERR ' .. string.rep('x', 100000)}\" 0"),
                ask("PING"),
            ]
            .concat()
        }),
        ("an unbounded answer", ask("EVAL \"local t = {} for i = 1, 300000 do t[i] = i end return t\" 0").repeat(3)),
    ]
}
