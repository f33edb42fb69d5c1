//! Cases: requests, and how their replies through the proxy are compared with the server's own.

use std::cell::RefCell;
use std::io::Write;
use std::thread;
use std::time::Duration;

use super::report::{Answer, Difference, Differences};
use crate::support::{Proxy, RedisOptions, RedisServer, ServerProgram, Wire, request, wait_until, words};

/// Requests that belong together, on a connection of their own, with the server empty before.
pub struct Case {
    pub name: &'static str,
    /// One request a line, as `support::words` reads it. Before it may stand
    ///
    /// - `=3`: that many frames answer it, where one is usual
    /// - `~`: the clock or the connection tells its numbers: they are not compared
    /// - `?`: it tells of the one who asks, or of the clock, all over: only its type is compared
    pub requests: &'static str,
}

/// One request of a case.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub line: &'static str,
    frames: usize,
    mask: Mask,
}

/// What is not compared of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mask {
    /// Nothing but the `id` of `HELLO`.
    HelloId,
    Numbers,
    /// All but the type.
    Text,
}

/// How a case is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each request once the one before is answered.
    OneByOne,
    Pipelined,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy)]
pub enum Pieces {
    Whole,
    OneByOne,
}

impl Pieces {
    /// Everything that comes back until the end.
    fn send(self, bytes: &[u8], wire: Wire) -> Answer {
        let mut wire = wire.patience(Duration::from_secs(10));
        let mut writer = wire.writer();
        let size = match self {
            Self::Whole => bytes.len(),
            Self::OneByOne => 1,
        };
        thread::scope(|scope| {
            // Who has been closed, as must be who sends something wrong, gets rid of no more.
            scope.spawn(move || bytes.chunks(size).try_for_each(|piece| writer.write_all(piece)));
            wire.rest()
        })
    }
}

/// What one connection was answered: to each step, and from then until it was closed.
type Transcript = (Vec<Answer>, Answer);

/// A server, and a proxy in front of it.
pub struct Both {
    // Ends first, for it would complain of a server that ended before.
    pub proxy: Proxy,
    operator: RefCell<Wire>,
    pub server: RedisServer,
    /// Which requests this server must not be told, because of what it does then.
    unsaid: Unsaid,
}

/// Whether a request is left out, told at that pace.
pub type Unsaid = fn(&str, Pace) -> bool;

/// The steps of a case.
pub fn steps(requests: &'static str) -> impl Iterator<Item = Step> {
    requests.lines().map(str::trim).filter(|line| !line.is_empty()).map(Step::new)
}

impl Step {
    fn new(mut line: &'static str) -> Self {
        let (mut frames, mut mask) = (1, Mask::HelloId);
        while let Some((sign, rest)) = line.split_once(' ') {
            match sign {
                "~" => mask = Mask::Numbers,
                "?" => mask = Mask::Text,
                _ => match sign.strip_prefix('=') {
                    Some(count) => frames = count.parse().expect("a number of frames"),
                    None => break,
                },
            }
            line = rest;
        }
        Self { line, frames, mask }
    }
}

impl Both {
    /// In front of the system's server.
    pub fn plain() -> Self {
        Self::before(&ServerProgram::system())
    }

    pub fn before(program: &ServerProgram) -> Self {
        Self::of(program, RedisServer::with(), &[])
    }

    /// A server of this kind.
    pub fn with(options: RedisOptions) -> Self {
        Self::of(&ServerProgram::system(), options, &[])
    }

    /// Asks the server itself to change something, which it must.
    pub fn change(&self, line: &str) {
        assert_eq!(self.operator.borrow_mut().ask(line), "+OK", "{line}");
    }

    /// The server asks for a password, and so does the proxy.
    pub fn with_password(program: &ServerProgram, password: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("passwords");
        std::fs::write(&path, password).expect("a writable temporary directory");
        let lines = [
            format!("listen.password_file = \"{}\"", path.display()),
            format!("upstream.password = \"{password}\""),
            "limits.auth_delay = \"10ms\"".to_owned(),
        ];
        let both = Self::of(program, RedisServer::with().password(password), &lines.each_ref().map(String::as_str));
        let said = both.operator.borrow_mut().ask(&format!("AUTH {password}"));
        assert_eq!(said, "+OK");
        both.proxy.allow("a client's password was refused");
        both
    }

