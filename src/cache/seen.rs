//! Which keys have been read of late: a key is worth keeping once it is read again.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use ahash::RandomState;
use tokio::time::Instant;

/// A key read again within this is hot.
const HOT: Duration = Duration::from_secs(10);

/// Keys that are remembered: 256 KiB.
const PLACES: usize = 1 << 15;

/// For each key's place who was last read there, and when. Another key may take the place: then a hot one is hot a
/// read later.
pub(super) struct Seen {
    places: Box<[(u32, u32)]>,
    start: Instant,
    hasher: RandomState,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seen in {} places", self.places.len())
    }
}

impl Seen {
    pub(super) fn new(start: Instant) -> Self {
        Self { places: vec![(0, 0); PLACES].into(), start, hasher: RandomState::new() }
    }

    /// The key is read: whether it was of late.
    pub(super) fn again(&mut self, key: &impl Hash, now: Instant) -> bool {
        let hash = self.hasher.hash_one(key);
        // Not 0, which is an empty place.
        let tag = (hash >> 32) as u32 | 1;
        // In milliseconds: begins again after 49 days.
        let time = now.saturating_duration_since(self.start).as_millis() as u32;
        let (last, then) = std::mem::replace(&mut self.places[hash as usize % PLACES], (tag, time));
        last == tag && Duration::from_millis(u64::from(time.wrapping_sub(then))) <= HOT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hot_when_it_is_read_again_soon() {
        let start = Instant::now();
        let mut seen = Seen::new(start);
        assert!(!seen.again(&"a", start));
        assert!(seen.again(&"a", start + HOT));
        assert!(!seen.again(&"b", start));
        assert!(!seen.again(&"a", start + 2 * HOT + Duration::from_millis(1)));
    }
}
