//! Clients share a few connections to the server and never notice: nobody sees or changes another's state, and
//! what a client leaves behind when it vanishes goes with it (G1, G2).
//!
//! ```text
//! Wire ┐
//! Wire ┼─▶ Proxy ───▶ RedisServer ◀── operator: asks the server itself
//! Wire ┘   one worker, unless a test wants more: everybody meets on the same connections
//! ```

#![allow(unreachable_pub, reason = "`pub` marks what the tests here use")]

mod support;

#[path = "isolation/bounds.rs"]
mod bounds;
#[path = "isolation/crowd.rs"]
mod crowd;
#[path = "isolation/gone.rs"]
mod gone;
#[path = "isolation/state.rs"]
mod state;
#[path = "isolation/waiting.rs"]
mod waiting;

use std::cell::RefCell;

use support::{Proxy, RedisServer, Wire, wait_until};

/// A proxy with clients, and a look behind it.
struct House {
    // Ends first, for it would complain of a server that ended before.
    proxy: Proxy,
    port: u16,
    operator: RefCell<Wire>,
    server: RedisServer,
}

impl House {
    fn open() -> Self {
        Self::with(&[])
    }

    fn with(lines: &[&str]) -> Self {
        let server =
            RedisServer::with().config("enable-debug-command local").config("repl-diskless-sync-delay 0").start();
        let workers = (!lines.iter().any(|line| line.starts_with("listen.workers"))).then_some("listen.workers = 1");
        let lines: Vec<_> = workers.into_iter().chain(lines.iter().copied()).collect();
        let proxy = Proxy::with(&server, &lines);
        let operator = RefCell::new(Wire::connect(server.port()));
        Self { port: proxy.port(), proxy, operator, server }
    }

    /// A new client.
    fn enter(&self) -> Wire {
        Wire::connect(self.port)
    }

    fn enter_resp3(&self) -> Wire {
        Wire::connect_resp3(self.port)
    }

    /// What the server itself answers.
    fn server_says(&self, line: &str) -> String {
        String::from_utf8_lossy(&self.operator.borrow_mut().frame_of(line)).into_owned()
    }

    /// A server that follows the one behind the proxy.
    fn replica(&self) -> RedisServer {
        let line = format!("replicaof 127.0.0.1 {}", self.server.port());
        RedisServer::with().config(line).config("repl-diskless-sync-delay 0").start()
    }

    /// Returns when so many clients wait in a blocking command, as the server sees it.
    fn wait_blocked(&self, count: usize) {
        let field = format!("blocked_clients:{count}\r\n");
        wait_until("as many clients are blocked", || self.server_says("INFO clients").contains(&field));
    }

    /// Returns when no connection of the server but the operator's has any of these flags, or a transaction. The proxy's
    /// own connections track what it holds in memory.
    fn wait_clean(&self) {
        wait_until("no state is left on the server", || {
            let list = self.server_says("CLIENT LIST");
            let tracking = list.lines().filter(|line| line.contains(" flags=t ")).count();
            let none_is_left = list.lines().filter(|line| line.starts_with("id=")).all(|line| {
                let flags = line.split(' ').find_map(|field| field.strip_prefix("flags=")).unwrap_or_default();
                !flags.contains(['x', 'b', 'P', 'O', 'd'])
                    && line.contains(" multi=-1 ")
                    && line.contains(" sub=0 psub=0 ")
            });
            none_is_left && tracking as f64 == self.metric("cloakroom_cache_tracked_connections")
        });
    }

    /// A number of `/metrics`.
    fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.proxy.get("/metrics");
        assert_eq!(status, 200);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    }

    /// Returns when so many clients are connected.
    fn wait_clients(&self, count: usize) {
        wait_until("so many clients are connected", || self.metric("cloakroom_client_connections") == count as f64);
    }

    /// Connections the server has accepted in its life.
    fn connections_made(&self) -> u64 {
        let stats = self.server_says("INFO stats");
        let count = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.and_then(|count| count.trim().parse().ok()).expect("a count of connections")
    }
}
