//! What clients did: asked when, told what when.

use std::fmt;

use super::answer::{Answer, brief};
use super::past::{Place, Stamp};

/// What a read asks of each of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aspect {
    Value,
    Length,
    Existence,
    Seconds,
    Milliseconds,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// Of keys in this database. `is_direct`: no value that is kept is good enough.
    Read {
        aspect: Aspect,
        db: u32,
        keys: Vec<&'static str>,
        is_direct: bool,
    },
    Write {
        db: u32,
        words: Vec<String>,
    },
}

impl Op {
    /// The places it reads.
    pub(crate) fn places(&self) -> Vec<Place> {
        match self {
            Self::Read { db, keys, .. } => keys.iter().map(|key| (*db, key.as_bytes().to_vec())).collect(),
            Self::Write { .. } => Vec::new(),
        }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { aspect, db, keys, is_direct } => {
                let direct = if *is_direct { ", not cached" } else { "" };
                write!(f, "{aspect:?} of {} in {db}{direct}", keys.join(", "))
            }
            Self::Write { db, words } => {
                let words: Vec<_> = words.iter().map(|word| brief(word.as_bytes())).collect();
                write!(f, "{} in {db}", words.join(" "))
            }
        }
    }
}

/// A client of which connection: what one was told binds only what the same one is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life {
    pub(crate) client: usize,
    pub(crate) number: usize,
}

#[derive(Clone)]
pub(crate) struct Deed {
    pub(crate) life: Life,
    /// Through which proxy; `None`: through none.
    pub(crate) proxy: Option<usize>,
    pub(crate) op: Op,
    pub(crate) invoked: Stamp,
    pub(crate) told_at: Stamp,
    /// `None`: nothing but a close.
    pub(crate) answer: Option<Answer>,
}

impl fmt::Debug for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { life, proxy, op, invoked, told_at, answer } = self;
        let way = proxy.map_or("directly".to_owned(), |proxy| format!("through {proxy}"));
        write!(f, "{invoked:?} - {told_at:?} client {}.{} {way}: {op:?}: {answer:?}", life.client, life.number)
    }
}
