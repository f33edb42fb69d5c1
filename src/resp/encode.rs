//! What we say ourselves: requests of the handshake, answers given here.
//!
//! # Why
//! `redis-protocol` would do it, but it needs a tree for every frame and keeps a map's entries in no order;
//! a client that compares `HELLO` byte for byte must not see the difference (G1).

use super::Protocol;

/// Somewhere bytes can be appended: the two buffer types in use.
pub trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for bytes::BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// `+text`
pub fn simple(out: &mut impl Sink, text: &str) {
    line(out, b'+', text.as_bytes());
}

/// `-text`: the code is the first word of `text`. Line ends in it become spaces, as in Redis.
pub fn error(out: &mut impl Sink, text: &[u8]) {
    let text: Vec<u8> = text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
    line(out, b'-', &text);
}

/// `:n`
pub fn integer(out: &mut impl Sink, n: i64) {
    line(out, b':', n.to_string().as_bytes());
}

/// `$len bytes`
pub fn bulk(out: &mut impl Sink, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.put(bytes);
    out.put(b"\r\n");
}

/// The header of an array of `len` elements.
pub fn array_header(out: &mut impl Sink, len: usize) {
    header(out, b'*', len);
}

/// The header of a map of `len` entries: for RESP2 an array of twice as many elements.
pub fn map_header(out: &mut impl Sink, protocol: Protocol, len: usize) {
    match protocol {
        Protocol::Resp2 => header(out, b'*', len * 2),
        Protocol::Resp3 => header(out, b'%', len),
    }
}

/// The null of a string that is not there.
pub fn null(out: &mut impl Sink, protocol: Protocol) {
    out.put(match protocol {
        Protocol::Resp2 => b"$-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    });
}

/// The null of an array that is not there, such as the reply to an `EXEC` whose `WATCH` failed.
pub fn null_array(out: &mut impl Sink, protocol: Protocol) {
    out.put(match protocol {
        Protocol::Resp2 => b"*-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    });
}

/// A text with a format, `INFO`-like: verbatim in RESP3, a bulk string in RESP2.
pub fn verbatim(out: &mut impl Sink, protocol: Protocol, text: &[u8]) {
    match protocol {
        Protocol::Resp2 => bulk(out, text),
        Protocol::Resp3 => {
            header(out, b'=', text.len() + 4);
            out.put(b"txt:");
            out.put(text);
            out.put(b"\r\n");
        }
    }
}

/// A request: an array of bulk strings.
pub fn request(out: &mut impl Sink, args: &[&[u8]]) {
    array_header(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

fn header(out: &mut impl Sink, kind: u8, len: usize) {
    line(out, kind, len.to_string().as_bytes());
}

fn line(out: &mut impl Sink, kind: u8, text: &[u8]) {
    out.put(&[kind]);
    out.put(text);
    out.put(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_on_one_line() {
        let mut out = Vec::new();
        error(&mut out, b"ERR a\r\n+OK\r\n");
        assert_eq!(out, b"-ERR a  +OK  \r\n");
    }

    #[test]
    fn a_map_is_a_flat_array_for_resp2() {
        let (mut two, mut three) = (Vec::new(), Vec::new());
        map_header(&mut two, Protocol::Resp2, 3);
        map_header(&mut three, Protocol::Resp3, 3);
        assert_eq!((two.as_slice(), three.as_slice()), (&b"*6\r\n"[..], &b"%3\r\n"[..]));
    }
}
