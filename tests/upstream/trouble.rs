//! A server that cannot be used: what the operator, the load balancer and the clients are told meanwhile.

use std::time::{Duration, Instant};

use super::support::{DEADLINE, Proxy, Relay, Wire, stays_so};
use super::{KEY, assert_silent, configuration};

/// An answer that waits for nothing, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_millis(400);

pub(super) const NOT_EXECUTED: &str = "-LOADING upstream unavailable; command not executed";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Somebody must change something: nothing is worth waiting for, and trying again does harm.
    Configuration,
    /// It may be over any moment.
    Passing,
}

impl Kind {
    /// How long it is watched.
    fn watched(self) -> Duration {
        match self {
            Self::Configuration => Duration::from_secs(5),
            Self::Passing => Duration::from_secs(3),
        }
    }

    /// The most attempts in that time, of all workers together.
    fn attempts(self) -> usize {
        match self {
            Self::Configuration => 2,
            // Four workers, each with a wait that doubles.
            Self::Passing => 80,
        }
    }

    /// `upstream.queue_timeout`: where nothing is worth waiting for, nobody waits although it is long.
    fn queue_timeout(self) -> Duration {
        match self {
            Self::Configuration => DEADLINE * 2,
            Self::Passing => Duration::from_secs(1),
        }
    }
}

/// Starts a proxy on a way that leads nowhere, watches it for a while, and returns it.
///
/// `upstream` is what stands beside `server` in `[upstream]`; the cause in the log must hold `cause`.
pub(super) fn is_told(relay: &Relay, upstream: &str, kind: Kind, cause: &str) -> Proxy {
    let proxy = is_told_at(&relay.address(), upstream, kind, cause);
    let attempts = relay.connections();
    assert!(attempts > 0, "nobody tried");
    assert!(attempts <= kind.attempts(), "{attempts} attempts in {:?}", kind.watched());
    proxy
}

/// As [`is_told`], where there can be no relay.
pub(super) fn is_told_at(address: &str, upstream: &str, kind: Kind, cause: &str) -> Proxy {
    let mut lines = format!("server = \"{address}\"\nqueue_timeout = \"{}s\"\n", kind.queue_timeout().as_secs());
    if !upstream.contains("connect_timeout") {
        // A machine that is busy is not to be taken for a server that is silent.
        lines += "connect_timeout = \"10s\"\n";
    }
    let started = Instant::now();
    let proxy = Proxy::start(&configuration(&(lines + upstream)));
    proxy.allow("upstream unavailable");
    let line = proxy.wait_for_log(r#""level":"WARN""#, DEADLINE);
    assert!(line.contains(cause), "the log names another cause than \"{cause}\": {line}");
    assert!(line.contains(address), "the log does not say where: {line}");

    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask(&format!("GET {KEY}")), NOT_EXECUTED);
    // Once the server is known to be away, nobody waits for it any more.
    let mut fails_at_once = false;
    while started.elapsed() < kind.watched() || !fails_at_once {
        assert!(started.elapsed() < DEADLINE, "requests go on waiting");
        assert_eq!(proxy.get("/readyz").0, 503);
        assert_eq!(proxy.get("/livez").0, 200);
        assert_eq!(client.ask("PING"), "+PONG");
        let asked = Instant::now();
        for command in ["GET session:a-session-id", "SET session:a-session-id v", "WATCH k", "BLPOP q 0"] {
            assert_eq!(client.ask(command), NOT_EXECUTED, "{command}");
        }
        fails_at_once |= asked.elapsed() < AT_ONCE;
        stays_so("one line tells of the trouble", Duration::from_millis(200), || warnings(&proxy).len() == 1);
    }
    let found = warnings(&proxy);
    assert_eq!(found.len(), 1, "one line tells of the trouble: {found:#?}");
    assert_silent(&proxy);
    proxy
}

/// The lines that call for somebody.
pub(super) fn warnings(proxy: &Proxy) -> Vec<String> {
    let mut lines = proxy.logs();
    lines.retain(|line| line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#));
    lines
}
