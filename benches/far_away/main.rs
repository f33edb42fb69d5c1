//! What a session costs that is kept a way off: the proxy beside a client that speaks TLS to the server itself.
//!
//! ```text
//!                        TLS          distance         TLS
//! client ─────────────────────────▶ 0.5 ms each way ──────▶ redis-server
//! client ─ TCP ─▶ cloakroom ──────▶ 0.5 ms each way ──────▶ redis-server
//!                 forwarding, cached, confirmed
//! ```
//!
//! One of the four works at a time, each with a server of its own, and they take turns: read the ratios, which are
//! taken within a round, before the figures.
//!
//! [`place`] starts the processes, [`distance`] keeps them apart, [`latency`] measures single reads and [`page`]
//! what a web page asks for; [`mod@table`], which finds medians and ratios, is the one of `side_by_side`.
//! `benches/README.md` explains the columns. Nothing is asserted but that every answer is right.

mod client;
mod distance;
#[path = "../side_by_side/hits.rs"]
mod hits;
mod latency;
#[path = "../side_by_side/machine.rs"]
mod machine;
mod page;
mod place;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../side_by_side/table.rs"]
mod table;

use std::time::Duration;

use clap::Parser;

use place::{Kind, Place};
use support::Certificates;

/// Measures reads of sessions whose server is a way off.
#[derive(Debug, Parser)]
struct Args {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Microseconds to the server and back.
    #[arg(long, default_value_t = 1000)]
    round_trip: u64,
    /// Cargo adds it: see `main`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    // Without it, a test runner has come along, with arguments of its own and a debug build.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("nothing is measured without `cargo bench --bench far_away`");
        return;
    }
    let args = Args::parse();
    let certificates = Certificates::new();
    let round_trip = Duration::from_micros(args.round_trip);
    let places = Kind::ALL.map(|kind| Place::start(kind, &certificates, round_trip));
    machine::introduce();
    println!("- distance: {} µs there and back, TLS", args.round_trip);
    for place in &places {
        latency::fill(place, args.rounds);
        page::fill(place);
    }

    let mut latencies = Vec::new();
    let mut pages = page::CASES.map(|case| (case, Vec::new()));
    for round in 0..args.rounds {
        let turns = || places.iter().cycle().skip(round as usize).take(places.len());
        turns().for_each(|place| latencies.extend(latency::measure(place, round)));
        for (case, samples) in &mut pages {
            samples.extend(turns().map(|place| page::measure(place, *case, round)));
        }
        eprintln!("round {} of {} done", round + 1, args.rounds);
    }

    println!("\n### One GET at a time (one client, values of 500 B)\n");
    latency::tables(&latencies);
    for (case, samples) in &pages {
        println!("\n### {}\n", page::title(*case));
        page::tables(samples);
    }
}
