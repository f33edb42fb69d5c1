//! Real session clients, unchanged, through the proxy.
//!
//! ```text
//! tests/clients/NAME/run FLOW ──▶ Proxy ── TLS, ACL user ──▶ RedisServer
//!   web application and browser     REDIS_HOST, REDIS_PORT      stop, start, restart
//! ```
//!
//! A script says what it finds line by line, `ok 1 - a login is remembered`, and succeeds when all
//! of it is so. It may ask for something to be done to the server with a line `stop`, `start` or
//! `restart`, and is answered `stopped`, `started` or `restarted` on its standard input. The
//! clients themselves cannot do TLS or log in here; what the script proves, the proxy did for them.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use support::{Certificates, Proxy, RedisServer, wait_until};

/// Beyond the limit each script sets itself.
const LIMIT: Duration = Duration::from_secs(180);

/// How long a restart takes: applications are asked for pages meanwhile.
const OUTAGE: Duration = Duration::from_secs(1);

#[test]
fn catalyst_keeps_its_sessions() {
    run("catalyst", "sessions", &[]);
}

/// Without the proxy this worker answers 500 from the restart on, for ever: the store's
/// `redis_reconnect` is 0 by default.
#[test]
fn a_catalyst_worker_that_never_reconnects_outlives_a_restart_of_the_server() {
    run("catalyst", "restart", &[("REDIS_RECONNECT", "0")]);
}

#[test]
fn a_catalyst_worker_that_reconnects_outlives_a_restart_of_the_server() {
    run("catalyst", "restart", &[("REDIS_RECONNECT", "1")]);
}

#[test]
fn connect_redis_keeps_its_sessions() {
    run("connect-redis", "sessions", &[]);
}

#[test]
fn connect_redis_outlives_a_restart_of_the_server() {
    run("connect-redis", "restart", &[]);
}

#[test]
fn flask_session_keeps_its_sessions() {
    run("flask-session", "sessions", &[]);
}

#[test]
fn flask_session_outlives_a_restart_of_the_server() {
    run("flask-session", "restart", &[]);
}

#[test]
fn phpredis_keeps_its_sessions() {
    run("phpredis", "sessions", &[]);
}

#[test]
fn phpredis_outlives_a_restart_of_the_server() {
    run("phpredis", "restart", &[]);
}

fn run(client: &str, flow: &str, environment: &[(&str, &str)]) {
    let certificates = Certificates::new();
    let mut server = RedisServer::with().tls(&certificates).user("cloakroom", "a-long-password").persistent().start();
    let proxy = Proxy::start(&format!(
        r#"
        [listen]
        address = "127.0.0.1:0"

        [upstream]
        server = "{}"
        username = "cloakroom"
        password = "a-long-password"

        [upstream.tls]
        enabled = true
        verify = "full"
        ca_file = "{}"

        [metrics]
        address = "127.0.0.1:0"

        [log]
        format = "json"
        "#,
        server.address(),
        certificates.ca.display(),
    ));
    proxy.wait_ready();

    let mut script = Script::start(client, flow, proxy.port(), environment);
    script.converse(|line| match line {
        "stop" => {
            proxy.allow("upstream");
            server.stop();
            Some("stopped")
        }
        "start" => {
            server.start();
            proxy.wait_ready();
            Some("started")
        }
        "restart" => {
            proxy.allow("upstream");
            server.stop();
            thread::sleep(OUTAGE);
            server.start();
            proxy.wait_ready();
            Some("restarted")
        }
        _ => None,
    });
}

/// A client's script at work. Killed when dropped, and what it started with it.
struct Script {
    name: String,
    process: Child,
}

impl Script {
    fn start(client: &str, flow: &str, port: u16, environment: &[(&str, &str)]) -> Self {
        let path = format!("{}/tests/clients/{client}/run", env!("CARGO_MANIFEST_DIR"));
        let process = Command::new(&path)
            .arg(flow)
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", port.to_string())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { name: format!("{client} {flow}"), process }
    }

    /// Gives each line of its output to `answer`, and each answer to the script, until it ends.
    /// Panics, with all of the output, unless it finds everything as it should be.
    fn converse(&mut self, mut answer: impl FnMut(&str) -> Option<&'static str>) {
        let mut input = self.process.stdin.take().expect("a pipe was asked for");
        let (sender, lines) = mpsc::channel();
        forward(self.process.stderr.take().expect("a pipe was asked for"), sender.clone(), |line| format!("! {line}"));
        forward(self.process.stdout.take().expect("a pipe was asked for"), sender, |line| line);

        let until = Instant::now() + LIMIT;
        let mut output = Vec::new();
        // Ends when the script, and all it started, have closed their outputs, or when time is over.
        while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Some(answer) = answer(&line) {
                // A script that has gone needs no answer; its status tells.
                let _ = writeln!(input, "{answer}");
            }
            output.push(line);
        }

        let name = &self.name;
        let transcript = output.join("\n");
        assert!(Instant::now() < until, "{name} is not over after {LIMIT:?}:\n{transcript}");
        let mut status = None;
        wait_until("the script ends", || {
            status = self.process.try_wait().expect("the state of a child process");
            status.is_some()
        });
        let status = status.expect("it has just been set");
        let facts = output.iter().filter(|line| line.starts_with("ok ")).count();
        let is_refuted = output.iter().any(|line| line.starts_with("not ok "));
        assert_ne!(facts, 0, "{name} found out nothing ({status}); `make test` installs what it needs:\n{transcript}");
        assert!(status.success() && !is_refuted, "{name}: {status}\n{transcript}");
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.process.kill().expect("a child process can be killed");
        self.process.wait().expect("a killed process ends");
    }
}

fn forward(output: impl Read + Send + 'static, to: Sender<String>, mark: fn(String) -> String) {
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            // Nobody listens any more once the test has failed.
            if to.send(mark(String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
        }
    });
}
