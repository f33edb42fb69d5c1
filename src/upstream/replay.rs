//! Sending a lost overwrite again (`reconnect = "eager"`).
//!
//! Only what leaves the same behind, however often it runs: `SET` without a condition and its kin, `DEL`, and the
//! setting of an expiry, whose length is cut by what has passed since it was first sent. Whether anybody else has
//! written in between is for [`super::writes`] to say.

use std::time::Duration;

use crate::resp::request::{Limits, Parser, Request};
use crate::resp::{decimal, encode};

/// What to send in place of a write that was first sent so long ago; `None` where sending it again could do more than
/// sending it once.
pub(super) fn again(write: &[u8], elapsed: Duration) -> Option<Vec<u8>> {
    let limits = Limits { arguments: write.len(), bulk: write.len(), request: write.len(), authenticated: true };
    let mut parser = Parser::default();
    parser.advance(write, &limits).ok()??;
    let request = parser.request(write)?;
    let as_it_was = || Some(write.to_vec());
    match (request.name().to_ascii_lowercase().as_slice(), request.len()) {
        (b"set", 3..) if sets_in_any_case(&request) => as_it_was(),
        (b"setex" | b"psetex", 4) | (b"mset", 3..) | (b"hmset", 4..) | (b"del" | b"unlink", 2..) => as_it_was(),
        (b"expireat" | b"pexpireat", 3) | (b"persist", 2) => as_it_was(),
        (b"expire", 3) => expiry(&request, 1000, elapsed),
        (b"pexpire", 3) => expiry(&request, 1, elapsed),
        _ => None,
    }
}

/// Whether a `SET` neither asks for the old value nor depends on it.
fn sets_in_any_case(request: &Request<'_>) -> bool {
    let mut index = 3;
    while index < request.len() {
        let takes_a_time = ["ex", "px", "exat", "pxat"].iter().any(|option| request.is(index, option));
        if !takes_a_time && !request.is(index, "keepttl") {
            return false;
        }
        index += if takes_a_time { 2 } else { 1 };
    }
    true
}

/// The end of life stays where it was.
fn expiry(request: &Request<'_>, unit: u64, elapsed: Duration) -> Option<Vec<u8>> {
    let length = decimal(request.arg(2)?).and_then(|count| u64::try_from(count).ok()).filter(|count| *count > 0)?;
    let millis = length.checked_mul(unit)?;
    let left = millis.saturating_sub(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)).max(1);
    let mut out = Vec::new();
    encode::request(&mut out, &[b"PEXPIRE", request.arg(1)?, left.to_string().as_bytes()]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(write: &str) -> Option<String> {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, &write.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        let again = again(&bytes, Duration::from_millis(1500))?;
        let words = String::from_utf8(again).expect("text");
        Some(words.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_leaves_the_same_behind_is_sent_again() {
        let same = [
            "SET k v",
            "set k v ex 10",
            "SET k v KEEPTTL",
            "SET k v PXAT 12345",
            "SETEX k 10 v",
            "PSETEX k 10 v",
            "MSET a 1 b 2",
            "HMSET h a 1",
            "DEL a b",
            "UNLINK a",
            "EXPIREAT k 12345",
            "PERSIST k",
        ];
        for write in same {
            assert_eq!(said(write).as_deref().map(str::trim_end), Some(write));
        }
        for (write, again) in
            [("EXPIRE k 60", "PEXPIRE k 58500"), ("pexpire k 2000", "PEXPIRE k 500"), ("PEXPIRE k 100", "PEXPIRE k 1")]
        {
            assert_eq!(said(write).as_deref().map(str::trim_end), Some(again));
        }
    }

    #[test]
    fn what_could_do_more_is_not() {
        let others = [
            "SET k v NX",
            "SET k v PX 10 NX",
            "SET k v GET",
            "SET k v XX",
            "SET k v EX",
            "SETNX k v",
            "GETSET k v",
            "INCR k",
            "APPEND k v",
            "HSET h a 1",
            "RPUSH l a",
            "EXPIRE k 60 NX",
            "EXPIRE k -1",
            "EXPIRE k soon",
            "GETDEL k",
            "RENAME a b",
            "FLUSHALL",
        ];
        for write in others {
            assert_eq!(said(write).is_some(), write == "SET k v EX", "{write}");
        }
    }
}
