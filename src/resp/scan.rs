//! Where does a reply end?
//!
//! The scanner walks a reply element by element without building it: aggregates only add to the number of
//! elements still to come, so there is no recursion and no allocation, and the next call goes on where the
//! last one stopped.
//!
//! ```text
//! *2 $3 foo %1 +a :1        left: 1 ─*2▶ 2 ─foo▶ 1 ─%1▶ 2 ─a▶ 1 ─:1▶ 0, complete
//! ```

use super::decimal;

/// What a frame may not exceed. Past it the connection is not understood any more.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one bulk string.
    pub bulk: u64,
    /// Elements of one frame, nested ones included.
    pub elements: u64,
    /// Bytes of one line: a simple string, an error, a number.
    pub line: usize,
}

impl Limits {
    /// For what the server sends: twice Redis' own maximum for a value, and room for any real reply. A line may be
    /// as long as a value: `MONITOR` shows one.
    pub const REPLY: Self = Self { bulk: 1 << 30, elements: 1 << 28, line: 1 << 30 };
}

/// Why bytes are not a frame. The connection they came on is lost: its next byte has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// A frame starts with a byte that names no type.
    #[error("unknown frame type {}", (*.0 as char).escape_default())]
    Type(u8),
    /// A length or a count is not a number, or is negative where it may not be.
    #[error("invalid length")]
    Length,
    /// A bulk string does not end where its length says.
    #[error("missing CRLF after a bulk string")]
    Crlf,
    /// One of [`Limits`] is exceeded.
    #[error("frame exceeds a limit")]
    Limit,
}

/// A resumable search for the end of one frame.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Start of the next element; everything before it is complete.
    pos: usize,
    /// How much of a line that starts at `pos` is known to hold no line end.
    searched: usize,
    /// Elements still to come.
    left: u64,
    /// Elements seen, for the limit.
    seen: u64,
    /// Whether a type only RESP3 has was met.
    resp3: bool,
}

/// A complete frame at the start of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its length in bytes.
    pub len: usize,
    /// Whether it contains a type only RESP3 has, so that a RESP2 client could not read it as it is.
    pub resp3: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self::new()
    }
}

impl Scan {
    /// A scanner at the start of a frame.
    pub fn new() -> Self {
        Self { pos: 0, searched: 0, left: 1, seen: 0, resp3: false }
    }

