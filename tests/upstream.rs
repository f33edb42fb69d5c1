//! The way to the server: every way that is supported, and every trouble on it.
//!
//! ```text
//! Wire ─▶ Proxy ─▶ Relay ─▶ RedisServer
//!          │         └ counts the attempts: a trouble is not hammered
//!          └ log at level trace: one line names the trouble, none holds a secret (G8)
//! ```

mod support;

#[path = "upstream/desync.rs"]
mod desync;
#[path = "upstream/misconfigured.rs"]
mod misconfigured;
#[path = "upstream/passing.rs"]
mod passing;
#[path = "upstream/scripted.rs"]
mod scripted;
#[path = "upstream/trouble.rs"]
mod trouble;
#[path = "upstream/ways.rs"]
mod ways;

use std::fmt::Write as _;
use std::path::Path;

use support::{DEADLINE, Proxy, Wire};

/// What no line of a log may hold.
const PASSWORD: &str = "open-sesame-4711";
const OTHER_PASSWORD: &str = "open-barley-4712";
const KEY: &str = "session:a-session-id";
const VALUE: &str = "what-the-session-holds";
const SECRETS: [&str; 4] = [PASSWORD, OTHER_PASSWORD, "a-session-id", VALUE];

/// A configuration whose `[upstream]` and `[upstream.tls]` are given, and whose log shows all there is.
///
/// Four workers, whatever machine this is: what is done once must not be done once each.
fn configuration(upstream: &str) -> String {
    format!(
        r#"
        listen = {{ address = "127.0.0.1:0", workers = 4 }}
        metrics = {{ address = "127.0.0.1:0" }}
        log = {{ level = "trace", format = "json", commands = true }}
        [upstream]
        {upstream}
        "#
    )
}

/// The lines of `[upstream.tls]`. `verify = "none"` knows no `ca_file`.
fn tls(verify: &str, ca: &Path) -> String {
    let mut lines = format!("[upstream.tls]\nenabled = true\nverify = \"{verify}\"\n");
    if verify != "none" {
        writeln!(lines, "ca_file = \"{}\"", ca.display()).expect("memory");
    }
    lines
}

/// Asserts that a session can be written and read, and that nothing of it is in the log.
fn assert_serves(proxy: &Proxy) {
    proxy.wait_ready();
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask(&format!("SET {KEY} {VALUE}")), "+OK");
    assert_eq!(client.ask(&format!("GET {KEY}")), VALUE);
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask(&format!("GET {KEY}")), "+QUEUED");
    assert_eq!(client.ask("EXEC"), format!("*1 ${} {VALUE}", VALUE.len()));
    assert_eq!(client.ask(&format!("DEL {KEY}")), ":1");
    assert_silent(proxy);
}

/// Asserts that no line of the log holds a secret, and that it shows all there is.
fn assert_silent(proxy: &Proxy) {
    proxy.wait_for_log(r#""level":"DEBUG""#, DEADLINE);
    let mut logs = proxy.logs();
    logs.retain(|line| SECRETS.iter().any(|secret| line.contains(secret)));
    assert!(logs.is_empty(), "a secret is in the log: {logs:#?}");
}
