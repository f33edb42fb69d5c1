//! A client that writes, in every way there is, and looks at what it wrote.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::history::{DATABASES, Event, History, KEYS, Mark, NEVER, NIL, Read, Through, Token, Write, name, value};
use super::support::request;
use super::talk::{Answer, Scene, Talker};

const SET_DECLARED: &str = "redis.call('SET', KEYS[1], ARGV[1]) return 1";
const SET_UNDECLARED: &str = "redis.call('SET', ARGV[1], ARGV[2]) return 1";
const SET_TWO: &str = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], ARGV[1], 'PX', 400) return 1";

/// When a reply says that something was written.
#[derive(Debug, Clone, Copy)]
enum Success {
    Always,
    IfPositive,
    IfValue,
}

/// One or several requests sent together, the last of which counts.
struct Deed {
    requests: Vec<Vec<String>>,
    mark: Mark,
    success: Success,
    /// What its keys hold afterwards.
    wrote: Vec<(usize, Token)>,
}

pub(crate) struct Writer<'a> {
    scene: &'a Scene,
    talker: Talker<'a>,
    random: Rng,
    database: usize,
    history: History,
    /// Microseconds it rests between writes, at most.
    rest: u64,
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(ToString::to_string).collect()
}

impl<'a> Writer<'a> {
    pub(crate) fn new(scene: &'a Scene, through: Through, rest: u64, mut random: Rng) -> Self {
        let database = if random.u8(0..3) == 0 { DATABASES - 1 } else { 0 };
        let talker = Talker::new(scene, through, database, random.bool());
        Self { scene, talker, random, database, history: History::new(through), rest }
    }

    pub(crate) fn run(mut self) -> History {
        while !self.scene.is_over() {
            if !self.talker.is_connected() {
                self.talker.close();
                self.talker.connect();
                self.history.events.push(Event::Connected);
            }
            let key = self.random.usize(0..KEYS);
            let deed = match self.random.u16(0..1000) {
                0..600 => self.overwrite(key),
                600..760 => self.remove(key),
                760..850 => self.limit(key),
                850..940 => self.elsewhere(key),
                940..980 => self.optimistic(key),
                980..985 => self.wipe(),
                _ => Some(self.configure()),
            };
            if let Some(deed) = deed {
                self.carry_out(&deed, key);
            }
            thread::sleep(Duration::from_micros(self.random.u64(0..=self.rest)));
        }
        self.history
    }

    /// Asks, and mostly looks at once at what has become of the key.
    fn carry_out(&mut self, deed: &Deed, key: usize) {
        let looks = self.random.u8(0..3);
        let mut bytes: Vec<u8> = deed.requests.iter().flat_map(|words| request(words)).collect();
        if looks == 0 {
            bytes.extend(request(&["GET", &name(key)]));
        }
        let (moves, invoked) = (self.scene.moves(), self.scene.clock.now());
        let is_sent = self.talker.send(&bytes).is_some();
        let mut answer = None;
        for _ in &deed.requests {
            answer = self.talker.hear().filter(|_| is_sent);
        }
        let told_at = self.scene.clock.now();
        let write = |acknowledged| Write { mark: deed.mark.clone(), invoked, acknowledged };
        match &answer {
            None => {
                self.history.writes.push(write(NEVER));
                return self.talker.close();
            }
            Some(Answer::Error(text)) if text.starts_with("UNKNOWN") => self.history.writes.push(write(NEVER)),
            Some(Answer::Error(_)) => self.history.errors += 1,
            Some(answer) => {
                let is_done = match (deed.success, answer) {
                    (Success::Always, _) => true,
                    (Success::IfPositive, Answer::Number(number)) => *number > 0,
                    (Success::IfValue, Answer::Value(NIL)) => false,
                    (Success::IfValue, _) => true,
                    (Success::IfPositive, other) => {
                        self.history.violations.push(format!("{:?} was answered {other:?}", deed.requests));
                        false
                    }
                };
                if is_done {
                    self.history.writes.push(write(told_at));
                    for (key, token) in &deed.wrote {
                        let key = self.number(*key);
                        self.history.events.push(Event::Wrote(key, *token));
                    }
                }
            }
        }
        match looks {
            0 => self.heard_get(key, invoked, moves),
            1 => self.get(key),
            _ => {}
        }
    }

