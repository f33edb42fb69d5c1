//! Random commands over few keys, in random pipelines, cut at random places.
//!
//! The table of cases says what commands answer; this finds what depends on the one before: types, databases,
//! transactions, watches, one connection or another.

use std::collections::VecDeque;
use std::io::Write;
use std::thread;

use fastrand::Rng;

use super::compare::{Both, Pace, without_hello_ids, without_numbers};
use crate::support::{Wire, request, words};

/// How many are usual, in each protocol.
pub const COMMANDS: usize = 100_000;

/// Commands whose replies tell the time that is left, by the first word.
const TELL_TIME: [&str; 4] = ["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"];

/// What is asked, but for what tells the order of all keys: it depends on when the server last had the time to
/// shrink its table. Words of [`Generator::fill`] are filled in at random.
#[rustfmt::skip]
const COMMON: &[&str] = &[
    "SET k v", "SET k v", "SET k v EX 1000", "SET k v NX", "SET k v XX", "SET k v GET", "SET k v KEEPTTL",
    "GET k", "GET k", "GET k", "GET k", "GETSET k v", "GETDEL k", "GETEX k EX 1000", "GETEX k PERSIST",
    "SETNX k v", "SETEX k 1000 v", "PSETEX k 1000000 v", "MSET k v k v", "MSETNX k v k v", "MGET k k k",
    "APPEND k v", "STRLEN k", "GETRANGE k i i", "SETRANGE k 3 v", "SETRANGE k i v", "SUBSTR k i i", "LCS k k",
    "INCR k", "DECR k", "INCRBY k i", "DECRBY k i", "INCRBYFLOAT k s",
    "SETBIT k 9 1", "GETBIT k 9", "BITCOUNT k", "BITPOS k 1", "BITOP AND k k k", "BITFIELD k SET u8 0 200 GET u4 2",
    "BITFIELD_RO k GET u8 0", "PFADD k v v", "PFCOUNT k k", "PFMERGE k k",
    "DEL k", "DEL k", "DEL k k", "UNLINK k", "EXISTS k k", "TYPE k", "TOUCH k k", "RENAME k k", "RENAMENX k k",
    "COPY k k", "COPY k k REPLACE", "COPY k k DB 1", "MOVE k 1", "OBJECT ENCODING k", "DBSIZE", "KEYS k:3",
    "EXPIRE k 1000", "EXPIREAT k 99999999998 GT", "EXPIRE k 0", "PEXPIRE k 1000000", "EXPIREAT k 99999999999", "PERSIST k",
    "TTL k", "PTTL k", "EXPIRETIME k", "PEXPIRETIME k",
    "HSET k f v", "HSET k f v f v", "HGET k f", "HMGET k f f f", "HGETALL k", "HGETALL k", "HDEL k f f", "HLEN k",
    "HEXISTS k f", "HKEYS k", "HVALS k", "HINCRBY k f i", "HINCRBYFLOAT k f s", "HSETNX k f v", "HSTRLEN k f", "HSCAN k 0",
    "RPUSH k v v", "LPUSH k v", "LPUSHX k v", "RPUSHX k v", "LPOP k", "RPOP k", "LPOP k i", "RPOP k 2", "LRANGE k 0 -1",
    "LRANGE k i i", "LLEN k", "LINDEX k i", "LSET k i v", "LREM k i v", "LTRIM k 0 5", "LINSERT k BEFORE v v", "LPOS k v",
    "LPOS k v COUNT 0", "RPOPLPUSH k k", "LMOVE k k LEFT RIGHT", "LMPOP 2 k k LEFT", "SORT k ALPHA", "SORT_RO k",
    "SADD k f f", "SREM k f", "SISMEMBER k f", "SMISMEMBER k f f", "SMEMBERS k", "SCARD k", "SINTER k k", "SUNION k k",
    "SDIFF k k", "SINTERSTORE k k k", "SUNIONSTORE k k k", "SDIFFSTORE k k k", "SMOVE k k f", "SINTERCARD 2 k k", "SSCAN k 0",
    "ZADD k s f", "ZADD k s f s f", "ZADD k INCR s f", "ZADD k GT CH s f", "ZINCRBY k s f", "ZSCORE k f", "ZMSCORE k f f",
    "ZRANGE k 0 -1", "ZRANGE k 0 -1 WITHSCORES", "ZRANGE k -inf +inf BYSCORE WITHSCORES", "ZREVRANGE k 0 -1 WITHSCORES",
    "ZRANGEBYSCORE k -inf +inf WITHSCORES", "ZRANK k f", "ZREVRANK k f", "ZCARD k", "ZCOUNT k -inf +inf", "ZREM k f", "ZPOPMIN k",
    "ZPOPMAX k 2", "ZMPOP 2 k k MIN", "ZUNION 2 k k WITHSCORES", "ZINTER 2 k k", "ZDIFF 2 k k WITHSCORES",
    "ZUNIONSTORE k 2 k k", "ZRANGESTORE k k 0 3", "ZREMRANGEBYRANK k 0 0", "ZSCAN k 0",
    "GEOADD k 13.3 38.1 f", "GEOPOS k f f", "GEODIST k f f", "GEOHASH k f", "GEOSEARCH k FROMLONLAT 13 38 BYRADIUS 500 km WITHDIST",
    "XADD k n-1 f v", "XADD k NOMKSTREAM n-2 f v", "XLEN k", "XRANGE k - +", "XREVRANGE k + - COUNT 2", "XREAD COUNT 2 STREAMS k 0",
    "XTRIM k MAXLEN 3", "XDEL k n-1", "XGROUP CREATE k g 0", "XREADGROUP GROUP g c COUNT 1 STREAMS k >", "XACK k g n-1", "XPENDING k g",
    "EVAL \"return redis.call('GET', KEYS[1])\" 1 k", "EVAL \"return {1, {KEYS[1], false}, 'x'}\" 1 k",
    "EVAL \"return redis.call('HGETALL', KEYS[1])\" 1 k", "EVALSHA 0000000000000000000000000000000000000000 0",
    "SETRANGE k 0 v", "GETEX k EXAT 99999999999", "SET k v PXAT 99999999999000 GET", "LCS k k IDX WITHMATCHLEN", "BITCOUNT k 0 2 BIT",
    "BITFIELD k OVERFLOW SAT INCRBY i5 100 9", "BITOP NOT k k", "GETEX k EX x", "SET k v EX 0", "SET k v NX XX", "EXPIRE k x", "EXPIRE k 100 NX GT",
    "PEXPIREAT k 99999999999999 LT", "PEXPIRE k -1", "EXPIREAT k 1", "COPY k k DB 99", "MOVE k 0", "RENAME k none", "OBJECT ENCODING none",
    "SORT k BY nosort GET # LIMIT 0 3", "SORT k DESC ALPHA STORE k", "HRANDFIELD absent 3", "HMSET k f v f v", "HSCAN k 0 MATCH f1* COUNT 5",
    "LPOS k v RANK -1 MAXLEN 4", "LMPOP 1 k RIGHT COUNT 2", "LINSERT k AFTER v v", "LSET k 99 v", "SMISMEMBER k f f v", "SINTERCARD 2 k k LIMIT 1",
    "ZADD k NX s f", "ZADD k XX LT s f", "ZADD k NX GT s f", "ZADD k nan f", "ZRANGE k - + BYLEX", "ZRANGE k (1 +inf BYSCORE LIMIT 0 2", "ZRANGEBYLEX k - +",
    "ZREVRANGEBYSCORE k +inf -inf LIMIT 1 2", "ZREVRANGEBYLEX k + -", "ZLEXCOUNT k - +", "ZREMRANGEBYSCORE k 0 1", "ZREMRANGEBYLEX k [zz +", "ZINTERCARD 2 k k",
    "ZINTERSTORE k 2 k k WEIGHTS 2 3 AGGREGATE MAX", "ZDIFFSTORE k 2 k k", "ZUNION 2 k k AGGREGATE MIN", "ZMPOP 1 k MAX COUNT 2", "ZINTER 2 k k WITHSCORES",
    "GEORADIUS k 13 38 900 km WITHCOORD ASC", "GEOSEARCH k FROMMEMBER f BYBOX 400 400 km WITHCOORD WITHHASH", "GEOSEARCHSTORE k k FROMLONLAT 13 38 BYRADIUS 500 km",
    "XADD k MAXLEN 4 n-3 f v f v", "XADD k 0-0 f v", "XSETID k n-9", "XGROUP CREATE k g $ MKSTREAM", "XGROUP SETID k g 0", "XGROUP DESTROY k g",
    "XGROUP CREATECONSUMER k g c", "XGROUP DELCONSUMER k g c", "XREADGROUP GROUP g c COUNT 2 NOACK STREAMS k >", "XREADGROUP GROUP g c STREAMS k 0",
    "XCLAIM k g d 0 n-1", "XCLAIM k g c 0 n-1 JUSTID", "XAUTOCLAIM k g c 0 0 COUNT 2", "XINFO GROUPS k", "XINFO STREAM k", "XREAD STREAMS k k 0 n-1",
    "EVAL \"return redis.call('SET', KEYS[1], ARGV[1])\" 1 k v", "EVAL \"return redis.pcall('INCR', KEYS[1])\" 1 k", "EVAL \"return redis.call('FOO')\" 0",
    "EVAL \"redis.setresp(3) return redis.call('HGETALL', KEYS[1])\" 1 k", "EVAL \"return {err='MY mistake'}\" 0", "EVAL \"return\" 1",
    "EVAL_RO \"return redis.call('SET', KEYS[1], 1)\" 1 k", "EVAL \"return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')\" 1 k",
    "SCRIPT LOAD \"return redis.call('GET', KEYS[1])\"", "EVALSHA d3c21d0c2b9ca22f82737626a27bcaf5d288f99f 1 k", "SCRIPT EXISTS d3c21d0c2b9ca22f82737626a27bcaf5d288f99f",
    "FUNCTION LOAD REPLACE \"#!lua name=l\\nredis.register_function('f', function(keys, args) return redis.call('HSET', keys[1], args[1], args[2]) end)\"",
    "FCALL f 1 k f v", "FCALL_RO f 1 k f v", "FCALL none 0", "SCRIPT FLUSH", "FUNCTION DELETE l", "FUNCTION LIST",
    "SPUBLISH c v", "PUBLISH c v", "PING", "PING v", "ECHO v", "SELECT d", "SELECT d", "SWAPDB 0 1", "FOO k", "GET", "SET k", "PING a b", "SELECT x",
];

