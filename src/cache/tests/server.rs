//! A server as far as the cache can tell: versions of keys, who is told of them, and wires with an order.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::resp::encode;

/// Keys there are.
pub(super) const KEYS: usize = 3;

/// A place in a key's history: an even one is a version, the next is that version when its time is over.
pub(super) type Place = usize;

/// What is asked of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Optin,
    Read(Kind, Vec<usize>),
    Fence,
    Touch,
    Write(Write),
}

/// What is asked of keys; of one alone, but for values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    MGet,
    StrLen,
    Exists,
    Ttl,
    PTtl,
}

/// A write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// Milliseconds to live, if not for ever.
    Set(usize, Option<u64>),
    Del(usize),
    /// A script sets a key that it has declared, or not.
    Script {
        key: usize,
        is_declared: bool,
    },
    Flush,
    /// The server tells nobody.
    Swap,
}

/// The name of a key.
pub(super) fn name(key: usize) -> String {
    format!("key-{key}")
}

impl Request {
    /// As a client sends it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, &self.words().iter().map(String::as_bytes).collect::<Vec<_>>());
        bytes
    }

    fn words(&self) -> Vec<String> {
        let one = |name: &str, keys: &[usize]| {
            std::iter::once(name.to_owned()).chain(keys.iter().map(|key| self::name(*key))).collect()
        };
        let line = |line: &str| line.split(' ').map(str::to_owned).collect();
        match self {
            Self::Optin | Self::Fence | Self::Touch => unreachable!("the cache says it"),
            Self::Read(kind, keys) => {
                let name = match kind {
                    Kind::Get => "GET",
                    Kind::MGet => "MGET",
                    Kind::StrLen => "STRLEN",
                    Kind::Exists => "EXISTS",
                    Kind::Ttl => "TTL",
                    Kind::PTtl => "PTTL",
                };
                one(name, keys)
            }
            Self::Write(Write::Set(key, _)) => line(&format!("SET {} x", self::name(*key))),
            Self::Write(Write::Del(key)) => one("DEL", &[*key]),
            Self::Write(Write::Script { key, is_declared: true }) => line(&format!("EVAL x 1 {}", self::name(*key))),
            Self::Write(Write::Script { .. }) => line("EXEC"),
            Self::Write(Write::Flush) => line("FLUSHALL"),
            Self::Write(Write::Swap) => line("SWAPDB 0 1"),
        }
    }
}

/// What a key was from some time on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version {
    pub(super) is_there: bool,
    /// The last millisecond of its life.
    pub(super) ends: Option<u128>,
    /// When it was written, and whether by a client of ours.
    pub(super) at: Duration,
    pub(super) is_ours: bool,
}

/// An answer, and what was seen or written for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) frame: Bytes,
    pub(super) places: Vec<(usize, Place)>,
}

/// What comes from the server, in order.
#[derive(Debug)]
pub(super) enum Item {
    Reply(Said),
    Push(Bytes),
}

/// Both directions of a tracked connection.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) asked: VecDeque<Request>,
    pub(super) said: VecDeque<Item>,
    /// The next request is one whose keys are to be told of.
    is_optin: bool,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) history: [Vec<Version>; KEYS],
    /// Whom it tells of a key.
    tracked: BTreeSet<(usize, usize)>,
    /// Whether it tells of the creation of keys.
    tells_of_creation: bool,
    pub(super) refuses_fences: bool,
    pub(super) wires: Vec<Wire>,
}

/// A server's milliseconds.
pub(super) fn millis(time: Duration) -> u128 {
    time.as_millis()
}

impl Version {
    pub(super) fn is_over(&self, time: Duration) -> bool {
        self.ends.is_some_and(|ends| millis(time) > ends)
    }

    /// What `PTTL` says.
    pub(super) fn left(&self, time: Duration) -> i64 {
        match self.ends {
            _ if !self.is_there || self.is_over(time) => -2,
            None => -1,
            Some(ends) => i64::try_from(ends - millis(time)).expect("not for ever"),
        }
    }
}

/// The value of a version: its length tells which.
pub(super) fn value(version: usize) -> Vec<u8> {
    format!("{version:0>width$}", width = version + 3).into_bytes()
}

impl Server {
    pub(super) fn new(wires: usize, tells_of_creation: bool) -> Self {
        let first = Version { is_there: true, ends: None, at: Duration::ZERO, is_ours: false };
        Self {
            history: std::array::from_fn(|_| vec![first]),
            tracked: BTreeSet::new(),
            tells_of_creation,
            refuses_fences: false,
            wires: (0..wires).map(|_| Wire::default()).collect(),
        }
    }

    /// Where a key is in its history.
    pub(super) fn place(&self, key: usize, time: Duration) -> Place {
        let last = self.history[key].len() - 1;
        2 * last + usize::from(self.history[key][last].is_over(time))
    }

    pub(super) fn newest(&self, key: usize) -> &Version {
        self.history[key].last().expect("it begins with one")
    }

