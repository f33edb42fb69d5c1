//! The work: `redis-benchmark`, because strangers know it and did not get it from us.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};

use clap::ValueEnum;

use crate::support::DEADLINE;
use crate::target::Target;

/// As long as a session's key is: a prefix and the cookie's worth of randomness.
const KEY_LENGTH: usize = 40;
/// `redis-benchmark` writes a random number below [`Load::keys`] here, with twelve digits.
const RANDOM: &str = "__rand_int__";
/// A load that is not over by then never will be: a reply is missing.
const PATIENCE: &str = "120";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Request {
    Get,
    Set,
}

/// One run of the load generator.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) request: Request,
    pub(crate) pipeline: u32,
    pub(crate) requests: u32,
    pub(crate) clients: u32,
    /// How many different keys are asked for.
    pub(crate) keys: usize,
    pub(crate) value_size: usize,
}

impl Load {
    pub(crate) fn title(&self) -> String {
        let Self { request, pipeline, requests, clients, keys, value_size } = self;
        format!(
            "{request}, pipeline {pipeline} \
             ({clients} clients, {keys} keys of {KEY_LENGTH} B, values of {value_size} B, {requests} requests a round)"
        )
    }

    /// The same, for warming up and for what is counted exactly.
    pub(crate) fn shorter(&self) -> Self {
        Self { requests: self.requests / 4, ..*self }
    }

    /// Requests per second, as the load generator saw it.
    pub(crate) fn run(&self, target: &Target) -> f64 {
        self.run_under(Command::new("timeout"), target)
    }

    /// The same, as the last arguments of `wrapper`: `timeout` itself, or what starts it.
    pub(crate) fn run_under(&self, mut wrapper: Command, target: &Target) -> f64 {
        wrapper.args(["--foreground", PATIENCE]).args(self.command(target));
        let output = wrapper.stdin(Stdio::null()).output().expect("a program of every Debian runs");
        let (csv, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let who = target.name();
        match output.status.code() {
            Some(0) => {}
            Some(124) => panic!("{who} has not answered everything after {PATIENCE} s"),
            Some(127) => panic!("redis-benchmark is missing (Debian package: redis-tools)"),
            _ => panic!("redis-benchmark on {who}: {}\n{errors}", output.status),
        }
        requests_per_second(&csv).unwrap_or_else(|| panic!("redis-benchmark on {who} wrote no result:\n{csv}{errors}"))
    }

    fn command(&self, target: &Target) -> Vec<String> {
        let mut command = vec!["redis-benchmark".to_owned(), "--csv".to_owned()];
        let mut option = |name: &str, value: String| command.extend([name.to_owned(), value]);
        option("-p", target.port().to_string());
        option("-c", self.clients.to_string());
        option("-n", self.requests.to_string());
        option("-P", self.pipeline.to_string());
        option("-r", self.keys.to_string());
        command.extend([self.request.to_string(), key(RANDOM)]);
        match self.request {
            Request::Get => {}
            Request::Set => command.push(value(self.value_size)),
        }
        command
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Set => "SET",
        })
    }
}

/// Writes every key there can be, past the proxy.
pub(crate) fn fill(target: &Target, keys: usize, value_size: usize) {
    let mut server = connect(target.server_port());
    let value = value(value_size);
    for number in 0..keys {
        let key = key(&format!("{number:012}"));
        let set = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${value_size}\r\n{value}\r\n", key.len());
        server.write_all(set.as_bytes()).expect("the server reads");
    }
    expect(&mut server, &"+OK\r\n".repeat(keys), "the server");
}

/// Panics unless the target gives the right answer: a fast wrong one is worth nothing.
pub(crate) fn check(target: &Target, keys: usize, value_size: usize) {
    let mut stream = connect(target.port());
    for number in [0, keys / 2, keys - 1] {
        let key = key(&format!("{number:012}"));
        let get = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
        stream.write_all(get.as_bytes()).expect("the target reads");
        expect(&mut stream, &format!("${value_size}\r\n{}\r\n", value(value_size)), target.name());
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a listening process");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout that is not zero");
    stream
}

fn expect(stream: &mut TcpStream, replies: &str, who: &str) {
    let mut seen = vec![0; replies.len()];
    stream.read_exact(&mut seen).unwrap_or_else(|error| panic!("{who} does not answer in full: {error}"));
    assert!(seen == replies.as_bytes(), "{who} gives a wrong answer");
}

fn key(number: &str) -> String {
    const PREFIX: &str = "bench:";
    let padding = KEY_LENGTH - PREFIX.len() - number.len();
    format!("{PREFIX}{}{number}", "k".repeat(padding))
}

fn value(size: usize) -> String {
    "v".repeat(size)
}

/// From a line of headings and a line of values, all in quotes.
fn requests_per_second(csv: &str) -> Option<f64> {
    let mut lines = csv.lines().map(|line| line.trim_matches('"').split("\",\""));
    let column = lines.next()?.position(|heading| heading == "rps")?;
    lines.next()?.nth(column)?.parse().ok()
}