/// What takes a connection of its own, or gives it back.
const SELDOM: &[&str] = &[
    "MULTI",
    "MULTI",
    "WATCH k",
    "WATCH k k",
    "UNWATCH",
    "EXEC",
    "DISCARD",
    "BLPOP k 0.002",
    "BLPOP k k 0.002",
    "BRPOP k 0.002",
    "BLMOVE k k LEFT LEFT 0.002",
    "BZPOPMIN k 0.002",
    "BLMPOP 0.002 2 k k LEFT",
    "BZMPOP 0.002 1 k MAX",
    "XREAD COUNT 1 BLOCK 1 STREAMS k $",
    "XREADGROUP GROUP g c BLOCK 1 STREAMS k >",
    "WAIT 0 1",
    "UNSUBSCRIBE nothing",
    "CLIENT SETNAME f",
    "CLIENT GETNAME",
    "CLIENT TRACKING OFF",
    "DEBUG SLEEP 0",
    "SELECT 99",
    "FLUSHDB",
    "SWAPDB 1 2",
    "HELLO 2",
    "HELLO 3",
    "CLIENT TRACKINGINFO",
];

/// What stands in a transaction more often than not.
const ENDS: &[&str] = &["EXEC", "EXEC", "EXEC", "EXEC", "DISCARD", "MULTI", "WATCH k", "RESET"];

