//! The tools that come with Redis, and a client library, unchanged: one address is all that tells them.

mod support;

#[path = "tools/benchmark.rs"]
mod benchmark;
#[path = "tools/cli.rs"]
mod cli;
#[path = "tools/library.rs"]
mod library;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use support::{Proxy, RedisServer};

/// A proxy in front of a server.
struct Place {
    // Ends first, for it would complain of a server that ended before.
    proxy: Proxy,
    server: RedisServer,
}

/// What a tool printed, complaints included.
#[derive(Debug, PartialEq, Eq)]
struct Printed {
    text: String,
    succeeded: bool,
}

impl Place {
    fn new() -> Self {
        Self::of(RedisServer::plain())
    }

    fn of(server: RedisServer) -> Self {
        Self { proxy: Proxy::plain(&server), server }
    }

    /// What `redis-cli` prints, complaints included; it must succeed.
    fn cli(&self, args: &[&str], input: &[u8]) -> String {
        self.run("redis-cli", args, input)
    }

    fn run(&self, program: &str, args: &[&str], input: &[u8]) -> String {
        let Printed { text, succeeded } = run(self.proxy.port(), program, args, input);
        assert!(succeeded, "{program} {args:?}: {text}");
        text
    }

    /// What a tool prints in front of the server itself, and in front of the proxy.
    fn both(&self, program: &str, args: &[&str], input: &[u8]) -> [Printed; 2] {
        [self.server.port(), self.proxy.port()].map(|port| run(port, program, args, input))
    }

    /// The same of `redis-cli`, which prints without end: until a line says `text` as often as that.
    fn both_until(&self, args: &[&str], text: &str, times: usize) -> [Vec<String>; 2] {
        [self.server.port(), self.proxy.port()].map(|port| run_until(port, args, text, times, || {}))
    }
}

fn command(port: u16, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-p", &port.to_string()]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(port: u16, program: &str, args: &[&str], input: &[u8]) -> Printed {
    let child = command(port, program, args).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{program} is missing; `make test` installs it: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    let Output { status, stdout, stderr } = thread::scope(|scope| {
        // One that refuses its arguments reads nothing.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("the end of a child process")
    });
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    Printed { text, succeeded: status.success() }
}

/// What `redis-cli` prints until a line says `text` for the last of so many times. `nudge` is called until then.
fn run_until(port: u16, args: &[&str], text: &str, mut times: usize, mut nudge: impl FnMut()) -> Vec<String> {
    let mut child = command(port, "redis-cli", args).spawn().expect("redis-cli is missing; `make test` installs it");
    let stdout = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
    let (sender, printed) = mpsc::channel();
    let reader = thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut lines = Vec::new();
    support::wait_until(&format!("redis-cli {args:?} prints {text}"), || {
        nudge();
        for line in printed.try_iter() {
            if times > 0 {
                times -= usize::from(line.contains(text));
                lines.push(line);
            }
        }
        times == 0
    });
    child.kill().expect("a child process can be killed");
    child.wait().expect("a killed process ends");
    drop(printed);
    let _ = reader.join().expect("reading does not panic");
    lines
}

/// A text whose numbers, and the room they take, are of no interest.
fn without_numbers(text: &str) -> String {
    let mut shown = String::new();
    for word in text.split(|char: char| char.is_whitespace()).filter(|word| !word.is_empty()) {
        let word: String = word.chars().map(|char| if char.is_ascii_digit() { 'N' } else { char }).collect();
        let mut chars: Vec<char> = word.chars().collect();
        chars.dedup_by(|one, other| *one == 'N' && *other == 'N');
        shown.extend(chars);
        shown.push(' ');
    }
    shown
}
