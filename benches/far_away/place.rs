//! What is measured: a server that is a way off, and the ways to it.

use std::time::Duration;

use crate::client::Client;
use crate::distance::Distance;
use crate::hits::hits;
use crate::support::{Certificates, Proxy, RedisServer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TLS to the server: what a client does that can.
    Direct,
    /// Through the proxy, which keeps nothing.
    Forwarding,
    /// Through the proxy, which keeps what is read.
    Cached,
    /// The same, and every hit is confirmed.
    Confirmed,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Forwarding, Self::Cached, Self::Confirmed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Forwarding => "forwarding",
            Self::Cached => "cached",
            Self::Confirmed => "confirmed",
        }
    }

    /// `[cache]` of its proxy; `None` without a proxy.
    fn cache(self) -> Option<&'static str> {
        match self {
            Self::Direct => None,
            Self::Forwarding => Some("enabled = false"),
            Self::Cached => Some("enabled = true\nstaleness = \"100ms\""),
            Self::Confirmed => Some("enabled = true\nstaleness = \"0\""),
        }
    }

    pub(crate) fn has_cache(self) -> bool {
        matches!(self, Self::Cached | Self::Confirmed)
    }
}

/// Processes that only wait while they are not measured. Killed when dropped.
pub(crate) struct Place<'a> {
    pub(crate) kind: Kind,
    /// Dropped before the server, whose end it would complain about.
    proxy: Option<Proxy>,
    distance: Distance,
    server: RedisServer,
    certificates: &'a Certificates,
}

impl<'a> Place<'a> {
    pub(crate) fn start(kind: Kind, certificates: &'a Certificates, round_trip: Duration) -> Self {
        let server = RedisServer::with().tls(certificates).start();
        let distance = Distance::to(server.port(), round_trip);
        let proxy = kind.cache().map(|cache| proxy(distance.port(), certificates, cache));
        Self { kind, proxy, distance, server, certificates }
    }

    /// As an application would be connected.
    pub(crate) fn client(&self) -> Client {
        match &self.proxy {
            Some(proxy) => Client::plain(proxy.port()),
            None => Client::tls(self.distance.port(), self.certificates),
        }
    }

    /// Past the proxy, and next to the server.
    pub(crate) fn neighbour(&self) -> Client {
        Client::tls(self.server.port(), self.certificates)
    }

    /// Requests answered from memory so far; `None` without a cache.
    pub(crate) fn hits(&self) -> Option<f64> {
        self.proxy.as_ref().filter(|_| self.kind.has_cache()).map(hits)
    }

    /// Commands the server has run so far, but for this question.
    pub(crate) fn requests(&self) -> u64 {
        let stats = self.server.cli(&["INFO", "commandstats"]);
        let lines = stats.lines().filter_map(|line| line.trim().strip_prefix("cmdstat_")?.split_once(":calls="));
        let others = lines.filter(|(name, _)| *name != "info");
        others
            .map(|(_, rest)| rest.split(',').next().and_then(|calls| calls.parse::<u64>().ok()).expect("a number"))
            .sum()
    }

    pub(crate) fn round_trips(&self) -> u64 {
        self.distance.round_trips()
    }
}

fn proxy(port: u16, certificates: &Certificates, cache: &str) -> Proxy {
    let proxy = Proxy::start(&format!(
        r#"
        [listen]
        address = "127.0.0.1:0"
        workers = 1
        [upstream]
        server = "127.0.0.1:{port}"
        [upstream.tls]
        enabled = true
        ca_file = "{}"
        [metrics]
        address = "127.0.0.1:0"
        [log]
        format = "json"
        [cache]
        {cache}
        "#,
        certificates.ca.display()
    ));
    proxy.wait_ready();
    proxy
}
