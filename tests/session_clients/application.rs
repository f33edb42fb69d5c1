//! A web application in a process of its own: see `tests/clients/serve`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Generous: many of them start at the same time.
const LIMIT: Duration = Duration::from_secs(60);

/// Killed when dropped, and what it started with it.
pub(super) struct Application {
    name: String,
    process: Child,
    output: Receiver<String>,
    pub(super) port: u16,
}

impl Application {
    /// One for each port at which they find their sessions. Returns when all of them serve.
    pub(super) fn start<const N: usize>(name: &str, settings: &[(&str, &str)], redis_ports: [u16; N]) -> [Self; N] {
        let mut applications = redis_ports.map(|redis_port| Self::spawn(name, settings, redis_port));
        applications.iter_mut().for_each(Self::wait_for_port);
        applications
    }

    fn spawn(name: &str, settings: &[(&str, &str)], redis_port: u16) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/serve");
        let mut process = Command::new(path)
            .arg(name)
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", redis_port.to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let (sender, output) = mpsc::channel();
        forward(process.stdout.take().expect("a pipe was asked for"), sender.clone());
        forward(process.stderr.take().expect("a pipe was asked for"), sender);
        Self { name: name.to_owned(), process, output, port: 0 }
    }

    fn wait_for_port(&mut self) {
        let until = Instant::now() + LIMIT;
        let mut said = Vec::new();
        while let Ok(line) = self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Some(port) = port_in(&line) {
                self.port = port;
                return;
            }
            said.push(line);
        }
        panic!("{} does not start; `make test` installs what it needs:\n{}", self.name, said.join("\n"));
    }

    /// What it has said aside, for whoever reads of a failure.
    pub(super) fn last_words(&self) -> String {
        self.output.try_iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.process.kill().expect("a child process can be killed");
        self.process.wait().expect("a killed process ends");
    }
}

fn port_in(line: &str) -> Option<u16> {
    line.trim_end_matches(") started").rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn forward(stream: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            // Nobody listens any more once the test is over.
            if to.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}
