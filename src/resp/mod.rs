//! Bytes and frames.
//!
//! Requests and replies are found by our own scanner, passed on as the bytes they came as, and decoded
//! only where they must be understood.
//!
//! ```text
//! client ─bytes─▶ request::Parser ─ Request{frame, args} ─▶ the floors above
//! server ─bytes─▶ scan::Scan ──────── &frame ────────────▶ passed on, or convert::to_resp2, or decode::decode
//! ```
//!
//! # Why
//! `redis-protocol` alone recurses without a bound (4.8 KB of nested arrays abort the process), waits for
//! ever on `*1000000000`, and parses from the start at every read. It stays the decoder of what must be
//! understood, on slices the scanner has bounded, and the oracle of the property tests
//! (`research/crates.md`, section 1).

pub mod convert;
pub mod decode;
pub mod encode;
mod inline;
pub mod peek;
pub mod request;
pub mod scan;

/// The protocol a connection speaks: what a client chose with `HELLO`, or we did upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// What every connection starts with.
    #[default]
    Resp2,
    /// After `HELLO 3`: maps, sets, pushes and one kind of null.
    Resp3,
}

impl Protocol {
    /// The number `HELLO` uses for it.
    pub fn number(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Parses a decimal as Redis writes it: no sign but `-`, no leading zero.
///
/// `None` is anything else, overflow included.
pub fn decimal(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(digit - b'0');
        // Negative throughout: `i64::MIN` has no positive twin.
        value = value.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn a_decimal_is_what_redis_would_write() {
        for (text, value) in [("0", 0), ("-1", -1), ("42", 42), ("9223372036854775807", i64::MAX)] {
            assert_eq!(decimal(text.as_bytes()), Some(value), "{text}");
        }
        assert_eq!(decimal(b"-9223372036854775808"), Some(i64::MIN));
        for text in ["", "-", "+1", "01", "-0", "1a", " 1", "9223372036854775808"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }
}
