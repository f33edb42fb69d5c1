//! How long one `GET` takes.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::place::{Kind, Place};
use crate::support::request;
use crate::table::{self, Column, Ratio, Sample};

/// Keys that are read again and again.
const HOT: usize = 100;
/// Keys of each round that nobody has read before.
const COLD: usize = 500;
/// How long the hot ones are read.
const SPELL: Duration = Duration::from_secs(1);
/// As large as a session usually is.
const VALUE: usize = 500;

#[derive(Debug, Clone)]
pub(crate) struct Latency {
    /// Microseconds.
    median: f64,
    p99: f64,
    /// Parts of a hundred that were answered from the proxy's memory; `None` without a cache.
    hits: Option<f64>,
    /// Upstream, for each read.
    requests: f64,
}

/// What a cache does with a read.
#[derive(Debug, Clone, Copy)]
enum Read {
    /// The value is there.
    Hit,
    /// Nobody has asked for the key before: it is forwarded.
    First,
    /// It is asked for once more: it is fetched, and kept.
    Second,
}

const COLUMNS: [Column<Latency>; 4] = [
    Column { heading: "median µs", of: |latency| Some(latency.median), decimals: 0 },
    Column { heading: "p99 µs", of: |latency| Some(latency.p99), decimals: 0 },
    Column { heading: "hits %", of: |latency| latency.hits, decimals: 1 },
    Column { heading: "upstream requests", of: |latency| Some(latency.requests), decimals: 3 },
];

const RATIOS: [Ratio<Latency>; 2] = [
    Ratio { heading: "median ÷ direct", of: COLUMNS[0].of, row: row(Kind::Direct, Read::Hit), by: COLUMNS[0].of },
    Ratio { heading: "p99 ÷ direct", of: COLUMNS[1].of, row: row(Kind::Direct, Read::Hit), by: COLUMNS[1].of },
];

/// Its name. Without a cache all reads are alike.
const fn row(kind: Kind, read: Read) -> &'static str {
    match (kind, read) {
        (Kind::Direct | Kind::Forwarding, _) => kind.name(),
        (Kind::Cached, Read::Hit) => "cached: hit",
        (Kind::Cached, Read::First) => "cached: first read",
        (Kind::Cached, Read::Second) => "cached: second read",
        (Kind::Confirmed, Read::Hit) => "confirmed: hit",
        (Kind::Confirmed, Read::First) => "confirmed: first read",
        (Kind::Confirmed, Read::Second) => "confirmed: second read",
    }
}

/// Writes every key that will be read.
pub(crate) fn fill(place: &Place<'_>, rounds: u32) {
    let mut server = place.neighbour();
    let value = "v".repeat(VALUE);
    (0..HOT).for_each(|number| server.set(&hot(number), &value));
    for round in 0..rounds {
        (0..COLD).for_each(|number| server.set(&cold(round, number), &value));
    }
}

pub(crate) fn measure(place: &Place<'_>, round: u32) -> Vec<Sample<Latency>> {
    let mut asking = Asking::at(place);
    // The third read of a key finds it kept.
    for number in (0..HOT).cycle().take(3 * HOT) {
        asking.get(&hot(number));
    }
    let until = Instant::now() + SPELL;
    let hot = (0..HOT).cycle().map(hot).take_while(|_| Instant::now() < until);
    let mut latencies = vec![(Read::Hit, asking.each(hot))];
    if place.kind.has_cache() {
        latencies.push((Read::First, asking.each((0..COLD).map(|number| cold(round, number)))));
        latencies.push((Read::Second, asking.each((0..COLD).map(|number| cold(round, number)))));
    }
    let sample = |(read, values)| Sample { round, row: row(place.kind, read), values };
    latencies.into_iter().map(sample).collect()
}

pub(crate) fn tables(samples: &[Sample<Latency>]) {
    let reads = |kind: Kind| if kind.has_cache() { &[Read::Hit, Read::First, Read::Second][..] } else { &[Read::Hit] };
    let rows: Vec<_> =
        Kind::ALL.into_iter().flat_map(|kind| reads(kind).iter().map(move |read| row(kind, *read))).collect();
    table::print(&rows, &COLUMNS, &RATIOS, samples);
}

fn hot(number: usize) -> String {
    format!("session:hot:{number:028}")
}

fn cold(round: u32, number: usize) -> String {
    format!("session:cold:{round:04}:{number:022}")
}

struct Asking<'a> {
    place: &'a Place<'a>,
    client: Client,
    reply: Vec<u8>,
}

impl<'a> Asking<'a> {
    fn at(place: &'a Place<'a>) -> Self {
        let reply = format!("${VALUE}\r\n{}\r\n", "v".repeat(VALUE)).into_bytes();
        Self { place, client: place.client(), reply }
    }

    fn get(&mut self, key: &str) -> Duration {
        let request = request(&["GET", key]);
        let start = Instant::now();
        self.client.ask(&request, &self.reply);
        start.elapsed()
    }

    fn each(&mut self, keys: impl Iterator<Item = String>) -> Latency {
        let before = (self.place.hits(), self.place.requests());
        let mut times: Vec<_> = keys.map(|key| self.get(&key)).collect();
        let after = (self.place.hits(), self.place.requests());
        let per_read = |count: f64| count / times.len() as f64;
        let hits = before.0.zip(after.0).map(|(before, after)| 100.0 * per_read(after - before));
        let requests = per_read((after.1 - before.1) as f64);
        times.sort_unstable();
        let micros = |rank: usize| times[rank].as_secs_f64() * 1e6;
        Latency { median: micros(times.len() / 2), p99: micros(times.len() * 99 / 100), hits, requests }
    }
}
