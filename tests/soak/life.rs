//! What a client asks in the life of one connection, and what it must be answered.
//!
//! Its keys bear its name, and its values bear the key, the database and the number of the request that wrote
//! them; its counters begin where nobody else's do. Nobody else touches them. So each reply can be no other
//! request's, and is known before the request is sent.

use std::ops::Range;

use fastrand::Rng;

use super::talk::{Talk, bulk};
use crate::support::request;

pub(crate) const DATABASES: usize = 3;

/// Strings a client has in each database.
const ITEMS: usize = 4;

const WRONG_TYPE: &[u8] = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

/// One life.
pub(crate) struct Life {
    /// The client, and which of its lives it is.
    pub(crate) name: String,
    pub(crate) talk: Talk,
    pub(crate) random: Rng,
    db: usize,
    shelves: Vec<Shelf>,
    /// Of the last request that wrote or said something.
    serial: i64,
}

/// What a client has in a database.
struct Shelf {
    items: [Item; ITEMS],
    /// Long enough to come in pieces.
    large: Item,
    count: Option<i64>,
    hash: Option<i64>,
    score: Option<i64>,
}

struct Item {
    key: Vec<u8>,
    get: Vec<u8>,
    /// The reply to it, while there is a value.
    held: Option<Vec<u8>>,
}

impl Item {
    fn new(name: &str, what: &str) -> Self {
        let key = format!("{name}:{what}").into_bytes();
        Self { get: request(&[b"GET", &key[..]]), key, held: None }
    }

    fn ask(&self, talk: &mut Talk) {
        let null = talk.null();
        talk.ask(&self.get, self.held.as_deref().unwrap_or(null));
    }
}

impl Life {
    /// Begins with taking away what the life before has left.
    pub(crate) fn new(client: usize, life: usize, random: Rng, before: Option<&Self>) -> Self {
        let name = format!("{client}.{life}");
        let shelf = |_| Shelf {
            items: std::array::from_fn(|index| Item::new(&name, &index.to_string())),
            large: Item::new(&name, "large"),
            count: None,
            hash: None,
            score: None,
        };
        let shelves = (0..DATABASES).map(shelf).collect();
        let serial = ((life * 1000 + client) << 20) as i64;
        let mut new = Self { name, talk: Talk::default(), random, db: 0, shelves, serial };
        for db in 0..DATABASES {
            new.select(db);
            before.into_iter().for_each(|before| new.talk.skip(&before.unlink()));
        }
        new.select_any();
        if new.random.bool() {
            new.change_protocol();
        }
        new
    }

    fn unlink(&self) -> Vec<u8> {
        let items = self.shelves[0].items.iter().map(|item| item.key.clone());
        let others = ["large", "count", "hash", "score", "list"].map(|what| self.key(what));
        request(&[b"UNLINK".to_vec()].into_iter().chain(items).chain(others).collect::<Vec<_>>())
    }

