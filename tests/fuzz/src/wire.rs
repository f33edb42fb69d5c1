//! Bytes of both protocols, read and written by code of its own: what the proxy gets wrong must not be wrong
//! here too.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longer than anything may take; shorter than the fuzzer's own patience, which cannot say what was waited for.
pub const DEADLINE: Duration = Duration::from_secs(8);

/// Stands for [`FILL`] bytes: an input is short, what a client or a server says need not be.
const MARK: u8 = 0xfe;
const FILL: usize = 64 << 10;

/// As many of them as a request of a MiB needs.
const FILLS: usize = 20;

/// The bytes an input stands for.
pub fn expanded(input: &[u8]) -> Vec<u8> {
    let mut fills = 0;
    let mut bytes = Vec::with_capacity(input.len());
    for byte in input {
        match *byte {
            MARK if fills < FILLS => {
                fills += 1;
                bytes.resize(bytes.len() + FILL, b'x');
            }
            byte => bytes.push(byte),
        }
    }
    bytes
}

/// An array of bulk strings.
pub fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The request at the start of `bytes` and its length, if it is a whole array of bulk strings.
pub fn parse_request(bytes: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let (b'*', Some(count), mut at) = header(bytes)? else { return None };
    let mut args = Vec::new();
    for _ in 0..count {
        let (b'$', Some(len), start) = header(&bytes[at..])? else { return None };
        let start = at + start;
        at = start.checked_add(len)?.checked_add(2)?;
        if bytes.get(at - 2..at)? != b"\r\n" {
            return None;
        }
        args.push(&bytes[start..at - 2]);
    }
    (count > 0).then_some((args, at))
}

/// A frame's length, and whether it holds what only RESP3 has. `None` if it is not whole.
///
/// Panics on what no frame begins with.
pub fn frame(bytes: &[u8]) -> Option<(usize, bool)> {
    let (mut at, mut left, mut is_resp3) = (0_usize, 1_usize, false);
    while left > 0 {
        let (kind, count, line) = header(bytes.get(at..)?)?;
        let count = count.unwrap_or(0);
        is_resp3 |= !b"+-:$*".contains(&kind);
        at += line;
        left -= 1;
        match kind {
            b'$' | b'=' | b'!' if bytes[at - line + 1] != b'-' => at = at.checked_add(count)?.checked_add(2)?,
            b'*' | b'~' | b'>' => left = left.checked_add(count)?,
            b'%' => left = left.checked_add(count.checked_mul(2)?)?,
            // An attribute stands before the value it belongs to.
            b'|' => left = left.checked_add(count.checked_mul(2)?)?.checked_add(1)?,
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' | b'$' | b'=' | b'!' => {}
            other => panic!("no frame begins with {other:#04x}: {}", shown(&bytes[at - line..])),
        }
    }
    (at <= bytes.len()).then_some((at, is_resp3))
}

/// The first byte of a line, the number behind it, and the line's length.
fn header(bytes: &[u8]) -> Option<(u8, Option<usize>, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let number = std::str::from_utf8(bytes.get(1..end)?).ok().and_then(|text| text.parse().ok());
    Some((bytes[0], number, end + 2))
}

/// The whole frames of `bytes`, and what is left behind them.
pub fn frames(mut bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let Some((len, _)) = frame(bytes) else { break };
        let (frame, rest) = bytes.split_at(len);
        frames.push(frame);
        bytes = rest;
    }
    (frames, bytes)
}

/// Bytes as a finding's message shows them.
pub fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(2000)].escape_ascii().to_string()
}

/// A well-behaved client.
pub struct Client {
    stream: UnixStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects.
    pub async fn connect(socket: &Path) -> Self {
        Self { stream: UnixStream::connect(socket).await.expect("the proxy listens"), input: Vec::new() }
    }

    /// Sends requests and returns their replies; an error if the connection ends before all have come.
    pub async fn ask(&mut self, requests: &[&[&[u8]]]) -> io::Result<Vec<Vec<u8>>> {
        let bytes: Vec<u8> = requests.iter().flat_map(|args| request(args)).collect();
        let asked = async {
            self.stream.write_all(&bytes).await?;
            let mut replies = Vec::new();
            while replies.len() < requests.len() {
                replies.push(self.frame().await?);
            }
            Ok(replies)
        };
        timeout(DEADLINE, asked).await.unwrap_or_else(|_| panic!("no reply within {DEADLINE:?} to {}", shown(&bytes)))
    }

    async fn frame(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some((len, _)) = frame(&self.input).filter(|_| !self.input.is_empty()) {
                return Ok(self.input.drain(..len).collect());
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
