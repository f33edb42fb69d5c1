//! One client's bytes: the same requests however they arrive, and what is sent on says what was understood.

#![no_main]

use cloakroom::resp::encode;
use cloakroom::resp::request::{Limits, Parser, RequestError};
use cloakroom_fuzz::same_at_every_split;
use libfuzzer_sys::fuzz_target;

/// Small enough to be met.
const TIGHT: Limits = Limits { arguments: 8, bulk: 40, request: 100, authenticated: false };

/// So large that a buffer of an announced length would be noticed.
const WIDE: Limits = Limits { arguments: 1 << 30, bulk: 1 << 40, request: 1 << 40, authenticated: true };

fuzz_target!(|bytes: &[u8]| {
    for limits in [TIGHT, WIDE] {
        same_at_every_split(bytes, Parser::default, |parser, bytes| {
            let len = parser.advance(bytes, &limits)?;
            Ok::<_, RequestError>(len.map(|len| (len, args(parser, bytes, len))))
        });
    }
});

/// The arguments of the request just found, none for one that is skipped.
fn args(parser: &Parser, bytes: &[u8], len: usize) -> Vec<Vec<u8>> {
    let Some(request) = parser.request(bytes) else { return Vec::new() };
    let args: Vec<&[u8]> = request.args_from(0).collect();
    assert_eq!(request.len(), args.len());
    let mut encoded = Vec::new();
    encode::request(&mut encoded, &args);
    assert_eq!(request.frame(), encoded, "the frame is these arguments, and nothing else");
    if bytes[0] == b'*' {
        assert_eq!(request.frame(), &bytes[..len], "an array is sent as it came");
    } else {
        let mut again = Parser::default();
        assert_eq!(
            again.advance(request.frame(), &WIDE),
            Ok(Some(encoded.len())),
            "an inline request travels as an array"
        );
        assert!(again.request(&encoded).expect("not empty").args_from(0).eq(args.iter().copied()));
    }
    args.into_iter().map(<[u8]>::to_vec).collect()
}