/// The same commands to both, `count` of them unless `CLOAKROOM_COMMANDS` says otherwise; panics with the first
/// that is answered otherwise.
pub fn compare(both: &Both, hello: &'static str, count: usize) {
    let count = number("CLOAKROOM_COMMANDS").map_or(count, |count| count as usize);
    let seed = number("CLOAKROOM_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("CLOAKROOM_SEED={seed}");
    let mut generator = Generator::new(both, seed, hello);
    let mut commands: Vec<Vec<Vec<u8>>> = (0..count).map(|_| generator.next()).collect();
    assert_ne!(count, 0, "no commands");
    // What stands together is not cut: a key whose time is over is there until somebody asks for it.
    while !generator.next.is_empty() {
        commands.push(generator.next());
    }

    let mut rng = Rng::with_seed(seed);
    let pipelines = pipelines(&commands, &mut rng);
    both.clear();
    let expected = tell(both.server.port(), hello, &commands, &pipelines, |bytes| vec![bytes]);
    assert_eq!(expected.len(), commands.len(), "CLOAKROOM_SEED={seed} {hello}: the server itself gives up");
    let expected_digest = both.digest();
    both.clear();
    let got = tell(both.proxy.port(), hello, &commands, &pipelines, |bytes| pieces(bytes, &mut rng));

    for (at, command) in commands.iter().enumerate() {
        let (expected, got) = (expected.get(at), got.get(at));
        if expected.map(|reply| masked(command, reply)) != got.map(|reply| masked(command, reply)) {
            let before: Vec<_> = commands[at.saturating_sub(20)..=at].iter().map(|command| line(command)).collect();
            panic!(
                "CLOAKROOM_SEED={seed} {hello}: number {at}, the last of\n  {}\n  Redis:     {}\n  cloakroom: {}",
                before.join("\n  "),
                expected.map_or("nothing".into(), |reply| reply[..reply.len().min(1000)].escape_ascii().to_string()),
                got.map_or("nothing".into(), |reply| reply[..reply.len().min(1000)].escape_ascii().to_string()),
            );
        }
    }
    assert_ne!(expected_digest, "+0000000000000000000000000000000000000000", "nothing was written");
    assert_eq!(both.digest(), expected_digest, "CLOAKROOM_SEED={seed} {hello}: the data at the end");
}

/// What stands together: an expired key is found by who asks for it, since who comes first is up to the server.
const EXPIRING: [&str; 3] = ["SET k:9 v PX 1", "DEBUG SLEEP 0.002", "GET k:9"];

struct Generator<'a> {
    both: &'a Both,
    rng: Rng,
    is_in_transaction: bool,
    last_id: u64,
    /// How the client is to begin again when it is not in its protocol any more: empty for RESP2.
    hello: &'static str,
    /// What comes next, whatever else would.
    next: VecDeque<&'static str>,
}

