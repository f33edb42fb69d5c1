//! What the tests share: a real server, real certificates, and the proxy as a process.
//!
//! ```text
//! Wire ───▶ Proxy ───▶ Relay ───▶ RedisServer
//! bytes      │ logs      cut, stop  │ stop, kill, pause, restart
//!            │ /readyz              │
//!            └──── both trust ──▶ Certificates
//! ```
//!
//! Everything has a port, a directory and a process of its own, so tests run side by side.
//! Nothing sleeps to be right: whatever takes time is polled, and fails the test at [`DEADLINE`].

#![allow(dead_code, unused_imports, reason = "each test is compiled with all of this and uses a part")]
#![allow(unreachable_pub, reason = "`pub` marks what tests may use")]

mod certificates;
mod proxy;
mod redis_server;
mod relay;
mod server_program;
mod wire;

use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

pub use certificates::{Certificates, Identity};
pub use proxy::Proxy;
pub use redis_server::{Operator, RedisOptions, RedisServer};
pub use relay::{Cut, Direction, Relay};
pub use server_program::ServerProgram;
pub use wire::{Wire, frame_len, request, shown, words};

/// How long anything may take here. Generous, for only a failing test waits this long.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Returns once `is_so` holds; panics with `what` if that takes longer than [`DEADLINE`].
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that something stays so for a while: what must *not* happen can only be waited for.
pub fn stays_so(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + within;
    while Instant::now() < until {
        assert!(is_so(), "not any more: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal by the name the shell knows it by, such as `TERM`.
fn signal(process: &Child, name: &str) {
    let pid = process.id().to_string();
    let status = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &pid]).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot send {name} to process {pid}");
}
