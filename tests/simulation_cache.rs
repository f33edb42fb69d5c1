//! Two proxies that keep values, in paused time, before one Redis of memory: what clients read is as new as promised
//! (G4), whatever goes wrong.
//!
//! ```text
//! Client ─▶ proxy ─┐                               every change, every command: Past
//! Client ─▶ proxy ─┼─▶ Link ─▶ model of Redis ─┐             │
//! Client ──────────┘    └ cut, late, silent     └ expires, evicts, is demoted
//!   └▶ Deed: asked when, told what when ────────────────────▶ the judge
//! ```
//!
//! The judge knows what the server held at any time, so that a read is right if it was held at a time it may be of.
//! `tests/simulation.rs` tells how seeds and their variables are used, and compares the model with a real server.

mod support;

#[path = "simulation_cache/answer.rs"]
mod answer;
#[path = "simulation_cache/client.rs"]
mod client;
#[path = "simulation_cache/deed.rs"]
mod deed;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation_cache/judge.rs"]
mod judge;
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
#[path = "simulation_cache/plan.rs"]
mod plan;
#[path = "simulation/resp.rs"]
mod resp;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation_cache/scene.rs"]
mod scene;
#[path = "simulation_cache/spans.rs"]
mod spans;
#[path = "simulation_cache/tally.rs"]
mod tally;
#[path = "simulation/wire.rs"]
mod wire;

use std::time::{Duration, Instant};

use plan::Plan;
use run::variable;
use tally::Tally;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const QUEUE_TIMEOUT: Duration = Duration::from_millis(700);
const REPLY_TIMEOUT: Duration = Duration::from_millis(1200);

/// The longest any request waits.
const LONGEST: Duration = Duration::from_millis(700 + 1200 + 5000 + 600);

/// The longest the proxies are not ready when the server is.
const RECOVERY: Duration = Duration::from_secs(10);

#[test]
fn what_clients_read_is_as_new_as_promised_whatever_happens() {
    let asked_for = variable("CLOAKROOM_SEED");
    let first = asked_for.unwrap_or_else(|| fastrand::u64(..1 << 40));
    let count = if asked_for.is_some() { 1 } else { variable("CLOAKROOM_SIMULATIONS").unwrap_or(300) };
    let began = Instant::now();
    let (sum, failed) = run::all::<Tally>(first..first + count, asked_for.is_some());
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
    assert!(sum.reads > 50 * count as usize, "hardly anything was read");
    if asked_for.is_none() && count >= 50 {
        sum.assert_is_not_vacuous();
    }
}

/// The same seed is the same simulation: whatever it finds can be had again.
#[test]
fn a_seed_says_everything() {
    let mut different = Vec::new();
    for seed in 0..variable("CLOAKROOM_SIMULATIONS").unwrap_or(40).min(300) {
        let [one, other] = [(); 2].map(|()| {
            let seen = scene::simulate(&Plan::new(seed), true);
            format!("{:#?}\n{}", seen.deeds, seen.notes.join("\n"))
        });
        if one != other {
            different.push(seed);
        }
    }
    assert!(different.is_empty(), "these seeds are not the same twice: {different:?}");
}
