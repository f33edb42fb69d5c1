//! From the bytes of an upstream connection to its replies.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

use crate::resp::scan::{Limits, Scan, ScanError, large_bulk};

/// Strings from this size on are passed on as they come in, not held until they are whole.
const IN_PIECES_FROM: usize = 64 << 10;

/// Room made for a read: little for a quiet connection, more while reads fill it.
const READ: usize = 16 << 10;
const READ_MOST: usize = 256 << 10;

/// The next thing an upstream connection said.
#[derive(PartialEq, Eq)]
pub enum Item<'a> {
    /// A complete frame.
    Frame {
        #[allow(missing_docs)]
        frame: &'a [u8],
        /// Whether a RESP2 client could not read it as it is.
        is_resp3: bool,
    },
    /// A piece of a long string, header and line end included.
    Piece {
        #[allow(missing_docs)]
        bytes: Bytes,
        /// Whether the string ends with it.
        is_last: bool,
    },
}

/// Lengths only (G8).
impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame { frame, .. } => write!(f, "Frame of {} bytes", frame.len()),
            Self::Piece { bytes, .. } => write!(f, "Piece of {} bytes", bytes.len()),
        }
    }
}

/// Cuts a connection's bytes into replies.
pub(super) struct Replies {
    buf: BytesMut,
    /// Bytes of `buf` already given out.
    given: usize,
    scan: Scan,
    /// Bytes of the long string under way still to come.
    left: usize,
    /// Room for the next read.
    read_size: usize,
}

/// Lengths only (G8).
impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replies of {} bytes", self.held())
    }
}

impl Replies {
    /// Nothing read yet.
    pub(super) fn new() -> Self {
        Self { buf: BytesMut::new(), given: 0, scan: Scan::new(), left: 0, read_size: READ }
    }

    /// Bytes held of replies that are not whole.
    pub(super) fn held(&self) -> usize {
        self.buf.len()
    }

    /// Reads once. `Ok(0)` is the end of the stream.
    pub(super) fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.forget_given();
        self.buf.reserve(self.read_size);
        let read = ready!(poll_read_buf(Pin::new(stream), cx, &mut self.buf))?;
        self.read_size = match read >= self.read_size {
            true => (self.read_size * 2).min(READ_MOST),
            false => READ.max(self.read_size / 2),
        };
        Poll::Ready(Ok(read))
    }

    /// The next reply, or piece of one, that is here.
    ///
    /// # Errors
    /// [`ScanError`]: the connection is not understood any more, and must be thrown away.
    pub(super) fn next_item(&mut self) -> Result<Option<Item<'_>>, ScanError> {
        if self.left > 0 {
            return self.piece();
        }
        let bytes = &self.buf[self.given..];
        if let Some(found) = self.scan.advance(bytes, &Limits::REPLY)? {
            let start = self.given;
            self.given += found.len;
            return Ok(Some(Item::Frame { frame: &self.buf[start..self.given], is_resp3: found.resp3 }));
        }
        if let Some(len) = large_bulk(bytes, IN_PIECES_FROM, &Limits::REPLY) {
            self.scan = Scan::new();
            self.left = len;
            return self.piece();
        }
        self.forget_given();
        Ok(None)
    }

    /// Whether a reply has begun and not ended.
    pub(super) fn is_within_reply(&self) -> bool {
        self.left > 0 || self.buf.len() > self.given
    }

    fn piece(&mut self) -> Result<Option<Item<'static>>, ScanError> {
        self.forget_given();
        let len = self.buf.len().min(self.left);
        // A piece shares the buffer's memory: a small one must not keep a large buffer from being freed.
        let bytes = match len * 2 < self.buf.capacity() {
            true => {
                let piece = Bytes::copy_from_slice(&self.buf[..len]);
                self.buf.advance(len);
                piece
            }
            false => self.buf.split_to(len).freeze(),
        };
        let Some(&last) = bytes.last() else { return Ok(None) };
        self.left -= bytes.len();
        match self.left == 0 && last != b'\n' {
            true => Err(ScanError::Crlf),
            false => Ok(Some(Item::Piece { is_last: self.left == 0, bytes })),
        }
    }

    fn forget_given(&mut self) {
        if self.given == self.buf.len() {
            // A long reply must not leave its memory with a connection that lives for months.
            match self.buf.capacity() > 2 * READ_MOST {
                true => self.buf = BytesMut::new(),
                false => self.buf.clear(),
            }
        } else if self.given > 0 {
            self.buf.advance(self.given);
        }
        self.given = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(bytes: &[u8]) -> Replies {
        Replies { buf: BytesMut::from(bytes), ..Replies::new() }
    }

    #[test]
    fn whole_replies_come_out_one_by_one() {
        let mut replies = replies(b"+OK\r\n_\r\n$1\r\n");
        assert_eq!(replies.next_item(), Ok(Some(Item::Frame { frame: b"+OK\r\n", is_resp3: false })));
        assert_eq!(replies.next_item(), Ok(Some(Item::Frame { frame: b"_\r\n", is_resp3: true })));
        assert_eq!(replies.next_item(), Ok(None));
        assert!(replies.is_within_reply());
        replies.buf.extend_from_slice(b"a\r\n");
        assert_eq!(replies.next_item(), Ok(Some(Item::Frame { frame: b"$1\r\na\r\n", is_resp3: false })));
        assert!(!replies.is_within_reply());
    }

    #[test]
    fn a_long_string_comes_in_pieces_and_the_next_reply_after_it() {
        let body = vec![b'x'; 100_000];
        let mut replies = replies(b"$100000\r\nxxx");
        let mut seen = Vec::new();
        let mut rest = [&body[3..], b"\r\n+OK\r\n"].concat();
        loop {
            match replies.next_item().expect("well formed") {
                Some(Item::Piece { bytes, is_last }) => {
                    seen.extend_from_slice(&bytes);
                    if is_last {
                        break;
                    }
                }
                Some(Item::Frame { .. }) => panic!("the string is not over"),
                None => replies.buf.extend_from_slice(&rest.drain(..rest.len().min(40_000)).collect::<Vec<_>>()),
            }
        }
        assert_eq!(seen, [b"$100000\r\n", &body[..], b"\r\n"].concat());
        replies.buf.extend_from_slice(&rest);
        assert_eq!(replies.next_item(), Ok(Some(Item::Frame { frame: b"+OK\r\n", is_resp3: false })));
    }
}
