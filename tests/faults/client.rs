//! A client: asks at random, one thing at a time, and writes down what it was told.

mod told;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::history::{Entry, History, Moment, NEVER, Op, Reply, Subscription, Token, Told};
use super::register::{self, number};
use super::support::Wire;

/// Keys that hold one value, and behind them those whose values live briefly.
pub(crate) const REGISTERS: usize = 3;
pub(crate) const BRIEF: usize = 1;

/// Lists that only grow: one by `RPUSH`, one by a script.
pub(crate) const LISTS: usize = 2;

/// The token that ends a channel.
pub(crate) const LAST: Token = 0;

const COMPARE_AND_SET: &str =
    "if (redis.call('GET', KEYS[1]) or '') == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 end return 0";

const PUSH: &str = "return redis.call('RPUSH', KEYS[1], ARGV[1])";

/// What all clients of a schedule share.
pub(crate) struct Scene {
    pub(crate) port: u16,
    pub(crate) began: Instant,
    pub(crate) is_over: AtomicBool,
    /// `reconnect = "off"`: any connection may be closed.
    pub(crate) may_close: bool,
    /// Nobody waits on the server: one that loads its data in place gives those who wait what it has loaded so far, and
    /// they had taken before.
    pub(crate) never_blocks: bool,
    /// The longest that nothing may come: a blocking command waits through it, whatever `reply_timeout` is.
    pub(crate) silence: Duration,
}

pub(crate) struct Client<'a> {
    number: usize,
    scene: &'a Scene,
    wire: Wire,
    random: Rng,
    tokens: Token,
    /// Its connection may be closed.
    may_close: bool,
    history: History,
}

pub(crate) fn key(at: usize) -> String {
    format!("value:{at}")
}

impl<'a> Client<'a> {
    pub(crate) fn new(number: usize, scene: &'a Scene, random: Rng) -> Self {
        let wire = connect(number, scene.port);
        let may_close = scene.may_close;
        Self { number, scene, wire, random, tokens: 0, may_close, history: History::default() }
    }

    fn now(&self) -> Moment {
        self.scene.began.elapsed()
    }

    fn is_over(&self) -> bool {
        self.scene.is_over.load(Ordering::Relaxed)
    }

    /// One nobody else has.
    fn token(&mut self) -> Token {
        self.tokens += 1;
        self.number as Token * 100_000 + self.tokens
    }

    fn think(&mut self, most: u64) {
        thread::sleep(Duration::from_micros(self.random.u64(0..most)));
    }

    /// Asks this and that until the schedule is over.
    pub(crate) fn run(mut self) -> History {
        while !self.is_over() {
            let at = self.random.usize(0..REGISTERS);
            match self.random.u32(0..100) {
                0..22 => self.get(at),
                22..40 => self.set(at),
                40..45 => {
                    let command = if self.random.bool() { "DEL" } else { "UNLINK" };
                    self.ask_about(Op::Delete(at), &format!("{command} {}", key(at)));
                }
                45..48 => {
                    let command = if self.random.bool() { "EXPIRE" } else { "PEXPIRE" };
                    self.ask_about(Op::Touch(at), &format!("{command} {} 3600000", key(at)));
                }
                48..53 => self.swap(at),
                53..58 => self.compare_and_set(at),
                58..63 => self.compare_and_set_in_script(at),
                63..70 => self.push(),
                70..74 => self.list(),
                74..79 => self.push_both(),
                79..82 => self.list_both(),
                82..88 => self.ask_about(Op::Increment, "INCR counter"),
                88..93 => self.set_briefly(),
                93..98 => self.get(REGISTERS),
                _ => self.leave(at),
            }
            self.think(4000);
        }
        self.history
    }

    /// Looks at everything once.
    pub(crate) fn look(mut self) -> History {
        (0..REGISTERS + BRIEF).for_each(|at| self.get(at));
        self.history
    }

    /// Puts tokens into the queue.
    pub(crate) fn enqueue(mut self) -> History {
        while !self.is_over() {
            let token = self.token();
            self.ask_about(Op::Enqueue(token), &format!("RPUSH queue t={token}"));
            self.think(8000);
        }
        self.history
    }

