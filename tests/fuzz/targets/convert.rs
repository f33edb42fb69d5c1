//! A reply for a RESP2 client: one frame of RESP2, whatever the server sent.

#![no_main]

use bytes::BytesMut;
use cloakroom::resp::convert::to_resp2;
use cloakroom::resp::scan::{Found, Limits, Scan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(found)) = Scan::new().advance(bytes, &Limits::REPLY) else { return };
    let frame = &bytes[..found.len];
    let converted = convert(frame);
    let one = Found { len: converted.len(), resp3: false };
    assert_eq!(Scan::new().advance(&converted, &Limits::REPLY), Ok(Some(one)), "exactly one frame of RESP2");
    assert_eq!(convert(&converted), converted, "RESP2 stays as it is");
    if !found.resp3 {
        assert_eq!(converted, frame, "RESP2 stays as it is");
    }
});

fn convert(frame: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    to_resp2(frame, &mut out);
    out
}
