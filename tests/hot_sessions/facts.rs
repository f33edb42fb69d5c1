//! What the facts are seen with: who was asked what, and what the proxy says of itself.

use std::time::Duration;

use super::support::{Proxy, RedisServer, Relay, Wire, wait_until};

/// As long as may be: nothing is found out just because it was time to ask.
pub(crate) const LONG: &str = "cache.staleness = \"10s\"";

/// One worker, so that it is known who has read what.
pub(crate) const ALONE: &str = "listen.workers = 1";

/// A proxy whose cache is on.
pub(crate) fn cached(server: &RedisServer, lines: &[&str]) -> Proxy {
    Proxy::with(server, &[&["cache.enabled = true"], lines].concat())
}

/// The same with one worker, where the way to the server may fail.
pub(crate) fn behind(relay: &Relay, lines: &[&str]) -> Proxy {
    let proxy = Proxy::start(&format!(
        "listen.address = \"127.0.0.1:0\"\nlisten.workers = 1\nmetrics.address = \"127.0.0.1:0\"\n\
         log.format = \"json\"\nupstream.server = \"{}\"\ncache.enabled = true\n{}\n",
        relay.address(),
        lines.join("\n"),
    ));
    proxy.allow("upstream connection lost");
    proxy.allow("upstream unavailable");
    proxy.wait_ready();
    proxy
}

/// The sum of a metric over its labels.
pub(crate) fn metric(proxy: &Proxy, name: &str) -> u64 {
    let name = format!("cloakroom_cache_{name}");
    let (_, text) = proxy.get("/metrics");
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let values = lines.filter(|(key, _)| key.split('{').next() == Some(&name));
    let values: Vec<f64> = values.map(|(_, value)| value.parse().expect("a number")).collect();
    assert!(!values.is_empty(), "no metric {name}");
    values.iter().sum::<f64>() as u64
}

/// How often the server has executed a command.
pub(crate) fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    calls.map_or(0, |calls| calls.split(',').next().and_then(|calls| calls.parse().ok()).expect("a number"))
}

/// How often `deed` lets the server execute a command.
pub(crate) fn calls_of(server: &RedisServer, command: &str, deed: impl FnOnce()) -> u64 {
    let before = calls(server, command);
    deed();
    calls(server, command) - before
}

/// Returns when a metric has come so far: the proxy counts at leisure.
pub(crate) fn counts(proxy: &Proxy, name: &str, least: u64) {
    wait_until(&format!("{name} is {least}"), || metric(proxy, name) >= least);
}

/// Reads keys until they are held, by the worker of this client.
pub(crate) fn heat(server: &RedisServer, client: &mut Wire, keys: &[&str]) {
    for key in keys {
        wait_until("a read is a hit", || calls_of(server, "get", || drop(client.ask(&format!("GET {key}")))) == 0);
    }
}

/// Two clients, of different workers.
pub(crate) fn two_clients(proxy: &Proxy) -> [Wire; 2] {
    // Each is given to the worker that has fewer.
    [Wire::connect(proxy.port()), Wire::connect(proxy.port())]
}

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
