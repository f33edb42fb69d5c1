//! The values themselves, weighed in bytes: the least used leave when others need the room.

use std::cell::Cell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use ahash::RandomState;
use bytes::Bytes;
use quick_cache::unsync::Cache;
use quick_cache::{Equivalent, Lifecycle, Weighter};
use tokio::time::Instant;

use super::holds::Stamp;
use super::question::{Text, seconds};

/// Bytes of memory an entry takes besides its key and its text: the entry, its place, the ghosts of those that left.
const BESIDES: u64 = 256;

/// Of the memory, the part for keys that are not there: anybody can ask for those.
const NILS: usize = 16;

/// What is held of a key.
pub(super) struct Entry {
    /// As the server sent it; `None` if there is no such key.
    pub(super) text: Option<Text>,
    /// It could not be kept: only the server can answer.
    pub(super) is_unfit: bool,
    /// When it ends, at the earliest and at the latest; `None` if it lives for ever.
    pub(super) ends: Option<(Instant, Instant)>,
    pub(super) filled: Instant,
    /// When the server was last told that it is in use.
    pub(super) touched: Cell<Instant>,
    /// Of the connection that fetched it.
    pub(super) generation: u64,
    pub(super) stamp: Stamp,
}

impl Entry {
    /// What `PTTL` says, if that is certain.
    pub(super) fn milliseconds(&self) -> Option<i64> {
        match (&self.text, self.ends) {
            (None, _) => Some(-2),
            (Some(_), None) => Some(-1),
            (Some(_), Some(_)) => None,
        }
    }

    /// What `TTL` says, if that is certain.
    pub(super) fn seconds(&self, now: Instant) -> Option<i64> {
        match self.ends {
            Some((earliest, latest)) => seconds(earliest - now, latest - now),
            None => self.milliseconds(),
        }
    }

    /// Whether the server was not told for so long.
    pub(super) fn is_due(&self, after: Duration, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.touched.get()) >= after;
        if is_due {
            self.touched.set(now);
        }
        is_due
    }
}

#[derive(PartialEq, Eq)]
struct Key {
    db: u32,
    name: Bytes,
}

#[derive(PartialEq, Eq)]
struct KeyRef<'a> {
    db: u32,
    name: &'a [u8],
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { db: self.db, name: &self.name }.hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.db.hash(state);
        self.name.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.db == key.db && self.name == key.name
    }
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Key, Entry> for Bytewise {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        key.name.len() as u64 + entry.text.as_ref().map_or(0, |text| text.len() as u64) + BESIDES
    }
}

/// Counts those that leave for others.
#[derive(Debug, Clone, Default)]
struct Evictions(Rc<Cell<u64>>);

impl Lifecycle<Key, Entry> for Evictions {
    type RequestState = ();

    fn on_evict(&self, _: &mut (), _: Key, _: Entry) {
        self.0.set(self.0.get() + 1);
    }
}

type Held = Cache<Key, Entry, Bytewise, RandomState, Evictions>;

/// What is held.
pub(super) struct Keep {
    texts: Held,
    /// Keys that are not there.
    nils: Held,
    evictions: Evictions,
}

/// Counts only (G8).
impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.len())
    }
}

impl Keep {
    /// Room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let evictions = Evictions::default();
        let held = |bytes: usize| {
            // As many as there may be of a kilobyte each, to begin with.
            Held::with(bytes / 1024, bytes as u64, Bytewise, RandomState::new(), evictions.clone())
        };
        Self { texts: held(bytes - bytes / NILS), nils: held(bytes / NILS), evictions }
    }

    pub(super) fn get(&self, db: u32, key: &[u8]) -> Option<&Entry> {
        let key = KeyRef { db, name: key };
        self.texts.get(&key).or_else(|| self.nils.get(&key))
    }

    pub(super) fn insert(&mut self, db: u32, key: &Bytes, entry: Entry) {
        let (here, there) = match entry.text {
            Some(_) => (&mut self.texts, &mut self.nils),
            None => (&mut self.nils, &mut self.texts),
        };
        there.remove(&KeyRef { db, name: key });
        here.insert(Key { db, name: key.clone() }, entry);
    }

    pub(super) fn remove(&mut self, db: u32, key: &[u8]) {
        let key = KeyRef { db, name: key };
        self.texts.remove(&key);
        self.nils.remove(&key);
    }

    /// Forgets a database.
    pub(super) fn remove_all(&mut self, db: u32) {
        self.texts.retain(|key, _| key.db != db);
        self.nils.retain(|key, _| key.db != db);
    }

    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.nils.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len() + self.nils.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.texts.weight() + self.nils.weight()
    }

    /// How many have left for others since this was last asked.
    pub(super) fn take_evictions(&mut self) -> u64 {
        self.evictions.0.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Holds;

    fn entry(len: usize) -> Entry {
        let now = Instant::now();
        let stamp = Holds::new().quiet(b"k").expect("nobody writes");
        let text = (len > 0).then(|| Bytes::from(vec![b'x'; len]));
        Entry { text, is_unfit: false, ends: None, filled: now, touched: now.into(), generation: 1, stamp }
    }

    #[test]
    fn what_is_held_stays_within_its_bytes() {
        let mut keep = Keep::new(1 << 20);
        for n in 0..3000 {
            keep.insert(0, &Bytes::from(n.to_string()), entry(if n % 3 == 0 { 0 } else { 1000 }));
            assert!(keep.bytes() <= 1 << 20);
        }
        assert!(keep.len() > 800, "{} are held", keep.len());
        assert!(keep.take_evictions() > 1000);
    }

    #[test]
    fn a_key_is_another_one_in_another_database() {
        let mut keep = Keep::new(1 << 20);
        let key = Bytes::from_static(b"k");
        keep.insert(0, &key, entry(1));
        keep.insert(1, &key, entry(0));
        keep.insert(0, &key, entry(0));
        assert!(keep.get(0, b"k").is_some_and(|entry| entry.text.is_none()), "the newest counts");
        keep.remove_all(0);
        assert!(keep.get(0, b"k").is_none() && keep.get(1, b"k").is_some());
        keep.remove(1, b"k");
        assert_eq!((keep.len(), keep.bytes()), (0, 0));
    }
}
