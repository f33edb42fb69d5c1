//! Random writes of sessions and of other keys: every command that can bring a key into being, or change when it ends.

use fastrand::Rng;

use super::support::{Wire, request, words};

/// The words of a request.
pub(crate) type Words = Vec<Vec<u8>>;

/// Databases that are written to.
pub(crate) const DATABASES: u32 = 3;

/// What a key holds more often than not, and the letter it is asked for with.
const KINDS: &[u8] = b"shlezxp";

/// Keys are words with a `$`: `$s` a string, `$h` a hash, `$l` a list, `$e` a set, `$z` a sorted set, `$x` a stream, `$p`
/// a HyperLogLog, `$k` any. Of the others, `$v` is a value, `$f` a field, `$n` a number, `$i` the next ID of a stream, `$d` a
/// database, `$D` what `DUMP` has said of a key, `$sha` the name of a script.
#[rustfmt::skip]
const WRITES: &[&str] = &[
    "SET $s $v", "SET $s $v", "SET $s $v", "SET $k $v", "SET $s $v EX 1000", "SET $s $v PX 900000", "SET $s $v EXAT 99999999999",
    "SET $s $v PXAT 99999999999000", "SET $s $v KEEPTTL", "SET $s $v KEEPTTL", "SET $s $v XX KEEPTTL", "SET $s $v NX KEEPTTL",
    "SET $s $v NX", "SET $s $v XX", "SET $s $v GET", "SET $s $v XX GET", "SET $s $v NX GET", "SET $s $v GET KEEPTTL",
    "SET $s $v GET EX 70", "SET $s $v NX PX 50000", "SET $s $v EX 100 XX", "set $s $v get", "SET $s $v EX 0", "SET $s $v NX XX",
    "SETNX $s $v", "SETEX $s 1000 $v", "PSETEX $s 1000000 $v", "GETSET $s $v", "GETSET $k $v", "MSET $s $v $s $v", "MSET $s $v $k $v $s $v",
    "MSET $s $v $s", "MSETNX $s $v $s $v", "APPEND $s $v", "SETRANGE $s 3 $v", "SETRANGE $s 0 \"\"", "SETBIT $s 9 1",
    "INCR $s", "DECR $s", "INCRBY $s $n", "DECRBY $s $n", "INCRBYFLOAT $s 1.5", "BITOP AND $s $s $s", "BITOP NOT $s $s", "BITOP OR $k $k $k",
    "BITFIELD $s SET u8 0 200 GET u4 2", "BITFIELD $s OVERFLOW FAIL INCRBY u2 0 3", "BITFIELD $s GET u8 0",
    "GETDEL $s", "GETDEL $k", "GETEX $s", "GETEX $s EX 1000", "GETEX $s PERSIST", "GETEX $k PERSIST", "GETEX $s PXAT 99999999999000",
    "DEL $k", "DEL $s $k", "UNLINK $k", "UNLINK $k $k $k", "EXPIRE $k 0", "EXPIREAT $k 1", "PEXPIRE $k -5",
    "RENAME $s $s", "RENAME $k $k", "RENAME $k $k", "RENAMENX $k $k", "COPY $k $k", "COPY $s $s REPLACE", "COPY $k $k REPLACE",
    "COPY $k $k DB $d", "COPY $k $k DB $d REPLACE", "COPY $k $k REPLACE DB $d", "MOVE $k $d", "RESTORE $k 0 $D", "RESTORE $k 0 $D REPLACE", "RESTORE $k 100000 $D REPLACE",
    "RESTORE $k 0 broken REPLACE", "RESTORE $k 0 $D REPLACE IDLETIME 5", "RESTORE $k 99999999999000 $D REPLACE ABSTTL", "RESTORE $k 0 $D ABSTTL",
    "HSET $h $f $v", "HSET $h $f $v $f $v", "HMSET $h $f $v $f $v", "HSETNX $h $f $v", "HSET $h lock $n", "HINCRBY $h lock 1", "HINCRBY $h n $n",
    "HINCRBYFLOAT $h n 2.25", "HDEL $h $f", "HSET $k $f $v", "HSET $h $f",
    "LPUSH $l $v $v", "RPUSH $l $v", "LPUSHX $l $v", "RPUSHX $l $v", "LINSERT $l BEFORE $v $v", "LSET $l 0 $v", "LTRIM $l 0 5", "LPOP $l", "RPOP $l 2",
    "LREM $l 0 $v", "LMOVE $l $l LEFT RIGHT", "LMOVE $l $k RIGHT LEFT", "RPOPLPUSH $l $l", "LMPOP 2 $l $l LEFT", "RPUSH $k $v",
    "BLMOVE $l $l LEFT RIGHT 0.01", "BRPOPLPUSH $l $l 0.01", "BLPOP $l 0.01", "BLMPOP 0.01 1 $l LEFT", "BLMOVE $l $k LEFT LEFT 0.01",
    "SADD $e $f $v", "SREM $e $f", "SPOP $k 0", "SMOVE $e $e $f", "SINTERSTORE $e $e $e", "SUNIONSTORE $e $e $e", "SDIFFSTORE $e $e $e", "SUNIONSTORE $k $e $e",
    "SORT $l ALPHA STORE $l", "SORT $e BY nosort STORE $l", "SORT $k ALPHA LIMIT 0 3 STORE $k",
    "ZADD $z $n $f", "ZADD $z 1.5 $f 2.5 $f", "ZADD $z INCR 0.1 $f", "ZADD $z NX INCR 1 $f", "ZADD $z XX GT CH $n $f", "ZADD $k $n $f", "ZINCRBY $z 0.1 $f",
    "ZREM $z $f", "ZPOPMIN $z", "ZUNIONSTORE $z 2 $z $z", "ZINTERSTORE $z 2 $z $z WEIGHTS 2 3", "ZDIFFSTORE $z 2 $z $z", "ZRANGESTORE $z $z 0 -1",
    "ZRANGESTORE $k $z 0 2", "ZUNIONSTORE $k 2 $e $z", "ZINCRBY $z inf $f",
    "GEOADD $z 13.361389 38.115556 $f", "GEOSEARCHSTORE $z $z FROMLONLAT 13 38 BYRADIUS 500 km", "GEORADIUS $z 13 38 500 km STORE $z",
    "GEORADIUS $z 13 38 500 km ASC STOREDIST $z", "GEORADIUSBYMEMBER $z $f 500 km STORE $z", "GEOSEARCHSTORE $k $z FROMMEMBER $f BYRADIUS 500 km STOREDIST",
    "PFADD $p $v $v", "PFADD $p", "PFMERGE $p $p $p", "PFMERGE $p", "PFCOUNT $p",
    "XADD $x $i f $v", "XADD $x NOMKSTREAM $i f $v", "XADD $x MAXLEN 4 $i f $v", "XTRIM $x MAXLEN 3", "XGROUP CREATE $x g 0", "XGROUP CREATE $x g $ MKSTREAM",
    "XGROUP CREATE $x g2 0 MKSTREAM ENTRIESREAD 1", "XGROUP CREATECONSUMER $x g c", "XREADGROUP GROUP g c COUNT 1 STREAMS $x >", "XGROUP DESTROY $x g",
    "EVAL \"return redis.call('SET', KEYS[1], ARGV[1])\" 1 $s $v", "EVAL \"return redis.call('PERSIST', KEYS[1]) * 0\" 1 $k",
    "EVAL \"redis.call('SET', KEYS[1], 1) redis.call('HSET', KEYS[2], 1, 2) return 5\" 2 $s $h", "EVALSHA $sha 1 $s $v",
    "EVAL \"redis.call('SET', KEYS[1], 1) error('after it')\" 1 $s", "EVAL \"return redis.call('RENAME', KEYS[1], KEYS[2])\" 2 $k $k",
    "EVAL_RO \"return redis.call('GET', KEYS[1])\" 1 $s", "FCALL keep 1 $s $v", "EVALSHA 0000000000000000000000000000000000000000 1 $s",
];

