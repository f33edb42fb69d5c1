//! A client that speaks bytes: what it sends goes out as it is, what it gets is cut into frames and shown.
//!
//! It knows where a frame ends and nothing else, by code of its own: what the proxy's scanner gets wrong must
//! not be wrong here too.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use super::DEADLINE;

/// One connection. Whatever takes longer than [`DEADLINE`] fails the test.
pub struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    /// How much of `input` has been given out.
    given: usize,
}

impl Wire {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("somebody listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        stream.set_write_timeout(Some(DEADLINE)).expect("not zero");
        Self { stream, input: Vec::new(), given: 0 }
    }

    /// Waits no longer than this for anything, instead of [`DEADLINE`].
    pub fn patience(self, longest: Duration) -> Self {
        self.stream.set_read_timeout(Some(longest)).expect("not zero");
        self
    }

    /// A connection that has said `HELLO 3`.
    pub fn connect_resp3(port: u16) -> Self {
        let mut wire = Self::connect(port);
        let hello = wire.ask("HELLO 3");
        assert!(hello.starts_with("%7"), "{hello}");
        wire
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the other side reads");
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends requests written as in [`words`].
    pub fn say(&mut self, lines: &[&str]) {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| request(&words(line))).collect();
        self.send(&bytes);
    }

    /// As [`Self::say`], to somebody who may have closed the connection: the next frame says so.
    pub fn say_or_fail(&mut self, lines: &[&str]) {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| request(&words(line))).collect();
        let _ = self.try_send(&bytes);
    }

    /// Sends one request and returns its reply as [`shown`] shows it.
    pub fn ask(&mut self, line: &str) -> String {
        self.say(&[line]);
        self.hear()
    }

    /// Sends one request and returns the bytes of its reply.
    pub fn frame_of(&mut self, line: &str) -> Vec<u8> {
        self.say(&[line]);
        self.frame()
    }

    /// The next frame as [`shown`] shows it.
    pub fn hear(&mut self) -> String {
        shown(&self.frame())
    }

    /// The bytes of the next frame, whatever it is.
    pub fn frame(&mut self) -> Vec<u8> {
        self.try_frame().unwrap_or_else(|end| panic!("no frame but {end}"))
    }

    /// The bytes of the next frame. An error says how the stream ended instead.
    pub fn try_frame(&mut self) -> Result<Vec<u8>, String> {
        loop {
            let bytes = &self.input[self.given..];
            if let Some(len) = frame_len(bytes) {
                let frame = bytes[..len].to_vec();
                self.given += len;
                return Ok(frame);
            }
            self.input.drain(..self.given);
            self.given = 0;
            if !self.read()? {
                return Err(format!("a close, after {}", shown(&self.input)));
            }
        }
    }

    /// The next so many bytes, whatever they are.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.input.len() - self.given < count {
            self.input.drain(..self.given);
            self.given = 0;
            assert_eq!(self.read(), Ok(true), "{count} bytes");
        }
        self.given += count;
        self.input[self.given - count..self.given].to_vec()
    }

    /// Everything to the end of the stream, which the other side has to close. An error if it does not.
    pub fn rest(&mut self) -> Result<Vec<u8>, String> {
        while self.read()? {}
        let given = std::mem::take(&mut self.given);
        Ok(std::mem::take(&mut self.input).split_off(given))
    }

    /// Nothing has come that is not given out, and nothing comes before the reply to what is asked now.
    pub fn expect_silence(&mut self) {
        assert_eq!(self.ask("ECHO silence"), "silence");
    }

    /// Reads whatever comes and throws it away, until nothing has come for so long. Whether the stream has ended.
    pub fn rest_for(&mut self, silence: Duration) -> bool {
        self.stream.set_read_timeout(Some(silence)).expect("not zero");
        let has_ended = self.rest().is_ok();
        self.stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        has_ended
    }

    /// A second handle of the same socket, to write from another thread.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a handle is left")
    }

    /// Says that nothing more comes, and goes on reading.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open socket");
    }

    /// Our side of the connection, as `CLIENT LIST` shows it under `addr`.
    pub fn address(&self) -> String {
        self.stream.local_addr().expect("a TCP socket").to_string()
    }

    /// `false` at the end of the stream. A reset is an end, too: whatever came before it has been read.
    fn read(&mut self) -> Result<bool, String> {
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk) {
            Ok(len) => {
                self.input.extend_from_slice(&chunk[..len]);
                // Such a line comes alone, or among others as short.
                if len < 2048 && self.input.len() - self.given < 1 << 16 {
                    self.forget_questions();
                }
                Ok(len > 0)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            // A read that may time out is not taken up again after a signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.read(),
            Err(error) => Err(format!("silence, after {}: {error}", shown(&self.input[self.given..]))),
        }
    }

    /// `MONITOR` shows when the proxy has asked a silent server whether it is still there: whoever reads that has not
    /// asked for it, and it comes at any time.
    fn forget_questions(&mut self) {
        const QUESTION: &[u8] = b"\"ECHO\" \"cloakroom-";
        let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
        while let Some(at) = find(&self.input[self.given..], QUESTION).map(|at| at + self.given)
            && let Some(end) = find(&self.input[at..], b"\r\n").map(|len| at + len + 2)
        {
            let start = self.input[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
            self.input.drain(start.max(self.given)..end);
        }
    }
}

