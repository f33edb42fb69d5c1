//! A server that passes every check of the handshake, and then is not what it should be.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::support::{Relay, Wire, frame_len, wait_until};
use super::{Proxy, configuration};

/// These servers could not prove that they tell of changes.
const UNTRACKED: &str = "[cache]\nenabled = false";

/// A last word answers nobody, so it is no sign of health: the wait between attempts grows.
#[test]
fn a_server_that_says_something_and_hangs_up_after_every_handshake_is_not_hammered() {
    let server = serving(|mut client, ready| {
        client.write_all(ready)?;
        // A moment later, so that it is not read with the handshake.
        thread::sleep(Duration::from_millis(5));
        client.write_all(b"-ERR not today\r\n")
    });
    let relay = Relay::to(&server);
    let proxy = Proxy::start(&configuration(&format!("server = \"{}\"\n{UNTRACKED}", relay.address())));
    proxy.allow("upstream");
    let started = Instant::now();
    wait_until("some seconds are over", || started.elapsed() > Duration::from_secs(3));
    let attempts = relay.connections();
    assert!((2..100).contains(&attempts), "{attempts} attempts in three seconds");
}

/// One frame too many, in one packet with the end of the handshake: taken for the reply to the first request,
/// it would shift every reply after it to the next client (G2).
#[test]
fn an_unasked_frame_behind_the_handshake_answers_nobody() {
    let server = serving(|mut client, ready| {
        client.write_all(&[ready, b"$5\r\nwrong\r\n"].concat())?;
        let mut request = [0; 4096];
        while client.read(&mut request)? > 0 {
            client.write_all(b"$5\r\nright\r\n")?;
        }
        Ok(())
    });
    let proxy = Proxy::start(&configuration(&format!("server = \"{server}\"\nqueue_timeout = \"300ms\"\n{UNTRACKED}")));
    proxy.allow("upstream");
    let mut client = Wire::connect(proxy.port());
    for _ in 0..20 {
        let reply = client.ask("GET k");
        assert!(reply == "right" || reply.starts_with('-'), "{reply}");
    }
}

/// A server on a port of its own. `serve` is given each client, and what makes the handshake complete.
pub(super) fn serving(serve: impl Fn(&TcpStream, &[u8]) -> std::io::Result<()> + Send + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the port of a listener").to_string();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || {
                client.set_nodelay(true)?;
                let ready = greet(&client)?;
                serve(&client, &ready)
            });
        }
    });
    address
}

/// Answers a handshake as a server does, but for its last request, an `ECHO`; returns that answer.
pub(super) fn greet(mut client: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut requests = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let len = client.read(&mut piece)?;
        if len == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        requests.extend_from_slice(&piece[..len]);
        while let Some(len) = frame_len(&requests) {
            let request: Vec<u8> = requests.drain(..len).collect();
            let request = String::from_utf8(request).expect("ASCII");
            let words: Vec<_> = request.lines().skip(2).step_by(2).collect();
            match words[0] {
                "HELLO" => write!(client, "%2\r\n$5\r\nproto\r\n:{}\r\n$2\r\nid\r\n:1\r\n", words[1])?,
                "INFO" => client.write_all(b"$0\r\n\r\n")?,
                "ECHO" => return Ok(format!("${}\r\n{}\r\n", words[1].len(), words[1]).into_bytes()),
                _ => client.write_all(b"+OK\r\n")?,
            }
        }
    }
}
