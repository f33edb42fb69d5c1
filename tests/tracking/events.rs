//! What may happen to a cached key, and whether the connection that has read it is told.

use crate::support::ServerProgram;

/// Something that happens while a connection keeps what it has read.
pub struct Event {
    /// What is said, by another connection or by the tracked one. The last of it is what makes it happen.
    pub said: &'static [&'static str],
    /// The keys the server names, one push each; `all` is the push that names none; nothing: it does not say.
    pub told: &'static [&'static str],
    /// Said before, to an empty server.
    pub given: &'static [&'static str],
    /// What the tracked connection has read, and keeps.
    pub read: &'static [&'static str],
    /// Those that can be said this.
    pub is_of: fn(&ServerProgram) -> bool,
    /// Those that tell whoever says it before they answer.
    pub is_told_first_by: fn(&ServerProgram) -> bool,
}

impl Event {
    const fn given(mut self, given: &'static [&'static str]) -> Self {
        self.given = given;
        self
    }

    const fn read(mut self, read: &'static [&'static str]) -> Self {
        self.read = read;
        self
    }

    const fn told_first_by(mut self, is_told_first_by: fn(&ServerProgram) -> bool) -> Self {
        self.is_told_first_by = is_told_first_by;
        self
    }

    const fn of(mut self, is_of: fn(&ServerProgram) -> bool) -> Self {
        self.is_of = is_of;
        self
    }
}

/// By default `k` holds `1`, has a time to live, and has been read with `GET`.
const fn event(said: &'static [&'static str], told: &'static [&'static str]) -> Event {
    Event { said, told, given: &["SET k 1 EX 1000"], read: &["GET k"], is_of: |_| true, is_told_first_by: |_| false }
}

const fn told(said: &'static [&'static str]) -> Event {
    event(said, &["k"])
}

const fn untold(said: &'static [&'static str]) -> Event {
    event(said, &[])
}

fn since_7_0(program: &ServerProgram) -> bool {
    program.version >= [7, 0, 0]
}

/// Redis 8 flushes in the background, and answers when that is done.
fn redis_8(program: &ServerProgram) -> bool {
    !program.is_valkey && program.version >= [8, 0, 0]
}

