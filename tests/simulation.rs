//! The whole proxy in paused time, between clients and a Redis of memory: what clients were told is true (G2, G3),
//! however often, whatever goes wrong.
//!
//! ```text
//! Client ─▶ workers, as they are ─▶ Link ─▶ model of Redis
//!   │        (src, all of it)         └ cut, late, silent, slow ... ─ by the seed, as is all else
//!   └▶ History ─▶ the judges of tests/faults
//! ```
//!
//! Nobody waits for a clock: where everybody waits, it goes on by itself, so that seconds take milliseconds. Everything
//! comes from a seed. `CLOAKROOM_SEED` runs one again and tells more; `CLOAKROOM_SIMULATIONS` is another number of
//! them, `CLOAKROOM_FAILURES` another number of failures after which no more are begun. `tests/mutations` proves that
//! mistakes are seen here.

mod support;

#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/compare.rs"]
mod compare;
#[path = "faults/history.rs"]
mod history;
#[path = "simulation/keys.rs"]
mod keys;
#[path = "simulation/link.rs"]
mod link;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/past.rs"]
mod past;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "faults/register.rs"]
mod register;
#[path = "simulation/resp.rs"]
mod resp;
#[path = "simulation/scene.rs"]
mod scene;
#[path = "faults/tokens.rs"]
mod tokens;
#[path = "simulation/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::catch_unwind;
use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use plan::Plan;
use scene::Tally;

const UNKNOWN: &str = "UNKNOWN upstream connection lost; outcome unknown";

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const QUEUE_TIMEOUT: Duration = Duration::from_millis(700);
const REPLY_TIMEOUT: Duration = Duration::from_millis(1200);

/// The longest any request waits.
const LONGEST: Duration = Duration::from_millis(700 + 1200 + 5000 + 600);

/// Simulations that are shown where something was wrong, and those after which no more are begun.
const SHOWN: usize = 3;
const ENOUGH: u64 = 20;

/// The longest the proxy is not ready when the server is.
const RECOVERY: Duration = Duration::from_secs(10);

/// Of the machine's time: whatever takes longer goes round and round while its clock stands still.
const HANGS: Duration = Duration::from_secs(60);

#[test]
fn what_clients_are_told_is_true_whatever_happens() {
    let asked_for = variable("CLOAKROOM_SEED");
    let first = asked_for.unwrap_or_else(|| fastrand::u64(..1 << 40));
    let count = if asked_for.is_some() { 1 } else { variable("CLOAKROOM_SIMULATIONS").unwrap_or(10_000) };
    let began = Instant::now();
    let (sum, failed) = run_all(first..first + count, asked_for.is_some());
    let speed = sum.length.as_secs_f64() / began.elapsed().as_secs_f64();
    eprintln!(
        "{count} simulations from {first} on, in {:?}, {speed:.0} times as fast as life: {sum:#?}",
        began.elapsed()
    );
    assert!(
        failed.is_empty(),
        "{} of {}, each to be had again with CLOAKROOM_SEED: {failed:?}",
        failed.len(),
        sum.count + failed.len()
    );
    assert!(sum.executed > 50 * count as usize, "hardly anything was asked");
    assert!(sum.undecided * 100 <= count as usize, "too much that nobody can judge");
}

/// Runs simulations on every core. What came of them, and the seeds of those in which something was wrong.
fn run_all(seeds: Range<u64>, is_noted: bool) -> (Tally, Vec<u64>) {
    let next = AtomicU64::new(seeds.start);
    let (sum, failed) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
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
            let result = catch_unwind(|| scene::run(seed, is_noted)).unwrap_or_else(|_| Err(scene::panicked(seed)));
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
                eprintln!("{}", scene::hangs(*seed));
                exit(1);
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    (sum.into_inner().expect("no panic"), failed.into_inner().expect("no panic"))
}

/// The same seed is the same simulation: whatever it finds can be had again.
#[test]
fn a_seed_says_everything() {
    let mut different = Vec::new();
    for seed in 0..variable("CLOAKROOM_SIMULATIONS").unwrap_or(200).min(1000) {
        let [one, other] = [(); 2].map(|()| {
            let seen = scene::simulate(&Plan::new(seed), true);
            format!("{:#?}\n{}", seen.history, seen.notes.join("\n"))
        });
        if one != other {
            different.push(seed);
        }
    }
    assert!(different.is_empty(), "these seeds are not the same twice: {different:?}");
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}
