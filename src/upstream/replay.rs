//! Sending a lost overwrite again (`reconnect = "eager"`).
//!
//! Only what leaves the same behind, however often it runs: `SET` without a condition and its kin, `DEL`, and the
//! setting of an expiry. A time to live is cut by what has passed since it was first sent, so that it ends when it would
//! have. What keeps the time to live a key has is not sent again: the key may have come to its end meanwhile, and would
//! come back for ever. Whether anybody else has written in between is for [`crate::cache::Holds`] to say.

use std::time::Duration;

use crate::resp::request::{Parser, Request};
use crate::resp::{decimal, encode};

/// What to send in place of a write that was first sent so long ago; `None` where sending it again could do more than
/// sending it once.
pub(super) fn again(write: &[u8], elapsed: Duration) -> Option<Vec<u8>> {
    let mut parser = Parser::default();
    let request = parser.known(write)?;
    let left = |index, unit| left(request.arg(index)?, unit, elapsed);
    match (request.name().to_ascii_lowercase().as_slice(), len_but_for_xx(&request)) {
        (b"set", 5) if request.is(3, "ex") => with(&request, &[(3, b"PX"), (4, &left(4, 1000)?)]),
        (b"set", 5) if request.is(3, "px") => with(&request, &[(4, &left(4, 1)?)]),
        (b"set", 3) => Some(write.to_vec()),
        (b"set", 5) if request.is(3, "exat") || request.is(3, "pxat") => Some(write.to_vec()),
        (b"setex", 4) => with(&request, &[(0, b"PSETEX"), (2, &left(2, 1000)?)]),
        (b"psetex", 4) => with(&request, &[(2, &left(2, 1)?)]),
        (b"expire", 3) => with(&request, &[(0, b"PEXPIRE"), (2, &left(2, 1000)?)]),
        (b"pexpire", 3) => with(&request, &[(2, &left(2, 1)?)]),
        (b"mset", 3..) | (b"del" | b"unlink", 2..) => Some(write.to_vec()),
        (b"expireat" | b"pexpireat", 3) | (b"persist", 2) => Some(write.to_vec()),
        _ => None,
    }
}

/// The words of a request, without the `XX` at the end of a `SET`: where that one has run, it runs again.
pub(super) fn len_but_for_xx(request: &Request<'_>) -> usize {
    let len = request.len();
    len - usize::from(len > 3 && request.name().eq_ignore_ascii_case(b"set") && request.is(len - 1, "xx"))
}

/// The request with other words in these places.
fn with(request: &Request<'_>, words: &[(usize, &[u8])]) -> Option<Vec<u8>> {
    let mut all: Vec<_> = request.args_from(0).collect();
    for (index, word) in words {
        *all.get_mut(*index)? = word;
    }
    let mut out = Vec::new();
    encode::request(&mut out, &all);
    Some(out)
}

/// The milliseconds left of a length of time in `unit` of them. None are left of one that has passed: it ran and was
/// over, perhaps.
fn left(length: &[u8], unit: u64, elapsed: Duration) -> Option<Vec<u8>> {
    let length = decimal(length).and_then(|count| u64::try_from(count).ok())?.checked_mul(unit)?;
    let left = length.checked_sub(u64::try_from(elapsed.as_millis()).ok()?).filter(|left| *left > 0)?;
    Some(left.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(write: &str) -> Option<String> {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, &write.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        let again = again(&bytes, Duration::from_millis(1500))?;
        let words = String::from_utf8(again).expect("text");
        let words = words.trim_end().split("\r\n").filter(|word| !word.starts_with(['*', '$']));
        Some(words.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_leaves_the_same_behind_is_sent_again() {
        let same = [
            "SET k v",
            "SET k v XX",
            "SET k v PXAT 12345",
            "SET k v EXAT 12345 XX",
            "SET k XX",
            "SET k XX XX",
            "MSET a 1 b 2",
            "DEL a b",
            "UNLINK a",
            "EXPIREAT k 12345",
            "PERSIST k",
        ];
        for write in same {
            assert_eq!(said(write).as_deref(), Some(write));
        }
        for (write, again) in [
            ("set k v ex 10", "set k v PX 8500"),
            ("SET k v PX 1501", "SET k v PX 1"),
            ("SET k v EX 10 XX", "SET k v PX 8500 XX"),
            ("SET k v PX 2000 XX", "SET k v PX 500 XX"),
            ("SETEX k 10 v", "PSETEX k 8500 v"),
            ("PSETEX k 2000 v", "PSETEX k 500 v"),
            ("EXPIRE k 60", "PEXPIRE k 58500"),
            ("pexpire k 2000", "pexpire k 500"),
        ] {
            assert_eq!(said(write).as_deref(), Some(again));
        }
    }

    #[test]
    fn what_could_do_more_is_not() {
        let others = [
            "SET k v NX",
            "SET k v XX NX",
            "SET k v XX XX",
            "SET k v EX XX",
            "SET k v PX 10 NX",
            "SET k v GET",
            "SET k v EX",
            "SET k v EX 1",
            "SET k v KEEPTTL",
            "HMSET h a 1",
            "SET k v EX soon",
            "SET k v EX 10 KEEPTTL",
            "SETEX k 1 v",
            "SETNX k v",
            "GETSET k v",
            "INCR k",
            "APPEND k v",
            "HSET h a 1",
            "RPUSH l a",
            "EXPIRE k 60 NX",
            "EXPIRE k 1",
            "EXPIRE k -1",
            "EXPIRE k soon",
            "GETDEL k",
            "RENAME a b",
            "FLUSHALL",
        ];
        for write in others {
            assert_eq!(said(write), None);
        }
    }
}