    /// A new burst: at least `depth` requests that many clients send on one connection.
    pub(crate) fn read_and_write(&mut self, depth: usize) {
        self.talk.clear();
        while self.talk.ends.len() < depth {
            match self.random.u32(0..100) {
                0..65 => self.get(),
                65..76 => self.set(),
                76..83 => self.increment(),
                83..89 => self.echo(),
                89..93 => self.talk.ask(b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
                93..96 => self.get_all(),
                96..98 => self.get_nothing(),
                _ => self.replace(),
            }
        }
    }

    /// A new burst: at least `depth` requests of every kind, which go here and there.
    pub(crate) fn mix(&mut self, depth: usize) {
        self.talk.clear();
        while self.talk.ends.len() < depth {
            match self.random.u32(0..100) {
                0..40 => self.get(),
                40..52 => self.set(),
                52..57 => self.increment(),
                57..62 => self.echo(),
                62..65 => self.hash(),
                65..69 => self.score(),
                69..73 => self.script(),
                73..77 => self.select_any(),
                77..80 => self.skip(),
                80..83 => self.change_protocol(),
                83..87 => self.transact(),
                87..89 => self.discard(),
                89..92 => self.watch(),
                92..95 => self.push_and_pop(),
                95..97 => self.ask_nonsense(),
                _ => self.subscribe(),
            }
        }
    }

    /// A new burst: values that come in pieces, and now and then a request that needs a connection for itself.
    pub(crate) fn mix_large(&mut self) {
        self.talk.clear();
        for _ in 0..self.random.usize(1..12) {
            match self.random.u32(0..100) {
                0..40 => self.set_large(60_000..400_000),
                40 => self.set_large(1 << 20..2 << 20),
                _ => self.shelves[self.db].large.ask(&mut self.talk),
            }
            self.get();
            self.echo();
        }
    }

    /// What leaves its mark on a connection, for a client that is about to vanish.
    pub(crate) fn begin_something(&mut self) {
        let never = self.key("never");
        match self.random.u32(0..6) {
            0 => {
                self.talk.multi();
                self.talk.ask(&request(&[b"SET", &never[..], b"1"]), b"");
                self.talk.ask(b"*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n", b"");
            }
            1 => {
                self.talk.ask(&request(&[b"WATCH", &never[..]]), b"+OK\r\n");
                self.select_any();
            }
            2 => self.talk.tell(&request(&[b"BLPOP", &never[..], b"0"])),
            3 => self.confirm("SUBSCRIBE", 1),
            4 => self.talk.ask(b"*1\r\n$7\r\nMONITOR\r\n", b"+OK\r\n"),
            _ => self.get(),
        }
    }

    pub(crate) fn quit(&mut self) {
        self.talk.ask(b"*1\r\n$4\r\nQUIT\r\n", b"+OK\r\n");
    }

    fn key(&self, what: &str) -> Vec<u8> {
        format!("{}:{what}", self.name).into_bytes()
    }

    /// A text nobody else writes or says.
    fn text(&mut self, what: &str) -> Vec<u8> {
        self.serial += 1;
        format!("{}:{what}@{}={};", self.name, self.db, self.serial).into_bytes()
    }

    fn get(&mut self) {
        let index = self.random.usize(0..ITEMS);
        self.shelves[self.db].items[index].ask(&mut self.talk);
    }

    fn set(&mut self) {
        let index = self.random.usize(0..ITEMS);
        let value = self.value(index);
        let item = &mut self.shelves[self.db].items[index];
        self.talk.ask(&request(&[b"SET", &item.key[..], &value]), b"+OK\r\n");
        item.held = Some(bulk(&value));
    }

    /// Mostly short.
    fn value(&mut self, index: usize) -> Vec<u8> {
        let text = self.text(&index.to_string());
        let times = if self.random.u32(0..30) == 0 { self.random.usize(1..300) } else { 1 };
        text.repeat(times)
    }

    fn set_large(&mut self, len: Range<usize>) {
        let text = self.text("large");
        let value = text.repeat(self.random.usize(len) / text.len());
        let item = &mut self.shelves[self.db].large;
        self.talk.ask(&request(&[b"SET", &item.key[..], &value]), b"+OK\r\n");
        item.held = Some(bulk(&value));
    }

    /// `SET` that answers what was there, or `GETDEL`.
    fn replace(&mut self) {
        let index = self.random.usize(0..ITEMS);
        let value = self.value(index);
        let item = &mut self.shelves[self.db].items[index];
        let held = item.held.take().unwrap_or_else(|| self.talk.null().to_vec());
        if self.random.bool() {
            return self.talk.ask(&request(&[b"GETDEL", &item.key[..]]), &held);
        }
        self.talk.ask(&request(&[b"SET", &item.key[..], &value, b"GET"]), &held);
        item.held = Some(bulk(&value));
    }

    fn get_all(&mut self) {
        let items = &self.shelves[self.db].items;
        let null = self.talk.null();
        let keys = items.iter().map(|item| &item.key[..]);
        let mut reply = format!("*{ITEMS}\r\n").into_bytes();
        items.iter().for_each(|item| reply.extend_from_slice(item.held.as_deref().unwrap_or(null)));
        self.talk.ask(&request(&[&b"MGET"[..]].into_iter().chain(keys).collect::<Vec<_>>()), &reply);
    }

    fn get_nothing(&mut self) {
        let null = self.talk.null();
        self.talk.ask(b"*2\r\n$3\r\nGET\r\n$7\r\nnothing\r\n", null);
    }

    fn echo(&mut self) {
        let text = self.text("echo");
        let command: &[u8] = if self.random.bool() { b"ECHO" } else { b"PING" };
        self.talk.ask(&request(&[command, &text]), &bulk(&text));
    }

    fn increment(&mut self) {
        let key = self.key("count");
        let next = self.next_count();
        self.talk.ask(&request(&[b"INCR", &key[..]]), format!(":{next}\r\n").as_bytes());
    }

    /// Muted, and seen by the next one.
    fn skip(&mut self) {
        let key = self.key("count");
        self.next_count();
        self.talk.skip(&request(&[b"INCR", &key[..]]));
    }

    /// Each counter begins where nobody else's does.
    fn next_count(&mut self) -> i64 {
        let (key, serial) = (self.key("count"), self.serial << 2 | self.db as i64);
        let shelf = &mut self.shelves[self.db];
        let next = shelf.count.unwrap_or_else(|| {
            self.talk.ask(&request(&[b"SET", &key[..], serial.to_string().as_bytes()]), b"+OK\r\n");
            serial
        }) + 1;
        shelf.count = Some(next);
        next
    }

    /// A reply that differs between the protocols, and one that is an error.
    fn hash(&mut self) {
        let (key, text) = (self.key("hash"), self.text("hash"));
        let is_new = self.shelves[self.db].hash.replace(self.serial).is_none();
        let added: &[u8] = if is_new { b":1\r\n" } else { b":0\r\n" };
        self.talk.ask(&request(&[b"HSET", &key[..], b"f", &text]), added);
        self.talk.ask(&request(&[b"GET", &key[..]]), WRONG_TYPE);
        let header: &[u8] = if self.talk.is_resp3 { b"%1\r\n" } else { b"*2\r\n" };
        self.talk.ask(&request(&[b"HGETALL", &key[..]]), &[header, b"$1\r\nf\r\n", &bulk(&text)].concat());
    }

    /// A write, and behind it a read that a RESP2 client needs another connection for.
    fn score(&mut self) {
        self.serial += 1;
        let (key, score) = (self.key("score"), self.serial.to_string());
        let is_new = self.shelves[self.db].score.replace(self.serial).is_none();
        let added: &[u8] = if is_new { b":1\r\n" } else { b":0\r\n" };
        self.talk.ask(&request(&[b"ZADD", &key[..], score.as_bytes(), b"m"]), added);
        let reply = if self.talk.is_resp3 { format!(",{score}\r\n").into_bytes() } else { bulk(score.as_bytes()) };
        self.talk.ask(&request(&[b"ZSCORE", &key[..], b"m"]), &reply);
    }

    /// The same the other way: what is read there was written by the request before.
    fn script(&mut self) {
        self.set();
        let index = self.random.usize(0..ITEMS);
        let item = &self.shelves[self.db].items[index];
        let reply = item.held.as_deref().unwrap_or(self.talk.null());
        self.talk.ask(&request(&[&b"EVAL"[..], b"return redis.call('GET', KEYS[1])", b"1", &item.key]), reply);
    }

    fn select_any(&mut self) {
        let db = self.random.usize(0..DATABASES);
        self.select(db);
    }

    fn select(&mut self, db: usize) {
        self.db = db;
        self.talk.ask(&request(&["SELECT", &db.to_string()]), b"+OK\r\n");
    }

    /// The greeting names connections by numbers we do not know.
    fn change_protocol(&mut self) {
        self.talk.is_resp3 ^= true;
        self.talk.skip(&request(&["HELLO", if self.talk.is_resp3 { "3" } else { "2" }]));
    }

    fn transact(&mut self) {
        self.talk.multi();
        for _ in 0..self.random.usize(0..6) {
            match self.random.u32(0..4) {
                0 => self.select_any(),
                1 => self.set(),
                2 => self.increment(),
                _ => self.get(),
            }
        }
        self.talk.exec();
    }

    fn discard(&mut self) {
        let never = self.key("never");
        self.talk.multi();
        self.talk.ask(&request(&[b"SET", &never[..], b"1"]), b"");
        self.talk.abandon(b"*1\r\n$7\r\nDISCARD\r\n", b"+OK\r\n");
    }

    /// Its own write breaks the watch, or it moves to another database and gives it up, or the transaction runs.
    fn watch(&mut self) {
        let (key, never) = (self.key("count"), self.key("never"));
        self.talk.ask(&request(&[b"WATCH", &key[..]]), b"+OK\r\n");
        self.get();
        if self.random.u32(0..8) == 0 {
            self.shelves[self.db].large.ask(&mut self.talk);
        }
        match self.random.u32(0..3) {
            0 => {
                self.increment();
                self.talk.multi();
                self.talk.ask(&request(&[b"SET", &never[..], b"1"]), b"");
                let null = self.talk.null_array();
                self.talk.abandon(b"*1\r\n$4\r\nEXEC\r\n", null);
            }
            1 => {
                self.select_any();
                self.get();
                self.talk.ask(b"*1\r\n$7\r\nUNWATCH\r\n", b"+OK\r\n");
            }
            _ => self.transact(),
        }
    }

    fn push_and_pop(&mut self) {
        let (key, text) = (self.key("list"), self.text("list"));
        self.talk.ask(&request(&[b"RPUSH", &key[..], &text]), b":1\r\n");
        let reply = [b"*2\r\n", &bulk(&key)[..], &bulk(&text)].concat();
        self.talk.ask(&request(&[b"BLPOP", &key[..], b"0"]), &reply);
    }

    /// A command nobody knows, which names its argument in the error.
    fn ask_nonsense(&mut self) {
        let text = String::from_utf8(self.text("nonsense")).expect("ASCII");
        let reply = format!("-ERR unknown command 'NONSENSE', with args beginning with: '{text}' \r\n");
        self.talk.ask(&request(&["NONSENSE", &text]), reply.as_bytes());
    }

    fn subscribe(&mut self) {
        self.confirm("SUBSCRIBE", 1);
        if self.talk.is_resp3 {
            self.get();
        }
        self.confirm("UNSUBSCRIBE", 0);
    }

    fn confirm(&mut self, command: &str, channels: usize) {
        let channel = self.key("channel");
        let sign: &[u8] = if self.talk.is_resp3 { b">3\r\n" } else { b"*3\r\n" };
        let count = format!(":{channels}\r\n");
        let reply = [sign, &bulk(command.to_lowercase().as_bytes()), &bulk(&channel), count.as_bytes()].concat();
        self.talk.ask(&request(&[command.as_bytes(), &channel]), &reply);
    }
}
