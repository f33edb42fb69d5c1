//! A client: reads a few keys again and again, writes now and then, and notes when it was told what.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{sleep, timeout};

use super::LONGEST;
use super::answer::Answer;
use super::deed::{Aspect, Deed, Life, Op};
use super::model::tracking::{SET_KEY, SET_UNDECLARED};
use super::past::Stamp;
use super::scene::Scene;
use super::wire::{Silence, Wire};

/// The hotter ones come first.
const KEYS: [&str; 4] = ["hot", "warm", "mild", "cold"];

/// What is not executed, or perhaps: the proxy's words, and the server's.
const REFUSALS: [&str; 5] = ["LOADING ", "EXECABORT ", "READONLY ", "UNBLOCKED ", "UNKNOWN "];

/// How long one waits who goes past the proxies.
const PATIENCE: Duration = Duration::from_millis(400);

/// The words of a command, and what they mean; `None`: nothing that is judged.
type Request = (Vec<String>, Option<Op>);

pub(crate) struct Client {
    life: Life,
    proxy: Option<usize>,
    db: u32,
    scene: Rc<Scene>,
    wire: Wire,
    random: Rng,
    tokens: usize,
    deeds: Vec<Deed>,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn read(aspect: Aspect, key: &'static str, db: u32) -> Request {
    let name = match aspect {
        Aspect::Value => "GET",
        Aspect::Length => "STRLEN",
        Aspect::Existence => "EXISTS",
        Aspect::Seconds => "TTL",
        Aspect::Milliseconds => "PTTL",
    };
    (words(&[name, key]), Some(Op::Read { aspect, db, keys: vec![key], is_direct: false }))
}

impl Client {
    /// Of a proxy, or of the server itself.
    pub(crate) async fn new(client: usize, proxy: Option<usize>, db: u32, scene: &Rc<Scene>, random: Rng) -> Self {
        let (life, wire) = (Life { client, number: 0 }, scene.connect(client, proxy).await);
        let mut new = Self { life, proxy, db, scene: Rc::clone(scene), wire, random, tokens: 0, deeds: Vec::new() };
        new.enter_db().await;
        new
    }

    /// Reads and writes until the simulation is over.
    pub(crate) async fn run(mut self) -> Vec<Deed> {
        let tastes = self.scene.tastes;
        let writes = if self.proxy.is_some() { tastes.writes } else { tastes.direct_writes };
        while !self.scene.is_over.get() {
            if self.random.u32(0..1000) < writes {
                let request = self.any_write();
                self.ask(vec![request]).await;
            } else {
                self.look().await;
            }
            let leisure = self.random.u64(0..=tastes.leisure);
            sleep(Duration::from_millis(leisure)).await;
        }
        self.deeds
    }

    async fn look(&mut self) {
        match self.random.u8(0..100) {
            0..70 => {
                let request = self.any_read();
                self.ask(vec![request]).await;
            }
            70..83 => {
                let count = self.random.usize(2..9);
                let requests = (0..count).map(|_| match self.random.u8(0..12) {
                    0 => self.any_write(),
                    _ => self.any_read(),
                });
                let requests = requests.collect();
                self.ask(requests).await;
            }
            83..89 => self.look_in_transaction().await,
            99 if self.random.u8(0..4) == 0 => self.begin_anew().await,
            _ => self.look_pinned().await,
        }
    }

    fn key(&mut self) -> &'static str {
        KEYS[match self.random.u8(0..10) {
            0..6 => 0,
            6..8 => 1,
            8 => 2,
            _ => 3,
        }]
    }

    fn any_read(&mut self) -> Request {
        let (key, db) = (self.key(), self.db);
        let aspect = match self.random.u8(0..100) {
            0..62 => Aspect::Value,
            62..74 => {
                let keys = vec![key, self.key(), self.key()];
                let words = [&["MGET"], keys.as_slice()].concat().into_iter().map(str::to_owned).collect();
                return (words, Some(Op::Read { aspect: Aspect::Value, db, keys, is_direct: false }));
            }
            74..82 => Aspect::Length,
            82..90 => Aspect::Existence,
            90..95 => Aspect::Seconds,
            _ => Aspect::Milliseconds,
        };
        read(aspect, key, db)
    }

    /// A value nobody else has; some are long.
    fn value(&mut self) -> String {
        self.tokens += 1;
        let most = if self.random.u8(0..8) == 0 { 3000 } else { 30 };
        format!("{}-{}-{}", self.life.client, self.tokens, "x".repeat(self.random.usize(0..most)))
    }

    fn any_write(&mut self) -> Request {
        let (key, other, value) = (self.key(), self.key(), self.value());
        let script = |text: &[u8]| String::from_utf8(text.to_vec()).expect("a text");
        let least = if self.random.bool() { 1 } else { 60 };
        let soon = self.random.u32(least..300).to_string();
        let later = (1_000_000 + self.tokens).to_string();
        let words = if self.random.u32(0..1000) < self.scene.tastes.upheavals {
            let may_swap = self.scene.tastes.swaps && self.proxy.is_some();
            match self.random.u8(0..3) {
                0 if may_swap => words(&["SWAPDB", "0", "1"]),
                1 => words(&["FLUSHALL"]),
                _ => words(&["FLUSHDB"]),
            }
        } else {
            match self.random.u8(0..100) {
                0..35 => words(&["SET", key, &value]),
                35..50 => words(&["SET", key, &value, "PX", &soon]),
                50..55 => words(&["PSETEX", key, &later, &value]),
                55..63 => words(&["DEL", key]),
                63..68 => words(&["PEXPIRE", key, &soon]),
                68..73 => words(&["PEXPIRE", key, &later]),
                73..76 => words(&["PERSIST", key]),
                76..82 => words(&["APPEND", key, &value]),
                82..86 if key != other => words(&["MSET", key, &value, other, &value]),
                86..90 => words(&["GETSET", key, &value]),
                90..93 => words(&["UNLINK", key]),
                93..96 => words(&["EVAL", &script(SET_KEY), "1", key, &value]),
                96..98 => words(&["EVAL", &script(SET_UNDECLARED), "0", key, &value]),
                _ => words(&["SET", key, &value, "EX", "1000"]),
            }
        };
        (words.clone(), Some(Op::Write { db: self.db, words }))
    }

