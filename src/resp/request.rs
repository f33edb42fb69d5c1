//! One request of a client: an array of bulk strings, or an inline line of words.
//!
//! The parser is resumable and strict: what it accepts, every Redis reads the same way, so the bytes of an
//! accepted request may travel on a connection shared with others. An inline request is written anew as an
//! array before it goes anywhere.

use std::fmt;

use super::{decimal, encode, inline};

/// What one request may not exceed (G7).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Arguments, the command's name included.
    pub arguments: usize,
    /// Bytes of one argument.
    pub bulk: usize,
    /// Bytes of the whole request.
    pub request: usize,
    /// Whether the client has authenticated: Redis words two errors differently before.
    pub authenticated: bool,
}

impl Limits {
    /// What Redis allows a client that has not authenticated: enough for `HELLO` and `AUTH`.
    pub const UNAUTHENTICATED: Self = Self { arguments: 10, bulk: 16 << 10, request: 64 << 10, authenticated: false };
}

/// The longest inline request and the longest length line, as in Redis.
const LONGEST_LINE: usize = 64 << 10;

/// Why bytes are no request, in Redis' own words. The client is told and its connection closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[allow(missing_docs)]
    #[error("Protocol error: invalid multibulk length")]
    ArrayLength,
    #[allow(missing_docs)]
    #[error("Protocol error: unauthenticated multibulk length")]
    ArrayLengthUnauthenticated,
    #[allow(missing_docs)]
    #[error("Protocol error: too big mbulk count string")]
    ArrayLine,
    #[allow(missing_docs)]
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    #[allow(missing_docs)]
    #[error("Protocol error: unauthenticated bulk length")]
    BulkLengthUnauthenticated,
    #[allow(missing_docs)]
    #[error("Protocol error: too big bulk count string")]
    BulkLine,
    /// Something else where an argument had to begin.
    #[error("Protocol error: expected '$', got '{}'", (*.0 as char).escape_default())]
    ExpectedBulk(u8),
    /// An argument does not end where its length says. Redis does not look; a shared connection must.
    #[error("Protocol error: missing CRLF after an argument")]
    Crlf,
    #[allow(missing_docs)]
    #[error("Protocol error: too big inline request")]
    InlineLine,
    #[allow(missing_docs)]
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    /// More than [`Limits::request`] bytes.
    #[error("Protocol error: too big request")]
    Request,
    /// The first bytes belong to HTTP or TLS: nothing is answered, so that a browser or a scanner can be
    /// tricked into nothing.
    #[error("another protocol")]
    OtherProtocol,
}

impl RequestError {
    /// The error for the client, byte for byte as Redis writes it.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Self::ExpectedBulk(byte) => [b"ERR Protocol error: expected '$', got '", &[*byte][..], b"'"].concat(),
            other => format!("ERR {other}").into_bytes(),
        }
    }
}

/// A piece of a request's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

/// A complete request, borrowed from the buffer it was read into.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    frame: &'a [u8],
    args: &'a [Span],
}

/// Lengths only (G8).
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request of {} bytes", self.frame.len())
    }
}

impl<'a> Request<'a> {
    /// The request as an array of bulk strings, ready to be sent.
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// How many arguments it has, the command's name included. Never 0.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// Whether there is no argument at all; such a request is skipped before it gets here.
    pub fn is_empty(&self) -> bool {
        self.args.is_empty()
    }

    /// An argument; 0 is the command's name.
    pub fn arg(&self, index: usize) -> Option<&'a [u8]> {
        self.args.get(index).map(|span| &self.frame[span.start..span.end])
    }

    /// The command's name as the client wrote it.
    pub fn name(&self) -> &'a [u8] {
        self.arg(0).unwrap_or_default()
    }

    /// Whether an argument is this word, in any case.
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.arg(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The arguments from `index` on.
    pub fn args_from(&self, index: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let frame = self.frame;
        self.args.get(index..).unwrap_or_default().iter().map(move |span| &frame[span.start..span.end])
    }
}

