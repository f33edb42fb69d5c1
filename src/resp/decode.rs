//! Frames that must be understood: the server's answers to the handshake, pushes.

use bytes::Bytes;
pub use redis_protocol::resp3::types::BytesFrame as Frame;
use redis_protocol::resp3::{
    decode::complete::decode_bytes,
    types::{Resp3Frame, VerbatimStringFormat},
};

use super::decimal;

/// How deep a frame we decode may nest. `redis-protocol` recurses; nothing we must understand is deeper.
const DEEPEST: usize = 8;

/// Decodes one complete frame the scanner has found, RESP2 or RESP3.
///
/// `None`: deeper than anything we ask for, or not what `redis-protocol` takes for a frame.
pub fn decode(frame: &[u8]) -> Option<Frame> {
    if depth(frame)? > DEEPEST {
        return None;
    }
    // A RESP2 null would be taken for the start of a stream.
    if frame == b"$-1\r\n" || frame == b"*-1\r\n" {
        return Some(Frame::Null);
    }
    match decode_bytes(&Bytes::copy_from_slice(frame)) {
        Ok(Some((decoded, len))) if len == frame.len() => Some(decoded),
        Ok(_) | Err(_) => None,
    }
}

/// The elements of an array-like frame, flat maps included; `None` for every other kind.
pub fn elements(frame: &Frame) -> Option<&[Frame]> {
    match frame {
        Frame::Array { data, .. } | Frame::Push { data, .. } => Some(data),
        _ => None,
    }
}

/// A frame's text, if it is a string of any kind.
pub fn text(frame: &Frame) -> Option<&[u8]> {
    match frame {
        Frame::BlobString { data, .. } | Frame::SimpleString { data, .. } => Some(data),
        Frame::VerbatimString { data, format: VerbatimStringFormat::Text, .. } => Some(data),
        _ => None,
    }
}

/// A frame's error text.
pub fn error(frame: &Frame) -> Option<String> {
    match frame {
        Frame::SimpleError { data, .. } => Some(data.to_string()),
        Frame::BlobError { data, .. } => Some(String::from_utf8_lossy(data).into_owned()),
        _ => None,
    }
}

/// A frame's number, or a string that is one.
pub fn integer(frame: &Frame) -> Option<i64> {
    match frame {
        Frame::Number { data, .. } => Some(*data),
        other => text(other).and_then(decimal),
    }
}

/// The value of `key` in a map, or in the flat array that is RESP2's map.
pub fn field<'a>(frame: &'a Frame, key: &str) -> Option<&'a Frame> {
    match frame {
        Frame::Map { data, .. } => {
            data.iter().find(|(name, _)| name.as_bytes() == Some(key.as_bytes())).map(|(_, value)| value)
        }
        Frame::Array { data, .. } => {
            data.chunks_exact(2).find(|pair| text(&pair[0]) == Some(key.as_bytes())).map(|pair| &pair[1])
        }
        _ => None,
    }
}

/// How deep a scanned frame nests, without recursion. `None`: not a frame the scanner would have found.
fn depth(frame: &[u8]) -> Option<usize> {
    let (mut rest, mut open, mut deepest) = (frame, Vec::<u64>::new(), 0);
    while let [kind, tail @ ..] = rest {
        let end = tail.windows(2).position(|pair| pair == b"\r\n")?;
        let count = || decimal(&tail[..end]).and_then(|n| u64::try_from(n).ok());
        rest = &tail[end + 2..];
        let children = match kind {
            b'$' | b'=' | b'!' => {
                if let Some(len) = count() {
                    rest = rest.get(usize::try_from(len).ok()? + 2..)?;
                }
                0
            }
            b'*' | b'~' | b'>' => count().unwrap_or(0),
            b'%' => count()?.checked_mul(2)?,
            b'|' => count()?.checked_mul(2)?.checked_add(1)?,
            _ => 0,
        };
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if children > 0 {
            open.push(children);
            deepest = deepest.max(open.len());
            if deepest > DEEPEST {
                return Some(deepest);
            }
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    Some(deepest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_too_deep_to_decode_is_refused() {
        assert!(decode(b"*1\r\n*1\r\n+a\r\n").is_some());
        let deep = [b"*1\r\n".repeat(9), b"+a\r\n".to_vec()].concat();
        assert_eq!(decode(&deep), None);
        let hostile = [b"*1\r\n".repeat(100_000), b"+a\r\n".to_vec()].concat();
        assert_eq!(decode(&hostile), None);
    }

    #[test]
    fn a_field_is_found_in_both_kinds_of_map() {
        for hello in [
            &b"*4\r\n$2\r\nid\r\n:7\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"[..],
            b"%2\r\n$2\r\nid\r\n:7\r\n+role\r\n+master\r\n",
        ] {
            let frame = decode(hello).expect("a frame");
            assert_eq!(field(&frame, "id").and_then(integer), Some(7));
            assert_eq!(field(&frame, "role").and_then(text), Some(&b"master"[..]));
            assert_eq!(field(&frame, "none"), None);
        }
    }
}