    /// Executes the next request of a connection, if there is one.
    pub(super) fn serve(&mut self, wire: usize, time: Duration) {
        let Some(request) = self.wires[wire].asked.pop_front() else { return };
        let is_optin = std::mem::replace(&mut self.wires[wire].is_optin, request == Request::Optin);
        let (said, told) = self.execute(&request, time, true);
        if let (Request::Read(_, keys), true) = (&request, is_optin) {
            let is_told = |key: &usize| self.newest(*key).left(time) != -2 || self.tells_of_creation;
            let keys: Vec<_> = keys.iter().copied().filter(is_told).collect();
            self.tracked.extend(keys.into_iter().map(|key| (key, wire)));
        }
        // Of its own writes a connection is told behind the reply.
        self.wires[wire].said.push_back(Item::Reply(said));
        self.push(told);
    }

    /// The same for a connection that nobody tracks.
    pub(super) fn serve_alone(&mut self, request: &Request, time: Duration) -> Said {
        let (said, told) = self.execute(request, time, true);
        self.push(told);
        said
    }

    /// Somebody writes past the proxy.
    pub(super) fn write(&mut self, write: &Write, time: Duration) {
        let (_, told) = self.execute(&Request::Write(write.clone()), time, false);
        self.push(told);
    }

    /// The server finds out that a key's time is over.
    pub(super) fn notice(&mut self, key: usize, time: Duration) {
        if self.newest(key).is_over(time) {
            let told = self.forget(key);
            self.push(told);
        }
    }

    /// A connection is gone.
    pub(super) fn cut(&mut self, wire: usize) {
        self.tracked.retain(|(_, tracked)| *tracked != wire);
        self.wires[wire] = Wire::default();
    }

    fn execute(&mut self, request: &Request, time: Duration, is_ours: bool) -> (Said, Vec<Told>) {
        let (mut frame, mut places, mut told) = (Vec::new(), Vec::new(), Vec::new());
        match request {
            Request::Optin => encode::simple(&mut frame, "OK"),
            Request::Fence if self.refuses_fences => encode::error(&mut frame, b"MISCONF cannot write"),
            Request::Fence | Request::Touch => encode::integer(&mut frame, 0),
            Request::Read(kind, keys) => {
                for key in keys {
                    // A key whose time is over goes when it is looked for.
                    if self.newest(*key).is_over(time) {
                        told.extend(self.forget(*key));
                    }
                    places.push((*key, self.place(*key, time)));
                }
                self.read(*kind, keys, time, &mut frame);
            }
            Request::Write(write) => {
                encode::simple(&mut frame, "OK");
                let keys = match write {
                    Write::Set(key, _) | Write::Del(key) | Write::Script { key, .. } => *key..*key + 1,
                    Write::Flush | Write::Swap => 0..KEYS,
                };
                let (is_there, life) = match write {
                    Write::Set(_, life) => (true, *life),
                    Write::Script { .. } | Write::Swap => (true, None),
                    Write::Del(_) | Write::Flush => (false, None),
                };
                let ends = life.map(|life| millis(time) + u128::from(life));
                for key in keys {
                    self.history[key].push(Version { is_there, ends, at: time, is_ours });
                    places.push((key, self.place(key, time)));
                    match write {
                        Write::Flush | Write::Swap => {}
                        Write::Set(..) | Write::Del(_) | Write::Script { .. } => told.extend(self.forget(key)),
                    }
                }
                if *write == Write::Flush {
                    self.tracked.clear();
                    told.extend((0..self.wires.len()).map(|wire| Told { wire, key: None }));
                }
            }
        }
        (Said { frame: frame.into(), places }, told)
    }

    fn read(&self, kind: Kind, keys: &[usize], time: Duration, out: &mut Vec<u8>) {
        let text = |key: usize, out: &mut Vec<u8>| match self.newest(key).left(time) {
            -2 => out.extend_from_slice(b"_\r\n"),
            _ => encode::bulk(out, &value(self.history[key].len() - 1)),
        };
        let left = self.newest(keys[0]).left(time);
        match kind {
            Kind::Get => text(keys[0], out),
            Kind::MGet => {
                encode::array_header(out, keys.len());
                keys.iter().for_each(|key| text(*key, out));
            }
            Kind::StrLen if left == -2 => encode::integer(out, 0),
            Kind::StrLen => encode::integer(out, (self.history[keys[0]].len() + 2) as i64),
            Kind::Exists => encode::integer(out, i64::from(left != -2)),
            Kind::Ttl => encode::integer(out, if left < 0 { left } else { (left + 500) / 1000 }),
            Kind::PTtl => encode::integer(out, left),
        }
    }

    /// Whoever has read a key is to be told, once.
    fn forget(&mut self, key: usize) -> Vec<Told> {
        let told = self.tracked.extract_if(.., |(tracked, _)| *tracked == key);
        told.map(|(_, wire)| Told { wire, key: Some(key) }).collect()
    }

    fn push(&mut self, told: Vec<Told>) {
        for Told { wire, key } in told {
            let mut push = b">2\r\n$10\r\ninvalidate\r\n".to_vec();
            match key {
                None => push.extend_from_slice(b"_\r\n"),
                Some(key) => {
                    encode::array_header(&mut push, 1);
                    encode::bulk(&mut push, name(key).as_bytes());
                }
            }
            self.wires[wire].said.push_back(Item::Push(push.into()));
        }
    }
}

/// Who is told of which key, or of all.
struct Told {
    wire: usize,
    key: Option<usize>,
}
