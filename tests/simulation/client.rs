//! A client: asks at random, one thing at a time or several at once, and writes down what it was told.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{sleep, timeout};

use super::history::{Entry, History, Moment, NEVER, Op, Reply, Subscription, Token, Told};
use super::register::{BRIEFLY, number};
pub(crate) use super::scene::REGISTERS;
use super::scene::{HASH, LAST, LISTS, Scene, VALUES, key};
use super::wire::{Silence, Wire};
use super::{LONGEST, QUEUE_TIMEOUT, REPLY_TIMEOUT, UNKNOWN};

/// What is not executed: the proxy's words, and the server's.
const REFUSALS: [&str; 4] = ["LOADING ", "EXECABORT ", "READONLY ", "UNBLOCKED "];

pub(crate) struct Client {
    number: usize,
    scene: Rc<Scene>,
    wire: Wire,
    random: Rng,
    tokens: Token,
    may_close: bool,
    /// What it waits for is up to others.
    is_blocked: bool,
    pub(crate) history: History,
}

/// An operation and the words for it.
type Request = (Op, Vec<String>);

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Client {
    pub(crate) async fn new(number: usize, scene: &Rc<Scene>, random: Rng) -> Self {
        let (wire, may_close) = (Wire::connect(number, &scene.workers).await, scene.may_close);
        let (scene, history) = (Rc::clone(scene), History::default());
        Self { number, scene, wire, random, tokens: 0, may_close, is_blocked: false, history }
    }

    fn now(&self) -> Moment {
        self.scene.network.began.elapsed()
    }

    /// One nobody else has.
    fn token(&mut self) -> Token {
        self.tokens += 1;
        self.number as Token * 100_000 + self.tokens
    }

    /// Mostly briefly.
    async fn think(&mut self) {
        let most = if self.random.bool() { self.scene.leisure } else { 4 };
        sleep(Duration::from_millis(self.random.u64(0..=most))).await;
    }

    /// Asks this and that until the simulation is over.
    pub(crate) async fn run(mut self) -> History {
        while !self.scene.is_over.get() {
            match self.random.u32(0..100) {
                0..62 => {
                    let at = self.random.usize(0..REGISTERS);
                    let request = self.any(at);
                    self.ask_about(request).await;
                }
                62..82 => self.burst().await,
                82..88 => self.compare_and_set().await,
                88..93 => self.push_both().await,
                93..96 => {
                    let reads = [["LRANGE", "both:0", "0", "-1"], ["LRANGE", "both:1", "0", "-1"]];
                    self.transact(Op::ListBoth, reads.map(|read| words(&read))).await;
                }
                96..98 => self.set_many().await,
                _ => self.leave().await,
            }
            self.think().await;
        }
        self.history
    }

    /// Looks at everything once.
    pub(crate) async fn look(mut self) -> History {
        for at in 0..VALUES {
            let request = self.get(at);
            self.ask_about(request).await;
        }
        self.history
    }

    /// Puts tokens into the queue.
    pub(crate) async fn enqueue(mut self) -> History {
        while !self.scene.is_over.get() {
            let token = self.token();
            self.ask_about((Op::Enqueue(token), words(&["RPUSH", "queue", &format!("t={token}")]))).await;
            self.think().await;
        }
        self.history
    }

    /// Takes tokens from the queue.
    pub(crate) async fn dequeue(mut self) -> History {
        while !self.scene.is_over.get() {
            self.is_blocked = true;
            self.ask_about((Op::Dequeue, words(&["BLPOP", "queue", "0.1"]))).await;
            self.think().await;
        }
        self.history
    }

    /// Publishes tokens.
    pub(crate) async fn publish(mut self) -> History {
        while !self.scene.is_over.get() {
            let token = self.token();
            self.ask_about((Op::Publish(token), words(&["PUBLISH", "channel", &format!("t={token}")]))).await;
            self.think().await;
        }
        self.history
    }

    /// Listens, and comes back whenever it is closed. Once the simulation is over, it wants to hear the last word.
    pub(crate) async fn subscribe(mut self) -> History {
        self.may_close = true;
        loop {
            let mut subscription = Subscription::default();
            self.wire = Wire::connect(self.number, &self.scene.workers).await;
            let (invoked, reply) = (self.now(), self.exchange(&words(&["SUBSCRIBE", "channel"])).await);
            let told = self.judge("SUBSCRIBE", invoked, &reply);
            if matches!(told, Told::Executed(Reply::List(_))) {
                subscription.confirmed = self.now();
                let heard_all = self.hear(&mut subscription).await;
                self.history.subscriptions.push(subscription);
                if heard_all {
                    return self.history;
                }
            }
            self.think().await;
        }
    }

    /// Whether the last word came, rather than a close.
    async fn hear(&mut self, subscription: &mut Subscription) -> bool {
        loop {
            match self.wire.frame().await.map(|frame| Reply::parse(&frame)) {
                Ok(Reply::List(elements)) if elements[0] == "message" => match number(&elements[2]) {
                    LAST => return true,
                    token => subscription.heard.push(token),
                },
                Ok(other) => self.violated(format!("a subscriber heard {other:?}")),
                Err(_) => return false,
            }
        }
    }

    /// One request of those that need no other; if it is for a register, for this one.
    fn any(&mut self, at: usize) -> Request {
        match self.random.u32(0..100) {
            0..30 => self.get(at),
            30..50 => self.set(at),
            50..56 => (Op::Delete(at), words(&[["DEL", "UNLINK"][self.random.usize(0..2)], &key(at)])),
            56..59 => (Op::Touch(at), words(&["EXPIRE", &key(at), "3600"])),
            59..65 => {
                let value = self.value(at);
                (Op::Swap(at, number(&value)), words(&["GETSET", &key(at), &value]))
            }
            65..73 => {
                let (at, token) = (self.random.usize(0..LISTS), self.token());
                (Op::Push(at, token), words(&["RPUSH", &format!("list:{at}"), &format!("t={token}")]))
            }
            73..78 => {
                let at = self.random.usize(0..LISTS);
                (Op::List(at), words(&["LRANGE", &format!("list:{at}"), "0", "-1"]))
            }
            78..84 => (Op::Increment, words(&["INCR", "counter"])),
            84..88 => {
                let value = self.value(REGISTERS);
                let (token, key, millis) = (number(&value), key(REGISTERS), BRIEFLY.as_millis().to_string());
                match self.random.bool() {
                    true => (Op::SetBriefly(REGISTERS, token), words(&["SET", &key, &value, "PX", &millis])),
                    false => (Op::SetBriefly(REGISTERS, token), words(&["PSETEX", &key, &millis, &value])),
                }
            }
            88..92 => self.get(REGISTERS),
            92..96 => self.get(HASH),
            _ => {
                let value = self.value(HASH);
                (Op::Set(HASH, number(&value)), words(&["HMSET", &key(HASH), "field", &value]))
            }
        }
    }

    /// A value with a token nobody else has; some are long.
    fn value(&mut self, at: usize) -> String {
        let (token, most) = (self.token(), if self.random.u8(0..8) == 0 { 3000 } else { 8 });
        format!("{}={token}={}", key(at), "x".repeat(self.random.usize(0..most)))
    }

    fn get(&mut self, at: usize) -> Request {
        match at {
            HASH => (Op::Get(HASH), words(&["HMGET", &key(HASH), "field"])),
            at => (Op::Get(at), words(&["GET", &key(at)])),
        }
    }

    fn set(&mut self, at: usize) -> Request {
        let value = self.value(at);
        let (op, key) = (Op::Set(at, number(&value)), key(at));
        match self.random.u8(0..5) {
            4 => self.set_all(),
            0 => (op, words(&["SETEX", &key, "1000", &value])),
            1 => (op, words(&["SET", &key, &value, "EX", "1000"])),
            _ => (op, words(&["SET", &key, &value])),
        }
    }

    fn set_all(&mut self) -> Request {
        let token = self.token();
        let pairs = (0..REGISTERS).flat_map(|at| [key(at), format!("{}={token}=", key(at))]);
        (Op::SetAll(token), std::iter::once("MSET".to_owned()).chain(pairs).collect())
    }

    /// Several requests at once, and then their replies.
    async fn burst(&mut self) {
        let (count, at) = (self.random.usize(2..6), self.random.usize(0..REGISTERS));
        let requests: Vec<_> = (0..count).map(|_| self.any(at)).collect();
        let invoked = self.now();
        let lines: Vec<_> = requests.iter().map(|(_, words)| words.clone()).collect();
        self.wire.say(&lines, &mut self.random).await;
        let mut is_closed = false;
        for (op, _) in requests {
            let reply = if is_closed { Err(Silence::Closed) } else { self.listen().await };
            is_closed |= reply.is_err();
            self.record(op, invoked, &reply);
        }
    }

    /// Two keys at once.
    async fn set_many(&mut self) {
        let values = [self.value(0), self.value(1)];
        let invoked = self.now();
        let reply = self.exchange(&words(&["MSET", &key(0), &values[0], &key(1), &values[1]])).await;
        for (at, value) in values.iter().enumerate() {
            self.record(Op::Set(at, number(value)), invoked, &reply);
        }
    }

    /// The optimistic way: nobody may have written between `WATCH` and `EXEC`.
    async fn compare_and_set(&mut self) {
        let at = self.random.usize(0..REGISTERS);
        let (key, value) = (key(at), self.value(at));
        if self.exchange(&words(&["WATCH", &key])).await != Ok(Reply::Ok) {
            return self.unwatch().await;
        }
        self.think().await;
        let request = self.get(at);
        self.ask_about(request).await;
        let old = match self.history.entries.last().and_then(Entry::reply) {
            Some(Reply::Text(text)) => Some(number(text)),
            Some(Reply::Null) => None,
            _ => return self.unwatch().await,
        };
        self.think().await;
        if self.exchange(&words(&["MULTI"])).await != Ok(Reply::Ok) {
            return self.unwatch().await;
        }
        let queued = self.exchange(&words(&["SET", &key, &value])).await;
        if queued.is_ok() {
            self.ask_about((Op::CompareAndSet(at, old, number(&value)), words(&["EXEC"]))).await;
        }
    }

    async fn unwatch(&mut self) {
        // Where it is refused, the watch is left: a transaction that is not of this kind then does nothing.
        let _ = self.exchange(&words(&["UNWATCH"])).await;
    }

    async fn push_both(&mut self) {
        let token = self.token();
        let pushes = ["both:0", "both:1"].map(|list| words(&["RPUSH", list, &format!("t={token}")]));
        self.transact(Op::PushBoth(token), pushes).await;
    }

    /// In one burst, or step by step.
    async fn transact(&mut self, op: Op, [one, other]: [Vec<String>; 2]) {
        let invoked = self.now();
        let lines = [words(&["MULTI"]), one, other, words(&["EXEC"])];
        let is_burst = self.random.bool();
        if is_burst {
            self.wire.say(&lines, &mut self.random).await;
        }
        let mut reply = Ok(Reply::Ok);
        for (step, line) in lines.iter().enumerate() {
            reply = if is_burst { self.listen().await } else { self.exchange(line).await };
            // A transaction that was not begun must not be gone through command by command.
            if reply.is_err() || !is_burst && step == 0 && reply != Ok(Reply::Ok) {
                break;
            }
        }
        self.record(op, invoked, &reply);
    }

    /// Asks, and goes without waiting for the reply.
    async fn leave(&mut self) {
        let (op, line) = self.set(0);
        let invoked = self.now();
        self.wire.say(&[line], &mut self.random).await;
        let (client, told_at) = (self.number, self.now());
        self.history.entries.push(Entry { client, op, invoked, told_at, told: Told::Closed, settled: NEVER });
        self.wire = Wire::connect(self.number, &self.scene.workers).await;
    }

    async fn ask_about(&mut self, (op, words): Request) {
        let (invoked, reply) = (self.now(), self.exchange(&words).await);
        self.record(op, invoked, &reply);
    }

    /// One request and its reply. After a close it comes back.
    async fn exchange(&mut self, words: &[String]) -> Result<Reply, Silence> {
        self.wire.say(&[words], &mut self.random).await;
        self.listen().await
    }

    async fn listen(&mut self) -> Result<Reply, Silence> {
        let longest = if self.is_blocked { self.scene.patience } else { LONGEST };
        let reply = match timeout(longest, self.wire.frame()).await {
            Ok(frame) => frame.map(|frame| Reply::parse(&frame)),
            Err(_) => Err(Silence::Unanswered),
        };
        let (number, at) = (self.number, self.now());
        match &reply {
            Err(silence) => {
                if *silence == Silence::Unanswered || !self.may_close {
                    self.violated(format!("client {number} got no reply, but {silence:?}, at {at:?}"));
                }
                self.wire = Wire::connect(number, &self.scene.workers).await;
            }
            Ok(Reply::Error(text)) if text != UNKNOWN && !REFUSALS.iter().any(|code| text.starts_with(code)) => {
                self.violated(format!("client {number} was told {text}, at {at:?}"));
            }
            Ok(_) => {}
        }
        reply
    }

    fn violated(&mut self, what: String) {
        self.history.violations.push(what);
    }

    fn record(&mut self, op: Op, invoked: Moment, reply: &Result<Reply, Silence>) {
        let reply = match (op, reply) {
            // `HMGET`: the one field's value.
            (Op::Get(HASH), Ok(Reply::List(elements))) => {
                let value = elements.first().filter(|value| *value != "_");
                &Ok(value.map_or(Reply::Null, |value| Reply::Text(value.clone())))
            }
            _ => reply,
        };
        let told = match (op, reply) {
            // A watch that was lost is not forgotten before a transaction.
            (Op::PushBoth(_) | Op::ListBoth, Ok(Reply::Null)) => Told::NotExecuted,
            _ => self.judge(&format!("{op:?}"), invoked, reply),
        };
        let (client, told_at) = (self.number, self.now());
        let settled = match &told {
            // The server has it and takes its time, or cannot be told to forget it: nobody can know when it runs.
            Told::Unknown if told_at - invoked >= QUEUE_TIMEOUT.min(REPLY_TIMEOUT) => NEVER,
            Told::Closed => NEVER,
            // As without a proxy: its client is told at once, and closed.
            Told::Unknown if self.scene.may_close => NEVER,
            Told::Unknown | Told::Executed(_) | Told::NotExecuted => told_at,
        };
        self.history.entries.push(Entry { client, op, invoked, told_at, told, settled });
    }

    /// What a reply says of its request.
    fn judge(&mut self, what: &str, invoked: Moment, reply: &Result<Reply, Silence>) -> Told {
        let waited = self.now() - invoked;
        let told = match reply {
            Err(_) => Told::Closed,
            Ok(Reply::Error(text)) if text == UNKNOWN => Told::Unknown,
            Ok(Reply::Error(_)) => Told::NotExecuted,
            Ok(reply) => Told::Executed(reply.clone()),
        };
        self.scene.waited(what, &told, waited);
        told
    }
}
