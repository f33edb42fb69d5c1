//! Finding out whether a lost write was executed, by looking (G3).
//!
//! A write that was sent and not answered is never sent again: it could overwrite somebody's newer value. But where its
//! effect is plain, the new connection can look whether it is there, once the server has forgotten the old one:
//!
//! | command | is looked for | told |
//! |---|---|---|
//! | `SET`, with `EX` or `PX` at most; `SETEX`, `PSETEX`, `MSET` | the value, and a time to live as it would be by now | `OK` |
//! | `HMSET` | the fields' values | `OK` |
//! | `DEL`, `UNLINK` of one key | that there is none | `0` |
//!
//! What is not found may have run all the same, before somebody else's write: its outcome stays unknown
//! (`research/reliability.md`, section 1.4, rows 5a and 5c).

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::resp::request::{Parser, Request};
use crate::resp::{decimal, encode, peek};

use super::replay::len_but_for_xx;

/// Values longer than this come in pieces, and are not looked at.
const LONGEST_VALUE: usize = 32 << 10;

/// How far the server's clock and ours may drift apart meanwhile, and how late it may look at it.
const CLOCK_MARGIN: Duration = Duration::from_millis(100);

/// What a reply must say for the write to have been executed.
#[derive(PartialEq, Eq)]
enum Expected {
    /// This text.
    Text(Vec<u8>),
    /// These texts, in an array.
    Texts(Vec<Vec<u8>>),
    /// No time to live.
    NoExpiry,
    /// What is left of this time to live.
    Expiry(Duration),
    /// Nothing.
    Absent,
}

/// A look at what a lost write has left.
pub(super) struct ReadBack {
    expected: VecDeque<Expected>,
    /// The write was executed between these.
    sent: Instant,
    lost: Instant,
    holds: bool,
    answer: &'static [u8],
}

impl ReadBack {
    /// What to ask, and what to make of it; `None` where looking tells nothing. The write was `sent` and not
    /// answered when its connection was `lost`.
    pub(super) fn of(write: &[u8], sent: Instant, lost: Instant) -> Option<(Self, Vec<Vec<u8>>)> {
        let mut parser = Parser::default();
        let request = parser.known(write)?;
        let mut plan = Plan::default();
        let answer = plan.of(&request)?;
        (plan.bytes <= LONGEST_VALUE)
            .then_some((Self { expected: plan.expected, sent, lost, holds: true, answer }, plan.requests))
    }

    /// The next reply has come. `Some` when it was the last: the reply to the write, or `None` inside, if its outcome
    /// is unknown.
    pub(super) fn hear(&mut self, frame: &[u8], now: Instant) -> Option<Option<&'static [u8]>> {
        let expected = self.expected.pop_front()?;
        self.holds &= match expected {
            Expected::Text(text) => peek::word(frame) == Some(&text),
            Expected::Texts(texts) => peek::elements(frame)
                .is_some_and(|elements| elements.map(peek::word).eq(texts.iter().map(|text| Some(text.as_slice())))),
            Expected::NoExpiry => frame == b":-1\r\n",
            Expected::Expiry(length) => self.fits(length, frame, now),
            Expected::Absent => frame == b":0\r\n",
        };
        self.expected.is_empty().then_some(self.holds.then_some(self.answer))
    }

    /// Whether a time to live is what is left of `length`, begun between `sent` and `lost`.
    fn fits(&self, length: Duration, frame: &[u8], now: Instant) -> bool {
        let text = frame.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n"));
        let Some(left) = text.and_then(decimal).and_then(|left| u64::try_from(left).ok()) else { return false };
        let left = Duration::from_millis(left);
        let least = (self.sent + length).saturating_duration_since(now).saturating_sub(CLOCK_MARGIN);
        let most = (self.lost + length).saturating_duration_since(now) + CLOCK_MARGIN;
        (least..=most).contains(&left)
    }
}

/// The questions, as they are put together.
#[derive(Default)]
struct Plan {
    requests: Vec<Vec<u8>>,
    expected: VecDeque<Expected>,
    /// Bytes of the values looked for.
    bytes: usize,
}

