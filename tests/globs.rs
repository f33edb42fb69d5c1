//! Our reading of patterns of keys against a real server's: its answer to `KEYS`.
//!
//! A failure shows the pattern, the keys in question and the seed: set `CLOAKROOM_SEED` to it to see the same again.

mod support;

use std::collections::BTreeSet;

use cloakroom::glob::Globs;
use fastrand::Rng;
use support::{RedisServer, Wire, request};

/// What means something in a pattern, and little else, so that patterns and keys meet often. Two bytes are past 127.
const ALPHABET: &[u8] = b"***??[[[]]]^^---\\\\\\aaabbbcdeABC:0\xc3\xa9\0\n";

const KEYS: usize = 3000;
const PATTERNS: usize = 3000;

#[test]
fn a_pattern_takes_the_keys_that_keys_lists() {
    let seed =
        std::env::var("CLOAKROOM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    let server = RedisServer::plain();
    let mut wire = Wire::connect(server.port());

    let mut keys: BTreeSet<Vec<u8>> = (0..KEYS).map(|_| bytes(&mut rng, 6)).collect();
    keys.insert(Vec::new());
    let pairs = keys.iter().flat_map(|key| [key.as_slice(), b"v"]);
    let mset: Vec<_> = std::iter::once(b"MSET".as_slice()).chain(pairs).collect();
    wire.send(&request(&mset));
    assert_eq!(wire.hear(), "+OK");

    let mut taken = 0;
    for _ in 0..PATTERNS {
        let pattern = bytes(&mut rng, 9);
        if is_counted_otherwise(&pattern) {
            continue;
        }
        wire.send(&request(&[b"KEYS".as_slice(), &pattern]));
        let there = listed(&wire.frame());
        let globs = Globs::new([pattern.clone()]);
        let here: BTreeSet<_> = keys.iter().filter(|key| globs.matches(key)).cloned().collect();
        let differ: Vec<_> = here.symmetric_difference(&there).map(|key| key.escape_ascii().to_string()).collect();
        assert!(differ.is_empty(), "{} reads {differ:?} otherwise (seed {seed})", pattern.escape_ascii());
        taken += there.len();
    }
    assert!(taken > PATTERNS, "only {taken} keys found by {PATTERNS} patterns (seed {seed})");
}

fn bytes(rng: &mut Rng, longest: usize) -> Vec<u8> {
    (0..rng.usize(..=longest)).map(|_| ALPHABET[rng.usize(..ALPHABET.len())]).collect()
}

/// Whether there may be a range with one end past 127 and one below: what is between depends on the processor.
fn is_counted_otherwise(pattern: &[u8]) -> bool {
    pattern.windows(3).any(|three| three[1] == b'-' && three[0].is_ascii() != three[2].is_ascii())
}

/// The elements of an array of bulk strings.
fn listed(frame: &[u8]) -> BTreeSet<Vec<u8>> {
    let line = |at: usize| at + frame[at..].iter().position(|byte| *byte == b'\n').expect("a whole frame") + 1;
    let mut at = line(0);
    let mut elements = BTreeSet::new();
    while at < frame.len() {
        let start = line(at);
        let len: usize = std::str::from_utf8(&frame[at + 1..start - 2]).expect("digits").parse().expect("a length");
        elements.insert(frame[start..start + len].to_vec());
        at = start + len + 2;
    }
    elements
}
