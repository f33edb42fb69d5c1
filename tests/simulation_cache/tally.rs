//! What came of simulations.

use std::time::Duration;

use super::plan::Plan;
use super::run::Sum;
use super::scene::{self, Seen};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: usize,
    /// Through a proxy, and answered.
    pub(crate) reads: usize,
    /// Of these, those for which nobody asked the server meanwhile.
    pub(crate) hits: usize,
    /// Of the reads, those with a staleness of 0, and of these the hits.
    pub(crate) strict_reads: usize,
    pub(crate) confirmed_hits: usize,
    pub(crate) not_read: usize,
    /// Through no proxy.
    pub(crate) direct: usize,
    pub(crate) writes: usize,
    pub(crate) not_written: usize,
    /// Of virtual time.
    pub(crate) length: Duration,
}

impl Tally {
    /// Where values are kept, what is judged has to be among them: each limit is more than six standard deviations
    /// below what 300 simulations come to.
    pub(crate) fn assert_is_not_vacuous(&self) {
        assert!(self.writes * 100 > self.reads, "hardly anything was written");
        assert!(self.hits * 10 > self.reads, "hardly anything was answered from memory");
        assert!(self.strict_reads * 10 > self.reads, "hardly anything was asked strictly");
        assert!(self.confirmed_hits * 30 > self.strict_reads, "hardly anything was confirmed");
    }
}

impl Sum for Tally {
    fn run(seed: u64, is_noted: bool) -> Result<Self, String> {
        let plan = Plan::new(seed);
        let seen = scene::simulate(&plan, is_noted);
        let (mut wrong, mut tally) = seen.judged(&plan);
        tally.length = seen.length;
        wrong.extend(seen.violations.iter().cloned());
        if wrong.is_empty() { Ok(tally) } else { Err(report(&plan, &wrong, Some(&seen))) }
    }

    fn panicked(seed: u64) -> String {
        report(&Plan::new(seed), &["a panic, see above".to_owned()], None)
    }

    fn hangs(seed: u64) -> String {
        report(&Plan::new(seed), &["it does not end, and its clock stands still".to_owned()], None)
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.reads += other.reads;
        self.hits += other.hits;
        self.strict_reads += other.strict_reads;
        self.confirmed_hits += other.confirmed_hits;
        self.not_read += other.not_read;
        self.direct += other.direct;
        self.writes += other.writes;
        self.not_written += other.not_written;
        self.length += other.length;
    }
}

/// Violations that are shown: the first is the shortest story.
const SHOWN: usize = 4;

fn report(plan: &Plan, wrong: &[String], seen: Option<&Seen>) -> String {
    let shown = wrong[..wrong.len().min(SHOWN)].join("\n");
    let mut text = format!(
        "CLOAKROOM_SEED={} cargo test --test simulation_cache\n{plan:#?}\n{} wrong:\n{shown}",
        plan.seed,
        wrong.len()
    );
    if let Some(seen) = seen.filter(|seen| !seen.notes.is_empty()) {
        text += &format!("\non the way:\n{}", seen.notes.join("\n"));
    }
    text
}
