//! RESP as the model of Redis reads and writes it: code of its own, so that what the proxy gets wrong is not wrong
//! here too.

/// What the model answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(&'static str),
    Error(String),
    Integer(i64),
    Text(Vec<u8>),
    /// A text with a format, which only RESP3 tells.
    Verbatim(String),
    Null,
    NullArray,
    Array(Vec<Reply>),
    /// An array whose elements follow.
    Elements(usize),
    Map(Vec<(Reply, Reply)>),
    /// An array to those who speak RESP2.
    Set(Vec<Reply>),
    /// An array to those who speak RESP2.
    Push(Vec<Reply>),
}

impl Reply {
    pub(crate) const OK: Self = Self::Status("OK");

    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    pub(crate) fn error(text: &str) -> Self {
        Self::Error(text.to_owned())
    }

    /// Writes it as `protocol` has it.
    pub(crate) fn write(&self, protocol: u8, out: &mut Vec<u8>) {
        let is_resp3 = protocol == 3;
        match self {
            Self::Status(text) => line(out, '+', text),
            Self::Error(text) => line(out, '-', text),
            Self::Integer(number) => line(out, ':', &number.to_string()),
            Self::Text(text) => bulk(out, '$', text),
            Self::Verbatim(text) if is_resp3 => bulk(out, '=', format!("txt:{text}").as_bytes()),
            Self::Verbatim(text) => bulk(out, '$', text.as_bytes()),
            Self::Null | Self::NullArray if is_resp3 => line(out, '_', ""),
            Self::Null => line(out, '$', "-1"),
            Self::NullArray => line(out, '*', "-1"),
            Self::Array(elements) => {
                line(out, '*', &elements.len().to_string());
                elements.iter().for_each(|element| element.write(protocol, out));
            }
            Self::Elements(count) => line(out, '*', &count.to_string()),
            Self::Map(pairs) => {
                let (kind, len) = if is_resp3 { ('%', pairs.len()) } else { ('*', 2 * pairs.len()) };
                line(out, kind, &len.to_string());
                pairs.iter().flat_map(|(key, value)| [key, value]).for_each(|element| element.write(protocol, out));
            }
            Self::Set(elements) => {
                line(out, if is_resp3 { '~' } else { '*' }, &elements.len().to_string());
                elements.iter().for_each(|element| element.write(protocol, out));
            }
            Self::Push(elements) => {
                line(out, if is_resp3 { '>' } else { '*' }, &elements.len().to_string());
                elements.iter().for_each(|element| element.write(protocol, out));
            }
        }
    }
}

fn line(out: &mut Vec<u8>, kind: char, text: &str) {
    out.push(kind as u8);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn bulk(out: &mut Vec<u8>, kind: char, text: &[u8]) {
    line(out, kind, &text.len().to_string());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// The arguments of the request at the start of `bytes`, and its length; `None` if it is not whole.
pub(crate) fn request(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = header(bytes, 0, b'*')?;
    let mut args = Vec::with_capacity(count);
    for _ in 0..count {
        let (len, start) = header(bytes, at, b'$')?;
        args.push(bytes.get(start..start + len)?.to_vec());
        at = start + len + 2;
    }
    (at <= bytes.len()).then_some((args, at))
}

/// The number in the line at `at`, and where the line ends.
fn header(bytes: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    assert_eq!(rest[0], kind, "no request: {}", bytes.escape_ascii());
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    Some((integer(&rest[1..end - 1]).expect("a length") as usize, at + end + 1))
}

/// A number as Redis reads it: nothing around it.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
