use super::*;

const LIMITS: Limits = Limits { arguments: 100, bulk: 1000, request: 4000, authenticated: true };

fn parse_all(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut parser = Parser::default();
    let (mut rest, mut requests) = (bytes, Vec::new());
    while let Some(len) = parser.advance(rest, &LIMITS).expect("well formed") {
        if let Some(request) = parser.request(rest) {
            requests.push(request.args_from(0).map(<[u8]>::to_vec).collect());
        }
        rest = &rest[len..];
    }
    requests
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn a_pipeline_of_every_form_is_read_in_order() {
    let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n\r\n*0\r\n*-1\r\nSET a 'b c'\n*1\r\n$0\r\n\r\n";
    let expected = vec![words(&["GET", "a"]), words(&["PING"]), words(&["SET", "a", "b c"]), words(&[""])];
    assert_eq!(parse_all(bytes), expected);
}

/// Whether the line after it had come decided once.
#[test]
fn only_its_own_line_makes_a_request_http() {
    let expected = vec![words(&["GET", "/"]), words(&["SET", "a", "x HTTP/1.1"])];
    assert_eq!(parse_all(b"GET /\r\nSET a 'x HTTP/1.1'\r\n"), expected);
}

#[test]
fn an_inline_request_travels_as_an_array() {
    let mut parser = Parser::default();
    let bytes = b"SET a \"b\\x00c\"\r\n";
    assert_eq!(parser.advance(bytes, &LIMITS), Ok(Some(bytes.len())));
    let request = parser.request(bytes).expect("not empty");
    assert_eq!(request.frame(), b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nb\0c\r\n");
    assert_eq!(request.arg(2), Some(&b"b\0c"[..]));
}

#[test]
fn a_request_is_found_at_every_split() {
    for bytes in [&b"*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$0\r\n\r\n"[..], b"SET \"a b\" c\r\n"] {
        for cut in 1..bytes.len() {
            let mut parser = Parser::default();
            assert_eq!(parser.advance(&bytes[..cut], &LIMITS), Ok(None), "{cut}");
            assert_eq!(parser.advance(bytes, &LIMITS), Ok(Some(bytes.len())), "{cut}");
            assert_eq!(parser.request(bytes).map(|request| request.len()), Some(3));
        }
    }
}

#[test]
fn what_is_no_request_is_refused_in_redis_words() {
    use RequestError as E;
    let long_inline = "a".repeat(70_000);
    let cases: &[(&str, RequestError)] = &[
        ("*a\r\n", E::ArrayLength),
        ("*101\r\n", E::ArrayLength),
        ("*99999999999999999999\r\n", E::ArrayLength),
        ("*1\r\n+PING\r\n", E::ExpectedBulk(b'+')),
        ("*1\r\n$-1\r\n", E::BulkLength),
        ("*1\r\n$+4\r\nPING\r\n", E::BulkLength),
        ("*1\r\n$04\r\nPING\r\n", E::BulkLength),
        ("*1\r\n$1001\r\n", E::BulkLength),
        ("*1\r\n$3\r\nPING\r\n", E::Crlf),
        ("*1\r\n$11111111111111111111111111111111111111111\r\n", E::BulkLine),
        ("*9\r\n$1000\r\n", E::Request),
        ("SET a \"b\r\n", E::Quotes),
        (&long_inline, E::InlineLine),
        ("POST / HTTP/1.1\r\n", E::OtherProtocol),
        ("GET / HTTP/1.1\r\n", E::OtherProtocol),
        ("\x16\x03\x01", E::OtherProtocol),
    ];
    for (bytes, error) in cases {
        let mut bytes = bytes.as_bytes().to_vec();
        if *error == E::Request {
            for _ in 0..4 {
                let body = format!("{}\r\n$1000\r\n", "x".repeat(1000));
                bytes.extend_from_slice(body.as_bytes());
            }
        }
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert_eq!(Parser::default().advance(&bytes, &LIMITS), Err(*error), "{shown}");
    }
    assert_eq!(E::ExpectedBulk(b'+').to_string(), "Protocol error: expected '$', got '+'");
}

#[test]
fn a_client_that_has_not_authenticated_may_say_little() {
    let limits = Limits::UNAUTHENTICATED;
    let error = Parser::default().advance(b"*11\r\n", &limits);
    assert_eq!(error, Err(RequestError::ArrayLengthUnauthenticated));
    let error = Parser::default().advance(b"*1\r\n$16385\r\n", &limits);
    assert_eq!(error, Err(RequestError::BulkLengthUnauthenticated));
}

#[test]
fn an_announced_length_allocates_nothing() {
    let mut parser = Parser::default();
    let limits = Limits { arguments: 1 << 20, ..LIMITS };
    assert_eq!(parser.advance(b"*1048576\r\n", &limits), Ok(None));
    assert!(parser.args.capacity() < 100);
}

mod against_the_oracle {
    use bytes::Bytes;
    use proptest::prelude::*;
    use redis_protocol::resp2::{decode::decode_bytes, types::BytesFrame};

    use super::*;

    proptest! {
        #[test]
        fn a_request_reads_as_redis_protocol_reads_it(
            args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 1..8),
        ) {
            let mut bytes = Vec::new();
            encode::array_header(&mut bytes, args.len());
            args.iter().for_each(|arg| encode::bulk(&mut bytes, arg));
            prop_assert_eq!(parse_all(&bytes), vec![args.clone()]);

            let theirs = decode_bytes(&Bytes::from(bytes)).unwrap().unwrap().0;
            let ours = args.into_iter().map(|arg| BytesFrame::BulkString(arg.into())).collect();
            prop_assert_eq!(theirs, BytesFrame::Array(ours));
        }

        #[test]
        fn any_bytes_give_the_same_answer_in_any_split(
            bytes in prop::collection::vec(prop_oneof![
                6 => prop::sample::select(b"*$012345\r\n".to_vec()), 1 => any::<u8>()
            ], 1..60),
            cut in 0usize..60,
        ) {
            let whole = Parser::default().advance(&bytes, &LIMITS);
            let mut parser = Parser::default();
            let split = match parser.advance(&bytes[..cut.min(bytes.len())], &LIMITS) {
                Ok(None) => parser.advance(&bytes, &LIMITS),
                early => early,
            };
            prop_assert_eq!(whole, split);
        }
    }
}
