//! Whether this machine has slept.
//!
//! The clock that lengths of time are measured by may stand still while a virtual machine does, and what is held would
//! pass for fresh. Then the clock on the wall has gone on without it. A wall clock that is only put right looks the same:
//! then everything is forgotten in vain.

use std::time::{Duration, Instant, SystemTime};

/// Clocks may differ by so much more than last time.
const MOST: Duration = Duration::from_millis(1);

/// The two clocks, read between two readings of the first.
pub type Reading = (Instant, SystemTime, Instant);

/// The clocks as they were last read.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<Reading>,
}

impl Clock {
    /// Whether one of them has gone on without the other.
    pub(super) fn have_jumped(&mut self, now: Reading) -> bool {
        let Some(last) = self.last.replace(now) else { return false };
        let least = now.0.saturating_duration_since(last.2);
        let most = now.2.saturating_duration_since(last.0);
        match now.1.duration_since(last.1) {
            Ok(elapsed) => elapsed + MOST < least || elapsed > most + MOST,
            Err(back) => back.duration() > MOST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_on_alone_is_noticed() {
        let ms = Duration::from_millis;
        let (start, wall) = (Instant::now(), SystemTime::now());
        for (clock, on_the_wall, reading, has_jumped) in [
            (ms(0), ms(0), ms(0), false),
            (ms(500), ms(500), ms(0), false),
            (ms(500), ms(520), ms(0), true),
            (ms(500), ms(520), ms(30), false),
            (ms(500), ms(480), ms(0), true),
            (ms(0), ms(3_600_000), ms(0), true),
        ] {
            let mut clocks = Clock::default();
            assert!(!clocks.have_jumped((start, wall, start)));
            let now = start + clock;
            assert_eq!(clocks.have_jumped((now, wall + on_the_wall, now + reading)), has_jumped, "{on_the_wall:?}");
        }
        let mut clocks = Clock::default();
        clocks.have_jumped((start, wall, start));
        assert!(clocks.have_jumped((start, wall - ms(5), start)));
    }
}
