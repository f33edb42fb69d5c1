//! What the session rules cost: the proxy with them beside the same without, and beside no proxy.
//!
//! ```text
//! 16 connections ──────────────▶ redis-server
//! 16 connections ▶ cloakroom ──▶ redis-server     without a rule
//! 16 connections ▶ cloakroom ──▶ redis-server     every key a session, `[cache] enabled = false` in both
//! ```
//!
//! Each connection asks one thing after another, as a web worker does, or sends sixteen at a time. One target works at a
//! time, each with a server of its own, and they take turns: read the ratios, which are taken within a round, before the
//! figures. Nothing is asserted but that every answer is the one that is expected.

#[path = "../side_by_side/cpu.rs"]
mod cpu;
#[path = "../side_by_side/machine.rs"]
mod machine;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../side_by_side/table.rs"]
mod table;

use clap::Parser;

use cpu::cpu_time;
use support::{Proxy, RedisServer, Wire};
use table::{Column, Ratio, Sample};

/// Measures what web sessions cost under rules.
#[derive(Debug, Parser)]
struct Args {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Steps of each connection in a measurement.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Size of the values in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 500)]
    values: usize,
    /// Cargo adds it: see `main`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Connections at work.
const CONNECTIONS: usize = 16;

/// A target, as the tables call it, and its rules.
const TARGETS: [(&str, Option<&str>); 3] = [
    ("redis direct", None),
    ("no rules", Some("")),
    (
        "rules",
        Some(
            "[[session]]\nkeys = [\"s:*\"]\ntouch_identical = false\n[[session]]\nkeys = [\"i:*\"]\ntouch_identical = true\ntouch = \"30s\"",
        ),
    ),
];

/// What each step asks, with the replies. `K`: a session of the connection's own; `N`: a new one each time; `V`: a value
/// that differs from step to step; `S`: one that does not.
const CASES: [(&str, &[(&str, &str)]); 7] = [
    ("A session is read and written: GET, SET EX", &[("GET s:K", ""), ("SET s:K V EX 3600", "+OK")]),
    ("A new session: SET EX", &[("SET s:N V EX 3600", "+OK")]),
    ("A login and a logout: SET EX, GET, DEL", &[("SET s:N V EX 3600", "+OK"), ("GET s:N", ""), ("DEL s:N", ":1")]),
    ("A session that is a hash: HSET", &[("HSET s:h:K f V", "")]),
    ("A touch: EXPIRE", &[("EXPIRE s:K 3600", ":1")]),
    ("The same value again: SET EX", &[("SET i:K S EX 3600", "+OK")]),
    ("Sixteen writes at a time: SET EX", &[("SET s:K V EX 3600", "+OK"); 16]),
];

struct Target {
    name: &'static str,
    /// Dropped before the server, whose end it would complain about.
    proxy: Option<Proxy>,
    server: RedisServer,
    wires: Vec<Wire>,
    /// New sessions so far.
    born: u64,
}

#[derive(Debug, Clone)]
struct Cost {
    /// Microseconds of a step.
    server: f64,
    proxy: Option<f64>,
}

const COLUMNS: [Column<Cost>; 2] = [
    Column { heading: "Redis CPU µs", of: |cost| Some(cost.server), decimals: 2 },
    Column { heading: "proxy CPU µs", of: |cost| cost.proxy, decimals: 2 },
];

const RATIOS: [Ratio<Cost>; 3] = [
    Ratio {
        heading: "Redis CPU ÷ direct",
        of: |cost| Some(cost.server),
        row: TARGETS[0].0,
        by: |cost| Some(cost.server),
    },
    Ratio {
        heading: "Redis CPU ÷ no rules",
        of: |cost| Some(cost.server),
        row: TARGETS[1].0,
        by: |cost| Some(cost.server),
    },
    Ratio { heading: "proxy CPU ÷ no rules", of: |cost| cost.proxy, row: TARGETS[1].0, by: |cost| cost.proxy },
];

fn main() {
    // Without it, a test runner has come along, with arguments of its own and a debug build.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("nothing is measured without `cargo bench --bench session_rules`");
        return;
    }
    let args = Args::parse();
    let mut targets: Vec<_> = TARGETS.iter().map(|(name, rules)| Target::start(name, *rules)).collect();
    machine::introduce();
    let mut samples: Vec<Vec<Sample<Cost>>> = vec![Vec::new(); CASES.len()];
    for round in 0..args.rounds {
        for ((_, script), samples) in CASES.iter().zip(&mut samples) {
            for turn in 0..targets.len() {
                let target = &mut targets[(turn + round as usize) % TARGETS.len()];
                // Once without looking: what is asked for is there then.
                target.run(script, 50, args.values);
                let values = target.measure(script, &args);
                samples.push(Sample { round, row: target.name, values });
            }
        }
        eprintln!("round {} of {} done", round + 1, args.rounds);
    }
    for ((title, _), samples) in CASES.iter().zip(&samples) {
        println!("\n### {title}\n");
        table::print(&TARGETS.map(|(name, _)| name), &COLUMNS, &RATIOS, samples);
    }
}

impl Target {
    fn start(name: &'static str, rules: Option<&str>) -> Self {
        let server = RedisServer::plain();
        let proxy = rules.map(|rules| Proxy::with(&server, &["listen.workers = 1", "cache.enabled = false", rules]));
        let port = proxy.as_ref().map_or(server.port(), Proxy::port);
        let wires = (0..CONNECTIONS).map(|_| Wire::connect(port)).collect();
        Self { name, proxy, server, wires, born: 0 }
    }

    fn measure(&mut self, script: &[(&str, &str)], args: &Args) -> Cost {
        let used =
            |target: &Self| (cpu_time(target.server.pid()), target.proxy.as_ref().map(|proxy| cpu_time(proxy.pid())));
        let (server, proxy) = used(self);
        self.run(script, args.steps, args.values);
        let (server_after, proxy_after) = used(self);
        let steps = f64::from(args.steps) * CONNECTIONS as f64;
        let per_step = |time: std::time::Duration| time.as_secs_f64() * 1e6 / steps;
        Cost {
            server: per_step(server_after - server),
            proxy: proxy_after.zip(proxy).map(|(after, before)| per_step(after - before)),
        }
    }

    /// Every connection sends a line, or sixteen; then the replies of all are taken.
    fn run(&mut self, script: &[(&str, &str)], steps: u32, size: usize) {
        let is_together = script.len() == 16;
        let stays = "s".repeat(size);
        for step in 0..steps {
            self.born += 1;
            let varies = format!("{step:0>size$}");
            let turns: Vec<_> = if is_together { vec![script] } else { script.chunks(1).collect() };
            for turn in turns {
                for (at, wire) in self.wires.iter_mut().enumerate() {
                    let line = |line: &str| {
                        let words = line.split(' ').map(|word| match word {
                            "V" => varies.clone(),
                            "S" => stays.clone(),
                            word => word.replace('K', &at.to_string()).replace(":N", &format!(":n{}-{at}", self.born)),
                        });
                        words.collect::<Vec<_>>().join(" ")
                    };
                    let lines: Vec<_> = turn.iter().map(|(words, _)| line(words)).collect();
                    wire.say(&lines.iter().map(String::as_str).collect::<Vec<_>>());
                }
                for wire in &mut self.wires {
                    for (asked, reply) in turn {
                        let heard = wire.hear();
                        assert!(reply.is_empty() || heard == *reply, "{}: {asked} is answered {heard}", self.name);
                    }
                }
            }
        }
    }
}
