use super::*;

const LIMITS: Limits = Limits { bulk: 1024, elements: 1000, line: 64 };

/// One of each kind a server sends, with whether RESP2 has it.
const FRAMES: &[(&[u8], bool)] = &[
    (b"+OK\r\n", false),
    (b"-ERR no\xff such \rthing\r\n", false),
    (b":-12\r\n", false),
    (b"$-1\r\n", false),
    (b"$0\r\n\r\n", false),
    (b"$5\r\na\r\nbc\r\n", false),
    (b"*-1\r\n", false),
    (b"*0\r\n", false),
    (b"*2\r\n*1\r\n+a\r\n$1\r\nb\r\n", false),
    (b"_\r\n", true),
    (b"#t\r\n", true),
    (b",1.10\r\n", true),
    (b",inf\r\n", true),
    (b"(3492890328409238509324850943850943825024385\r\n", true),
    (b"=15\r\ntxt:Some string\r\n", true),
    (b"!5\r\nERR x\r\n", true),
    (b"%2\r\n+a\r\n:1\r\n*1\r\n:1\r\n%0\r\n", true),
    (b"~2\r\n+a\r\n+b\r\n", true),
    (b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n", true),
    (b"|1\r\n+ttl\r\n:3600\r\n*1\r\n:1\r\n", true),
];

#[test]
fn every_frame_is_found_at_every_split() {
    for (frame, resp3) in FRAMES {
        let mut stream = frame.to_vec();
        stream.extend_from_slice(b"+next");
        for split in 0..frame.len() {
            let mut scan = Scan::new();
            assert_eq!(scan.advance(&stream[..split], &LIMITS), Ok(None), "{frame:?} at {split}");
            let found = Some(Found { len: frame.len(), resp3: *resp3 });
            assert_eq!(scan.advance(&stream, &LIMITS), Ok(found), "{frame:?} at {split}");
        }
    }
}

#[test]
fn a_frame_arriving_byte_by_byte_is_found_once_it_is_whole() {
    for (frame, _) in FRAMES {
        let mut scan = Scan::new();
        for end in 0..frame.len() {
            assert_eq!(scan.advance(&frame[..end], &LIMITS), Ok(None));
        }
        let found = scan.advance(frame, &LIMITS).expect("a frame").expect("whole");
        assert_eq!(found.len, frame.len());
    }
}

#[test]
fn what_is_no_frame_is_refused() {
    let cases: &[(&[u8], ScanError)] = &[
        (b"HTTP/1.1 400", ScanError::Type(b'H')),
        (b"\x15\x03\x03", ScanError::Type(0x15)),
        (b"$3\r\nfooXX", ScanError::Crlf),
        (b"$3\r\nfoobar\r\n", ScanError::Crlf),
        (b"$+3\r\n", ScanError::Length),
        (b"$03\r\n", ScanError::Length),
        (b"$-2\r\n", ScanError::Length),
        (b"*?\r\n", ScanError::Length),
        (b"*1000000000\r\n", ScanError::Limit),
        (b"%9223372036854775807\r\n", ScanError::Limit),
        (b"$9223372036854775807\r\n", ScanError::Limit),
        (b"*999\r\n*999\r\n", ScanError::Limit),
    ];
    for (bytes, error) in cases {
        assert_eq!(Scan::new().advance(bytes, &LIMITS), Err(*error), "{bytes:?}");
    }
}

#[test]
fn a_line_without_end_is_refused_at_the_limit() {
    let line = [b'+'; 200];
    assert_eq!(Scan::new().advance(&line[..60], &LIMITS), Ok(None));
    assert_eq!(Scan::new().advance(&line, &LIMITS), Err(ScanError::Limit));
}

#[test]
fn deep_nesting_needs_no_stack() {
    let deep = b"*1\r\n".repeat(500_000);
    let limits = Limits { elements: 1_000_000, ..LIMITS };
    assert_eq!(Scan::new().advance(&deep, &limits), Ok(None));
    assert_eq!(Scan::new().advance(&deep, &LIMITS), Err(ScanError::Limit));
}

#[test]
fn a_large_bulk_string_is_known_by_its_header() {
    assert_eq!(large_bulk(b"$1000\r\nab", 100, &LIMITS), Some(5 + 2 + 1000 + 2));
    assert_eq!(large_bulk(b"$99\r\nab", 100, &LIMITS), None, "small");
    assert_eq!(large_bulk(b"$1000\r", 100, &LIMITS), None, "header not whole");
    assert_eq!(large_bulk(b"$9999\r\n", 100, &LIMITS), None, "over the limit");
    assert_eq!(large_bulk(b"*1000\r\n", 100, &LIMITS), None);
}

mod against_the_oracle {
    use bytes::Bytes;
    use proptest::prelude::*;
    use redis_protocol::resp3::{decode::complete, types::BytesFrame};

    use super::*;

    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let text = "[ -~]{0,12}";
        let leaf = prop_oneof![
            text.prop_map(|s| format!("+{s}\r\n").into_bytes()),
            text.prop_map(|s| format!("-ERR {s}\r\n").into_bytes()),
            any::<i64>().prop_map(|n| format!(":{n}\r\n").into_bytes()),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|body| {
                let mut out = format!("${}\r\n", body.len()).into_bytes();
                out.extend_from_slice(&body);
                out.extend_from_slice(b"\r\n");
                out
            }),
            Just(b"_\r\n".to_vec()),
            Just(b"#f\r\n".to_vec()),
            Just(b",2.5\r\n".to_vec()),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop::collection::vec(inner, 0..6).prop_map(|items| {
                let mut out = format!("*{}\r\n", items.len()).into_bytes();
                items.iter().for_each(|item| out.extend_from_slice(item));
                out
            })
        })
    }

    proptest! {
        #[test]
        fn a_frame_ends_where_redis_protocol_says(frame in frame(), tail in prop::collection::vec(any::<u8>(), 0..8)) {
            let mut stream = frame.clone();
            stream.extend_from_slice(&tail);
            let ours = Scan::new().advance(&stream, &Limits::REPLY).unwrap().unwrap();
            let (_, theirs): (BytesFrame, usize) =
                complete::decode_bytes(&Bytes::from(stream)).unwrap().unwrap();
            prop_assert_eq!(ours.len, theirs);
            prop_assert_eq!(ours.len, frame.len());
        }

        #[test]
        fn any_bytes_give_the_same_answer_in_any_split(
            bytes in prop::collection::vec(prop_oneof![
                4 => prop::sample::select(b"*$%~>+-:_,#(=!|0123459\r\n".to_vec()), 1 => any::<u8>()
            ], 0..80),
            cut in 0usize..80,
        ) {
            let whole = Scan::new().advance(&bytes, &LIMITS);
            let mut scan = Scan::new();
            let cut = cut.min(bytes.len());
            let split = match scan.advance(&bytes[..cut], &LIMITS) {
                Ok(None) => scan.advance(&bytes, &LIMITS),
                early => early,
            };
            prop_assert_eq!(whole, split);
        }
    }
}
