//! A look into a complete frame, without decoding it.

use super::decimal;
use super::scan::{Limits, Scan};

/// The elements of an array, set, push or map, one by one; `None` for every other frame.
pub fn elements(frame: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut rest = body(frame)?;
    Some(std::iter::from_fn(move || {
        let len = Scan::new().advance(rest, &Limits::REPLY).ok()??.len;
        let (element, after) = rest.split_at(len);
        rest = after;
        Some(element)
    }))
}

/// The first element of an array or push, if it is a bulk string.
pub fn first_word(frame: &[u8]) -> Option<&[u8]> {
    bulk(body(frame)?)
}

/// The text of a simple or bulk string.
pub fn word(frame: &[u8]) -> Option<&[u8]> {
    match frame {
        [b'+', text @ ..] => text.strip_suffix(b"\r\n"),
        frame => bulk(frame),
    }
}

/// The bulk string `bytes` begin with.
fn bulk(bytes: &[u8]) -> Option<&[u8]> {
    let [b'$', rest @ ..] = bytes else { return None };
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    let len = usize::try_from(decimal(&rest[..end])?).ok()?;
    rest.get(end + 2..)?.get(..len)
}

/// The integer a frame ends with.
pub fn last_integer(frame: &[u8]) -> Option<u64> {
    let text = frame.strip_suffix(b"\r\n")?;
    let colon = text.iter().rposition(|byte| *byte == b':')?;
    decimal(&text[colon + 1..]).and_then(|count| u64::try_from(count).ok())
}

/// Whether a frame is a line of `MONITOR`: `+1700000000.123456 [0 127.0.0.1:1234] "get" "a"`. No reply looks like it.
pub fn is_monitor_line(frame: &[u8]) -> bool {
    let [b'+', text @ ..] = frame else { return false };
    let mut words = text.splitn(3, |byte| *byte == b' ');
    let is_time = words
        .next()
        .is_some_and(|word| word.contains(&b'.') && word.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'));
    is_time && words.next().is_some_and(|word| word.starts_with(b"["))
}

/// The value of `key` in a map.
pub fn field<'a>(frame: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut elements = elements(frame)?;
    while let (Some(name), Some(value)) = (elements.next(), elements.next()) {
        if word(name) == Some(key) {
            return Some(value);
        }
    }
    None
}

/// What follows the header of an array, set, push or map.
fn body(frame: &[u8]) -> Option<&[u8]> {
    let [b'*' | b'>' | b'~' | b'%', rest @ ..] = frame else { return None };
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    rest.get(end + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_monitor_is_told_from_a_reply() {
        assert!(is_monitor_line(b"+1700000000.123456 [0 127.0.0.1:1] \"get\" \"a\"\r\n"));
        for reply in [&b"+OK\r\n"[..], b"+1.5\r\n", b"$3\r\n1.5\r\n", b"+1700000000.1 x\r\n"] {
            assert!(!is_monitor_line(reply), "{reply:?}");
        }
    }

    #[test]
    fn a_push_is_looked_into_without_decoding() {
        let frame = b">3\r\n$9\r\nsubscribe\r\n*1\r\n:5\r\n:12\r\n";
        assert_eq!(first_word(frame), Some(&b"subscribe"[..]));
        assert_eq!(last_integer(frame), Some(12));
        let found: Vec<_> = elements(frame).expect("a push").collect();
        assert_eq!(found, [&b"$9\r\nsubscribe\r\n"[..], b"*1\r\n:5\r\n", b":12\r\n"]);
        assert_eq!(field(b"%2\r\n+a\r\n:1\r\n$1\r\nb\r\n*1\r\n:2\r\n", b"b"), Some(&b"*1\r\n:2\r\n"[..]));
        assert!(elements(b"$3\r\nabc\r\n").is_none());
        assert_eq!(first_word(b"*1\r\n$-1\r\n"), None);
    }
}