    fn number(&self, key: usize) -> u8 {
        u8::try_from(self.database * KEYS + key).expect("few keys")
    }

    fn get(&mut self, key: usize) {
        let (moves, invoked) = (self.scene.moves(), self.scene.clock.now());
        if self.talker.send(&request(&["GET", &name(key)])).is_some() {
            self.heard_get(key, invoked, moves);
        }
    }

    fn heard_get(&mut self, key: usize, invoked: u32, moves: u32) {
        let answer = self.talker.hear();
        let told_at = self.scene.clock.now();
        let is_trusted = moves.is_multiple_of(2) && self.scene.moves() == moves;
        match answer {
            None => self.talker.close(),
            Some(Answer::Value(token)) if self.history.through != Through::Direct || is_trusted => {
                let key = self.number(key);
                self.history.answers += 1;
                self.history.read(Read { key, count: 1, token, invoked, told_at });
            }
            Some(_) => {}
        }
    }

    /// A new value, whatever was there.
    fn overwrite(&mut self, key: usize) -> Option<Deed> {
        let token = self.scene.token();
        let padding = if self.random.u8(0..20) == 0 { 5000 } else { self.random.usize(0..200) };
        let (name, value) = (name(key), value(token, padding));
        let (k, v) = (name.as_str(), value.as_str());
        let brief = self.brief();
        let line = match self.random.u8(0..18) {
            0..5 => words(&["SET", k, v]),
            5..8 => words(&["SET", k, v, "PX", &brief]),
            8 => words(&["PSETEX", k, &brief, v]),
            9 => words(&["SETEX", k, "1", v]),
            10 => words(&["GETSET", k, v]),
            11 => words(&["SET", k, v, "GET", "EX", "1"]),
            12 => words(&["APPEND", k, &format!("t{token};")]),
            13 => words(&["MSET", k, v]),
            14 => words(&["SET", k, v, "KEEPTTL"]),
            15 => words(&["EVAL", SET_DECLARED, "1", k, v]),
            16 => words(&["EVAL", SET_UNDECLARED, "0", k, v]),
            _ => {
                let other = (key + 1) % KEYS;
                let line = words(&["EVAL", SET_TWO, "2", k, &super::history::name(other), v]);
                let wrote = vec![(key, token), (other, token)];
                return Some(Deed { requests: vec![line], mark: Mark::Token(token), success: Success::Always, wrote });
            }
        };
        Some(Deed {
            requests: vec![line],
            mark: Mark::Token(token),
            success: Success::Always,
            wrote: vec![(key, token)],
        })
    }

    /// Milliseconds, so many that it may be worth holding or not.
    fn brief(&mut self) -> String {
        let most = if self.random.bool() { 100 } else { 900 };
        self.random.u32(10..most).to_string()
    }

    /// A logout.
    fn remove(&mut self, key: usize) -> Option<Deed> {
        let name = name(key);
        let command = if self.random.bool() { "DEL" } else { "UNLINK" };
        let mark = Mark::Command(format!("{} DEL {name}", self.database));
        let (line, mark, success) = match self.random.u8(0..10) {
            0..4 => (words(&[command, &name]), mark, Success::IfPositive),
            4..7 => {
                let token = self.scene.token();
                (words(&[command, &name, &format!("x:t{token};")]), Mark::Token(token), Success::IfPositive)
            }
            7 => (words(&["GETDEL", &name]), mark, Success::IfValue),
            8 => (words(&["PEXPIRE", &name, "-1"]), mark, Success::IfPositive),
            _ => {
                let script = "return redis.call('DEL', ARGV[1])";
                (words(&["EVAL", script, "0", &name]), mark, Success::IfPositive)
            }
        };
        Some(Deed { requests: vec![line], mark, success, wrote: vec![(key, NIL)] })
    }

