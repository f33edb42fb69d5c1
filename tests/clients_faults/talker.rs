//! A real client in a process of its own that does as it is told: see `tests/clients/talk`.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::support::wait_until;

/// Longer than any client is patient: phpredis waits 60 s for a reply to what it has not asked, if its connection is
/// closed between its request and its look for the reply (`docs/clients.md`).
const LIMIT: Duration = Duration::from_secs(90);

/// Killed when dropped, and what it started with it.
pub(super) struct Talker {
    pub(super) name: String,
    process: Child,
    /// `None` once it is to end.
    input: Option<ChildStdin>,
    output: Receiver<String>,
    /// Its standard error.
    aside: Receiver<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The write is done.
    Done,
    Value(String),
    /// There is no such session.
    Nothing,
    Error(String),
}

impl Talker {
    pub(super) fn start(program: &str, number: usize, setting: Option<(&str, &str)>, port: u16) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/talk");
        let mut process = Command::new(path)
            .arg(program)
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", port.to_string())
            .envs(setting)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let input = process.stdin.take();
        let output = lines(process.stdout.take().expect("a pipe was asked for"));
        let aside = lines(process.stderr.take().expect("a pipe was asked for"));
        Self { name: format!("{program}-{number}"), process, input, output, aside }
    }

    /// Panics when it has ended, or says nothing for longer than any client should.
    pub(super) fn ask(&mut self, line: &str) -> Said {
        let input = self.input.as_mut().expect("it is not to end yet");
        let is_sent = writeln!(input, "{line}").is_ok();
        let answer = match self.output.recv_timeout(LIMIT) {
            Ok(answer) if is_sent => answer,
            Ok(_) | Err(RecvTimeoutError::Disconnected) => self.fail("has ended"),
            Err(RecvTimeoutError::Timeout) => self.fail("is silent"),
        };
        match answer.split_once(' ').unwrap_or((&answer, "")) {
            ("ok", "") => Said::Done,
            ("value", text) => Said::Value(text.to_owned()),
            ("nothing", "") => Said::Nothing,
            ("error", text) => Said::Error(text.to_owned()),
            _ => self.fail(&format!("says {answer:.200}")),
        }
    }

    /// It ends by itself, as it should.
    pub(super) fn finish(&mut self) {
        self.input = None;
        let mut status = None;
        wait_until("a client ends", || {
            status = self.process.try_wait().expect("the state of a child process");
            status.is_some()
        });
        let status = status.expect("it has just been set");
        assert!(status.success(), "{} has ended with {status}:\n{}", self.name, self.last_words());
    }

    /// What it wrote to its standard error since the last time.
    pub(super) fn said_aside(&self) -> Vec<String> {
        self.aside.try_iter().collect()
    }

    /// The end of it, for whoever reads of a failure.
    pub(super) fn last_words(&self) -> String {
        let said = self.said_aside();
        said[said.len().saturating_sub(10)..].join("\n")
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{} {what}; `make test` installs what it needs:\n{}", self.name, self.last_words())
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.process.kill().expect("a child process can be killed");
        self.process.wait().expect("a killed process ends");
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            // Nobody listens any more once the test has failed.
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}