impl<'a> Generator<'a> {
    fn new(both: &'a Both, seed: u64, hello: &'static str) -> Self {
        let rng = Rng::with_seed(seed);
        Self { both, rng, is_in_transaction: false, last_id: 0, hello, next: VecDeque::new() }
    }

    fn next(&mut self) -> Vec<Vec<u8>> {
        if let Some(line) = self.next.pop_front() {
            return words(line).into_iter().map(|word| self.fill(word)).collect();
        }
        if !self.is_in_transaction && self.rng.u32(0..1000) == 0 {
            self.next.extend(EXPIRING);
            return self.next();
        }
        let (templates, may_be_wrong) = match (self.is_in_transaction, self.rng.u32(0..1000)) {
            (true, 0..150) => (ENDS, false),
            (_, 150..170) => (SELDOM, false),
            (_, 170..174) => (&["RESET"][..], false),
            (false, 174..180) => (&["MULTI"][..], false),
            (_, _) => (COMMON, true),
        };
        let template = *self.rng.choice(templates).expect("not empty");
        match template {
            _ if !self.both.may_say(template, Pace::Pipelined) => return vec![b"PING".to_vec()],
            // Only what is exact may stand in the reply to `EXEC`, and only what a transaction may hold.
            _ if self.is_in_transaction
                && (tells_time(template.as_bytes())
                    || ["CLIENT", "UNSUBSCRIBE", "HELLO", "AUTH"].iter().any(|name| template.starts_with(name))) =>
            {
                return vec![b"PING".to_vec()];
            }
            "MULTI" => self.is_in_transaction = true,
            "EXEC" | "DISCARD" => self.is_in_transaction = false,
            "RESET" => {
                self.is_in_transaction = false;
                self.next.extend(Some(self.hello).filter(|hello| !hello.is_empty()));
            }
            // Some commands in the other protocol, then back.
            "HELLO 2" | "HELLO 3" => {
                let home = if self.hello.is_empty() { "HELLO 2" } else { self.hello };
                self.next.extend([
                    "GET k",
                    "HGETALL k",
                    "ZRANGE k 0 -1 WITHSCORES",
                    "SMEMBERS k",
                    "XRANGE k - +",
                    home,
                ]);
            }
            _ => {}
        }
        let mut command: Vec<_> = words(template).into_iter().map(|word| self.fill(word)).collect();
        if may_be_wrong && self.rng.u32(0..60) == 0 {
            match self.rng.bool() {
                true => command.push(b"surplus".to_vec()),
                false => command.truncate(command.len().max(2) - 1),
            }
        }
        if self.rng.u32(0..20) == 0 {
            command[0].make_ascii_lowercase();
        }
        command
    }

