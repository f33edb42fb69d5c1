//! What a command does to the sessions it names.

use std::time::Duration;

use crate::command::{Command, Effect, Touches};
use crate::resp::decimal;

/// What a command does, as far as a rule may care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed<'a> {
    /// Nothing: it neither tells whether a session is there, nor can it bring one into being, end it or change when it ends.
    Nothing,
    /// It tells whether sessions are there.
    Reads(Tells),
    /// `DEL`, `UNLINK`: each of its keys.
    Destroys,
    /// `PERSIST`
    Persists(&'a [u8]),
    /// It writes these.
    Writes(Vec<Target<'a>>),
    /// It may leave any of its keys without a time to live, and cannot be part of a script: a script itself, what blocks,
    /// what is not known.
    Escapes,
    /// The same of one key in another database.
    EscapesTo(&'a [u8], u32),
}

/// How a reply tells that there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    /// It is a null.
    Null,
    /// It is a null, or there is a session without what was asked.
    NullOfPart,
    /// It is `0`.
    Zero,
    /// It is `0`, or there is a session without what was asked.
    ZeroOfPart,
    /// It is `-2`.
    MinusTwo,
    /// It has no elements.
    Empty,
    /// It has none, or there is a session without what was asked.
    EmptyOfPart,
    /// It is `none`.
    None,
    /// A null for each; or it is of another type.
    EachNull,
    /// Nothing but nulls; or there is a session without what was asked.
    AllNull,
}

/// A session a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) key: &'a [u8],
    pub(super) creates: Creates,
    /// It may be gone afterwards: destroyed.
    pub(super) loses: bool,
    /// It is, if it was there.
    pub(super) dies: bool,
    /// The client says itself when it ends.
    pub(super) ends: Ends,
}

/// Whether a command can bring a session into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Creates {
    No,
    /// As what is new for sure: `NX`.
    New,
    /// A lock in it, which is none of the rules' business but that it must end.
    Lock,
    Yes,
}

/// What a command says of the end of a session it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Nothing: a new one would have none, an old one keeps its own, or loses it.
    Unsaid,
    /// It lives for so long from now on.
    After(Duration),
    /// It sets one.
    Set,
}

impl<'a> Target<'a> {
    fn new(key: &'a [u8], creates: Creates) -> Self {
        Self { key, creates, loses: false, dies: false, ends: Ends::Unsaid }
    }

    /// What is destroyed if it is there.
    fn dying(key: &'a [u8]) -> Self {
        Self { loses: true, dies: true, ..Self::new(key, Creates::No) }
    }
}

