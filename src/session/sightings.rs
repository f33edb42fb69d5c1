//! What one client's connection has seen of sessions, and how often each was written.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ahash::RandomState;
use tokio::time::Instant;

use super::decide::TOO_LARGE;
use super::ledger::Ledger;
use super::script::Seen;

/// Sessions one connection remembers (G7). What it has forgotten, it has not seen: then any tombstone makes it stale.
const MOST: usize = 128;

/// How much later than we think an answer may have been given, by clocks that look at the time now and then.
const MARGIN: Duration = Duration::from_millis(3);

/// Places for counters: 1 MiB. Two sessions in one place only lead to a wrong count.
const PLACES: usize = 1 << 18;

/// A session, to whoever must only know it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Mark(u64);

/// How often each session was written through this proxy, and whether it was last seen alive. Workers share it.
pub struct Versions {
    places: Box<[AtomicU32]>,
    hasher: RandomState,
}

/// Counts only (G8).
impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Versions in {} places", self.places.len())
    }
}

/// The bit that says that the session was there when it was last read.
const ALIVE: u32 = 1;

impl Versions {
    /// Nothing was written.
    pub fn new() -> Arc<Self> {
        let places = (0..PLACES).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self { places, hasher: RandomState::new() })
    }

    pub(super) fn mark(&self, key: &[u8], db: u32) -> Mark {
        Mark(self.hasher.hash_one((db, key)))
    }

    fn place(&self, mark: Mark) -> &AtomicU32 {
        &self.places[mark.0 as usize % PLACES]
    }

    fn current(&self, mark: Mark) -> u32 {
        self.place(mark).load(Ordering::Relaxed) & !ALIVE
    }

    /// It is written: what was read before is old. `is_there`: it is there now.
    fn write(&self, mark: Mark, is_there: bool) -> u32 {
        let next = |counter: u32| (counter & !ALIVE).wrapping_add(2) | u32::from(is_there);
        let place = self.place(mark);
        let before = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |counter| Some(next(counter)));
        next(before.unwrap_or_default()) & !ALIVE
    }

    /// It was read. Whether it was there the last time and has gone since without being written.
    fn read(&self, mark: Mark, is_there: bool) -> bool {
        let place = self.place(mark);
        let before = place.load(Ordering::Relaxed);
        let after = (before & !ALIVE) | u32::from(is_there);
        // Most reads find what the last one has found: nothing is written then.
        before != after
            && place.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && !is_there
    }
}

/// What was last seen of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    mark: Mark,
    is_there: bool,
    at: Instant,
    version: u32,
}

/// What one client's connection has seen.
#[derive(Debug)]
pub struct Sightings {
    pub(super) ledger: Rc<Ledger>,
    pub(super) versions: Arc<Versions>,
    /// The one that was seen longest ago first.
    seen: RefCell<VecDeque<Sighting>>,
    /// How often it is destroying a session: that is not answered yet.
    destroying: RefCell<HashMap<Mark, u32>>,
}

impl Sightings {
    /// It has seen nothing.
    pub fn new(ledger: Rc<Ledger>, versions: Arc<Versions>) -> Rc<Self> {
        Rc::new(Self { ledger, versions, seen: RefCell::default(), destroying: RefCell::default() })
    }

    /// It was refused something, in these words.
    pub fn count_refusal(&self, text: &str) {
        self.ledger.add(|totals| match text == TOO_LARGE {
            true => totals.oversized += 1,
            false => totals.forbidden += 1,
        });
    }

    /// A touch was answered here.
    pub fn count_touch(&self) {
        self.ledger.add(|totals| totals.touched += 1);
    }

    /// It was told whether a session is there; `is_sure`: there is no other way to understand that it is not.
    pub(super) fn read(&self, mark: Mark, is_there: bool, is_sure: bool, now: Instant) {
        if (is_there || is_sure) && self.versions.read(mark, is_there) {
            self.ledger.add(|totals| totals.expired += 1);
        }
        self.see(Sighting { mark, is_there, at: now, version: self.versions.current(mark) });
    }

    /// It has written a session.
    pub(super) fn wrote(&self, mark: Mark, is_there: bool) {
        let version = self.versions.write(mark, is_there);
        let mut seen = self.seen.borrow_mut();
        let Some(place) = seen.iter().rposition(|sighting| sighting.mark == mark) else { return };
        match is_there {
            true => (seen[place].version, seen[place].is_there) = (version, true),
            // What it has ended itself it has not read as gone; what it had, is.
            false if seen[place].is_there => drop(seen.remove(place)),
            false => seen[place].version = version,
        }
    }

    fn see(&self, sighting: Sighting) {
        let mut seen = self.seen.borrow_mut();
        match seen.iter().rposition(|other| other.mark == sighting.mark) {
            Some(place) => drop(seen.remove(place)),
            None if seen.len() >= MOST => drop(seen.pop_front()),
            None => {}
        }
        seen.push_back(sighting);
    }

    fn last(&self, mark: Mark) -> Option<Sighting> {
        self.seen.borrow().iter().rfind(|sighting| sighting.mark == mark).copied()
    }

    /// Whether a session was there when it was last read.
    pub(super) fn is_there(&self, mark: Mark) -> bool {
        self.last(mark).is_some_and(|sighting| sighting.is_there)
    }

    /// What it knows of a session it may be about to create: how long ago it was told that it is gone, at least.
    pub(super) fn of(&self, mark: Mark, now: Instant) -> Seen {
        let Some(Sighting { at, is_there: false, .. }) = self.last(mark) else { return Seen::Nothing };
        let age = now.saturating_duration_since(at);
        // A thousandth of it may be wrong.
        let age = age.saturating_sub(age / 1000 + MARGIN);
        if age.is_zero() { Seen::Free } else { Seen::Ago(age) }
    }

    /// Whether it was last told that a session is not there.
    pub(super) fn is_gone(&self, mark: Mark) -> bool {
        self.last(mark).is_some_and(|sighting| !sighting.is_there)
    }

    /// It is about to write a session: for what it has seen to be gone before, it may create no other one.
    pub(super) fn use_up(&self) -> Vec<Sighting> {
        let mut seen = self.seen.borrow_mut();
        if seen.iter().all(|sighting| sighting.is_there) {
            return Vec::new();
        }
        let (there, gone): (Vec<_>, Vec<_>) = seen.drain(..).partition(|sighting| sighting.is_there);
        seen.extend(there);
        gone
    }

    /// Nothing was written: what it had seen holds, unless it has seen more since.
    pub(super) fn give_back(&self, gone: Vec<Sighting>) {
        for sighting in gone {
            if self.last(sighting.mark).is_none() {
                self.see(sighting);
            }
        }
    }

    /// Whether somebody has written a session since it read it.
    pub(super) fn is_outdated(&self, mark: Mark) -> bool {
        let last = self.last(mark).filter(|sighting| sighting.is_there);
        last.is_some_and(|sighting| sighting.version != self.versions.current(mark))
    }

    /// It begins, or ceases, to destroy these sessions.
    pub(super) fn destroys(&self, marks: &[Mark], begins: bool) {
        let mut destroying = self.destroying.borrow_mut();
        for mark in marks {
            let times = destroying.entry(*mark).or_default();
            *times = if begins { *times + 1 } else { times.saturating_sub(1) };
            if *times == 0 {
                destroying.remove(mark);
            }
        }
        if destroying.is_empty() {
            destroying.shrink_to(16);
        }
    }

    /// Whether it is destroying that session: what it writes behind is its own new one.
    pub(super) fn is_destroying(&self, mark: Mark) -> bool {
        self.destroying.borrow().contains_key(&mark)
    }
}
