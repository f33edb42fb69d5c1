//! What a read asks, where values held in memory can answer it.

use std::time::Duration;

use bytes::Bytes;

use crate::command::{Command, KeyArgs, Touches};
use crate::resp::Protocol;
use crate::resp::encode::{self, Sink};

/// A read that values held in memory can answer.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    pub(super) wants: Wants,
    pub(super) keys: KeyArgs<'a>,
}

/// What is asked of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// `GET`
    Value,
    /// `MGET`
    Values,
    /// `STRLEN`
    Length,
    /// `EXISTS`
    Existence,
    /// `TTL`
    Seconds,
    /// `PTTL`
    Milliseconds,
}

impl<'a> Question<'a> {
    /// `None` if only the server knows.
    pub fn of(command: &Command<'a>) -> Option<Self> {
        let wants = match command.row()?.name {
            "get" => Wants::Value,
            "mget" => Wants::Values,
            "strlen" => Wants::Length,
            "exists" => Wants::Existence,
            "ttl" => Wants::Seconds,
            "pttl" => Wants::Milliseconds,
            _ => return None,
        };
        match command.keys() {
            Touches::These(keys) => Some(Self { wants, keys }),
            Touches::None | Touches::Any => None,
        }
    }

    /// The key whose value is asked for, alone.
    pub fn value_of(&self) -> Option<&'a [u8]> {
        self.keys.clone().next().filter(|_| self.wants == Wants::Value)
    }
}

/// The answer, in no protocol yet.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// A value, or that there is none.
    Value(Option<Text>),
    /// One for each key.
    Values(Vec<Option<Text>>),
    #[allow(missing_docs)]
    Integer(i64),
}

/// Lengths only (G8).
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(_) => f.write_str("a value"),
            Self::Values(values) => write!(f, "{} values", values.len()),
            Self::Integer(_) => f.write_str("an integer"),
        }
    }
}

/// A value as the server sent it, header and line end included: the same bytes in both protocols.
pub(super) type Text = Bytes;

impl Answer {
    /// Writes it as the server would.
    pub fn write(&self, out: &mut impl Sink, protocol: Protocol) {
        let text = |text: &Option<Text>, out: &mut _| match text {
            Some(text) => Sink::put(out, text),
            None => encode::null(out, protocol),
        };
        match self {
            Self::Value(value) => text(value, out),
            Self::Values(values) => {
                encode::array_header(out, values.len());
                values.iter().for_each(|value| text(value, out));
            }
            Self::Integer(n) => encode::integer(out, *n),
        }
    }
}

/// The length a bulk string's header tells.
pub(super) fn length(text: &[u8]) -> i64 {
    let digits = text[1..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |len, digit| len * 10 + i64::from(digit - b'0'))
}

/// What `TTL` says of a key that lives for between `least` and `most`, if it says the same of all that is between.
pub(super) fn seconds(least: Duration, most: Duration) -> Option<i64> {
    // As Redis rounds it.
    let rounded = |left: Duration| i64::try_from((left.as_millis() + 500) / 1000).ok();
    rounded(least).filter(|seconds| Some(*seconds) == rounded(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_live_is_told_where_it_is_certain() {
        let seconds = |least, most| seconds(Duration::from_millis(least), Duration::from_millis(most));
        assert_eq!(seconds(59_500, 60_499), Some(60));
        assert_eq!(seconds(59_499, 59_501), None);
        assert_eq!(seconds(10, 20), Some(0));
    }

    #[test]
    fn an_answer_is_written_in_its_clients_protocol() {
        let some = Some(Bytes::from_static(b"$2\r\nab\r\n"));
        for (answer, resp2, resp3) in [
            (Answer::Value(some.clone()), "$2\r\nab\r\n", "$2\r\nab\r\n"),
            (Answer::Value(None), "$-1\r\n", "_\r\n"),
            (Answer::Values(vec![some, None]), "*2\r\n$2\r\nab\r\n$-1\r\n", "*2\r\n$2\r\nab\r\n_\r\n"),
            (Answer::Integer(-2), ":-2\r\n", ":-2\r\n"),
        ] {
            for (protocol, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
                let mut out = Vec::new();
                answer.write(&mut out, protocol);
                assert_eq!(out, expected.as_bytes(), "{answer:?} {protocol:?}");
            }
        }
        assert_eq!((length(b"$0\r\n\r\n"), length(b"$12\r\nabcdefghijkl\r\n")), (0, 12));
    }
}
