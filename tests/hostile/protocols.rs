//! Bytes that are no requests: other protocols, noise. Each is answered or closed, and none of them hangs.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::siege::{KIB, MIB, Siege};

/// The start of a TLS 1.2 ClientHello.
const CLIENT_HELLO: &[u8] =
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8d\xc0\x5e\x11\x20\x9a\x41\x00\x13\x02\x13\x03";

const HTTP_GET: &[u8] = b"GET /session:1 HTTP/1.1\r\nHost: 127.0.0.1:6380\r\nSET k v\r\n\r\n";

#[test]
fn what_is_another_protocols_is_closed_without_a_word() {
    let siege = Siege::with(&[]);
    let silent: [&[u8]; 8] = [
        HTTP_GET,
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nSET k v\r\n",
        b"PUT /k HTTP/1.1\r\n\r\n",
        b"Host: 127.0.0.1\r\n",
        CLIENT_HELLO,
        b"\x16",
        b"\0",
        &[0; 4096],
    ];
    for bytes in silent {
        // A request behind it, or a page's form field, is not run.
        let mut client = siege.enter();
        let _ = client.try_send(&[bytes, b"\r\nSET crossed 1\r\n"].concat());
        let asked = Instant::now();
        assert_eq!(client.rest(), Ok(Vec::new()), "{}", bytes.escape_ascii());
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}: {}", asked.elapsed(), bytes.escape_ascii());
    }
    siege.wait_gone("other_protocol", silent.len());
    assert_eq!(siege.enter().ask("EXISTS crossed"), ":0");
}

/// One at a time, as a scanner's packets may come.
#[test]
fn another_protocol_is_known_however_its_bytes_come() {
    let siege = Siege::with(&["limits.request_timeout = \"1s\""]);
    for bytes in [HTTP_GET, CLIENT_HELLO, b"POST / HTTP/1.1\r\n"] {
        let mut client = siege.enter();
        for byte in bytes {
            if client.try_send(&[*byte]).is_err() {
                break;
            }
        }
        assert_eq!(client.rest(), Ok(Vec::new()), "{}", bytes.escape_ascii());
    }
    siege.wait_gone("other_protocol", 3);
}

/// What could be a command is answered as Redis answers it, what never ends is closed in time.
#[test]
fn noise_is_answered_or_closed_in_time() {
    let siege = Siege::with(&["limits.request_timeout = \"1s\""]);
    let mut banner = siege.enter();
    banner.send(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
    let told = banner.hear();
    assert!(told.contains("unknown command") && told.contains("SSH-2.0-OpenSSH_9.2p1"), "{told}");
    let mut words = siege.enter();
    words.send(&[b'A'; 65 * KIB]);
    assert_eq!(words.rest(), Ok(b"-ERR Protocol error: too big inline request\r\n".to_vec()));
    let (seed, begun) = (fastrand::u64(..), Instant::now());
    let mut random = Rng::with_seed(seed);
    let mut crowd = siege.crowd(200);
    for client in &mut crowd {
        // Neither a command by chance, nor without an end: its first byte is no letter.
        let mut noise: Vec<u8> = (0..random.usize(1..20_000)).map(|_| random.u8(..)).collect();
        noise[0] |= 0x80;
        let _ = client.try_send(&noise);
        client.finish();
    }
    for mut client in crowd {
        client.rest().unwrap_or_else(|end| panic!("seed {seed}: no close but {end}"));
    }
    let mut open = siege.crowd(50);
    for client in &mut open {
        // Without a line end it is a request that has begun.
        let noise: Vec<u8> = (0..1000).map(|_| random.u8(0x80..)).collect();
        client.send(&noise);
    }
    for mut client in open {
        assert_eq!(client.rest(), Ok(Vec::new()), "seed {seed}");
    }
    siege.wait_gone("slow_writer", 50);
    assert!(begun.elapsed() < Duration::from_secs(10), "seed {seed}: {:?}", begun.elapsed());
    siege.assert_peak_below(8 * MIB);
}
