//! Many simulations, on every core.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::catch_unwind;
use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// Simulations that are shown where something was wrong, and those after which no more are begun.
const SHOWN: usize = 3;
const ENOUGH: u64 = 20;

/// Of the machine's time: whatever takes longer goes round and round while its clock stands still.
const HANGS: Duration = Duration::from_secs(60);

/// What came of simulations.
pub(crate) trait Sum: Default + Send {
    /// Runs the simulation of a seed. The error is everything that was wrong.
    fn run(seed: u64, is_noted: bool) -> Result<Self, String>;
    /// For a seed that came to no end.
    fn panicked(seed: u64) -> String;
    /// The same, without a panic.
    fn hangs(seed: u64) -> String;
    fn add(&mut self, other: Self);
}

/// Runs simulations on every core. What came of them, and the seeds of those in which something was wrong.
pub(crate) fn all<S: Sum>(seeds: Range<u64>, is_noted: bool) -> (S, Vec<u64>) {
    let next = AtomicU64::new(seeds.start);
    let (sum, failed) = (Mutex::new(S::default()), Mutex::new(Vec::new()));
    let enough = variable("CLOAKROOM_FAILURES").unwrap_or(ENOUGH) as usize;
    // What each thread is at, and since when.
    let running = Mutex::new(BTreeMap::new());
    let work = &|number: usize| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.lock().expect("no panic").len() >= enough {
                running.lock().expect("no panic").remove(&number);
                return;
            }
            running.lock().expect("no panic").insert(number, (seed, Instant::now()));
            // A panic: the seed is shown all the same.
            let result = catch_unwind(|| S::run(seed, is_noted)).unwrap_or_else(|_| Err(S::panicked(seed)));
            match result {
                Ok(tally) => sum.lock().expect("no panic").add(tally),
                Err(wrong) => {
                    let mut failed = failed.lock().expect("no panic");
                    if failed.len() < SHOWN {
                        eprintln!("{wrong}\n");
                    }
                    failed.push(seed);
                }
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        while !threads.iter().all(ScopedJoinHandle::is_finished) {
            if let Some((seed, _)) =
                running.lock().expect("no panic").values().find(|(_, since)| since.elapsed() > HANGS)
            {
                eprintln!("{}", S::hangs(*seed));
                exit(1);
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    (sum.into_inner().expect("no panic"), failed.into_inner().expect("no panic"))
}

pub(crate) fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}
