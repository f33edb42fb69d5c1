//! What the proxy says of its cache.

use std::thread;
use std::time::Duration;

use crate::support::Proxy;

/// A worker tells more often than this what has happened.
const SILENCE: Duration = Duration::from_millis(250);

/// Requests it has answered from memory so far; none may be under way.
pub(crate) fn hits(proxy: &Proxy) -> f64 {
    thread::sleep(SILENCE);
    let (_, text) = proxy.get("/metrics");
    let counters = text.lines().filter(|line| line.starts_with("cloakroom_cache_hits_total"));
    let values = counters.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}
