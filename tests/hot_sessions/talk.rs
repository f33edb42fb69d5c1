//! A connection that asks, and comes back when it is closed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::history::{Clock, NIL, Through, Token, token_of};
use super::support::{DEADLINE, frame_len, request};

/// What all clients of a schedule share.
pub(crate) struct Scene {
    /// Of the proxies.
    pub(crate) ports: [u16; 2],
    /// Of the server that is asked directly.
    pub(crate) primary: AtomicU16,
    /// Grows when that begins to change, and when it has changed: odd means that it is not to be trusted.
    pub(crate) moves: AtomicU32,
    pub(crate) clock: Clock,
    pub(crate) is_over: AtomicBool,
    pub(crate) tokens: AtomicU32,
    /// Somebody may say `SWAPDB`.
    pub(crate) swaps: bool,
}

impl Scene {
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// One nobody else has.
    pub(crate) fn token(&self) -> Token {
        self.tokens.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn moves(&self) -> u32 {
        self.moves.load(Ordering::SeqCst)
    }

    fn port(&self, through: Through) -> u16 {
        match through {
            Through::Proxy(number) => self.ports[number],
            Through::Direct => self.primary.load(Ordering::SeqCst),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What is shorter than a token counts as one, too: `NIL` is none.
    Value(Token),
    Number(i64),
    Ok,
    Error(String),
    List(Vec<Answer>),
}

pub(crate) struct Talker<'a> {
    scene: &'a Scene,
    through: Through,
    database: usize,
    is_resp3: bool,
    /// With the port it goes to.
    stream: Option<(u16, TcpStream)>,
    input: Vec<u8>,
    given: usize,
}

impl<'a> Talker<'a> {
    pub(crate) fn new(scene: &'a Scene, through: Through, database: usize, is_resp3: bool) -> Self {
        Self { scene, through, database, is_resp3, stream: None, input: Vec::new(), given: 0 }
    }

    /// Whether it is connected now; true as well if it was.
    pub(crate) fn is_connected(&self) -> bool {
        self.stream.as_ref().is_some_and(|(port, _)| *port == self.scene.port(self.through))
    }

    /// Returns when it is connected and in its database, or everything is over.
    pub(crate) fn connect(&mut self) {
        while !self.scene.is_over() && self.try_connect().is_none() {
            self.close();
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn try_connect(&mut self) -> Option<()> {
        let port = self.scene.port(self.through);
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        self.stream = Some((port, stream));
        if self.is_resp3 {
            self.send(&request(&["HELLO", "3"]))?;
            // Whatever it says, it is not an error.
            let Answer::List(_) = self.hear()? else { return None };
        }
        self.select(self.database)
    }

    /// `None` where it is not known to be there.
    pub(crate) fn select(&mut self, database: usize) -> Option<()> {
        self.database = database;
        self.send(&request(&["SELECT", &database.to_string()]))?;
        (self.hear()? == Answer::Ok).then_some(())
    }

    pub(crate) fn close(&mut self) {
        self.stream = None;
        self.input.clear();
        self.given = 0;
    }

    /// `None` where the connection is closed; it is not known what has arrived.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.as_mut()?.1.write_all(bytes).ok()
    }

    /// `None` where the connection is closed instead.
    pub(crate) fn hear(&mut self) -> Option<Answer> {
        loop {
            let bytes = &self.input[self.given..];
            if let Some(len) = frame_len(bytes) {
                let answer = parse(&bytes[..len]).0;
                self.given += len;
                return Some(answer);
            }
            self.input.drain(..self.given);
            self.given = 0;
            let mut chunk = [0; 32 << 10];
            match self.stream.as_mut()?.1.read(&mut chunk) {
                Ok(len) if len > 0 => self.input.extend_from_slice(&chunk[..len]),
                Ok(_) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("{:?} did not answer within {DEADLINE:?}", self.through)
                }
                Err(_) => return None,
            }
        }
    }
}

/// The first element of `bytes`, and what is behind it.
fn parse(bytes: &[u8]) -> (Answer, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').expect("a whole frame");
    let (line, rest) = (&bytes[1..end - 1], &bytes[end + 1..]);
    let number = || std::str::from_utf8(line).ok().and_then(|line| line.parse::<i64>().ok()).unwrap_or(-1);
    match bytes[0] {
        b'+' if line == b"OK" => (Answer::Ok, rest),
        b'-' => (Answer::Error(String::from_utf8_lossy(line).into_owned()), rest),
        b':' => (Answer::Number(number()), rest),
        b'$' => match usize::try_from(number()) {
            Ok(len) => (Answer::Value(token_of(&rest[..len]).unwrap_or(NIL)), &rest[len + 2..]),
            Err(_) => (Answer::Value(NIL), rest),
        },
        b'*' | b'~' | b'>' | b'%' => match number() {
            ..0 => (Answer::Value(NIL), rest),
            count => {
                let count = if bytes[0] == b'%' { 2 * count } else { count };
                let mut rest = rest;
                let elements = (0..count).map(|_| {
                    let (element, behind) = parse(rest);
                    rest = behind;
                    element
                });
                (Answer::List(elements.collect()), rest)
            }
        },
        // A RESP3 null, and words such as `QUEUED`.
        _ => (Answer::Value(NIL), rest),
    }
}
