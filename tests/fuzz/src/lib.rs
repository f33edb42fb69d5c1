//! What the fuzz targets share.
//!
//! ```text
//! targets/scan.rs ──────┐
//! targets/request.rs ───┤
//! targets/convert.rs ───┤  any bytes, and what must hold for them
//! targets/decode.rs ────┘
//! targets/outbox.rs        any order of events, against a model
//! targets/client.rs ────┐  any bytes from a client ──▶ proxy ──▶ redis-server
//! targets/server.rs ────┘               clients ──▶ proxy ──▶ any bytes from a server
//! seeds/*, fuzz.dict       where the fuzzer begins
//! rustc                    gives the proxy coverage, on the stable toolchain
//! run                      builds and runs
//! ```

pub mod proxy;
mod redis;
mod script;
pub mod wire;

use std::fmt::Debug;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use cloakroom::resp;

pub use redis::start as start_redis;
pub use script::{Script, Storm, bulk};

/// How many cuts in two are tried, evenly spaced; short inputs are cut everywhere.
const CUTS: usize = 32;

/// A directory that is left to whoever made `TMPDIR`: the process ends without a word.
pub fn directory() -> PathBuf {
    let directory = std::env::temp_dir().join(format!("cloakroom-fuzz-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a writable temporary directory");
    directory
}

/// Returns once `is_so` holds; a panic is a finding.
pub fn patience(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + wire::DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {:?}: {what}", wire::DEADLINE);
        thread::sleep(Duration::from_millis(1));
    }
}
/// What a parser says of the whole bytes, one answer per frame, checked to be the same however they arrive.
///
/// `next` is handed what has come since the last frame's end. It answers as a resumable parser does, with the
/// length of a frame and what there is to compare; an error ends the bytes. The parser is a new one for each
/// way of arriving.
pub fn same_at_every_split<P, T, E>(
    bytes: &[u8],
    mut parser: impl FnMut() -> P,
    next: impl Fn(&mut P, &[u8]) -> Result<Option<(usize, T)>, E>,
) -> Vec<Result<(usize, T), E>>
where
    T: PartialEq + Debug,
    E: PartialEq + Debug,
{
    let mut answers = |reads: &mut dyn Iterator<Item = usize>| {
        let (mut parser, mut answers, mut start) = (parser(), Vec::new(), 0);
        for end in reads {
            loop {
                match next(&mut parser, &bytes[start..end]) {
                    Ok(None) => break,
                    Ok(Some((len, answer))) => {
                        assert!(len > 0 && len <= end - start, "{len} of {} bytes", end - start);
                        start += len;
                        answers.push(Ok((len, answer)));
                    }
                    Err(error) => {
                        answers.push(Err(error));
                        return answers;
                    }
                }
            }
        }
        answers
    };
    let len = bytes.len();
    let whole = answers(&mut [len].into_iter());
    assert_eq!(answers(&mut (1..=len)), whole, "byte by byte");
    for cut in (1..len).step_by(len.div_ceil(CUTS).max(1)) {
        assert_eq!(answers(&mut [cut, len].into_iter()), whole, "cut at {cut}");
    }
    whole
}

/// The end of the frame at the start of `bytes`, found the naive way: a line, and what it announces.
///
/// `None`: it nests deeper than `depth`. The bytes must start with a frame.
pub fn end(bytes: &[u8], depth: usize) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a frame has a first line");
    let announced = resp::decimal(&bytes[1..line]).and_then(|count| usize::try_from(count).ok());
    let mut end = line + 2;
    let children = match (bytes[0], announced) {
        (b'$' | b'=' | b'!', Some(len)) => {
            end += len + 2;
            0
        }
        (b'*' | b'~' | b'>', Some(count)) => count,
        (b'%', Some(count)) => count * 2,
        (b'|', count) => count.unwrap_or(0) * 2 + 1,
        _ => 0,
    };
    for _ in 0..children {
        end += self::end(&bytes[end..], depth.checked_sub(1)?)?;
    }
    Some(end)
}