/// Writes whose answers tell of the end of a session, or whose effect depends on the time.
#[rustfmt::skip]
const TIMED: &[&str] = &[
    "PERSIST $k", "PERSIST $s", "EXPIRE $k 1000", "EXPIRE $k 100 NX", "EXPIRE $k 2000 GT", "PEXPIRE $k 900000 XX", "EXPIREAT $k 99999999999", "PEXPIREAT $k 99999999999000 LT",
    "EXPIRE $k 9000000", "SET $s $v PX 3", "SET $s $v EX 1", "GETEX $s PX 2", "PSETEX $s 1 $v", "SET $s $v EX 9000000", "SETEX $s 9000000 $v",
];

/// What tells what the writes have done.
#[rustfmt::skip]
const READS: &[&str] = &[
    "GET $s", "GET $s", "GET $k", "MGET $s $k $s", "EXISTS $k", "EXISTS $k $k", "TYPE $k", "STRLEN $s", "GETRANGE $s 0 3", "OBJECT ENCODING $k",
    "HGETALL $h", "HGET $h $f", "HLEN $h", "LRANGE $l 0 -1", "LLEN $l", "SMEMBERS $e", "SCARD $e", "ZRANGE $z 0 -1 WITHSCORES", "ZSCORE $z $f",
    "XRANGE $x - +", "XLEN $x", "TOUCH $k $k", "XINFO GROUPS $x",
];

