//! A RESP3 reply for a RESP2 client.
//!
//! Exact for the commands whose two forms differ by type only: a null that is a string's, a map that is a
//! flat array, a set that is an array, a number that is a string (`command::ReplyForm::Same`). Everything else a
//! RESP2 client asks for travels on a RESP2 connection, so that nothing is guessed (G1).

use bytes::BytesMut;

use super::{decimal, encode};

/// Appends `frame`, a complete RESP3 frame the scanner has bounded, as RESP2 to `out`.
///
/// Attributes are left out, as Redis leaves them out for RESP2 clients.
pub fn to_resp2(frame: &[u8], out: &mut BytesMut) {
    let mut rest = frame;
    // Elements of an attribute still to be left out.
    let mut skip: u64 = 0;
    while let [kind, tail @ ..] = rest {
        let end = tail.windows(2).position(|pair| pair == b"\r\n").expect("the scanner saw this line's end");
        let (text, after) = (&tail[..end], &tail[end + 2..]);
        let count = || decimal(text).and_then(|n| u64::try_from(n).ok());
        let whole = &rest[..1 + end + 2];
        // A bulk string's bytes follow its header.
        let (body, after) = match (kind, count()) {
            (b'$' | b'=' | b'!', Some(len)) => {
                let len = usize::try_from(len).expect("the scanner saw this string's end");
                (&after[..len], &after[len + 2..])
            }
            _ => (&[][..], after),
        };
        rest = after;
        if skip > 0 {
            skip -= 1;
            skip += match kind {
                b'*' | b'~' | b'>' => count().unwrap_or(0),
                b'%' => count().unwrap_or(0) * 2,
                b'|' => count().unwrap_or(0) * 2 + 1,
                _ => 0,
            };
            continue;
        }
        match kind {
            b'_' => out.extend_from_slice(b"$-1\r\n"),
            b'#' => encode::integer(out, i64::from(text == b"t")),
            b',' | b'(' => encode::bulk(out, text),
            // `txt:` stands before a verbatim string's text.
            b'=' => encode::bulk(out, body.get(4..).unwrap_or_default()),
            b'!' => {
                out.extend_from_slice(b"-");
                // It may hold line ends, which would be another frame's beginning.
                out.extend(body.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
                out.extend_from_slice(b"\r\n");
            }
            b'%' => encode::array_header(out, count().unwrap_or(0) as usize * 2),
            b'~' | b'>' => encode::array_header(out, count().unwrap_or(0) as usize),
            b'|' => skip = count().unwrap_or(0) * 2,
            b'$' if count().is_some() => {
                out.extend_from_slice(whole);
                out.extend_from_slice(body);
                out.extend_from_slice(b"\r\n");
            }
            _ => out.extend_from_slice(whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resp3_type_has_its_resp2_form() {
        let cases: &[(&str, &str)] = &[
            ("+OK\r\n", "+OK\r\n"),
            ("_\r\n", "$-1\r\n"),
            ("#t\r\n", ":1\r\n"),
            ("#f\r\n", ":0\r\n"),
            (",1.5\r\n", "$3\r\n1.5\r\n"),
            ("(123\r\n", "$3\r\n123\r\n"),
            ("=7\r\ntxt:a\r\n\r\n", "$3\r\na\r\n\r\n"),
            ("!5\r\nERR x\r\n", "-ERR x\r\n"),
            ("!4\r\n\r\n+a\r\n", "-  +a\r\n"),
            ("%1\r\n+a\r\n_\r\n", "*2\r\n+a\r\n$-1\r\n"),
            ("~2\r\n$1\r\na\r\n%1\r\n:1\r\n:2\r\n", "*2\r\n$1\r\na\r\n*2\r\n:1\r\n:2\r\n"),
            ("*3\r\n$2\r\n_\r\r\n_\r\n$-1\r\n", "*3\r\n$2\r\n_\r\r\n$-1\r\n$-1\r\n"),
            ("|1\r\n+ttl\r\n%1\r\n+a\r\n+b\r\n*1\r\n_\r\n", "*1\r\n$-1\r\n"),
        ];
        for (resp3, resp2) in cases {
            let mut out = BytesMut::new();
            to_resp2(resp3.as_bytes(), &mut out);
            assert_eq!(out, resp2.as_bytes(), "{resp3}");
        }
    }
}