    /// What a transaction reads, no cache answers; what is read behind that must not be older.
    async fn look_in_transaction(&mut self) {
        let keys = vec![self.key(), self.key()];
        let lines = [words(&["MULTI"]), words(&["GET", keys[0]]), words(&["GET", keys[1]]), words(&["EXEC"])];
        let invoked = self.scene.stamp();
        self.wire.say(&lines, &mut self.random).await;
        let mut answer = None;
        for _ in 0..lines.len() {
            answer = self.listen().await;
            if answer.is_none() {
                return;
            }
        }
        if matches!(answer, Some(Answer::List(_))) {
            let next = read(Aspect::Value, keys[0], self.db);
            let op = Op::Read { aspect: Aspect::Value, db: self.db, keys, is_direct: true };
            self.note(op, invoked, answer);
            self.ask(vec![next]).await;
        }
    }

    /// Nor what is read on a connection that watches; now and then it is written just before, past all proxies.
    async fn look_pinned(&mut self) {
        let key = self.key();
        if self.random.u8(0..3) == 0 {
            self.ask(vec![read(Aspect::Value, key, self.db), read(Aspect::Value, key, self.db)]).await;
            self.write_past_proxies(key).await;
        }
        let watched = if self.random.bool() { key } else { "watched" };
        let watch = (words(&["WATCH", watched]), None);
        let (line, op) = read(Aspect::Value, key, self.db);
        let op = op.map(|op| match op {
            Op::Read { aspect, db, keys, .. } => Op::Read { aspect, db, keys, is_direct: true },
            write @ Op::Write { .. } => write,
        });
        let mut requests = vec![watch, (line, op), (words(&["UNWATCH"]), None), read(Aspect::Value, key, self.db)];
        if self.random.bool() {
            return self.ask(requests).await;
        }
        for request in requests.drain(..) {
            self.ask(vec![request]).await;
        }
    }

    /// As somebody else would.
    async fn write_past_proxies(&mut self, key: &'static str) {
        let value = self.value();
        let life = Life { client: 1000 + self.life.client, number: self.tokens };
        let mut other = Self::new(life.client, None, self.db, &self.scene, self.random.fork()).await;
        other.life = life;
        let words = words(&["SET", key, &value]);
        other.ask(vec![(words.clone(), Some(Op::Write { db: self.db, words }))]).await;
        self.deeds.append(&mut other.deeds);
    }

    /// Asks all of it at once, and waits for the answers.
    async fn ask(&mut self, requests: Vec<Request>) {
        let lines: Vec<_> = requests.iter().map(|(line, _)| line.clone()).collect();
        let invoked: Vec<_> = requests.iter().map(|_| self.scene.stamp()).collect();
        self.wire.say(&lines, &mut self.random).await;
        let life = self.life;
        for ((_, op), invoked) in requests.into_iter().zip(invoked) {
            let answer = if self.life == life { self.listen().await } else { None };
            if let Some(op) = op {
                self.deeds.push(self.deed(life, op, invoked, answer));
            }
        }
    }

    fn note(&mut self, op: Op, invoked: Stamp, answer: Option<Answer>) {
        self.deeds.push(self.deed(self.life, op, invoked, answer));
    }

    fn deed(&self, life: Life, op: Op, invoked: Stamp, answer: Option<Answer>) -> Deed {
        Deed { life, proxy: self.proxy, op, invoked, told_at: self.scene.stamp(), answer }
    }

    /// The next reply. After a close it comes back.
    async fn listen(&mut self) -> Option<Answer> {
        let longest = if self.proxy.is_some() { LONGEST } else { PATIENCE };
        let reply = match timeout(longest, self.wire.frame()).await {
            Ok(frame) => frame.map(|frame| Answer::parse(&frame)),
            Err(_) => Err(Silence::Unanswered),
        };
        let at = self.scene.stamp();
        let who = format!("client {} of {:?}", self.life.client, self.proxy);
        match &reply {
            Err(silence) => {
                if let Some(proxy) = self.proxy
                    && (*silence == Silence::Unanswered || !self.scene.may_close[proxy])
                {
                    self.scene.violated(format!("{who} got no reply, but {silence:?}, at {at:?}"));
                }
                self.begin_anew().await;
            }
            Ok(Answer::Error(text)) if !REFUSALS.iter().any(|code| text.starts_with(code)) => {
                self.scene.violated(format!("{who} was told {text}, at {at:?}"));
            }
            Ok(_) => {}
        }
        reply.ok()
    }

    /// Over another connection, which knows nothing of what was told on this one.
    async fn begin_anew(&mut self) {
        self.life.number += 1;
        self.wire = self.scene.connect(self.life.client, self.proxy).await;
        self.enter_db().await;
    }

    async fn enter_db(&mut self) {
        while self.db > 0 {
            self.wire.say(&[words(&["SELECT", &self.db.to_string()])], &mut self.random).await;
            if timeout(LONGEST, self.wire.frame()).await.is_ok_and(|frame| frame.is_ok_and(|frame| frame[0] == b'+')) {
                return;
            }
            self.wire = self.scene.connect(self.life.client, self.proxy).await;
        }
    }
}