/// A resumable parser of one client's requests.
#[derive(Default)]
pub struct Parser {
    /// Everything before it is parsed.
    pos: usize,
    /// Arguments still to come; `None` before the array's header.
    left: Option<usize>,
    /// How much of the line at `pos` is known to hold no line end.
    searched: usize,
    args: Vec<Span>,
    /// An inline request, written as an array.
    rewritten: Vec<u8>,
    /// The last call found a request: the next one starts afresh.
    done: bool,
}

/// Lengths only (G8).
impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parser at byte {}", self.pos)
    }
}

impl Parser {
    /// Looks for one whole request at the start of `buf`.
    ///
    /// `None`: more bytes are needed; call again with the same bytes and more behind them. `Some(len)`: a
    /// request of `len` bytes; read it with [`Parser::request`] and remove the bytes.
    ///
    /// # Errors
    /// [`RequestError`]: the client is told, if it says so, and its connection closed.
    pub fn advance(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        if self.done {
            self.restart();
        }
        let len = match buf.first() {
            None => return Ok(None),
            Some(b'*') => self.array(buf, limits)?,
            Some(_) => self.inline(buf, limits)?,
        };
        self.done = len.is_some();
        Ok(len)
    }

    /// The request the last [`Parser::advance`] found at the start of `buf`.
    ///
    /// `None` for an empty one (an empty line, `*0`), which Redis skips without a reply.
    pub fn request<'a>(&'a self, buf: &'a [u8]) -> Option<Request<'a>> {
        let frame = if self.rewritten.is_empty() { &buf[..self.pos] } else { &self.rewritten };
        (!self.args.is_empty()).then_some(Request { frame, args: &self.args })
    }

    /// The request that `bytes` are: one we have written, or have read before. `None` if they are none after all.
    pub fn known<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Request<'a>> {
        let most = bytes.len();
        let limits = Limits { arguments: most, bulk: most, request: most, authenticated: true };
        self.advance(bytes, &limits).ok()??;
        self.request(bytes)
    }

    /// Bytes the list of arguments takes, of a request with very many.
    pub fn held(&self) -> usize {
        self.args.capacity() * size_of::<Span>()
    }

    fn restart(&mut self) {
        self.pos = 0;
        self.left = None;
        self.searched = 0;
        self.args.clear();
        self.rewritten.clear();
        // A request of very many arguments must not hold its list for the life of the connection.
        if self.args.capacity() > 64 || self.rewritten.capacity() > 1024 {
            self.args.shrink_to(64);
            self.rewritten.shrink_to(1024);
        }
        self.done = false;
    }

    fn array(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        let mut left = match self.left {
            Some(left) => left,
            None => {
                let errors = (RequestError::ArrayLine, RequestError::ArrayLength);
                let (count, after) = match short_length(buf, self.pos + 1) {
                    Some((count, after)) => (Some(count), after),
                    None => match length(buf, self.pos + 1, errors)? {
                        Some(found) => found,
                        None => return Ok(None),
                    },
                };
                // A negative count is an empty request, to Redis.
                let count = count.unwrap_or(0);
                if count > limits.arguments {
                    return Err(match limits.authenticated {
                        true => RequestError::ArrayLength,
                        false => RequestError::ArrayLengthUnauthenticated,
                    });
                }
                self.pos = after;
                count
            }
        };
        while left > 0 {
            self.left = Some(left);
            match buf.get(self.pos) {
                None => return Ok(None),
                Some(b'$') => {}
                Some(&other) => return Err(RequestError::ExpectedBulk(other)),
            }
            let errors = (RequestError::BulkLine, RequestError::BulkLength);
            let (len, start) = match short_length(buf, self.pos + 1) {
                Some(found) => found,
                None => match length(buf, self.pos + 1, errors)? {
                    Some((len, start)) => (len.ok_or(RequestError::BulkLength)?, start),
                    None => return Ok(None),
                },
            };
            if len > limits.bulk {
                return Err(match limits.authenticated {
                    true => RequestError::BulkLength,
                    false => RequestError::BulkLengthUnauthenticated,
                });
            }
            let end = start + len;
            if end > limits.request {
                return Err(RequestError::Request);
            }
            match buf.get(end..end + 2) {
                Some(b"\r\n") => {}
                Some(_) => return Err(RequestError::Crlf),
                None => return Ok(None),
            }
            self.args.push(Span { start, end });
            self.pos = end + 2;
            left -= 1;
        }
        self.left = Some(0);
        Ok(Some(self.pos))
    }

    fn inline(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        if is_other_protocol(buf) {
            return Err(RequestError::OtherProtocol);
        }
        let longest = LONGEST_LINE.min(limits.request);
        let end = buf[self.searched..].iter().position(|byte| *byte == b'\n').map(|end| self.searched + end);
        if end.unwrap_or(buf.len()) > longest {
            // As much as is there at least, whatever came with it.
            let is_http = is_http_get(&buf[..=longest]);
            return Err(if is_http { RequestError::OtherProtocol } else { RequestError::InlineLine });
        }
        let Some(end) = end else {
            self.searched = buf.len();
            return Ok(None);
        };
        if is_http_get(&buf[..end]) {
            return Err(RequestError::OtherProtocol);
        }
        let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
        let words = inline::split(line).ok_or(RequestError::Quotes)?;
        if words.len() > limits.arguments {
            return Err(RequestError::ArrayLength);
        }
        if !words.is_empty() {
            encode::array_header(&mut self.rewritten, words.len());
            for word in &words {
                encode::bulk(&mut self.rewritten, word);
                let end = self.rewritten.len() - 2;
                self.args.push(Span { start: end - word.len(), end });
            }
        }
        self.pos = end + 1;
        Ok(Some(self.pos))
    }
}