/// An array of bulk strings.
pub fn request(args: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Words between spaces; in double quotes spaces, `\"`, `\\`, `\r`, `\n` and `\xHH` may stand.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_word(quoted),
            None => {
                let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
                (word.as_bytes().to_vec(), tail)
            }
        };
        words.push(word);
        rest = tail.trim_start();
    }
    words
}

fn quoted_word(mut rest: &str) -> (Vec<u8>, &str) {
    let mut word = Vec::new();
    loop {
        let mut chars = rest.chars();
        let first = chars.next().expect("a closing quote");
        rest = chars.as_str();
        match first {
            '"' => return (word, rest),
            '\\' => {
                let escaped = chars.next().expect("an escaped character");
                rest = chars.as_str();
                match escaped {
                    'n' => word.push(b'\n'),
                    'r' => word.push(b'\r'),
                    'x' => {
                        word.push(u8::from_str_radix(&rest[..2], 16).expect("two hexadecimal digits"));
                        rest = &rest[2..];
                    }
                    other => word.extend_from_slice(other.to_string().as_bytes()),
                }
            }
            other => word.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The length of the frame at the start of `bytes`; `None` if it is not whole.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut left: u64 = 1;
    while left > 0 {
        let (kind, count, after) = header(bytes.get(at..)?)?;
        at += after;
        left -= 1;
        match kind {
            b'$' | b'=' | b'!' => {
                if let Some(len) = count {
                    at += usize::try_from(len).expect("a length that fits in memory") + 2;
                }
            }
            b'*' | b'~' | b'>' => left += count.unwrap_or(0),
            b'%' => left += count.unwrap_or(0) * 2,
            // An attribute stands before the value it belongs to.
            b'|' => left += count.unwrap_or(0) * 2 + 1,
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {}
            other => panic!("no frame begins with {:?}: {}", char::from(other), shown(bytes)),
        }
    }
    (at <= bytes.len()).then_some(at)
}

/// The kind of an element, the number in its line if it is one, and the length of the line.
fn header(bytes: &[u8]) -> Option<(u8, Option<u64>, usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let number = std::str::from_utf8(&bytes[1..end - 1]).ok().and_then(|text| text.parse().ok());
    Some((bytes[0], number, end + 1))
}

/// How a frame is shown, and compared where a test says what it expects: a short string as its text, all else
/// as its bytes with ` ` for line ends.
pub fn shown(frame: &[u8]) -> String {
    const LONGEST: usize = 1000;
    if let [b'$', ..] = frame
        && let Some((_, Some(len), start)) = header(frame)
        && len < LONGEST as u64
        && frame.len() == start + len as usize + 2
        && len > 0
    {
        return frame[start..frame.len() - 2].escape_ascii().to_string();
    }
    let text = frame[..frame.len().min(LONGEST)].escape_ascii().to_string().replace("\\r\\n", " ");
    let mut text = text.trim_end().to_owned();
    if frame.len() > LONGEST {
        let _ = write!(text, "... ({} bytes)", frame.len());
    }
    text
}