#[rustfmt::skip]
pub const EVENTS: &[Event] = &[
    // A value is written, be it the same.
    told(&["SET k 2"]),
    told(&["SET k 1"]),
    told(&["SET k 1 EX 1000"]),
    told(&["SET k 1 KEEPTTL"]),
    told(&["SET k 2 XX"]),
    told(&["SET k 2 GET"]),
    told(&["SETEX k 1000 1"]),
    told(&["PSETEX k 1000000 1"]),
    told(&["GETSET k 1"]),
    told(&["MSET k 2 l 2"]),
    told(&["INCR k"]),
    told(&["INCRBY k 0"]),
    told(&["APPEND k x"]),
    told(&["APPEND k \"\""]),
    told(&["SETRANGE k 0 x"]),
    untold(&["SETRANGE k 0 \"\""]),
    untold(&["SETNX k 2"]),
    untold(&["SET k 2 NX"]),
    untold(&["MSETNX k 2 l 2"]),
    untold(&["LPUSH k 2"]),
    untold(&["SET l 2"]),

    // Its time to live.
    told(&["EXPIRE k 1000"]),
    told(&["EXPIRE k 2000"]),
    told(&["PEXPIREAT k 4000000000000"]),
    told(&["EXPIRE k -1"]),
    told(&["PERSIST k"]),
    told(&["GETEX k EX 1000"]),
    told(&["GETEX k PERSIST"]),
    untold(&["GETEX k"]),
    untold(&["PERSIST k"]).given(&["SET k 1"]),
    untold(&["EXPIRE k 1 GT"]).of(since_7_0),
    untold(&["EXPIRE l 1000"]),

    // It is removed, or comes to be: a key that is absent is remembered, too.
    told(&["DEL k"]),
    told(&["UNLINK k"]),
    told(&["GETDEL k"]),
    event(&["DEL k l"], &["k", "l"]).given(&["MSET k 1 l 1"]).read(&["GET k", "GET l"]),
    event(&["DEL k l"], &["k", "l"]).given(&["MSET k 1 l 1"]).read(&["MGET k l"]),
    told(&["SET k 1"]).given(&[]),
    untold(&["DEL k"]).given(&[]),
    untold(&["GET k"]).given(&[]),

    // Under another name, from another name.
    event(&["RENAME k l"], &["k", "l"]).read(&["GET k", "GET l"]),
    event(&["RENAMENX k l"], &["k", "l"]).read(&["GET k", "GET l"]),
    untold(&["RENAMENX k l"]).given(&["MSET k 1 l 1"]).read(&["GET k", "GET l"]),
    event(&["COPY k l REPLACE"], &["l"]).read(&["GET k", "GET l"]),
    event(&["SORT k STORE l"], &["l"]).given(&["RPUSH k 2 1"]).read(&["LRANGE k 0 -1", "GET l"]),
    told(&["MOVE k 1"]),

    // It is looked at.
    untold(&["GET k"]),
    untold(&["TOUCH k"]),
    untold(&["OBJECT ENCODING k"]),
    untold(&["DUMP k"]),
    untold(&["WATCH k"]),
    untold(&["EVAL \"return redis.call('get', KEYS[1])\" 1 k"]),

    // Not only strings.
    told(&["HSET k f 2"]).given(&["HSET k f 1"]).read(&["HGETALL k"]),
    told(&["HSET k f 1"]).given(&["HSET k f 1"]).read(&["HGETALL k"]),
    told(&["HDEL k f"]).given(&["HSET k f 1"]).read(&["HGET k f"]),
    untold(&["HDEL k g"]).given(&["HSET k f 1"]).read(&["HGETALL k"]),
    told(&["SADD k b"]).given(&["SADD k a"]).read(&["SMEMBERS k"]),
    untold(&["SADD k a"]).given(&["SADD k a"]).read(&["SMEMBERS k"]),
    told(&["RPUSH k b"]).given(&["RPUSH k a"]).read(&["LLEN k"]),
    told(&["ZADD k 2 a"]).given(&["ZADD k 1 a"]).read(&["ZSCORE k a"]),

    // All of it goes, or only a database that nobody has read from.
    event(&["FLUSHALL"], &["all"]).told_first_by(redis_8),
    event(&["FLUSHALL SYNC"], &["all"]).told_first_by(redis_8),
    event(&["FLUSHALL ASYNC"], &["all"]),
    event(&["FLUSHDB"], &["all"]).told_first_by(redis_8),
    event(&["FLUSHDB ASYNC"], &["all"]),
    event(&["SELECT 1", "FLUSHDB"], &["all"]).told_first_by(redis_8),
    event(&["FLUSHALL"], &["all"]).given(&[]).told_first_by(redis_8),
    event(&["DEBUG RELOAD"], &["all"]),

    // The server knows no databases here.
    told(&["SELECT 1", "SET k 2"]),
    told(&["SELECT 1", "DEL k"]).given(&["SELECT 1", "SET k 1", "SELECT 0", "SET k 1"]),
    untold(&["SWAPDB 0 1"]),
    untold(&["MULTI", "SWAPDB 0 1", "EXEC"]),

    // Several commands at once: what the last reply confirms is told behind it.
    told(&["MULTI", "SET k 2", "EXEC"]),
    told(&["MULTI", "SET k 2", "SET k 3", "GET k", "EXEC"]),
    event(&["MULTI", "SET k 2", "DEL l", "EXEC"], &["k", "l"]).given(&["MSET k 1 l 1"]).read(&["MGET k l"]),
    event(&["MULTI", "FLUSHALL", "EXEC"], &["all"]),
    untold(&["MULTI", "SET k 2", "DISCARD"]),
    untold(&["MULTI", "NONSENSE", "SET k 2", "EXEC"]),
    told(&["WATCH k", "MULTI", "SET k 2", "EXEC"]),
    told(&["EVAL \"return redis.call('set', KEYS[1], '2')\" 1 k"]),
    told(&["EVAL \"return redis.call('set', 'k', '2')\" 0"]),
    told(&["EVAL \"redis.call('set', KEYS[1], '2') return redis.error_reply('ERR x')\" 1 k"]),

    // Room is made.
    told(&["CONFIG SET maxmemory-policy allkeys-random", "CONFIG SET maxmemory 1"]),
];

/// A command, and whether a key it names is remembered: only what is remembered may be cached.
pub struct Reading {
    pub said: &'static str,
    pub is_remembered: bool,
    pub is_of: fn(&ServerProgram) -> bool,
}

const fn reading(said: &'static str, is_remembered: bool) -> Reading {
    Reading { said, is_remembered, is_of: |_| true }
}

/// Those that remember what a script reads without having named it.
fn looks_into_scripts(program: &ServerProgram) -> bool {
    program.version >= [8, 0, 0]
}

pub const READINGS: &[Reading] = &[
    reading("GET k", true),
    reading("MGET j k l", true),
    reading("GETRANGE k 0 -1", true),
    reading("STRLEN k", true),
    reading("EXISTS k", true),
    reading("TTL k", true),
    reading("PTTL k", true),
    reading("TYPE k", true),
    reading("DUMP k", true),
    reading("OBJECT ENCODING k", true),
    reading("TOUCH k", true),
    reading("EVAL \"return redis.call('get', KEYS[1])\" 1 k", true),
    Reading { is_of: since_7_0, ..reading("EVAL_RO \"return redis.call('get', KEYS[1])\" 1 k", true) },
    Reading { is_of: looks_into_scripts, ..reading("EVAL \"return redis.call('get', 'k')\" 0", true) },
    Reading {
        is_of: |program| !looks_into_scripts(program),
        ..reading("EVAL \"return redis.call('get', 'k')\" 0", false)
    },
    // Their replies hold a value, and nobody will say when it is another.
    reading("GETEX k", false),
    reading("GETEX k EX 1000", false),
    reading("GETSET k 1", false),
    reading("SET k 1 GET", false),
    reading("SET k 1", false),
    reading("APPEND k x", false),
    reading("INCR k", false),
    reading("EXPIRE k 1000", false),
    reading("WATCH k", false),
    reading("SCAN 0", false),
    reading("KEYS *", false),
];