/// The number on the line at `start`, and the position after the line, if it is whole and has few digits, as nearly
/// every length has. Otherwise [`length`] tells.
#[inline]
fn short_length(buf: &[u8], start: usize) -> Option<(usize, usize)> {
    let line = buf.get(start..)?;
    let (mut value, mut digits) = (0, 0);
    while let Some(digit @ b'0'..=b'9') = line.get(digits)
        && digits < 9
    {
        value = value * 10 + usize::from(digit - b'0');
        digits += 1;
    }
    let is_canonical = digits > 0 && (line[0] != b'0' || digits == 1);
    (is_canonical && line.get(digits..digits + 2) == Some(b"\r\n")).then_some((value, start + digits + 2))
}

/// The number on the line at `start`, and the position after the line; a negative number is `None`.
///
/// The first error is for a line that does not end, the second for one that is no number.
fn length(
    buf: &[u8],
    start: usize,
    (too_long, not_a_number): (RequestError, RequestError),
) -> Result<Option<(Option<usize>, usize)>, RequestError> {
    // A number has 20 characters at most. Redis waits for 64 KiB before it complains; there is no need to.
    const LONGEST: usize = 32;
    let line = &buf[start..];
    match line.iter().take(LONGEST).position(|byte| *byte == b'\r') {
        Some(end) => match line.get(end + 1) {
            Some(b'\n') => match decimal(&line[..end]) {
                Some(value) => Ok(Some((usize::try_from(value).ok(), start + end + 2))),
                None => Err(not_a_number),
            },
            Some(_) => Err(too_long),
            None => Ok(None),
        },
        None if line.len() >= LONGEST => Err(too_long),
        None => Ok(None),
    }
}

/// Whether the first bytes are HTTP's or TLS', as far as they have come.
///
/// Redis closes on `POST` and `Host:` (its security notes, "cross protocol scripting"); a TLS hello and a
/// NUL byte would make it wait for ever.
fn is_other_protocol(buf: &[u8]) -> bool {
    let starts = |word: &[u8]| buf.len() >= word.len() && buf[..word.len()].eq_ignore_ascii_case(word);
    buf[0] == 0x16 || buf[0] == 0 || starts(b"POST ") || starts(b"Host:") || starts(b"PUT /")
}

/// Whether a line, and not what follows it in the buffer, is HTTP's: `GET /` alone is a request of Redis' own.
fn is_http_get(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"GET /"))
        && line.windows(6).any(|window| window == b" HTTP/")
}

#[cfg(test)]
mod tests;
