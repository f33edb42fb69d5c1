//! A reply, as a client understands it.

use std::fmt;

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Text(Vec<u8>),
    Integer(i64),
    Status(String),
    Error(String),
    List(Vec<Answer>),
}

impl Answer {
    /// Of a complete frame, RESP2 or RESP3.
    pub(crate) fn parse(frame: &[u8]) -> Self {
        let (answer, len) = parse(frame);
        assert_eq!(len, frame.len(), "one frame: {}", frame.escape_ascii());
        answer
    }
}

fn parse(bytes: &[u8]) -> (Answer, usize) {
    let end = bytes.iter().position(|byte| *byte == b'\n').expect("a whole line") + 1;
    let line = std::str::from_utf8(&bytes[1..end - 2]).expect("a line of text");
    let number = || line.parse::<i64>().expect("a number");
    match bytes[0] {
        b'+' => (Answer::Status(line.to_owned()), end),
        b'-' => (Answer::Error(line.to_owned()), end),
        b':' => (Answer::Integer(number()), end),
        b'_' => (Answer::Nothing, end),
        b'$' | b'*' if number() < 0 => (Answer::Nothing, end),
        b'$' => {
            let len = number() as usize;
            (Answer::Text(bytes[end..end + len].to_vec()), end + len + 2)
        }
        b'*' => {
            let mut at = end;
            let elements = (0..number()).map(|_| {
                let (element, len) = parse(&bytes[at..]);
                at += len;
                element
            });
            let elements = elements.collect();
            (Answer::List(elements), at)
        }
        _ => panic!("nobody asked for {}", bytes.escape_ascii()),
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Text(text) => f.write_str(&brief(text)),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Status(text) | Self::Error(text) => f.write_str(text),
            Self::List(answers) => f.debug_list().entries(answers).finish(),
        }
    }
}

/// The beginning of a value, and how long it is.
pub(crate) fn brief(text: &[u8]) -> String {
    let shown = text[..text.len().min(24)].escape_ascii();
    if text.len() > 24 { format!("{shown}... ({})", text.len()) } else { shown.to_string() }
}
