//! Which keys have been written through this proxy: whether a lost write may be sent again (`reconnect = "eager"`).
//!
//! Sent again, a write must not undo another one that came between. So each write marks its keys as it begins, and
//! again as it ends. Whoever finds every mark as it was when its own write began knows that nobody else here has
//! written these keys since, or was just writing them. Keys share their marks with others: then a write that would
//! have been harmless is not sent again, which is always safe.
//!
//! ```text
//! SET a 1   begins ──────────── lost ───────────────▶ untouched? ── yes ─▶ sent again
//! SET a 2             begins ───────── ends                 └ no ─▶ outcome unknown
//! ```
//!
//! Writes from elsewhere leave no mark, and one that begins while another is under way for the second time may be undone
//! by it: that is the risk of `eager`, and `docs/errors.md` says so.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::command::{Command, Effect, Shape, Touches};

/// Places for marks. The first is for writes of which nobody knows the keys.
const PLACES: usize = 1 << 14;

const ANY_KEY: usize = 0;

/// The marks. Workers share them.
pub(super) struct Writes {
    places: Box<[Place]>,
}

#[derive(Default)]
struct Place {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A write under way: it ends when this is dropped.
pub struct Mark {
    writes: Arc<Writes>,
    places: Box<[usize]>,
    /// What was counted as it began; `None` if others were under way.
    sum: Option<u64>,
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark of {} places", self.places.len())
    }
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writes in {} places", self.places.len())
    }
}

impl Place {
    fn sum(&self) -> u64 {
        self.begun.load(Ordering::SeqCst).wrapping_add(self.ended.load(Ordering::SeqCst))
    }

    /// A write begins here. The sum from then on, if it is alone.
    fn begin(&self) -> Option<u64> {
        let begun = self.begun.fetch_add(1, Ordering::SeqCst);
        let ended = self.ended.load(Ordering::SeqCst);
        // Not read again: one that begins meanwhile is none of ours.
        (begun == ended).then(|| begun.wrapping_add(1).wrapping_add(ended))
    }

    /// The sum, if nobody is writing.
    fn quiet(&self) -> Option<u64> {
        let begun = self.begun.load(Ordering::SeqCst);
        let ended = self.ended.load(Ordering::SeqCst);
        (begun == ended).then(|| begun.wrapping_add(ended))
    }
}

impl Writes {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { places: (0..PLACES).map(|_| Place::default()).collect() })
    }

    /// A command begins; `None` if it writes nothing.
    pub(super) fn begin(self: &Arc<Self>, command: &Command<'_>) -> Option<Mark> {
        if command.effect() == Effect::Read {
            return None;
        }
        Some(match command.keys() {
            // A script may write what it has not declared.
            _ if command.shape() == Shape::Script => self.begin_any(),
            Touches::None => return None,
            Touches::These(keys) => self.mark(keys.map(place).collect()),
            Touches::Any => self.begin_any(),
        })
    }

    /// Some command begins.
    pub(super) fn begin_any(self: &Arc<Self>) -> Mark {
        self.mark(vec![ANY_KEY])
    }

    fn mark(self: &Arc<Self>, mut places: Vec<usize>) -> Mark {
        places.sort_unstable();
        places.dedup();
        let is_any = places == [ANY_KEY];
        let any = if is_any { Some(0) } else { self.places[ANY_KEY].quiet() };
        // Each must begin, whatever became of the others.
        let begun: Vec<_> = places.iter().map(|place| self.places[*place].begin()).collect();
        let sum = begun.into_iter().chain([any]).try_fold(0, |sum: u64, part| Some(sum.wrapping_add(part?)));
        Mark { writes: Arc::clone(self), places: places.into(), sum }
    }

    fn sum(&self, places: &[usize]) -> u64 {
        let places = places.iter().filter(|place| **place != ANY_KEY).chain([&ANY_KEY]);
        places.fold(0, |sum: u64, place| sum.wrapping_add(self.places[*place].sum()))
    }
}

impl Mark {
    /// Whether no other write has touched its keys since it began.
    pub(super) fn is_untouched(&self) -> bool {
        self.sum == Some(self.writes.sum(&self.places))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        for place in &self.places {
            self.writes.places[*place].ended.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn place(key: &[u8]) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    1 + hasher.finish() as usize % (PLACES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(writes: &Arc<Writes>, keys: &[&str]) -> Mark {
        writes.mark(keys.iter().map(|key| place(key.as_bytes())).collect())
    }

    #[test]
    fn a_write_alone_is_untouched() {
        let writes = Writes::new();
        let a = mark(&writes, &["a", "b", "a"]);
        let _other = mark(&writes, &["c"]);
        assert!(a.is_untouched());
        drop(a);
        assert!(mark(&writes, &["a"]).is_untouched(), "the other has ended");
    }

    #[test]
    fn another_write_of_a_key_touches_it() {
        let writes = Writes::new();
        let first = mark(&writes, &["a"]);
        let second = mark(&writes, &["b", "a"]);
        assert!(!first.is_untouched(), "the second began");
        assert!(!second.is_untouched(), "the first was under way");
        drop(first);
        assert!(!second.is_untouched());
        drop(second);
        let third = mark(&writes, &["a"]);
        drop(mark(&writes, &["a"]));
        assert!(!third.is_untouched(), "one came and went");
    }

    /// Of two that begin at the same moment, on two threads, neither is alone.
    #[test]
    fn two_writes_at_a_time_touch_each_other() {
        let writes = Writes::new();
        for _ in 0..2000 {
            let barrier = std::sync::Barrier::new(2);
            let run = || {
                barrier.wait();
                mark(&writes, &["a"])
            };
            let (one, other) = std::thread::scope(|scope| {
                let (one, other) = (scope.spawn(run), scope.spawn(run));
                (one.join().expect("no panic"), other.join().expect("no panic"))
            });
            assert!(!one.is_untouched() && !other.is_untouched());
        }
    }

    #[test]
    fn a_write_of_any_key_touches_all() {
        let writes = Writes::new();
        let any = writes.mark(vec![ANY_KEY]);
        let a = mark(&writes, &["a"]);
        assert!(!a.is_untouched());
        drop(any);
        let b = mark(&writes, &["b"]);
        assert!(b.is_untouched());
        drop(writes.mark(vec![ANY_KEY]));
        assert!(!b.is_untouched());
    }
}
