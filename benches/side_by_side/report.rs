//! From samples to medians and ratios, as Markdown.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::Case;
use crate::load::Load;
use crate::meter::{SyscallCounter, cpu_time};
use crate::target::{Kind, Target};

/// What one target did in one case of one round.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    round: u32,
    case: Case,
    kind: Kind,
    requests_per_second: f64,
    /// Microseconds per request; `None` without a proxy, as is the next.
    proxy_cpu: Option<f64>,
    syscalls: Option<f64>,
    /// Microseconds per request.
    server_cpu: f64,
}

impl Sample {
    pub(crate) fn take(round: u32, case: Case, target: &Target, load: &Load, counter: &SyscallCounter) -> Self {
        let proxy = target.proxy_pid();
        let used = || (proxy.map(cpu_time), cpu_time(target.server_pid()));
        let before = used();
        let requests_per_second = load.run(target);
        let after = used();
        let per_request = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(load.requests)
        };
        Self {
            round,
            case,
            kind: target.kind,
            requests_per_second,
            proxy_cpu: before.0.zip(after.0).map(|(before, after)| per_request(before, after)),
            syscalls: proxy.and_then(|pid| counter.per_request(pid, &load.shorter(), target)),
            server_cpu: per_request(before.1, after.1),
        }
    }
}

/// One measured quantity of a sample, and how it is printed.
struct Column {
    heading: &'static str,
    of: fn(&Sample) -> Option<f64>,
    decimals: usize,
}

/// One quantity of a target divided by that of another in the same round.
struct Ratio {
    heading: &'static str,
    of: fn(&Sample) -> Option<f64>,
    by: Kind,
}

const COLUMNS: [Column; 4] = [
    Column { heading: "requests/s", of: |sample| Some(sample.requests_per_second), decimals: 0 },
    Column { heading: "proxy CPU µs", of: |sample| sample.proxy_cpu, decimals: 2 },
    Column { heading: "system calls", of: |sample| sample.syscalls, decimals: 3 },
    Column { heading: "Redis CPU µs", of: |sample| Some(sample.server_cpu), decimals: 2 },
];

const RATIOS: [Ratio; 6] = [
    Ratio { heading: "requests/s ÷ direct", of: COLUMNS[0].of, by: Kind::Redis },
    Ratio { heading: "requests/s ÷ nutcracker", of: COLUMNS[0].of, by: Kind::Nutcracker },
    Ratio { heading: "proxy CPU ÷ nutcracker", of: COLUMNS[1].of, by: Kind::Nutcracker },
    Ratio { heading: "system calls ÷ nutcracker", of: COLUMNS[2].of, by: Kind::Nutcracker },
    Ratio { heading: "Redis CPU ÷ direct", of: COLUMNS[3].of, by: Kind::Redis },
    Ratio { heading: "Redis CPU ÷ nutcracker", of: COLUMNS[3].of, by: Kind::Nutcracker },
];

/// What a reader must know of the machine and the programs before believing a figure.
pub(crate) fn introduce(counter: &SyscallCounter) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("- machine: {cores} cores, Linux {}, {}", kernel.trim(), processor());
    println!("- load average before the run: {}", load.split(' ').next().unwrap_or("unknown"));
    println!("- redis-server: {}", version("redis-server"));
    println!("- load generator: {}, one thread", version("redis-benchmark"));
    println!("- system calls: {}", counter.describe());
}

/// The figures of one case and, below them, the ratios.
pub(crate) fn tables(targets: &[Target], case: Case, samples: &[Sample]) {
    let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.case == case).collect();
    let headings = COLUMNS.iter().map(|column| column.heading);
    let rows = targets.iter().map(|target| {
        let own = || samples.iter().filter(|sample| sample.kind == target.kind);
        let missing = if target.proxy_pid().is_some() { "n/a" } else { "–" };
        let cell = |column: &Column| {
            let values = own().filter_map(|sample| (column.of)(sample)).collect();
            spread(values, column.decimals).unwrap_or_else(|| missing.to_owned())
        };
        (target.name(), COLUMNS.iter().map(cell).collect())
    });
    print_table("median (lowest to highest)", headings, rows);
    println!();
    let rows = targets.iter().map(|target| {
        let cell = |ratio: &Ratio| match median(ratios(&samples, target.kind, ratio)) {
            Some(median) => format!("{median:.2}"),
            None => "–".to_owned(),
        };
        (target.name(), RATIOS.iter().map(cell).collect())
    });
    print_table("median of the ratios", RATIOS.iter().map(|ratio| ratio.heading), rows);
}

fn ratios(samples: &[&Sample], kind: Kind, ratio: &Ratio) -> Vec<f64> {
    let own = samples.iter().filter(|sample| sample.kind == kind);
    own.filter_map(|own| {
        let other = samples.iter().find(|sample| sample.kind == ratio.by && sample.round == own.round)?;
        Some((ratio.of)(own)? / (ratio.of)(other)?)
    })
    .collect()
}

fn spread(values: Vec<f64>, decimals: usize) -> Option<String> {
    let lowest = values.iter().copied().reduce(f64::min)?;
    let highest = values.iter().copied().reduce(f64::max)?;
    let median = median(values)?;
    Some(format!("{median:.decimals$} ({lowest:.decimals$} to {highest:.decimals$})"))
}

/// `None` of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (below, above) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((below + above) / 2.0)
}

/// Columns as wide as their widest cell, so that it reads well before it is rendered, too.
fn print_table<'a>(
    corner: &'a str,
    headings: impl Iterator<Item = &'a str>,
    rows: impl Iterator<Item = (&'a str, Vec<String>)>,
) {
    let heading = (corner, headings.map(str::to_owned).collect::<Vec<_>>());
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    let width = |cell: &str| cell.chars().count();
    let first = rows.iter().map(|row| width(row.0)).max().unwrap_or(0);
    let others: Vec<_> =
        (0..rows[0].1.len()).map(|at| rows.iter().map(|row| width(&row.1[at])).max().unwrap_or(0)).collect();
    for (number, (name, cells)) in rows.iter().enumerate() {
        print!("| {name:first$} |");
        cells.iter().zip(&others).for_each(|(cell, width)| print!(" {cell:>width$} |"));
        println!();
        if number == 0 {
            print!("|-{}-|", "-".repeat(first));
            others.iter().for_each(|width| print!("-{}:|", "-".repeat(*width)));
            println!();
        }
    }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or("processor unknown", |name| name.trim_start_matches(['\t', ':', ' '])).to_owned()
}

/// The first line of what the program says of itself.
fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("missing").to_owned()
}
