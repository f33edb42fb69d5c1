//! Hot sessions are answered from memory, and are never older than promised (G4).
//!
//! ```text
//! Reader, Writer ─▶ Proxy ─▶ Relay ─┐
//! Reader, Writer ─▶ Proxy ─▶ Relay ─┼▶ RedisServer ─▶ its log ─▶ timeline: what each key held, in order
//! Reader, Writer ───────────────────┘                               │ and when
//!        └▶ History ────────────────────────────────────────────▶ judge: could each read have found that?
//! ```
//!
//! A schedule of reads, writes and trouble comes from a seed; when exactly things happen is up to the machine.
//! `CLOAKROOM_SEED` runs the one schedule that failed again, `CLOAKROOM_SCHEDULES` is another number of them.

mod support;

#[path = "hot_sessions/away.rs"]
mod away;
#[path = "hot_sessions/bounds.rs"]
mod bounds;
#[path = "hot_sessions/facts.rs"]
mod facts;
#[path = "faults/fault.rs"]
#[allow(dead_code, reason = "the silences are for those who judge writes")]
mod fault;
#[path = "hot_sessions/fresh.rs"]
mod fresh;
#[path = "hot_sessions/history.rs"]
mod history;
#[path = "hot_sessions/hits.rs"]
mod hits;
#[path = "hot_sessions/judge.rs"]
mod judge;
#[path = "hot_sessions/judged.rs"]
mod judged;
#[path = "hot_sessions/lagging.rs"]
mod lagging;
#[path = "hot_sessions/reader.rs"]
mod reader;
#[path = "hot_sessions/schedule.rs"]
mod schedule;
#[path = "hot_sessions/talk.rs"]
mod talk;
#[path = "hot_sessions/timeline.rs"]
mod timeline;
#[path = "hot_sessions/trouble.rs"]
mod trouble;
#[path = "hot_sessions/untracked.rs"]
mod untracked;
#[path = "hot_sessions/writer.rs"]
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use schedule::{Course, Tally};
use support::Certificates;

const QUEUE_TIMEOUT: Duration = Duration::from_millis(700);
const REPLY_TIMEOUT: Duration = Duration::from_millis(1200);

#[test]
fn hits_are_never_older_than_staleness_whatever_happens() {
    let test = "hits_are_never_older_than_staleness_whatever_happens";
    run_all(Course { test, staleness: &[20, 50, 100, 100, 300] }, 20);
}

#[test]
fn without_staleness_reads_are_linearizable_whatever_happens() {
    let test = "without_staleness_reads_are_linearizable_whatever_happens";
    run_all(Course { test, staleness: &[0] }, 20);
}

/// Runs so many schedules, or those that are asked for.
fn run_all(course: Course, by_default: u64) {
    let asked_for = variable("CLOAKROOM_SEED");
    let first = asked_for.unwrap_or_else(|| fastrand::u64(..1 << 40));
    let count = if asked_for.is_some() { 1 } else { variable("CLOAKROOM_SCHEDULES").unwrap_or(by_default) };
    let certificates = Certificates::new();
    let mut sum = Tally::default();
    let mut failed = Vec::new();
    for seed in first..first + count {
        // A client or a helper that panicked, the proxy not ready in time: the seed is shown all the same.
        let run = AssertUnwindSafe(|| schedule::run(course, seed, &certificates));
        match catch_unwind(run).unwrap_or_else(|_| Err(schedule::panicked(course, seed))) {
            Ok(tally) => sum.add(&tally),
            Err(wrong) => {
                eprintln!("{wrong}");
                failed.push(seed);
            }
        }
    }
    eprintln!("{}: {count} schedules from {first} on, {sum:?}", course.test);
    assert!(
        failed.is_empty(),
        "{} of {count} schedules, each to be had again with CLOAKROOM_SEED: {failed:?}",
        failed.len()
    );
    assert!(sum.reads > 5_000 * count as usize, "hardly anything was read");
    assert!(sum.undecided * 5 <= count as usize, "too much that nobody can judge");
    let (hits, waits) = (sum.metric("hits_total"), sum.metric("waits_total"));
    assert!(hits * 2 > sum.through_proxies as u64, "only {hits} hits in {} reads", sum.through_proxies);
    assert!(waits > 0, "no hit waited for a fence");
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}