    /// Looks for the end of the frame that starts at `buf[0]`.
    ///
    /// `None`: more bytes are needed; call again with the same bytes and more behind them. After `Some`
    /// the scanner is at the start of the next frame: remove the first `len` bytes.
    ///
    /// # Errors
    /// [`ScanError`]: these bytes are no frame within `limits`.
    pub fn advance(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Found>, ScanError> {
        if self.pos == 0
            && let Some(found) = whole_bulk(buf, limits)
        {
            *self = Self::new();
            return Ok(Some(found));
        }
        while self.left > 0 {
            let Some(element) = self.element(buf, limits)? else { return Ok(None) };
            self.seen += 1;
            self.left = self.left - 1 + element.children;
            if self.seen + self.left > limits.elements {
                return Err(ScanError::Limit);
            }
            self.pos = element.end;
            self.searched = 0;
        }
        let found = Found { len: self.pos, resp3: self.resp3 };
        *self = Self::new();
        Ok(Some(found))
    }

    /// Reads the element at `pos`, a whole scalar or the header of an aggregate.
    fn element(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Element>, ScanError> {
        let Some(&kind) = buf.get(self.pos) else { return Ok(None) };
        // A wrong first byte is told at once, not after a line end that may never come.
        let kind = Kind::of(kind)?;
        let Some(line_end) = self.line_end(buf, limits)? else { return Ok(None) };
        let text = &buf[self.pos + 1..line_end];
        let after = line_end + 2;
        self.resp3 |= kind.is_resp3();
        let element = match kind {
            Kind::Line | Kind::Resp3Line => Element { end: after, children: 0 },
            Kind::Bulk | Kind::Resp3Bulk => {
                let Some(len) = length(text)? else { return Ok(Some(Element { end: after, children: 0 })) };
                if len > limits.bulk {
                    return Err(ScanError::Limit);
                }
                let end = after + usize::try_from(len).map_err(|_| ScanError::Limit)?;
                match buf.get(end..end + 2) {
                    Some(b"\r\n") => Element { end: end + 2, children: 0 },
                    Some(_) => return Err(ScanError::Crlf),
                    None => return Ok(None),
                }
            }
            Kind::Array | Kind::Resp3Aggregate { .. } => {
                let count = length(text)?.unwrap_or(0);
                let children = match kind {
                    Kind::Resp3Aggregate { per_entry, extra } => {
                        count.checked_mul(per_entry).and_then(|n| n.checked_add(extra))
                    }
                    _ => Some(count),
                };
                let children = children.filter(|n| *n <= limits.elements).ok_or(ScanError::Limit)?;
                Element { end: after, children }
            }
        };
        Ok(Some(element))
    }

    /// The position of the `\r\n` that ends the line at `pos`.
    fn line_end(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ScanError> {
        let from = self.pos + self.searched;
        let rest = &buf[from..];
        let mut at = 0;
        while let Some(offset) = rest[at..].iter().position(|byte| *byte == b'\r') {
            at += offset;
            match rest.get(at + 1) {
                Some(b'\n') if self.searched + at <= limits.line => return Ok(Some(from + at)),
                Some(b'\n') => return Err(ScanError::Limit),
                Some(_) => at += 1,
                None => break,
            }
        }
        // A `\r` at the very end may be the first half of a line end: look at it again.
        let ends_in_cr = rest.last() == Some(&b'\r');
        self.searched += rest.len() - usize::from(ends_in_cr);
        if self.searched > limits.line { Err(ScanError::Limit) } else { Ok(None) }
    }
}

/// One step of the walk.
struct Element {
    end: usize,
    children: u64,
}

/// What the first byte of an element says about how it ends.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Line,
    Resp3Line,
    Bulk,
    Resp3Bulk,
    Array,
    Resp3Aggregate { per_entry: u64, extra: u64 },
}

impl Kind {
    fn of(byte: u8) -> Result<Self, ScanError> {
        Ok(match byte {
            b'+' | b'-' | b':' => Self::Line,
            b'$' => Self::Bulk,
            b'*' => Self::Array,
            b'_' | b'#' | b',' | b'(' => Self::Resp3Line,
            b'=' | b'!' => Self::Resp3Bulk,
            b'~' | b'>' => Self::Resp3Aggregate { per_entry: 1, extra: 0 },
            b'%' => Self::Resp3Aggregate { per_entry: 2, extra: 0 },
            // An attribute stands before the value it belongs to.
            b'|' => Self::Resp3Aggregate { per_entry: 2, extra: 1 },
            other => return Err(ScanError::Type(other)),
        })
    }

    fn is_resp3(self) -> bool {
        matches!(self, Self::Resp3Line | Self::Resp3Bulk | Self::Resp3Aggregate { .. })
    }
}

/// A bulk string that is all here: most replies are one.
///
/// `None`: something else, or not whole, or wrong; the walk tells.
fn whole_bulk(buf: &[u8], limits: &Limits) -> Option<Found> {
    let [b'$', rest @ ..] = buf else { return None };
    let (mut len, mut digits) = (0usize, 0);
    while let Some(digit @ b'0'..=b'9') = rest.get(digits)
        && digits < 10
    {
        len = len * 10 + usize::from(digit - b'0');
        digits += 1;
    }
    let has_leading_zero = rest.first() == Some(&b'0') && digits > 1;
    if digits == 0 || has_leading_zero || len as u64 > limits.bulk || rest.get(digits..digits + 2) != Some(b"\r\n") {
        return None;
    }
    let end = 1 + digits + 2 + len;
    (buf.get(end..end + 2) == Some(b"\r\n")).then_some(Found { len: end + 2, resp3: false })
}

/// A length; `None` is RESP2's null, `-1`. Streamed lengths (`?`) are refused: no server sends them.
fn length(text: &[u8]) -> Result<Option<u64>, ScanError> {
    match decimal(text) {
        Some(-1) => Ok(None),
        Some(n) => u64::try_from(n).map(Some).map_err(|_| ScanError::Length),
        None => Err(ScanError::Length),
    }
}

/// The length of a large bulk string whose header stands at the start of `buf`, header and line end
/// included, if it is one of at least `least` bytes.
///
/// For passing its bytes on before all of them have come.
pub fn large_bulk(buf: &[u8], least: usize, limits: &Limits) -> Option<usize> {
    let [b'$', rest @ ..] = buf else { return None };
    // The longest header is `$1073741824\r\n`.
    let digits = rest.iter().take(20).position(|byte| *byte == b'\r')?;
    let len = u64::try_from(decimal(&rest[..digits])?).ok()?;
    let len = usize::try_from(len).ok().filter(|len| *len >= least && *len as u64 <= limits.bulk)?;
    (rest.get(digits + 1) == Some(&b'\n')).then_some(1 + digits + 2 + len + 2)
}

#[cfg(test)]
mod tests;
