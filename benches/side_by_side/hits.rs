//! What the proxy says of its cache.

use crate::support::Proxy;

/// Requests it has answered from memory so far.
pub(crate) fn hits(proxy: &Proxy) -> f64 {
    let (_, text) = proxy.get("/metrics");
    let counters = text.lines().filter(|line| line.starts_with("cloakroom_cache_hits_total"));
    let values = counters.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}