    fn of(program: &ServerProgram, mut options: RedisOptions, lines: &[&str]) -> Self {
        if program.version >= [7, 0, 0] {
            // `DEBUG PROTOCOL` gives every type there is; before, it was not forbidden.
            options = options.config("enable-debug-command local");
        }
        let server = options
            .program(program)
            // Tables are not rearranged behind our back: what has no order comes in the same order twice.
            .config("activerehashing no")
            // A blocking command that gives up does so in time.
            .config("hz 500")
            // However busy the machine is.
            .config("slowlog-log-slower-than -1")
            .start();
        let proxy = Proxy::with(&server, lines);
        // An old one: every read is forwarded.
        proxy.allow("loses invalidations");
        let operator = RefCell::new(Wire::connect(server.port()));
        Self { server, proxy, operator, unsaid: |_, _| false }
    }

    pub fn without(self, unsaid: Unsaid) -> Self {
        Self { unsaid, ..self }
    }

    pub fn may_say(&self, request: &str, pace: Pace) -> bool {
        !(self.unsaid)(request, pace)
    }

    /// Every case, in both protocols, one request at a time and all at once.
    pub fn compare_all(&self, cases: &'static [Case]) {
        self.differences(cases).expect_none();
    }

    /// What differs in any of the cases, told as [`Self::compare_all`] tells them.
    pub fn differences(&self, cases: impl IntoIterator<Item = &'static Case>) -> Differences {
        let mut differences = Differences::default();
        let mut count = 0;
        for case in cases {
            count += 1;
            for (protocol, hello) in [("RESP2", None), ("RESP3", Some("HELLO 3"))] {
                for pace in [Pace::OneByOne, Pace::Pipelined] {
                    let steps = hello.into_iter().map(Step::new).chain(steps(case.requests));
                    let steps: Vec<_> = steps.filter(|step| self.may_say(step.line, pace)).collect();
                    for difference in self.compare(case.name, &steps, pace) {
                        differences.add(difference, format!("{protocol} {pace:?}"));
                    }
                }
            }
        }
        assert_ne!(count, 0, "no case");
        differences
    }