/// Commands no script can run.
const ESCAPES: &[&str] = &["EVAL", "FCALL", "BLMOVE", "BRPOPLPUSH", "MOVE"];

/// A script that writes without an end.
const SCRIPT: &str = "return redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')";
const LIBRARY: &str = "#!lua name=l\\nredis.register_function('keep', function(keys, args) \
    return redis.call('SET', keys[1], args[1]) end)";

/// What requests need that a server has to be asked for first.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    dumps: Vec<Vec<u8>>,
    sha: Vec<u8>,
}

impl Prepared {
    /// Leaves the server's scripts there, and no key.
    pub(crate) fn on(port: u16) -> Self {
        let mut wire = Wire::connect(port);
        let mut dumps = Vec::new();
        for line in ["SET k 1", "HSET k a b", "RPUSH k a b", "SADD k a b", "ZADD k 1 a", "XADD k 1-1 a b"] {
            wire.ask(line);
            let dump = wire.frame_of("DUMP k");
            let start = dump.iter().position(|byte| *byte == b'\n').expect("a bulk string") + 1;
            dumps.push(dump[start..dump.len() - 2].to_vec());
            wire.ask("DEL k");
        }
        assert_eq!(wire.ask(&format!("FUNCTION LOAD REPLACE \"{LIBRARY}\"")), "l");
        let sha = wire.ask(&format!("SCRIPT LOAD \"{SCRIPT}\"")).into_bytes();
        Self { dumps, sha }
    }
}

/// Which commands there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// All writes, and now and then a read.
    Writes,
    /// The same, without what the rules can only look after behind it.
    Ruled,
    /// The same, with much of it, of many keys: what is left of one is not soon mended by another.
    Escaping,
    /// What is answered alike whether keys end or not, and whenever.
    Timeless,
}

/// Makes commands up.
pub(crate) struct Generator {
    pub(crate) random: Rng,
    choice: Choice,
    prepared: Prepared,
    last_id: u64,
}

impl Generator {
    pub(crate) fn new(random: Rng, choice: Choice, prepared: &Prepared) -> Self {
        Self { random, choice, prepared: prepared.clone(), last_id: 0 }
    }