    /// Takes tokens from the queue.
    pub(crate) fn dequeue(mut self) -> History {
        while !self.is_over() {
            match self.scene.never_blocks {
                true => self.ask_about(Op::Dequeue, "LMPOP 1 queue LEFT"),
                false => self.ask_about(Op::Dequeue, "BLPOP queue 0.1"),
            }
            self.think(4000);
        }
        self.history
    }

    /// Publishes tokens.
    pub(crate) fn publish(mut self) -> History {
        while !self.is_over() {
            let token = self.token();
            self.ask_about(Op::Publish(token), &format!("PUBLISH channel t={token}"));
            self.think(5000);
        }
        self.history
    }

    /// Listens, and comes back whenever it is closed. Once the schedule is over, it wants to hear the last word.
    pub(crate) fn subscribe(mut self) -> History {
        self.may_close = true;
        loop {
            let mut subscription = Subscription::default();
            self.wire = connect(self.number, self.scene.port);
            let (invoked, reply) = (self.now(), self.exchange("SUBSCRIBE channel"));
            let told = self.judge("SUBSCRIBE", invoked, &reply, Duration::ZERO);
            if matches!(told, Told::Executed(Reply::List(_))) {
                subscription.confirmed = self.now();
                let heard_all = self.hear(&mut subscription);
                self.history.subscriptions.push(subscription);
                if heard_all {
                    return self.history;
                }
            } else if self.is_over() {
                return self.history;
            }
            self.think(4000);
        }
    }

    /// Whether the last word came, rather than a close.
    fn hear(&mut self, subscription: &mut Subscription) -> bool {
        loop {
            match self.wire.try_frame().map(|frame| Reply::parse(&frame)) {
                Ok(Reply::List(elements)) if elements[0] == "message" => match number(&elements[2]) {
                    LAST => return true,
                    token => subscription.heard.push(token),
                },
                Ok(other) => self.violated(format!("a subscriber heard {other:?}")),
                Err(end) if end.starts_with("a close") => return false,
                Err(silence) => {
                    self.violated(format!("a subscription is neither closed nor alive: {silence}"));
                    return true;
                }
            }
        }
    }

    fn get(&mut self, at: usize) {
        self.ask_about(Op::Get(at), &format!("GET {}", key(at)));
    }

    /// In one of the ways to write a value whatever was there.
    fn set(&mut self, at: usize) {
        let (key, token) = (key(at), self.token());
        let value = format!("{key}={token}");
        let line = match self.random.u8(0..10) {
            0 => format!("SETEX {key} 3600 {value}"),
            1 => format!("PSETEX {key} 3600000 {value}"),
            2 => format!("SET {key} {value} EX 3600"),
            3 => format!("MSET {key} {value}"),
            4 => return self.set_all(token),
            _ => format!("SET {key} {value}"),
        };
        self.ask_about(Op::Set(at, token), &line);
    }

    fn set_all(&mut self, token: Token) {
        let pairs: String = (0..REGISTERS).map(key).map(|key| format!(" {key} {key}={token}")).collect();
        self.ask_about(Op::SetAll(token), &format!("MSET{pairs}"));
    }

    fn set_briefly(&mut self) {
        let (key, token, life) = (key(REGISTERS), self.token(), register::BRIEFLY.as_millis());
        let line = match self.random.bool() {
            true => format!("SET {key} {key}={token} PX {life}"),
            false => format!("PSETEX {key} {life} {key}={token}"),
        };
        self.ask_about(Op::SetBriefly(REGISTERS, token), &line);
    }

    fn swap(&mut self, at: usize) {
        let token = self.token();
        self.ask_about(Op::Swap(at, token), &format!("GETSET {key} {key}={token}", key = key(at)));
    }

    /// The optimistic way: nobody may have written between `WATCH` and `EXEC`.
    fn compare_and_set(&mut self, at: usize) {
        let (key, new) = (key(at), self.token());
        if self.exchange(&format!("WATCH {key}")) != Ok(Reply::Ok) {
            self.unwatch();
            return;
        }
        self.think(3000);
        self.get(at);
        let old = match self.history.entries.last().and_then(Entry::reply) {
            Some(Reply::Text(text)) => Some(number(text)),
            Some(Reply::Null) => None,
            _ => {
                self.unwatch();
                return;
            }
        };
        self.think(3000);
        if self.exchange("MULTI") != Ok(Reply::Ok) {
            self.unwatch();
            return;
        }
        let queued = self.exchange(&format!("SET {key} {key}={new}"));
        if queued.is_ok() {
            self.ask_about(Op::CompareAndSet(at, old, new), "EXEC");
        }
    }

