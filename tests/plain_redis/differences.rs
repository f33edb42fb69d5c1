//! Where a client can tell the proxy from Redis, on purpose: `docs/differences.md`, as far as it can be tried.

use super::compare::Both;
use crate::support::Wire;

/// Bytes, and all that is answered. An answer that ends in `...` is compared up to there.
pub struct Difference {
    bytes: &'static [u8],
    redis: &'static str,
    cloakroom: &'static str,
}

const fn row(bytes: &'static [u8], redis: &'static str, cloakroom: &'static str) -> Difference {
    Difference { bytes, redis, cloakroom }
}

const REFUSED: &str = "+OK -ERR not allowed in a transaction through a proxy -EXECABORT Transaction discarded because of previous errors. +OK";

pub const DIFFERENCES: &[Difference] = &[
    row(b"CLIENT NO-TOUCH ON\r\nQUIT\r\n", "-ERR unknown subcommand 'NO-TOUCH'. Try CLIENT HELP. +OK", "+OK +OK"),
    row(b"CLIENT SETINFO LIB-NAME a\r\nQUIT\r\n", "-ERR unknown subcommand 'SETINFO'. Try CLIENT HELP. +OK", "+OK +OK"),
    row(b"MULTI\r\nHELLO 3\r\nEXEC\r\nQUIT\r\n", "+OK +QUEUED *1 %7 ...", REFUSED),
    row(b"MULTI\r\nAUTH default a\r\nEXEC\r\nQUIT\r\n", "+OK +QUEUED *1 +OK +OK", REFUSED),
    row(b"MULTI\r\nCLIENT GETNAME\r\nEXEC\r\nQUIT\r\n", "+OK +QUEUED *1 $-1 +OK", REFUSED),
    row(b"MULTI\r\nCLIENT TRACKING ON\r\nEXEC\r\nQUIT\r\n", "+OK +QUEUED *1 +OK +OK", REFUSED),
    row(b"MULTI\r\nSUBSCRIBE a\r\nEXEC\r\nQUIT\r\n", "+OK +QUEUED *1 *3 $9 subscribe $1 a :1 +OK", REFUSED),
    row(b"MULTI\r\nUNSUBSCRIBE a\r\nEXEC\r\nQUIT\r\n", "+OK +QUEUED *1 *3 $11 unsubscribe $1 a :0 +OK", REFUSED),
    row(
        b"MULTI\r\nMONITOR\r\nEXEC\r\nQUIT\r\n",
        "+OK +QUEUED *1 -ERR MONITOR isn't allowed for DENY BLOCKING client +OK",
        REFUSED,
    ),
    row(b"SCRIPT DEBUG SYNC\r\nQUIT\r\n", "+OK +OK", "-ERR a debugger does not pass through a proxy; ..."),
    row(b"REPLCONF ACK 0\r\nQUIT\r\n", "+OK", "-ERR a replica's stream does not pass through a proxy; ..."),
    row(b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nQUIT\r\n", "+PONG +OK", "-ERR Protocol error: missing CRLF after an argument"),
    row(
        b"*0000000000000000000000000000000000000001\r\n$4\r\nQUIT\r\n",
        "-ERR Protocol error: invalid multibulk length",
        "-ERR Protocol error: too big mbulk count string",
    ),
    row(b"GET / HTTP/1.1\r\nQUIT\r\n", "-ERR wrong number of arguments for 'get' command +OK", ""),
];

/// The same with a password on both sides.
pub const BEFORE_AUTH: &[Difference] = &[
    row(
        b"FOO\r\nQUIT\r\n",
        "-ERR unknown command 'FOO', with args beginning with:  +OK",
        "-NOAUTH Authentication required. +OK",
    ),
    row(
        b"GET\r\nQUIT\r\n",
        "-ERR wrong number of arguments for 'get' command +OK",
        "-NOAUTH Authentication required. +OK",
    ),
];

/// Each difference is there, as it is documented: one that has gone must leave the documentation, too.
pub fn expect(both: &Both, differences: &[Difference]) {
    assert!(!differences.is_empty(), "no difference");
    for Difference { bytes, redis, cloakroom } in differences {
        both.clear();
        let ask = |port| {
            let mut wire = Wire::connect(port);
            wire.send(bytes);
            let answer = wire.rest().expect("an answer, and a close");
            String::from_utf8_lossy(&answer).replace("\r\n", " ").trim_end().to_owned()
        };
        let is = |answer: &str, expected: &str| match expected.strip_suffix("...") {
            Some(start) => answer.starts_with(start),
            None => answer == expected,
        };
        let (said, told) = (ask(both.server.port()), ask(both.proxy.port()));
        assert!(is(&said, redis), "{}: Redis: {said}", bytes.escape_ascii());
        assert!(is(&told, cloakroom), "{}: cloakroom: {told}", bytes.escape_ascii());
    }
}