    /// Another end of the same value.
    fn limit(&mut self, key: usize) -> Option<Deed> {
        let (name, brief) = (name(key), self.brief());
        let mark = Mark::Command(format!("{} PEXPIREAT {name}", self.database));
        let (line, mark, success) = match self.random.u8(0..6) {
            0..3 => (words(&["PEXPIRE", &name, &brief]), mark, Success::IfPositive),
            3 => (words(&["EXPIRE", &name, "1"]), mark, Success::IfPositive),
            4 => (words(&["GETEX", &name, "PX", &brief]), mark, Success::IfValue),
            _ => {
                let mark = Mark::Command(format!("{} PERSIST {name}", self.database));
                (words(&["PERSIST", &name]), mark, Success::IfPositive)
            }
        };
        Some(Deed { requests: vec![line], mark, success, wrote: Vec::new() })
    }

    /// A value that was made under another name, or in another database.
    fn elsewhere(&mut self, key: usize) -> Option<Deed> {
        let token = self.scene.token();
        let (name, made, value) = (name(key), format!("made:t{token};"), value(token, 10));
        let deed = |line, mark, success, wrote| {
            let made = words(&["SET", &made, &value, "PX", "3000"]);
            Deed { requests: vec![made, line], mark, success, wrote }
        };
        let wrote = vec![(key, token)];
        let mark = Mark::Token(token);
        Some(match self.random.u8(0..5) {
            0 | 1 => deed(words(&["RENAME", &made, &name]), mark, Success::Always, wrote),
            2 | 3 => deed(words(&["COPY", &made, &name, "REPLACE"]), mark, Success::IfPositive, wrote),
            _ => {
                let other = (DATABASES - 1 - self.database).to_string();
                let mark = Mark::Command(format!("{} MOVE {name}", self.database));
                let line = words(&["MOVE", &name, &other]);
                Deed { requests: vec![line], mark, success: Success::IfPositive, wrote: vec![(key, NIL)] }
            }
        })
    }

    /// In a transaction, sometimes only if nobody else has written.
    fn optimistic(&mut self, key: usize) -> Option<Deed> {
        if self.random.bool() {
            self.talker.send(&request(&["WATCH", &name(key)]))?;
            let Some(Answer::Ok) = self.talker.hear() else {
                self.talker.close();
                return None;
            };
            self.get(key);
        }
        let (token, other) = (self.scene.token(), (key + 1) % KEYS);
        let (never_seen, value) = (value(self.scene.token(), 0), value(token, 30));
        Some(Deed {
            requests: vec![
                words(&["MULTI"]),
                words(&["SET", &name(key), &never_seen]),
                words(&["SET", &name(other), &value]),
                words(&["SET", &name(key), &value, "PX", "300"]),
                words(&["EXEC"]),
            ],
            mark: Mark::Token(token),
            success: Success::IfValue,
            wrote: vec![(key, token), (other, token)],
        })
    }

    /// Everything at once.
    fn wipe(&mut self) -> Option<Deed> {
        let (line, mark) = match self.random.u8(0..4) {
            0 => (words(&["FLUSHALL"]), "FLUSHALL".to_owned()),
            1 => (words(&["FLUSHDB"]), format!("{} FLUSHDB", self.database)),
            _ if self.scene.swaps && self.history.through != Through::Direct => {
                (words(&["SWAPDB", "0", "1"]), "SWAPDB".to_owned())
            }
            _ => return None,
        };
        Some(Deed { requests: vec![line], mark: Mark::Command(mark), success: Success::Always, wrote: Vec::new() })
    }

    /// What changes no key.
    fn configure(&mut self) -> Deed {
        let effort = self.random.u8(1..=10).to_string();
        let line = match self.random.u8(0..3) {
            0 => words(&["CONFIG", "SET", "active-expire-effort", &effort]),
            1 => words(&["TOUCH", &name(0)]),
            _ => words(&["OBJECT", "ENCODING", &name(0)]),
        };
        let mark = Mark::Command("nothing".to_owned());
        Deed { requests: vec![line], mark, success: Success::Always, wrote: Vec::new() }
    }
}
