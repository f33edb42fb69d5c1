//! Tombstones in the proxy's own memory: sessions that were destroyed through it (`tombstones = "proxy"`).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::sightings::Mark;

/// Tombstones that stand at a time (G7): 32 MiB. Beyond it the oldest go, and are counted.
const MOST: usize = 1 << 20;

/// The tombstones. Workers share them.
#[derive(Default)]
pub struct Graves {
    /// The lock guards this one field, for a few lines.
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    /// When each was last destroyed, and until when that counts.
    destroyed: HashMap<u64, (Instant, Instant), ahash::RandomState>,
    /// In the order they were set in; one may have been set again since, or dropped.
    order: VecDeque<(Instant, u64)>,
    overflow: u64,
}

/// Counts only (G8).
impl fmt::Debug for Graves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} graves", self.len())
    }
}

impl Graves {
    /// None stands.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().expect("no thread panics while it holds this lock")
    }

    /// How many stand.
    pub fn len(&self) -> usize {
        self.standing().destroyed.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many had to go before their time since this was last asked.
    pub fn take_overflow(&self) -> u64 {
        std::mem::take(&mut self.standing().overflow)
    }

    /// A session is about to be destroyed.
    pub(super) fn set(&self, mark: Mark, window: Duration, now: Instant) {
        let Standing { destroyed, order, overflow } = &mut *self.standing();
        destroyed.insert(mark.number(), (now, now + window));
        order.push_back((now + window, mark.number()));
        while let Some((until, number)) = order.front().copied() {
            let is_over = until <= now;
            if !is_over && order.len() <= MOST {
                break;
            }
            order.pop_front();
            if destroyed.get(&number).is_some_and(|(_, last)| *last <= until) {
                destroyed.remove(&number);
                *overflow += u64::from(!is_over);
            }
        }
    }

    /// There was nothing to destroy.
    pub(super) fn lift(&self, mark: Mark, set: Instant) {
        let destroyed = &mut self.standing().destroyed;
        if destroyed.get(&mark.number()).is_some_and(|(at, _)| *at == set) {
            destroyed.remove(&mark.number());
        }
    }

    /// Whether the session was destroyed later than `seen`, or at all, and that still counts.
    pub(super) fn is_destroyed_since(&self, mark: Mark, seen: Option<Instant>, now: Instant) -> bool {
        let standing = self.standing();
        let grave = standing.destroyed.get(&mark.number()).filter(|(_, until)| *until > now);
        grave.is_some_and(|(at, _)| seen.is_none_or(|seen| seen < *at))
    }
}
