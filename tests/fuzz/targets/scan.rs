//! Where a reply ends: at the same place however it arrives, and where others say.

#![no_main]

use bytes::Bytes;
use cloakroom::resp::scan::{Limits, Scan};
use cloakroom_fuzz::{end, same_at_every_split};
use libfuzzer_sys::fuzz_target;
use redis_protocol::resp3::decode::complete;

/// Small enough to be met.
const TIGHT: Limits = Limits { bulk: 100, elements: 20, line: 40 };

/// `redis-protocol` recurses: it is asked about nothing deeper.
const DEEPEST: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    for limits in [TIGHT, Limits::REPLY] {
        let answers = same_at_every_split(bytes, Scan::new, |scan, bytes| {
            scan.advance(bytes, &limits).map(|found| found.map(|found| (found.len, found.resp3)))
        });
        let mut rest = bytes;
        for (len, _) in answers.into_iter().flatten() {
            if let Some(end) = end(rest, DEEPEST) {
                assert_eq!(len, end, "the naive way");
                if let Ok(Some((_, theirs))) = complete::decode_bytes(&Bytes::copy_from_slice(rest)) {
                    assert_eq!(len, theirs, "redis-protocol");
                }
            }
            rest = &rest[len..];
        }
    }
});
