//! Everything that happened to the keys of the model, and when: what nobody who asks a server can know.

#![allow(dead_code, reason = "only those who judge what was cached look at it")]

use std::collections::BTreeMap;
use std::fmt;

use super::keys::{Held, Millis};
use super::model::Id;

/// When something happened: of two things that happened in the same millisecond, which was first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp {
    pub(crate) millis: Millis,
    number: u64,
}

impl Stamp {
    pub(crate) const BEGINNING: Self = Self { millis: Millis::MIN, number: 0 };
    pub(crate) const END: Self = Self { millis: Millis::MAX, number: 0 };

    /// Before all else that happens then.
    pub(crate) fn at(millis: Millis) -> Self {
        Self { millis, number: 0 }
    }
}

/// The last digits do.
impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BEGINNING => f.write_str("the beginning"),
            Self::END => f.write_str("the end"),
            Self { millis, number } => write!(f, "{}#{number}", millis % 10_000_000),
        }
    }
}

/// A name in a database.
pub(crate) type Place = (u32, Vec<u8>);

/// What was executed.
#[derive(Debug, Clone)]
pub(crate) struct Executed {
    pub(crate) at: Stamp,
    pub(crate) by: Id,
    pub(crate) db: u32,
    pub(crate) name: String,
    pub(crate) args: Vec<Vec<u8>>,
}

impl Executed {
    pub(crate) fn shown(&self) -> String {
        let args: Vec<_> = self.args.iter().map(|arg| arg[..arg.len().min(12)].escape_ascii().to_string()).collect();
        format!("{:?} {} {} in {} by {}", self.at, self.name, args.join(" "), self.db, self.by)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Past {
    count: u64,
    /// What was held, since when. Before the first there was nothing.
    pub(crate) changes: BTreeMap<Place, Vec<(Stamp, Option<Held>)>>,
    pub(crate) executed: Vec<Executed>,
    /// When the server proved nothing to anybody, the last perhaps to this day.
    pub(crate) silences: Vec<(Stamp, Option<Stamp>)>,
}

impl Past {
    /// Now, and later than all that was.
    pub(crate) fn stamp(&mut self, millis: Millis) -> Stamp {
        self.count += 1;
        Stamp { millis, number: self.count }
    }

    pub(crate) fn execute(&mut self, by: Id, db: u32, name: &str, args: &[Vec<u8>], now: Millis) {
        let at = self.stamp(now);
        self.executed.push(Executed { at, by, db, name: name.to_owned(), args: args.to_vec() });
    }

    /// A key holds this, by what was executed last.
    pub(crate) fn hold(&mut self, place: Place, held: Option<Held>, now: Millis) {
        let at = Stamp { millis: now, number: self.count };
        let changes = self.changes.entry(place).or_default();
        if changes.last().map_or(&None, |(_, last)| last) != &held {
            changes.push((at, held));
        }
    }

    /// Whether it proves anything from now on.
    pub(crate) fn be_silent(&mut self, is_silent: bool, now: Millis) {
        let at = self.stamp(now);
        match self.silences.last_mut() {
            Some((_, end @ None)) if !is_silent => *end = Some(at),
            Some((_, None)) => {}
            _ if is_silent => self.silences.push((at, None)),
            _ => {}
        }
    }
}