    fn unwatch(&mut self) {
        // Where it is refused, the watch is left: a transaction that is not of this kind then does nothing.
        let _ = self.exchange("UNWATCH");
    }

    fn compare_and_set_in_script(&mut self, at: usize) {
        let (key, new) = (key(at), self.token());
        self.get(at);
        let old = match self.history.entries.last().and_then(Entry::reply) {
            Some(Reply::Text(text)) => Some(number(text)),
            Some(Reply::Null) => None,
            _ => return,
        };
        let expected = old.map_or_else(|| r#""""#.to_owned(), |old| format!("{key}={old}"));
        let line = format!(r#"EVAL "{COMPARE_AND_SET}" 1 {key} {expected} {key}={new}"#);
        self.ask_about(Op::CompareAndSet(at, old, new), &line);
    }

    fn push(&mut self) {
        let (at, token) = (self.random.usize(0..LISTS), self.token());
        let line = match at {
            0 => format!("RPUSH list:0 t={token}"),
            _ => format!(r#"EVAL "{PUSH}" 1 list:{at} t={token}"#),
        };
        self.ask_about(Op::Push(at, token), &line);
    }

    fn list(&mut self) {
        let at = self.random.usize(0..LISTS);
        self.ask_about(Op::List(at), &format!("LRANGE list:{at} 0 -1"));
    }

    /// In one burst, or step by step.
    fn push_both(&mut self) {
        let token = self.token();
        let lines = ["MULTI", &format!("RPUSH both:0 t={token}"), &format!("RPUSH both:1 t={token}"), "EXEC"];
        self.transact(Op::PushBoth(token), &lines);
    }

    fn list_both(&mut self) {
        self.transact(Op::ListBoth, &["MULTI", "LRANGE both:0 0 -1", "LRANGE both:1 0 -1", "EXEC"]);
    }

    fn transact(&mut self, op: Op, lines: &[&str; 4]) {
        let invoked = self.now();
        if self.random.bool() {
            let mut reply = Ok(Reply::Ok);
            for line in lines {
                reply = self.exchange(line);
                // A transaction that was not begun must not be gone through command by command.
                if reply.is_err() || *line == "MULTI" && reply != Ok(Reply::Ok) {
                    break;
                }
            }
            self.record(op, invoked, &reply);
            return;
        }
        self.wire.say_or_fail(lines);
        let mut reply = Ok(Reply::Ok);
        for _ in lines {
            reply = self.listen();
            if reply.is_err() {
                break;
            }
        }
        self.record(op, invoked, &reply);
    }

    /// Asks, and goes without waiting for the reply.
    fn leave(&mut self, at: usize) {
        let (token, invoked) = (self.token(), self.now());
        self.wire.say_or_fail(&[&format!("SET {key} {key}={token}", key = key(at))]);
        let told_at = self.now();
        let (client, op) = (self.number, Op::Set(at, token));
        self.history.entries.push(Entry { client, op, invoked, told_at, told: Told::Closed, settled: NEVER });
        self.wire = connect(self.number, self.scene.port);
    }

    fn ask_about(&mut self, op: Op, line: &str) {
        let invoked = self.now();
        let reply = self.exchange(line);
        self.record(op, invoked, &reply);
    }

    /// One request and its reply. After a close it comes back.
    fn exchange(&mut self, line: &str) -> Result<Reply, String> {
        self.wire.say_or_fail(&[line]);
        self.listen()
    }
}

/// Every other client speaks RESP3. Whoever comes at the wrong moment may be closed at once.
fn connect(number: usize, port: u16) -> Wire {
    for _ in 0..100 {
        let mut wire = Wire::connect(port);
        if number.is_multiple_of(2) {
            return wire;
        }
        wire.say_or_fail(&["HELLO 3"]);
        if wire.try_frame().is_ok_and(|frame| frame.starts_with(b"%")) {
            return wire;
        }
    }
    panic!("nobody is let in");
}
