//! What one target does with one load, and how that is shown.

use std::time::Duration;

use crate::cpu::cpu_time;
use crate::load::Load;
use crate::machine;
use crate::meter::SyscallCounter;
use crate::table::{self, Column, Ratio, Sample};
use crate::target::{Kind, Target};

/// What one target did in one case of one round.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    requests_per_second: f64,
    /// Microseconds per request; `None` without a proxy, as is the next.
    proxy_cpu: Option<f64>,
    syscalls: Option<f64>,
    /// Microseconds per request.
    server_cpu: f64,
    /// Parts of a hundred that were answered from the proxy's memory; `None` without a cache.
    hits: Option<f64>,
}

impl Figures {
    pub(crate) fn take(target: &Target, load: &Load, counter: &SyscallCounter) -> Self {
        // Buffers grow, caches warm up and keys become hot before anything counts.
        load.shorter().run(target);
        let proxy = target.proxy_pid();
        let used = || (proxy.map(cpu_time), cpu_time(target.server_pid()));
        let hits_before = target.hits();
        let before = used();
        let requests_per_second = load.run(target);
        let after = used();
        let hits = hits_before.zip(target.hits()).map(|(before, after)| after - before);
        let requests = f64::from(load.requests);
        let per_request =
            |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() * 1e6 / requests;
        Self {
            requests_per_second,
            proxy_cpu: before.0.zip(after.0).map(|(before, after)| per_request(before, after)),
            syscalls: proxy.and_then(|pid| counter.per_request(pid, &load.shorter(), target)),
            server_cpu: per_request(before.1, after.1),
            hits: hits.map(|hits| 100.0 * hits / requests),
        }
    }
}

const COLUMNS: [Column<Figures>; 5] = [
    Column { heading: "requests/s", of: |figures| Some(figures.requests_per_second), decimals: 0 },
    Column { heading: "proxy CPU µs", of: |figures| figures.proxy_cpu, decimals: 2 },
    Column { heading: "system calls", of: |figures| figures.syscalls, decimals: 3 },
    Column { heading: "Redis CPU µs", of: |figures| Some(figures.server_cpu), decimals: 2 },
    Column { heading: "hits %", of: |figures| figures.hits, decimals: 1 },
];

const RATIOS: [Ratio<Figures>; 7] = [
    ratio("requests/s ÷ direct", 0, Kind::Redis, 0),
    ratio("requests/s ÷ nutcracker", 0, Kind::Nutcracker, 0),
    ratio("proxy CPU ÷ nutcracker", 1, Kind::Nutcracker, 1),
    ratio("proxy CPU ÷ Redis CPU direct", 1, Kind::Redis, 3),
    ratio("system calls ÷ nutcracker", 2, Kind::Nutcracker, 2),
    ratio("Redis CPU ÷ direct", 3, Kind::Redis, 3),
    ratio("Redis CPU ÷ nutcracker", 3, Kind::Nutcracker, 3),
];

/// One column divided by another column of `kind`.
const fn ratio(heading: &'static str, of: usize, kind: Kind, by: usize) -> Ratio<Figures> {
    Ratio { heading, of: COLUMNS[of].of, row: kind.name(), by: COLUMNS[by].of }
}

pub(crate) fn introduce(counter: &SyscallCounter) {
    machine::introduce();
    println!("- load generator: {}, one thread", machine::version("redis-benchmark"));
    println!("- system calls: {}", counter.describe());
}

/// One case.
pub(crate) fn tables(targets: &[Target], samples: &[Sample<Figures>]) {
    let rows: Vec<_> = targets.iter().map(Target::name).collect();
    table::print(&rows, &COLUMNS, &RATIOS, samples);
}