/// What a command does to the keys it names, in this database.
pub(super) fn deed<'a>(command: &Command<'a>, db: u32) -> Deed<'a> {
    let request = &command.request;
    if !command.has_its_arity() {
        return Deed::Nothing;
    }
    let arg = |index| request.arg(index).unwrap_or_default();
    let creates = |index| Deed::Writes(vec![Target::new(arg(index), Creates::Yes)]);
    let Some(row) = command.row() else {
        let is_write = command.effect() == Effect::Write;
        return if is_write { Deed::Escapes } else { Deed::Nothing };
    };
    match row.name {
        "get" | "dump" => Deed::Reads(Tells::Null),
        "hget" => Deed::Reads(Tells::NullOfPart),
        "exists" | "touch" | "hlen" | "llen" | "scard" | "zcard" => Deed::Reads(Tells::Zero),
        "hstrlen" | "strlen" => Deed::Reads(Tells::ZeroOfPart),
        "ttl" | "pttl" | "expiretime" | "pexpiretime" => Deed::Reads(Tells::MinusTwo),
        "hgetall" | "hkeys" | "hvals" | "smembers" => Deed::Reads(Tells::Empty),
        "lrange" => Deed::Reads(Tells::EmptyOfPart),
        "hmget" => Deed::Reads(Tells::AllNull),
        "type" => Deed::Reads(Tells::None),
        "mget" => Deed::Reads(Tells::EachNull),
        "del" | "unlink" => Deed::Destroys,
        "persist" => Deed::Persists(arg(1)),
        "set" => set(command),
        "setex" => Deed::Writes(vec![Target { ends: after(arg(2), 1000), ..Target::new(arg(1), Creates::Yes) }]),
        "psetex" => Deed::Writes(vec![Target { ends: after(arg(2), 1), ..Target::new(arg(1), Creates::Yes) }]),
        "setnx" => Deed::Writes(vec![Target::new(arg(1), Creates::New)]),
        "mset" => each(command, Creates::Yes),
        "msetnx" => each(command, Creates::New),
        "hincrby" | "hincrbyfloat" | "hsetnx" if is_lock(arg(2)) => lock(arg(1)),
        "hset" | "hmset" if request.len() == 4 && is_lock(arg(2)) => lock(arg(1)),
        // A script's numbers have 53 bits.
        "bitfield" if has_wide_fields(command) => Deed::Escapes,
        "append" | "bitfield" | "decr" | "decrby" | "geoadd" | "getset" | "hincrby" | "hincrbyfloat" | "hmset"
        | "hset" | "hsetnx" | "incr" | "incrby" | "incrbyfloat" | "lpush" | "pfadd" | "pfmerge" | "rpush" | "sadd"
        | "sdiffstore" | "setbit" | "setrange" | "sinterstore" | "sunionstore" | "xadd" | "zadd" | "zdiffstore"
        | "zincrby" | "zinterstore" | "zrangestore" | "zunionstore" | "geosearchstore" => creates(1),
        "restore" => {
            let ends = if request.is(2, "0") { Ends::Unsaid } else { Ends::Set };
            Deed::Writes(vec![Target { ends, ..Target::new(arg(1), Creates::Yes) }])
        }
        "bitop" | "lmove" | "rpoplpush" | "smove" => creates(2),
        "xgroup" if request.args_from(2).any(|word| word.eq_ignore_ascii_case(b"mkstream")) => creates(2),
        "rename" | "renamenx" => {
            let from = Target { loses: true, ..Target::new(arg(1), Creates::No) };
            let is_new = row.name == "renamenx";
            Deed::Writes(vec![from, Target::new(arg(2), if is_new { Creates::New } else { Creates::Yes })])
        }
        "copy" => match other_database(command) {
            None => creates(2),
            Some(other) if other == db => creates(2),
            Some(other) => Deed::EscapesTo(arg(2), other),
        },
        "move" => match decimal(arg(2)).and_then(|db| u32::try_from(db).ok()) {
            Some(db) => Deed::EscapesTo(arg(1), db),
            None => Deed::Nothing,
        },
        "sort" => stored(command, 2, &[("by", 1), ("get", 1), ("limit", 2)]),
        "georadius" => stored(command, 6, &[("count", 1)]),
        "georadiusbymember" => stored(command, 5, &[("count", 1)]),
        "expire" => expire(command, 1000),
        "pexpire" => expire(command, 1),
        "expireat" | "pexpireat" => ends_somehow(arg(1), true),
        "getdel" => Deed::Writes(vec![Target::dying(arg(1))]),
        "getex" if request.is(2, "persist") => Deed::Writes(vec![Target::new(arg(1), Creates::No)]),
        // A point in time may have passed; a length of none is refused.
        "getex" if request.len() > 2 => ends_somehow(arg(1), request.is(2, "exat") || request.is(2, "pxat")),
        "getex" => Deed::Reads(Tells::Null),
        "eval" | "evalsha" | "fcall" | "blmove" | "brpoplpush" | "restore-asking" => Deed::Escapes,
        // What they leave behind ends when it would have; a script that reads only writes nothing.
        _ => Deed::Nothing,
    }
}

/// Commands that write a key and concern no rule: what they write was there before, and keeps its end.
#[cfg(test)]
pub(super) const HARMLESS: [&str; 45] = [
    "blmpop",
    "blpop",
    "brpop",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "cluster",
    "debug",
    "exec",
    "failover",
    "flushall",
    "flushdb",
    "hdel",
    "linsert",
    "lmpop",
    "lpop",
    "lpushx",
    "lrem",
    "lset",
    "ltrim",
    "memory",
    "migrate",
    "pfdebug",
    "replicaof",
    "rpop",
    "rpushx",
    "slaveof",
    "spop",
    "srem",
    "swapdb",
    "watch",
    "xack",
    "xautoclaim",
    "xclaim",
    "xdel",
    "xreadgroup",
    "xsetid",
    "xtrim",
    "zmpop",
    "zpopmax",
    "zpopmin",
    "zrem",
    "zremrangebylex",
    "zremrangebyrank",
    "zremrangebyscore",
];

