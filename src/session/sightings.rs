//! What one client's connection has seen of sessions, and how often each was written.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::{Rc, Weak};
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
const MARGIN: Duration = Duration::from_millis(10);

/// Places for counters: 1 MiB. Two sessions in one place only lead to a wrong count.
const PLACES: usize = 1 << 18;

/// A session, to whoever must only know it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

/// How often each session was written through this proxy, and whether it was last seen alive. Workers share it.
pub struct Versions {
    places: Box<[AtomicU32]>,
    hasher: RandomState,
}

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

    /// It is written: what was read before is old. `is_alive`: it is there now.
    fn write(&self, mark: Mark, is_alive: bool) -> u32 {
        let next = |counter: u32| (counter & !ALIVE).wrapping_add(2) | u32::from(is_alive);
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
struct Sighting {
    mark: Mark,
    /// When it was seen to be gone; `None` if it was there.
    gone: Option<Instant>,
    version: u32,
}

/// What one client's connection has seen.
#[derive(Debug)]
pub struct Sightings {
    pub(super) ledger: Rc<Ledger>,
    pub(super) versions: Arc<Versions>,
    seen: RefCell<VecDeque<Sighting>>,
    /// Sessions it is destroying: that is not answered yet.
    destroying: RefCell<Vec<(Mark, Weak<()>)>>,
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

    /// It was told whether a session is there.
    pub(super) fn read(&self, mark: Mark, is_there: bool, now: Instant) {
        if self.versions.read(mark, is_there) {
            self.ledger.add(|totals| totals.expired += 1);
        }
        self.see(Sighting { mark, gone: (!is_there).then_some(now), version: self.versions.current(mark) });
    }

    /// It has written a session.
    pub(super) fn wrote(&self, mark: Mark, is_there: bool) {
        let version = self.versions.write(mark, is_there);
        if let Some(sighting) = self.seen.borrow_mut().iter_mut().find(|sighting| sighting.mark == mark) {
            sighting.version = version;
            sighting.gone = sighting.gone.filter(|_| !is_there);
        }
    }

    fn see(&self, sighting: Sighting) {
        let mut seen = self.seen.borrow_mut();
        match seen.iter_mut().rfind(|other| other.mark == sighting.mark) {
            Some(other) => *other = sighting,
            None => {
                if seen.len() >= MOST {
                    seen.pop_front();
                }
                seen.push_back(sighting);
            }
        }
    }

    /// What it knows of a session it may be about to create: when it was last told that it is gone.
    pub(super) fn gone(&self, mark: Mark) -> Option<Instant> {
        self.seen.borrow().iter().rfind(|sighting| sighting.mark == mark)?.gone
    }

    /// How long ago that was, at least.
    pub(super) fn of(&self, mark: Mark, now: Instant) -> Seen {
        let Some(gone) = self.gone(mark) else { return Seen::Nothing };
        let age = now.saturating_duration_since(gone);
        // A thousandth of it may be wrong.
        let age = age.saturating_sub(age / 1000 + MARGIN);
        if age.is_zero() { Seen::Free } else { Seen::GoneFor(age) }
    }

    /// It is about to write sessions: it may create no other one for what it has seen before.
    pub(super) fn use_up(&self) {
        self.seen.borrow_mut().retain(|sighting| sighting.gone.is_none());
    }

    /// Whether somebody has written a session since it read it.
    pub(super) fn is_outdated(&self, mark: Mark) -> bool {
        let seen = self.seen.borrow();
        let sighting = seen.iter().rfind(|sighting| sighting.mark == mark);
        sighting.is_some_and(|sighting| sighting.gone.is_none() && sighting.version != self.versions.current(mark))
    }

    /// It is destroying a session, until what is returned is dropped.
    pub(super) fn destroys(&self, marks: impl Iterator<Item = Mark>) -> Rc<()> {
        let until = Rc::new(());
        let mut destroying = self.destroying.borrow_mut();
        destroying.retain(|(_, until)| until.strong_count() > 0);
        destroying.extend(marks.map(|mark| (mark, Rc::downgrade(&until))));
        until
    }

    /// Whether it is destroying that session: what it writes behind is its own new one.
    pub(super) fn is_destroying(&self, mark: Mark) -> bool {
        self.destroying.borrow().iter().any(|(other, until)| *other == mark && until.strong_count() > 0)
    }
}