impl Plan {
    /// Puts the questions for a write; what it would have been answered.
    fn of(&mut self, request: &Request<'_>) -> Option<&'static [u8]> {
        const OK: &[u8] = b"+OK\r\n";
        let arg = |index| request.arg(index);
        // With `XX`: had it not been there, it would not be now.
        match (request.name().to_ascii_lowercase().as_slice(), len_but_for_xx(request)) {
            (b"set", 3) => self.value(arg(1)?, arg(2)?, None),
            (b"set", 5) if request.is(3, "ex") => self.value(arg(1)?, arg(2)?, Some(length(arg(4)?, 1000)?)),
            (b"set", 5) if request.is(3, "px") => self.value(arg(1)?, arg(2)?, Some(length(arg(4)?, 1)?)),
            (b"setex", 4) => self.value(arg(1)?, arg(3)?, Some(length(arg(2)?, 1000)?)),
            (b"psetex", 4) => self.value(arg(1)?, arg(3)?, Some(length(arg(2)?, 1)?)),
            (b"mset", len @ 3..=33) if len % 2 == 1 => {
                let pairs: Vec<_> = request.args_from(1).collect();
                // A key that is named twice holds the last of its values.
                for pair in pairs.chunks_exact(2) {
                    self.value(pair[0], pair[1], None);
                }
            }
            (b"hmset", len @ 4..=64) if len % 2 == 0 => {
                let rest: Vec<_> = request.args_from(2).collect();
                let (fields, values): (Vec<_>, Vec<_>) = rest.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip();
                self.bytes += values.iter().map(|value| value.len()).sum::<usize>();
                self.ask(&[&[&b"HMGET"[..], arg(1)?], fields.as_slice()].concat());
                self.expected.push_back(Expected::Texts(values.into_iter().map(<[u8]>::to_vec).collect()));
            }
            (b"del" | b"unlink", 2) => {
                self.ask(&[b"EXISTS", arg(1)?]);
                self.expected.push_back(Expected::Absent);
                return Some(b":0\r\n");
            }
            _ => return None,
        }
        Some(OK)
    }

    fn value(&mut self, key: &[u8], value: &[u8], expiry: Option<Duration>) {
        self.bytes += value.len();
        self.ask(&[b"GET", key]);
        self.expected.push_back(Expected::Text(value.to_vec()));
        self.ask(&[b"PTTL", key]);
        self.expected.push_back(expiry.map_or(Expected::NoExpiry, Expected::Expiry));
    }

    fn ask(&mut self, words: &[&[u8]]) {
        let mut request = Vec::new();
        encode::request(&mut request, words);
        self.requests.push(request);
    }
}

/// A length of time in `unit` milliseconds.
fn length(text: &[u8], unit: u64) -> Option<Duration> {
    let count = u64::try_from(decimal(text)?).ok().filter(|count| *count > 0)?;
    // What the server would refuse is not looked for.
    count.checked_mul(unit).filter(|millis| *millis < 1 << 42).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for a write lost after a second, and what comes of these replies half a second later.
    fn looked(write: &[&str], replies: &[&str]) -> (String, Option<Option<&'static [u8]>>) {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, &write.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        let sent = Instant::now();
        let lost = sent + Duration::from_secs(1);
        let Some((mut read_back, requests)) = ReadBack::of(&bytes, sent, lost) else { return (String::new(), None) };
        assert!(replies.is_empty() || replies.len() == requests.len());
        let now = lost + Duration::from_millis(500);
        let said = replies.iter().filter_map(|reply| read_back.hear(reply.as_bytes(), now)).collect::<Vec<_>>();
        let asked: Vec<_> =
            requests.iter().map(|request| String::from_utf8_lossy(request).replace("\r\n", " ")).collect();
        (asked.concat(), said.last().copied())
    }

    #[test]
    fn a_write_that_is_there_was_executed() {
        let ok = Some(Some(&b"+OK\r\n"[..]));
        let unknown = Some(None);
        let cases: &[(&[&str], &[&str], _)] = &[
            (&["SET", "k", "v"], &["$1\r\nv\r\n", ":-1\r\n"], ok),
            (&["set", "k", "v"], &["$1\r\nw\r\n", ":-1\r\n"], unknown),
            (&["SET", "k", "v"], &["$1\r\nv\r\n", ":9000\r\n"], unknown),
            (&["SET", "k", "v"], &["_\r\n", ":-2\r\n"], unknown),
            // Executed at once, or just before the loss.
            (&["SET", "k", "v", "EX", "60"], &["$1\r\nv\r\n", ":58500\r\n"], ok),
            (&["SET", "k", "v", "px", "60000"], &["$1\r\nv\r\n", ":59500\r\n"], ok),
            // The same value, written before: its time to live is older.
            (&["SET", "k", "v", "EX", "60", "XX"], &["$1\r\nv\r\n", ":58500\r\n"], ok),
            (&["SET", "k", "v", "XX"], &["_\r\n", ":-2\r\n"], unknown),
            (&["SETEX", "k", "60", "v"], &["$1\r\nv\r\n", ":58300\r\n"], unknown),
            (&["SETEX", "k", "60", "v"], &["$1\r\nv\r\n", ":60000\r\n"], unknown),
            (&["PSETEX", "k", "60000", "v"], &["$1\r\nv\r\n", ":59000\r\n"], ok),
            (&["MSET", "a", "1", "b", "2"], &["$1\r\n1\r\n", ":-1\r\n", "$1\r\n2\r\n", ":-1\r\n"], ok),
            (&["MSET", "a", "1", "b", "2"], &["$1\r\n1\r\n", ":-1\r\n", "$1\r\n3\r\n", ":-1\r\n"], unknown),
            (&["HMSET", "h", "a", "1", "b", "2"], &["*2\r\n$1\r\n1\r\n$1\r\n2\r\n"], ok),
            (&["HMSET", "h", "a", "1", "b", "2"], &["*2\r\n$1\r\n1\r\n_\r\n"], unknown),
            (&["DEL", "k"], &[":0\r\n"], Some(Some(&b":0\r\n"[..]))),
            (&["UNLINK", "k"], &[":1\r\n"], unknown),
            (&["SET", "k", "v"], &["-LOADING x\r\n", "-LOADING x\r\n"], unknown),
        ];
        for (write, replies, said) in cases {
            assert_eq!(looked(write, replies).1, *said, "{write:?} {replies:?}");
        }
        let (asked, _) = looked(&["SET", "k", "v"], &[]);
        assert_eq!(asked, "*2 $3 GET $1 k *2 $4 PTTL $1 k ");
    }

    #[test]
    fn where_looking_tells_nothing_nobody_looks() {
        let long = "x".repeat(LONGEST_VALUE + 1);
        let cases: &[&[&str]] = &[
            &["SET", "k", "1", "NX"],
            &["SET", "k", "1", "NX", "PX", "5"],
            &["SET", "k", "v", "GET"],
            &["SET", "k", "v", "KEEPTTL"],
            &["SET", "k", "v", "EX", "0"],
            &["SET", "k", "v", "EX", "soon"],
            &["SET", "k", &long],
            &["INCR", "k"],
            &["APPEND", "k", "v"],
            &["DEL", "a", "b"],
            &["HSET", "h", "f", "v"],
            &["MSET", "a"],
        ];
        for write in cases {
            assert_eq!(looked(write, &[]), (String::new(), None), "{write:?}");
        }
    }
}
