//! What clients asked, when, and what they were told.

use std::time::Duration;

/// Since the schedule began.
pub(crate) type Moment = Duration;

/// Later than everything.
pub(crate) const NEVER: Moment = Duration::MAX;

/// A value or a token: no two requests of a schedule carry the same.
pub(crate) type Token = u32;

/// What a client wanted, which may have taken several requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// On a key that holds one value: its number.
    Get(usize),
    Set(usize, Token),
    /// On all keys that hold one value for long: `MSET`.
    SetAll(Token),
    /// `SET ... PX`, `PSETEX`.
    SetBriefly(usize, Token),
    /// `GETSET`.
    Swap(usize, Token),
    /// If the key holds the first, it shall hold the second: `EVAL`, or `WATCH`, `MULTI`, `EXEC`.
    CompareAndSet(usize, Option<Token>, Token),
    Delete(usize),
    /// `EXPIRE` in an hour: changes nothing that is looked at, but tells whether there is a value.
    Touch(usize),
    /// On a list that only grows: its number.
    Push(usize, Token),
    List(usize),
    /// The same token on both lists of a transaction.
    PushBoth(Token),
    ListBoth,
    Increment,
    Enqueue(Token),
    /// `BLPOP`.
    Dequeue,
    Publish(Token),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Ok,
    Null,
    Integer(u32),
    Text(String),
    /// Flat: of lists in lists, the elements.
    List(Vec<String>),
    Error(String),
}

/// What the client knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Executed(Reply),
    /// It surely did not run.
    NotExecuted,
    /// It may have run.
    Unknown,
    /// Nothing: it may have run, or may still run.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) client: usize,
    pub(crate) op: Op,
    pub(crate) invoked: Moment,
    pub(crate) told_at: Moment,
    pub(crate) told: Told,
    /// Of an unknown outcome: since when it is settled. Whatever is acknowledged after that, is not overwritten by it.
    pub(crate) settled: Moment,
}

impl Entry {
    /// The reply, if it ran.
    pub(crate) fn reply(&self) -> Option<&Reply> {
        match &self.told {
            Told::Executed(reply) => Some(reply),
            Told::NotExecuted | Told::Unknown | Told::Closed => None,
        }
    }

    /// Whether it may have run and nobody knows.
    pub(crate) fn is_uncertain(&self) -> bool {
        matches!(self.told, Told::Unknown | Told::Closed)
    }
}

impl Reply {
    /// Of a complete frame, RESP2 or RESP3.
    pub(crate) fn parse(frame: &[u8]) -> Self {
        let text = String::from_utf8_lossy(frame);
        let (line, rest) = text.split_once("\r\n").expect("a frame has a line");
        let (kind, line) = line.split_at(1);
        match (kind, line) {
            ("+", "OK") => Self::Ok,
            ("+", _) => Self::Text(line.to_owned()),
            ("-", _) => Self::Error(line.to_owned()),
            (":", _) => Self::Integer(line.parse().expect("a small number")),
            ("_", _) | ("$" | "*", "-1") => Self::Null,
            ("$", _) => Self::Text(rest.trim_end().to_owned()),
            // Neither keys nor values of ours begin like a header.
            ("*" | ">", _) => {
                let is_element = |line: &&str| !line.is_empty() && !line.starts_with(['*', '$']);
                Self::List(
                    rest.split("\r\n").filter(is_element).map(|line| line.trim_start_matches(':').to_owned()).collect(),
                )
            }
            _ => panic!("nobody asked for {text}"),
        }
    }
}

/// Everything that happened in a schedule.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) entries: Vec<Entry>,
    pub(crate) subscriptions: Vec<Subscription>,
    /// What no client should have seen.
    pub(crate) violations: Vec<String>,
}

/// A subscriber's life, from confirmation to close.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subscription {
    pub(crate) confirmed: Moment,
    pub(crate) heard: Vec<Token>,
}

impl History {
    pub(crate) fn merge(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.subscriptions.extend(other.subscriptions);
        self.violations.extend(other.violations);
    }
}
