//! Frames that are understood, or looked into: no server can make us panic or recurse with one.

#![no_main]

use cloakroom::resp::decode::{decode, elements, error, field, integer, text};
use cloakroom::resp::peek;
use cloakroom::resp::scan::{Limits, Scan};
use cloakroom_fuzz::end;
use libfuzzer_sys::fuzz_target;

/// As deep as what we must understand.
const DEEPEST: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(found)) = Scan::new().advance(bytes, &Limits::REPLY) else { return };
    let frame = &bytes[..found.len];
    let word = peek::first_word(frame);
    peek::last_integer(frame);
    if let Some(elements) = peek::elements(frame) {
        let header = frame.iter().position(|byte| *byte == b'\n').expect("a frame has a first line") + 1;
        assert_eq!(header + elements.map(<[u8]>::len).sum::<usize>(), frame.len(), "the elements are all there is");
    }
    let decoded = decode(frame);
    if end(frame, DEEPEST).is_none() {
        assert!(decoded.is_none(), "too deep to be decoded");
    }
    let Some(decoded) = decoded else { return };
    if let (Some(word), Some(elements)) = (word, elements(&decoded)) {
        assert_eq!(text(&elements[0]), Some(word));
    }
    for element in elements(&decoded).unwrap_or(&[]).iter().chain([&decoded]) {
        let _ = (text(element), error(element), integer(element), field(element, "id"));
    }
});
