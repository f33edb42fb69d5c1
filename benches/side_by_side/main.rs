//! The proxy beside nutcracker and beside no proxy at all, measured in one interleaved run.
//!
//! ```text
//! redis-benchmark ──────────────▶ redis-server     each target has a server of its own,
//! redis-benchmark ▶ nutcracker ─▶ redis-server     so that none pays for what another
//! redis-benchmark ▶ cloakroom ──▶ redis-server     has made its server remember
//!
//! round 1   GET, pipeline 1    redis  nutcracker  cloakroom …
//!           SET, pipeline 1    redis  nutcracker  cloakroom …
//!           …
//! round 2   GET, pipeline 1    nutcracker  cloakroom …  redis
//! ```
//!
//! One target works at a time, and the targets take turns: whatever else the machine does,
//! all of them feel it. Read the ratios, which are taken within a round, before the figures.
//!
//! [`target`] starts the processes, [`load`] makes them work, [`meter`] asks the kernel what that took, [`report`]
//! says which figures come of it, [`mod@table`] finds medians and ratios. `benches/README.md` explains the columns.
//!
//! # Why
//! Time alone says who is in whose way on a machine with few cores. The CPU time and the
//! system calls of the proxy say what it costs, so they are measured too. Nothing is asserted.

mod cpu;
mod hits;
mod load;
mod machine;
mod meter;
mod report;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
mod target;

use std::collections::BTreeSet;

use clap::{Parser, ValueEnum};

use load::{Load, Request};
use meter::SyscallCounter;
use report::Figures;
use table::Sample;
use target::{Kind, Target};

/// Measures cloakroom, nutcracker and a bare redis-server side by side.
#[derive(Debug, Parser)]
struct Args {
    /// How often each target is measured in each case.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Requests of one measurement; four times as many with pipeline 16.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..))]
    requests: u32,
    /// Connections of the load generator.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Only this pipeline depth.
    #[arg(long)]
    only: Option<Depth>,
    /// Only these commands.
    #[arg(long, value_delimiter = ',', default_value = "get,set")]
    commands: Vec<Request>,
    /// How many different keys are asked for.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
    /// Size of the values in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    values: usize,
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_values = ["redis", "nutcracker", "cloakroom-1", "cloakroom-2"])]
    targets: Vec<Kind>,
    /// Cargo adds it: see `main`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Depth {
    #[value(name = "P1", alias = "p1")]
    P1,
    #[value(name = "P16", alias = "p16")]
    P16,
}

/// What is asked of every target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    request: Request,
    depth: Depth,
}

fn main() {
    // Without it, a test runner has come along, with arguments of its own and a debug build.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("nothing is measured without `cargo bench --bench side_by_side`");
        return;
    }
    let args = Args::parse();
    let counter = SyscallCounter::detect();
    let kinds: BTreeSet<Kind> = args.targets.iter().copied().collect();
    let targets: Vec<Target> = kinds.into_iter().filter_map(Target::start).collect();
    report::introduce(&counter);
    let samples = measure(&args, &targets, &counter);
    for (case, samples) in args.cases().zip(samples) {
        println!("\n### {}\n", args.load(case).title());
        report::tables(&targets, &samples);
    }
}

/// Everything, in the order of the picture above; the samples case by case.
fn measure(args: &Args, targets: &[Target], counter: &SyscallCounter) -> Vec<Vec<Sample<Figures>>> {
    let (keys, values) = (args.keys as usize, args.values);
    for target in targets {
        load::fill(target, keys, values);
        load::check(target, keys, values);
    }
    let mut samples: Vec<_> = args.cases().map(|_| Vec::new()).collect();
    for round in 0..args.rounds {
        for (case, samples) in args.cases().zip(&mut samples) {
            let load = args.load(case);
            for turn in 0..targets.len() {
                let target = &targets[(turn + round as usize) % targets.len()];
                let values = Figures::take(target, &load, counter);
                samples.push(Sample { round, row: target.name(), values });
            }
        }
        eprintln!("round {} of {} done", round + 1, args.rounds);
    }
    for target in targets {
        load::check(target, keys, values);
    }
    samples
}

impl Args {
    fn cases(&self) -> impl Iterator<Item = Case> {
        let depths = [Depth::P1, Depth::P16].into_iter().filter(|depth| self.only.is_none_or(|only| only == *depth));
        let requests = || [Request::Get, Request::Set].into_iter().filter(|request| self.commands.contains(request));
        depths.flat_map(move |depth| requests().map(move |request| Case { request, depth }))
    }

    fn load(&self, case: Case) -> Load {
        let factor = match case.depth {
            Depth::P1 => 1,
            Depth::P16 => 4, // About the same time, for requests this much cheaper.
        };
        Load {
            request: case.request,
            pipeline: case.depth.pipeline(),
            requests: self.requests * factor,
            clients: self.clients,
            keys: self.keys as usize,
            value_size: self.values,
        }
    }
}

impl Depth {
    fn pipeline(self) -> u32 {
        match self {
            Self::P1 => 1,
            Self::P16 => 16,
        }
    }
}
