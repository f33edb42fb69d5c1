//! When to try to connect: one pace for all workers, whoever it is that wants a connection.
//!
//! ```text
//! a server that is well     two handshakes at a time, never less than 1 ms apart
//! one that is away          one attempt for all, after a while that grows with each that fails
//! a wrong password          none for 30 s, unless somebody may have mended it
//! ```

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Mutex as Lock, MutexGuard as Held, Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;

/// Handshakes under way at a time: a server that comes back is not met by a herd.
const HANDSHAKES: usize = 2;

/// Between the beginnings of two attempts, so that however many connections are wanted at once, at most ten are made
/// within ten milliseconds.
const APART: Duration = Duration::from_millis(1);

/// How long a wrong password or certificate is left alone.
const HOLD_OFF: Duration = Duration::from_secs(30);

/// Who may try, and when.
#[derive(Debug)]
pub(super) struct Attempts {
    turns: Semaphore,
    /// Held by whoever tries, for all, a server that could not be reached.
    probe: Lock<()>,
    /// The lock guards these fields for a few lines at a time.
    pace: Mutex<Pace>,
    mended: Notify,
}

#[derive(Debug, Default)]
struct Pace {
    /// One has succeeded.
    is_known: bool,
    /// When the next may be made, after one that failed.
    next: Option<Instant>,
    backoff: Backoff,
    /// The next begins after this, however well they go.
    next_start: Option<Instant>,
    /// None before this: somebody must mend something.
    hold_until: Option<Instant>,
}

/// The right to make one attempt, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
    _probe: Option<Held<'a, ()>>,
}

impl Default for Attempts {
    fn default() -> Self {
        // One turn until the first has succeeded: a wrong password is tried once, not once a worker.
        Self { turns: Semaphore::new(1), probe: Lock::default(), pace: Mutex::default(), mended: Notify::new() }
    }
}

impl Attempts {
    /// Waits until an attempt may begin; `None` if trying is useless for now.
    ///
    /// # Cancel safety
    /// Whoever waits next gets the turn.
    pub(super) async fn begin(&self) -> Option<Turn<'_>> {
        let turn = self.turns.acquire().await.expect("the semaphore is never closed");
        let has_failed = || self.pace().next.is_some();
        let probe = if has_failed() { Some(self.probe.lock().await) } else { None };
        let probe = probe.filter(|_| has_failed());
        let now = Instant::now();
        let start = {
            let mut pace = self.pace();
            let start = pace.next_start.into_iter().chain(pace.next).fold(now, Instant::max);
            pace.next_start = Some(start + APART);
            start
        };
        if start > now {
            sleep_until(start).await;
        }
        // Whoever had the turn before may have found that.
        (!self.are_held_off(Instant::now())).then_some(Turn { _turn: turn, _probe: probe })
    }

    /// One has led to a connection.
    pub(super) fn succeeded(&self) {
        let mut pace = self.pace();
        if !pace.is_known {
            self.turns.add_permits(HANDSHAKES - 1);
        }
        *pace = Pace { is_known: true, next_start: pace.next_start, ..Pace::default() };
    }

    /// One has failed, for a reason that stays until somebody mends it, or for one that may pass. `random` is in
    /// `0.0..1.0`.
    pub(super) fn failed(&self, reason_stays: bool, now: Instant, random: f64) {
        let mut pace = self.pace();
        pace.next = Some(now + pace.backoff.next(random));
        pace.hold_until = reason_stays.then(|| now + HOLD_OFF);
    }

    /// What was wrong may be mended.
    pub(super) fn may_go_on(&self) {
        self.pace().hold_until = None;
        self.mended.notify_waiters();
    }

    /// Whether trying is useless for now.
    pub(super) fn are_held_off(&self, now: Instant) -> bool {
        self.pace().hold_until.is_some_and(|until| until > now)
    }

    /// Waits while trying is useless.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn wait_until_mended(&self) {
        loop {
            let mended = self.mended.notified();
            let Some(until) = self.pace().hold_until.filter(|until| *until > Instant::now()) else { return };
            tokio::select! {
                () = sleep_until(until) => {}
                () = mended => {}
            }
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().expect("no thread panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(since: Instant) -> u128 {
        since.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_let_in_one_after_the_other() {
        let (attempts, began) = (Attempts::default(), Instant::now());
        drop(attempts.begin().await);
        attempts.succeeded();
        for _ in 0..20 {
            drop(attempts.begin().await);
        }
        assert!((20..=40).contains(&millis(began)), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_server_is_away_one_tries_for_all() {
        let (attempts, began) = (Attempts::default(), Instant::now());
        drop(attempts.begin().await);
        attempts.succeeded();
        let tries = || async {
            let turn = attempts.begin().await;
            attempts.failed(false, Instant::now(), 1.0);
            drop(turn);
        };
        tokio::join!(tries(), tries(), tries(), tries());
        // The first two at once, then 50, 100, 200 ms.
        assert!((150..=400).contains(&millis(began)), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_wrong_is_not_tried_until_it_may_be_mended() {
        let (attempts, began) = (Attempts::default(), Instant::now());
        drop(attempts.begin().await);
        attempts.failed(true, Instant::now(), 1.0);
        assert!(attempts.begin().await.is_none());
        attempts.wait_until_mended().await;
        assert!(millis(began) >= 30_000);
        attempts.failed(true, Instant::now(), 1.0);
        let mended = Instant::now();
        tokio::join!(attempts.wait_until_mended(), async { attempts.may_go_on() });
        assert!(millis(mended) < 10 && attempts.begin().await.is_some());
    }
}
