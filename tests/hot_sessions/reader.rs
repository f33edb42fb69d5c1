//! A client that reads: many at once, of few keys.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::history::{ANY, DATABASES, Event, History, KEYS, NIL, Read, Through, Token, name};
use super::support::request;
use super::talk::{Answer, Scene, Talker};

/// Reads sent together, at most.
const BATCH: usize = 64;

/// How to ask about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Get,
    /// Whether there is a value is all they tell.
    Exists,
    Length,
    TimeToLive,
    /// All keys.
    All,
    /// Of the server itself, on other connections than those that are told of changes.
    InTransaction,
    InScript,
}

pub(crate) struct Reader<'a> {
    scene: &'a Scene,
    talker: Talker<'a>,
    random: Rng,
    database: usize,
    history: History,
    /// Microseconds it rests between batches, at most.
    rest: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(scene: &'a Scene, through: Through, rest: u64, mut random: Rng) -> Self {
        let database = if random.u8(0..4) == 0 { DATABASES - 1 } else { 0 };
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
            self.batch();
            thread::sleep(Duration::from_micros(self.random.u64(0..=self.rest)));
        }
        self.history
    }

    fn batch(&mut self) {
        if self.random.u8(0..50) == 0 {
            self.database = DATABASES - 1 - self.database;
            if self.talker.select(self.database).is_none() {
                return self.talker.close();
            }
        }
        let most = [2, 8, BATCH][self.random.usize(0..3)];
        let count = self.random.usize(1..=most);
        // Whatever is asked behind what only the server can answer, the server answers: mostly one key is as hot.
        let is_of_one = self.random.u8(0..8) > 0;
        let one = (Question::Get, self.key());
        let questions: Vec<_> = (0..count).map(|_| if is_of_one { one } else { self.question() }).collect();
        let mut bytes = Vec::with_capacity(count * 24);
        for (question, key) in &questions {
            let key = name(*key);
            bytes.extend(match question {
                Question::Get => request(&["GET", &key]),
                Question::Exists => request(&["EXISTS", &key]),
                Question::Length => request(&["STRLEN", &key]),
                Question::TimeToLive => request(&["PTTL", &key]),
                Question::InTransaction => [&["MULTI"][..], &["GET", &key], &["EXEC"]].map(request).concat(),
                Question::InScript => request(&["EVAL", "return redis.call('GET', KEYS[1])", "1", &key]),
                Question::All => request(&[vec!["MGET".to_owned()], (0..KEYS).map(name).collect()].concat()),
            });
        }
        let moves = self.scene.moves();
        let invoked = self.scene.clock.now();
        let is_sent = self.talker.send(&bytes).is_some();
        let mut reads = Vec::with_capacity(count);
        for (question, key) in questions {
            let mut answer = self.talker.hear().filter(|_| is_sent);
            if question == Question::InTransaction {
                let _queued = self.talker.hear();
                answer = self.talker.hear();
            }
            let Some(answer) = answer else {
                self.talker.close();
                break;
            };
            let told_at = self.scene.clock.now();
            let mut read = |key: usize, token: Token| {
                let key = u8::try_from(self.database * KEYS + key).expect("few keys");
                reads.push(Read { key, count: 1, token, invoked, told_at });
            };
            let is_there = |is_there: bool| if is_there { ANY } else { NIL };
            self.history.answers += usize::from(!matches!(answer, Answer::Error(_)));
            match (question, answer) {
                (_, Answer::Error(_)) => self.history.errors += 1,
                (Question::Get | Question::InScript, Answer::Value(token)) => read(key, token),
                (Question::InTransaction, Answer::List(elements)) => {
                    if let [Answer::Value(token)] = elements.as_slice() {
                        read(key, *token);
                    }
                }
                (Question::Exists | Question::Length, Answer::Number(number)) => read(key, is_there(number > 0)),
                (Question::TimeToLive, Answer::Number(number)) => read(key, is_there(number != -2)),
                (Question::All, Answer::List(elements)) if elements.len() == KEYS => {
                    for (key, element) in elements.into_iter().enumerate() {
                        if let Answer::Value(token) = element {
                            read(key, token);
                        }
                    }
                }
                (question, other) => self.history.violations.push(format!("{question:?} was answered {other:?}")),
            }
        }
        // Whoever was the primary may not have known that it is no more.
        let is_trusted = moves.is_multiple_of(2) && self.scene.moves() == moves;
        if self.history.through != Through::Direct || is_trusted {
            reads.into_iter().for_each(|read| self.history.read(read));
        }
    }

    fn question(&mut self) -> (Question, usize) {
        let question = match self.random.u8(0..100) {
            0..2 => Question::Exists,
            2..4 => Question::Length,
            4..6 => Question::TimeToLive,
            6 => Question::All,
            7 if self.random.bool() => Question::InScript,
            7 => Question::InTransaction,
            _ => Question::Get,
        };
        (question, self.key())
    }

    /// Some are hotter than others.
    fn key(&mut self) -> usize {
        self.random.usize(0..KEYS).min(self.random.usize(0..KEYS))
    }
}
