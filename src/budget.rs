//! The memory all clients may take together (`limits.memory`, G7).
//!
//! Each client's limits bound what *one* may hold; ten thousand of them multiply. So what they hold is added up,
//! across the workers. When three quarters of the budget are used, those who hold something get no further requests
//! accepted; past it, those who hold most are closed (`downstream::worker`). Who holds little does not notice.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Less than this is not added up: nearly all clients hold less nearly always, and cost nothing here.
const GRAIN: usize = 16 << 10;

/// The sum, and what it may be.
#[derive(Debug)]
pub struct Budget {
    held: AtomicUsize,
    most: AtomicUsize,
}

impl Budget {
    /// Nothing held of `most` bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), most: AtomicUsize::new(most) })
    }

    /// From now on it is `most` bytes.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Bytes all clients hold.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes held too many.
    pub fn excess(&self) -> usize {
        self.held().saturating_sub(self.most.load(Ordering::Relaxed))
    }

    /// Whether nothing should be added to what is held.
    pub fn is_short(&self) -> bool {
        self.held() > self.most.load(Ordering::Relaxed) / 4 * 3
    }
}

/// One client's part, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    held: Cell<usize>,
}

impl Share {
    /// Nothing yet.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { budget, held: Cell::new(0) }
    }

    /// Bytes the client holds now. Whether somebody must be closed for it.
    pub fn set(&self, bytes: usize) -> bool {
        let (before, now) = (self.held.get(), bytes / GRAIN * GRAIN);
        if now == before {
            return false;
        }
        self.held.set(now);
        match now.checked_sub(before) {
            Some(more) => self.budget.held.fetch_add(more, Ordering::Relaxed),
            None => self.budget.held.fetch_sub(before - now, Ordering::Relaxed),
        };
        now > before && self.budget.excess() > 0
    }

    /// Bytes it was last said to hold.
    pub fn held(&self) -> usize {
        self.held.get()
    }

    /// Whether nothing may be read from the client: there is no memory, and it is one of those who hold some.
    pub fn must_wait(&self) -> bool {
        self.held.get() > 0 && self.budget.excess() > 0
    }

    /// Whether the client must give way: memory is short, and it is one of those who hold some.
    pub fn must_give_way(&self) -> bool {
        self.held.get() > 0 && self.budget.is_short()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// How many of the `holders`, the largest first, must go so that `excess` bytes are given back.
pub fn to_shed(holders: &mut [(usize, u64)], mut excess: usize) -> impl Iterator<Item = u64> {
    holders.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
    holders.iter().map_while(move |(held, client)| {
        let is_needed = excess > 0 && *held > 0;
        excess = excess.saturating_sub(*held);
        is_needed.then_some(*client)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_hold_is_added_up_and_given_back() {
        let budget = Budget::new(3 * GRAIN);
        let (small, large) = (Share::new(budget.clone()), Share::new(budget.clone()));
        assert!(!small.set(GRAIN - 1) && !large.set(2 * GRAIN));
        assert!(!large.must_give_way());
        assert!(!large.set(3 * GRAIN));
        assert_eq!((budget.held(), budget.excess()), (3 * GRAIN, 0));
        assert!(large.set(5 * GRAIN));
        assert_eq!(budget.excess(), 2 * GRAIN);
        assert!(large.must_give_way() && !small.must_give_way());
        assert!(large.must_wait() && !small.must_wait());
        drop(large);
        assert_eq!(budget.held(), 0);
        drop(small);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn those_who_hold_most_are_shed_first_and_no_more_than_needed() {
        let shed = |excess| to_shed(&mut [(10, 1), (0, 2), (40, 3), (30, 4)], excess).collect::<Vec<_>>();
        assert_eq!(shed(0), []);
        assert_eq!(shed(40), [3]);
        assert_eq!(shed(41), [3, 4]);
        assert_eq!(shed(1000), [3, 4, 1]);
    }
}
