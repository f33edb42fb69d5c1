//! A server whose replies cannot be told apart any more: its connection is thrown away before anybody gets what is
//! somebody else's (G2).

use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::scripted::{greet, serving};
use super::support::{Proxy, Wire, frame_len, wait_until};

const RIGHT: &[u8] = b"$5\r\nright\r\n";

/// One worker, so that all clients meet on one connection.
fn proxy(server: &str) -> Proxy {
    let proxy = Proxy::start(&format!(
        "listen = {{ address = \"127.0.0.1:0\", workers = 1 }}\nmetrics.address = \"127.0.0.1:0\"\n\
         log.format = \"json\"\ncache.enabled = false\nupstream.server = \"{server}\"\nupstream.reply_timeout = \"3s\"\n"
    ));
    proxy.allow("upstream");
    proxy.wait_ready();
    proxy
}

/// Returns when so many connections were lost because they were out of step.
fn wait_desyncs(proxy: &Proxy, count: usize) {
    let line = format!("cloakroom_upstream_losses_total{{cause=\"desync\"}} {count}\n");
    wait_until("the connection is lost", || proxy.get("/metrics").1.contains(&line));
}

/// Returns once a whole request has come.
fn request(client: &mut &TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    while frame_len(&bytes).is_none() {
        let mut piece = [0; 4096];
        match client.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            len => bytes.extend_from_slice(&piece[..len]),
        }
    }
    Ok(String::from_utf8(bytes).expect("ASCII"))
}

/// A server whose first connection answers its first request with `first` and what comes then wrongly; those after
/// it are all right.
fn answering_first(first: &'static [u8]) -> String {
    let connections = Arc::new(AtomicUsize::new(0));
    serving(move |mut client, ready| {
        client.write_all(ready)?;
        let (mut reply, then) = match connections.fetch_add(1, Ordering::Relaxed) {
            0 => (first, &b"$5\r\nstale\r\n"[..]),
            _ => (RIGHT, RIGHT),
        };
        loop {
            request(&mut client)?;
            client.write_all(std::mem::replace(&mut reply, then))?;
        }
    })
}

#[test]
fn what_is_no_reply_ends_the_connection() {
    for nonsense in [&b"?what\r\n"[..], b"$x\r\n", b"$5\r\nwrongXX", b"*1\r\n\r\n"] {
        let proxy = proxy(&answering_first(nonsense));
        let mut client = Wire::connect(proxy.port());
        // A read is asked again of the next connection.
        assert_eq!(client.ask("GET k"), "right", "{}", nonsense.escape_ascii());
        wait_desyncs(&proxy, 1);
    }
}

#[test]
fn a_reply_of_the_wrong_kind_ends_the_connection() {
    for wrong in [&b":1\r\n"[..], b"+OK\r\n", b"*1\r\n$5\r\nwrong\r\n", b"-NOAUTH Authentication required.\r\n"] {
        let proxy = proxy(&answering_first(wrong));
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("GET k"), "right", "{}", wrong.escape_ascii());
        wait_desyncs(&proxy, 1);
    }
}

#[test]
fn a_reply_nobody_asked_for_ends_the_connection() {
    let proxy = proxy(&answering_first(b"$5\r\nright\r\n$5\r\nwrong\r\n"));
    let mut client = Wire::connect(proxy.port());
    assert_eq!((client.ask("GET k"), client.ask("GET k")), ("right".into(), "right".into()));
    wait_desyncs(&proxy, 1);
}

#[test]
fn half_a_reply_is_not_finished_by_the_next_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let server = serving(move |mut client, ready| {
        client.write_all(ready)?;
        request(&mut client)?;
        match connections.fetch_add(1, Ordering::Relaxed) {
            0 => client.write_all(b"$40\r\nwrong"),
            _ => client.write_all(RIGHT).and_then(|()| request(&mut client).map(drop)),
        }
    });
    let proxy = proxy(&server);
    assert_eq!(Wire::connect(proxy.port()).ask("GET k"), "right");
}

/// A server whose connections are served so, but for the first, which is the lane's.
fn holding(serve: impl Fn(&TcpStream) -> Result<()> + Send + Clone + 'static) -> Proxy {
    let connections = Arc::new(AtomicUsize::new(0));
    let server = serving(move |mut client, ready| {
        client.write_all(ready)?;
        match connections.fetch_add(1, Ordering::Relaxed) {
            0 => request(&mut client).map(drop),
            _ => serve(client),
        }
    });
    proxy(&server)
}

#[test]
fn a_frame_nobody_asked_for_ends_the_client_that_holds_the_connection() {
    let proxy = holding(|mut client| {
        request(&mut client)?;
        client.write_all(b"+OK\r\n")?;
        request(&mut client)?;
        client.write_all(b"+QUEUED\r\n+wrong\r\n")?;
        request(&mut client).map(drop)
    });
    let mut client = Wire::connect(proxy.port()).patience(Duration::from_secs(5));
    assert_eq!(client.ask("MULTI"), "+OK");
    client.say(&["GET k"]);
    // What was right may be lost with it.
    let rest = client.rest().expect("an end");
    assert!(b"+QUEUED\r\n".starts_with(&rest), "{}", rest.escape_ascii());
}

#[test]
fn a_connection_that_does_not_answer_reset_is_not_used_again() {
    for answer in ["+OK\r\n", "$5\r\nright\r\n", "+RESET\r\n+wrong\r\n"] {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let proxy = holding({
            let ends = Arc::clone(&ends);
            move |mut client| {
                block(client)?;
                client.write_all(answer.as_bytes())?;
                let next = request(&mut client).map_err(|end| end.kind());
                ends.lock().expect("no thread panics").push(next);
                Ok(())
            }
        });
        assert_eq!(Wire::connect(proxy.port()).ask("BLPOP l 1"), "*-1");
        wait_until("the connection is closed, or used", || !ends.lock().expect("no thread panics").is_empty());
        assert_eq!(*ends.lock().expect("no thread panics"), [Err(ErrorKind::UnexpectedEof)], "{answer}");
    }
}

#[test]
fn an_idle_connection_that_has_spoken_is_not_used_again() {
    let idle = Arc::new(AtomicUsize::new(0));
    let proxy = holding({
        let idle = Arc::clone(&idle);
        move |mut client| {
            block(client)?;
            client.write_all(b"+RESET\r\n")?;
            let ready = greet(client)?;
            client.write_all(&ready)?;
            // A moment later, so that it is not read with the handshake.
            thread::sleep(Duration::from_millis(50));
            client.write_all(b"+wrong\r\n")?;
            idle.fetch_add(1, Ordering::Relaxed);
            request(&mut client).map(drop)
        }
    });
    let mut client = Wire::connect(proxy.port());
    for count in 1..3 {
        assert_eq!(client.ask("BLPOP l 1"), "*-1");
        wait_until("the connection has spoken", || idle.load(Ordering::Relaxed) == count);
    }
}

/// Answers a command that blocks, and waits for the `RESET` behind it.
fn block(mut client: &TcpStream) -> Result<()> {
    assert!(request(&mut client)?.contains("BLPOP"));
    client.write_all(b"*-1\r\n")?;
    assert!(request(&mut client)?.contains("RESET"));
    Ok(())
}
