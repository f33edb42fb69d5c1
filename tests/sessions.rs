//! Every session expires, and a destroyed one stays destroyed (G5, G6).
//!
//! ```text
//! Random commands ─▶ Proxy ─▶ Relay ─▶ RedisServer ◀─ looks for what never ends
//!        └──────────────────────────────────┘          expiry: no session is without an end, whatever happens
//!                                                       replies: the rules are seen only where they must be
//! Requests, logouts ─▶ Proxy ─┐
//! Requests, logouts ─▶ Proxy ─┴─▶ RedisServer ─▶ its log of what was done
//!                                                       late: what had read a session does not bring it back
//! ```
//!
//! What is random comes from a seed: `CLOAKROOM_SEED` runs the one that failed again, `CLOAKROOM_SCHEDULES` is another
//! number of them. What each rule does by itself is in `rules`, in front of
//! which servers in `versions`.

mod support;

#[path = "sessions/commands.rs"]
mod commands;
#[path = "sessions/concurrent.rs"]
mod concurrent;
#[path = "sessions/expiry.rs"]
mod expiry;
#[path = "sessions/late.rs"]
mod late;
#[path = "sessions/replies.rs"]
mod replies;
#[path = "sessions/rules.rs"]
mod rules;
#[path = "sessions/versions.rs"]
mod versions;

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Runs `schedule` with so many seeds, or those that are asked for, some `at_once`. What came of each.
fn run_all<T: Send>(test: &str, by_default: u64, at_once: usize, schedule: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let asked_for = variable("CLOAKROOM_SEED");
    let first = asked_for.unwrap_or_else(|| fastrand::u64(..1 << 40));
    let count = if asked_for.is_some() { 1 } else { variable("CLOAKROOM_SCHEDULES").unwrap_or(by_default) };
    assert_ne!(count, 0, "no schedule");
    let (next, done, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || failed.lock().expect("no panic").len() > 2 {
                        return;
                    }
                    // Whoever panicked: the seed is shown all the same.
                    match catch_unwind(AssertUnwindSafe(|| schedule(seed))) {
                        Ok(result) => done.lock().expect("no panic").push(result),
                        Err(_) => failed.lock().expect("no panic").push(seed),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{test}: to be had again with CLOAKROOM_SEED: {failed:?}");
    done.into_inner().expect("no panic")
}

/// What there was, for whoever reads the output of a run.
fn report(test: &str, what: impl Debug) {
    eprintln!("{test}: {what:?}");
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}