/// Whether `BITFIELD` may tell a number of more bits than a script's have.
fn has_wide_fields(command: &Command<'_>) -> bool {
    let width = |word: &[u8]| str::from_utf8(word.get(1..)?).ok()?.parse::<u8>().ok();
    let types = command.request.args_from(2).filter(|word| matches!(word, [b'i' | b'u', ..]));
    types.filter_map(width).any(|width| width > 53)
}

/// Magento keeps its lock in a field of the session.
fn is_lock(field: &[u8]) -> bool {
    field == b"lock"
}

fn lock(key: &[u8]) -> Deed<'_> {
    Deed::Writes(vec![Target::new(key, Creates::Lock)])
}

fn each<'a>(command: &Command<'a>, creates: Creates) -> Deed<'a> {
    match command.keys() {
        Touches::These(keys) if command.request.len() % 2 == 1 => {
            Deed::Writes(keys.map(|key| Target::new(key, creates)).collect())
        }
        _ => Deed::Nothing,
    }
}

/// `SET`: what cannot be read of it is for the server to refuse, or means what it likes.
fn set<'a>(command: &Command<'a>) -> Deed<'a> {
    let request = &command.request;
    let key = request.arg(1).unwrap_or_default();
    let (mut creates, mut ends, mut loses) = (Creates::Yes, Ends::Unsaid, false);
    let mut index = 3;
    while index < request.len() {
        let is = |word| request.is(index, word);
        if is("nx") {
            creates = Creates::New;
        } else if is("xx") {
            creates = Creates::No;
        } else if is("ex") || is("px") {
            let unit = if is("ex") { 1000 } else { 1 };
            index += 1;
            ends = after(request.arg(index).unwrap_or_default(), unit);
        } else if is("exat") || is("pxat") {
            index += 1;
            // It may have passed.
            (ends, loses) = (Ends::Set, true);
        }
        index += 1;
    }
    Deed::Writes(vec![Target { ends, loses, ..Target::new(key, creates) }])
}

fn after(text: &[u8], unit: u64) -> Ends {
    let millis = decimal(text).and_then(|count| u64::try_from(count).ok()).and_then(|count| count.checked_mul(unit));
    // What the server would refuse.
    millis.filter(|millis| *millis < 1 << 42).map_or(Ends::Set, |millis| Ends::After(Duration::from_millis(millis)))
}

fn expire<'a>(command: &Command<'a>, unit: u64) -> Deed<'a> {
    let request = &command.request;
    let key = request.arg(1).unwrap_or_default();
    let length = request.arg(2).and_then(decimal);
    // With a condition it may be left as it is.
    let ends = if request.len() == 3 { after(request.arg(2).unwrap_or_default(), unit) } else { Ends::Set };
    // With a condition it may go on as well.
    let loses = length.is_some_and(|length| length <= 0);
    let dies = loses && request.len() == 3;
    Deed::Writes(vec![Target { ends, loses, dies, ..Target::new(key, Creates::No) }])
}

fn ends_somehow(key: &[u8], loses: bool) -> Deed<'_> {
    Deed::Writes(vec![Target { ends: Ends::Set, loses, ..Target::new(key, Creates::No) }])
}

/// Where the result is stored, if it is: by the last `STORE` among the options from that place on. `others`: options that
/// take so many words.
fn stored<'a>(command: &Command<'a>, mut index: usize, others: &[(&str, usize)]) -> Deed<'a> {
    let request = &command.request;
    let mut key = None;
    while index < request.len() {
        if request.is(index, "store") || request.is(index, "storedist") {
            index += 1;
            key = request.arg(index);
        } else if let Some((_, words)) = others.iter().find(|(option, _)| request.is(index, option)) {
            index += words;
        }
        index += 1;
    }
    key.map_or(Deed::Nothing, |key| Deed::Writes(vec![Target::new(key, Creates::Yes)]))
}

/// The database `COPY` names.
fn other_database(command: &Command<'_>) -> Option<u32> {
    let request = &command.request;
    let place = (3..request.len()).rfind(|index| request.is(*index, "db"))?;
    request.arg(place + 1).and_then(decimal).and_then(|db| u32::try_from(db).ok())
}