    fn fill(&mut self, word: Vec<u8>) -> Vec<u8> {
        let rng = &mut self.rng;
        match word.as_slice() {
            b"k" => match rng.u32(0..12) {
                0 => b"k\r\n\0".to_vec(),
                at => format!("k:{}", at % 8).into_bytes(),
            },
            b"f" => format!("f{}", rng.u32(0..6)).into_bytes(),
            b"i" => rng.i32(-3..6).to_string().into_bytes(),
            b"s" => rng.choice(["0", "1", "-2.5", "3.25", "1e20", "inf", "0.1", "17"]).expect("not empty").into(),
            b"d" => rng.u32(0..4).to_string().into_bytes(),
            b"v" => match rng.u32(0..300) {
                0 => vec![rng.u8(..); rng.usize(10_000..70_000)],
                1..100 => rng.i32(-5..100).to_string().into_bytes(),
                100..120 => Vec::new(),
                120..150 => (0..rng.usize(1..40)).map(|_| rng.u8(..)).collect(),
                _ => format!("v{}", rng.u32(0..20)).into_bytes(),
            },
            [b'n', b'-', rest @ ..] => {
                self.last_id += rng.u64(0..3);
                [self.last_id.to_string().as_bytes(), b"-", rest].concat()
            }
            _ => word,
        }
    }
}

/// How many commands are sent at once: often one, sometimes very many.
fn pipelines(commands: &[Vec<Vec<u8>>], rng: &mut Rng) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut left = commands.len();
    while left > 0 {
        let size = match rng.u32(0..10) {
            0..3 => 1,
            3..8 => rng.usize(2..40),
            _ => rng.usize(40..400),
        };
        sizes.push(size.min(left));
        left -= size.min(left);
    }
    sizes
}

/// Cuts bytes at a few random places.
fn pieces<'a>(mut bytes: &'a [u8], rng: &mut Rng) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for _ in 0..rng.usize(0..5) {
        let (piece, rest) = bytes.split_at(rng.usize(0..=bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

/// The replies: fewer than commands if the connection ended.
fn tell(
    port: u16,
    hello: &str,
    commands: &[Vec<Vec<u8>>],
    pipelines: &[usize],
    mut cut: impl for<'b> FnMut(&'b [u8]) -> Vec<&'b [u8]>,
) -> Vec<Vec<u8>> {
    let mut wire = if hello.is_empty() { Wire::connect(port) } else { Wire::connect_resp3(port) };
    let mut writer = wire.writer();
    let mut replies = Vec::with_capacity(commands.len());
    for size in pipelines {
        let bytes: Vec<u8> = commands[replies.len()..][..*size].iter().flat_map(|command| request(command)).collect();
        let pieces = cut(&bytes);
        let is_open = thread::scope(|scope| {
            scope.spawn(|| pieces.iter().try_for_each(|piece| writer.write_all(piece)));
            (0..*size).all(|_| wire.try_frame().map(|reply| replies.push(reply)).is_ok())
        });
        if !is_open {
            return replies;
        }
    }
    replies
}

/// What is compared of a reply.
fn masked(command: &[Vec<u8>], reply: &[u8]) -> Vec<u8> {
    if tells_time(&command[0]) { without_numbers(reply) } else { without_hello_ids(reply.to_vec()) }
}

fn tells_time(command: &[u8]) -> bool {
    let name = command.split(|byte| *byte == b' ').next().unwrap_or_default();
    TELL_TIME.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

fn line(command: &[Vec<u8>]) -> String {
    let words = command.iter().map(|word| word[..word.len().min(60)].escape_ascii().to_string());
    words.collect::<Vec<_>>().join(" ")
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}