    /// Requests that belong together: one, some, or a transaction.
    pub(crate) fn block(&mut self) -> Vec<Words> {
        match self.random.u32(0..10) {
            0..4 => vec![self.command()],
            4..8 => (0..self.random.usize(2..10)).map(|_| self.command()).collect(),
            _ => self.transaction(),
        }
    }

    fn transaction(&mut self) -> Vec<Words> {
        let mut block = Vec::new();
        if self.random.u32(0..4) == 0 {
            block.push(self.filled("WATCH $k $k"));
        }
        block.push(words("MULTI"));
        block.extend((0..self.random.usize(1..6)).map(|_| self.command()));
        if self.random.u32(0..6) == 0 {
            block.push(self.filled("SELECT $d"));
            block.extend((0..self.random.usize(1..4)).map(|_| self.command()));
        }
        block.push(words(if self.random.u32(0..6) == 0 { "DISCARD" } else { "EXEC" }));
        block
    }

    fn command(&mut self) -> Words {
        let templates = match (self.choice, self.random.u32(0..100)) {
            (_, 0) => &["SELECT $d"][..],
            (Choice::Writes | Choice::Ruled | Choice::Escaping, 0..8) => READS,
            (Choice::Writes | Choice::Ruled | Choice::Escaping, 8..25) => TIMED,
            (Choice::Timeless, 0..30) => READS,
            _ => WRITES,
        };
        let template = *self.random.choice(templates).expect("not empty");
        let escapes = ESCAPES.iter().any(|name| template.starts_with(name)) || template.contains(" DB ");
        match self.choice {
            Choice::Ruled if escapes => self.command(),
            Choice::Escaping if !escapes && self.random.u32(0..3) > 0 => self.command(),
            _ => self.filled(template),
        }
    }

    fn filled(&mut self, template: &str) -> Words {
        words(template).into_iter().map(|word| self.fill(word)).collect()
    }

    fn fill(&mut self, word: Vec<u8>) -> Vec<u8> {
        let random = &mut self.random;
        let count = if self.choice == Choice::Escaping { 20 } else { 3 };
        match word.as_slice() {
            b"$v" => match random.u32(0..40) {
                0..15 => random.i32(-5..100).to_string().into_bytes(),
                15 => Vec::new(),
                16 => vec![b'x'; random.usize(1..3000)],
                17 => (0..random.usize(1..40)).map(|_| random.u8(..)).collect(),
                _ => format!("v{}", random.u32(0..20)).into_bytes(),
            },
            b"$f" => format!("f{}", random.u32(0..4)).into_bytes(),
            b"$n" => random.i32(-3..9).to_string().into_bytes(),
            b"$d" => random.u32(0..DATABASES).to_string().into_bytes(),
            b"$D" => random.choice(&self.prepared.dumps).expect("not empty").clone(),
            b"$sha" => self.prepared.sha.clone(),
            b"$i" => {
                self.last_id += random.u64(0..3);
                format!("{}-1", self.last_id).into_bytes()
            }
            [b'$', kind] => {
                // Sometimes what is no such thing.
                let is_other = *kind == b'k' || random.u32(0..12) == 0;
                let kind = if is_other { *random.choice(KINDS).expect("not empty") } else { *kind };
                let kind = char::from(kind);
                match random.u32(0..24) {
                    0 => "session:s0_LOCK".to_owned(),
                    1..6 => format!("other:{kind}{}", random.u32(0..2)),
                    _ => format!("session:{kind}{}", random.u32(0..count)),
                }
                .into_bytes()
            }
            _ => word,
        }
    }
}

/// Requests as they are sent.
pub(crate) fn bytes(commands: &[Words]) -> Vec<u8> {
    commands.iter().flat_map(|command| request(command)).collect()
}

/// A command as a person reads it.
pub(crate) fn line(command: &Words) -> String {
    let words = command.iter().map(|word| word[..word.len().min(70)].escape_ascii().to_string());
    words.collect::<Vec<_>>().join(" ")
}