    /// Every stream of bytes, in both protocols, in these pieces. Each must end its connection.
    pub fn compare_streams(&self, streams: impl IntoIterator<Item = (&'static str, Vec<u8>)>, pieces: &[Pieces]) {
        self.stream_differences(streams, pieces).expect_none();
    }

    /// What differs in any of the streams, sent as [`Self::compare_streams`] sends them.
    pub fn stream_differences(
        &self,
        streams: impl IntoIterator<Item = (&'static str, Vec<u8>)>,
        pieces: &[Pieces],
    ) -> Differences {
        let mut differences = Differences::default();
        let mut count = 0;
        for (name, stream) in streams {
            for (protocol, connect) in [("RESP2", Wire::connect as fn(u16) -> Wire), ("RESP3", Wire::connect_resp3)] {
                for pieces in pieces {
                    let answer = |port| {
                        self.clear();
                        pieces.send(&stream, connect(port))
                    };
                    let (expected, got) = (answer(self.server.port()), answer(self.proxy.port()));
                    assert!(expected.is_ok(), "{name}: the server itself answers {expected:?}");
                    if expected != got {
                        let request = "all of it";
                        let difference = Difference { case: name, request, redis: expected, cloakroom: got };
                        differences.add(difference, format!("{protocol} {pieces:?}"));
                    }
                    count += 1;
                }
            }
        }
        assert_ne!(count, 0, "no stream");
        differences
    }

    fn compare(&self, case: &'static str, steps: &[Step], pace: Pace) -> Vec<Difference> {
        self.clear();
        let (expected, expected_rest) = run(self.server.port(), steps, pace);
        let silent =
            expected.iter().zip(steps).find(|(said, _)| matches!(said, Err(end) if end.starts_with("silence")));
        assert!(silent.is_none(), "{case}: the server itself answers {silent:?}");
        self.clear();
        let (got, got_rest) = run(self.proxy.port(), steps, pace);
        let mut differences = Vec::new();
        for ((step, expected), got) in steps.iter().zip(expected).zip(got) {
            let (expected, got) = (step.masked(expected), step.masked(got));
            if expected != got {
                differences.push(Difference { case, request: step.line, redis: expected, cloakroom: got });
            }
        }
        if expected_rest != got_rest {
            let request = "(at the end)";
            differences.push(Difference { case, request, redis: expected_rest, cloakroom: got_rest });
        }
        differences
    }

    /// A digest of every key, value and expiry in every database.
    pub fn digest(&self) -> String {
        self.operator.borrow_mut().ask("DEBUG DIGEST")
    }

    /// Empties the server, once nobody from before is left on it.
    pub fn clear(&self) {
        let mut operator = self.operator.borrow_mut();
        // What a server has no command for needs no clearing.
        let is_unknown = |answer: &str| answer.to_lowercase().starts_with("-err unknown");
        for command in ["PUBSUB CHANNELS", "PUBSUB SHARDCHANNELS"] {
            wait_until("the last subscriber has gone", || {
                let answer = operator.ask(command);
                answer == "*0" || is_unknown(&answer)
            });
        }
        wait_until("the last pattern has gone", || operator.ask("PUBSUB NUMPAT") == ":0");
        for command in ["FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH", "CONFIG RESETSTAT"] {
            let answer = operator.ask(command);
            assert!(answer == "+OK" || is_unknown(&answer), "{command}: {answer}");
        }
    }
}

/// Tells the steps and then `QUIT`, and reads to the end.
fn run(port: u16, steps: &[Step], pace: Pace) -> Transcript {
    let mut wire = Wire::connect(port).patience(Duration::from_secs(5));
    let bytes = |step: &Step| request(&words(step.line));
    let quit = request(&["QUIT"]);
    let mut writer = wire.writer();
    let replies = match pace {
        Pace::OneByOne => {
            let mut replies = Vec::new();
            for step in steps {
                // One that is closed says so when it is read.
                let _ = writer.write_all(&bytes(step));
                replies.push(replies_to(step, &mut wire));
            }
            let _ = writer.write_all(&quit);
            replies
        }
        Pace::Pipelined => thread::scope(|scope| {
            let all: Vec<u8> = steps.iter().flat_map(bytes).chain(quit).collect();
            scope.spawn(move || writer.write_all(&all));
            steps.iter().map(|step| replies_to(step, &mut wire)).collect()
        }),
    };
    (replies, wire.rest())
}

fn replies_to(step: &Step, wire: &mut Wire) -> Answer {
    let mut frames = Vec::new();
    for _ in 0..step.frames {
        frames.push(wire.try_frame()?);
        // One error, and that is all.
        if frames.last().is_some_and(|frame| frame.starts_with(b"-")) {
            break;
        }
    }
    Ok(frames.concat())
}

impl Step {
    /// What is compared of its replies.
    fn masked(&self, replies: Answer) -> Answer {
        replies.map(|bytes| self.mask.apply(bytes))
    }
}

impl Mask {
    fn apply(self, frame: Vec<u8>) -> Vec<u8> {
        match self {
            Self::HelloId => without_hello_ids(frame),
            Self::Numbers => without_numbers(&frame),
            Self::Text => frame[..1].to_vec(),
        }
    }
}

/// Replaces the number after `id` in every reply to `HELLO`.
pub fn without_hello_ids(mut bytes: Vec<u8>) -> Vec<u8> {
    const BEFORE: &[u8] = b"$5\r\nproto\r\n:";
    const KEY: &[u8] = b"$2\r\nid\r\n:";
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(BEFORE.len()).position(|window| window == BEFORE) {
        // The protocol's number is one digit.
        let key = from + at + BEFORE.len() + 3;
        let start = key + KEY.len();
        from = key;
        if bytes[key..].starts_with(KEY) {
            let len = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            bytes.splice(start..start + len, *b"ID");
        }
    }
    bytes
}

/// Each run of digits becomes one `N`; a minus stays.
pub fn without_numbers(frame: &[u8]) -> Vec<u8> {
    let mut masked: Vec<u8> = Vec::new();
    for &byte in frame {
        match byte.is_ascii_digit() {
            true if masked.last() == Some(&b'N') => {}
            true => masked.push(b'N'),
            false => masked.push(byte),
        }
    }
    masked
}
