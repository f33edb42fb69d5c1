//! A server that has stopped, and a crowd in front of it: what is sent on, what waits, and for how long.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use super::siege::{Honest, KIB, MIB, Siege, flood};
use super::support::{RedisServer, Wire, request, wait_until};

const NOT_EXECUTED: &str = "-LOADING upstream unavailable; command not executed";
const UNKNOWN: &str = "-UNKNOWN upstream connection lost; outcome unknown";

/// What a client that waits may have sent: bytes read ahead, a request that waits for room, and as much again for a
/// buffer that grows.
const WAITING: usize = 2 * (64 + 100) * KIB;

/// The honest client of a proxy whose server does not answer is content with what the proxy says.
fn siege(lines: &[&str]) -> Siege {
    let mut siege = Siege::unwatched(RedisServer::plain(), lines);
    for text in ["upstream unavailable", "upstream connection lost"] {
        siege.proxy.allow(text);
    }
    let honest = Honest::pinging(siege.enter());
    siege.watch(honest);
    siege
}

fn set(len: usize) -> Vec<u8> {
    request(&[b"SET", &b"k"[..], &vec![b'x'; len]])
}

/// 400 MB are on offer.
#[test]
fn a_stopped_server_does_not_fill_the_proxy() {
    let siege = siege(&["limits.queue = \"1MiB\"", "upstream.reply_timeout = \"1s\""]);
    let mut crowd = siege.crowd(200);
    siege.server.pause();
    flood(&crowd, set(100_000), 20);
    siege.assert_peak_below(2 * MIB + 200 * WAITING + 8 * MIB);
    wait_until("the first are told", || siege.metric("cloakroom_unknown_outcome_total") >= 1.0);
    let told = siege.metric("cloakroom_unknown_outcome_total");
    assert!(told <= 12.0, "{told} requests of 100 KB were in a queue of 1 MiB");
    siege.server.resume();
    // Who waited is served; what was given up stays so.
    for client in &mut crowd {
        let reply = client.hear();
        assert!(["+OK", UNKNOWN, NOT_EXECUTED].contains(&reply.as_str()), "{reply}");
    }
    siege.assert_peak_below(2 * MIB + 200 * WAITING + 8 * MIB);
}

#[test]
fn requests_behind_a_stopped_server_are_not_read_ahead() {
    let siege = siege(&["limits.in_flight = 8"]);
    let mut clients = siege.crowd(20);
    siege.server.pause();
    let before = siege.metric("cloakroom_client_received_bytes_total");
    flood(&clients, request(&["GET", &"x".repeat(1000)]).repeat(1000), 1);
    let read = siege.metric("cloakroom_client_received_bytes_total") - before;
    assert!(read < (20 * 150 * KIB) as f64, "{read} bytes are read, of 20 MB");
    let accepted = siege.metric("cloakroom_requests_total{command=\"get\"}");
    assert!(accepted <= 160.0, "{accepted} requests are accepted");
    siege.server.resume();
    for client in &mut clients {
        // What the system has taken is answered, each in its turn.
        (0..100).for_each(|_| assert_eq!(client.hear(), "$-1"));
    }
    siege.assert_peak_below(20 * 300 * KIB + 4 * MIB);
}

/// A connection of its own is an upstream connection like any other: `limits.queue` holds.
#[test]
fn a_transaction_is_not_read_ahead_of_a_stopped_server() {
    let siege = siege(&["limits.queue = \"1MiB\""]);
    let mut crowd = siege.crowd(10);
    for client in &mut crowd {
        assert_eq!(client.ask("MULTI"), "+OK");
    }
    siege.server.pause();
    flood(&crowd, set(500_000), 100);
    siege.assert_peak_below(10 * 4 * MIB);
    siege.server.resume();
    for client in &mut crowd {
        assert_eq!(client.hear(), "+QUEUED");
    }
}

#[test]
fn a_crowd_that_waits_for_a_server_is_told_in_time() {
    let mut siege = siege(&["upstream.queue_timeout = \"1s\""]);
    let mut crowd = siege.crowd(200);
    for client in &mut crowd {
        assert_eq!(client.ask("EXISTS k"), ":0");
    }
    siege.server.kill();
    wait_until("the proxy knows", || siege.proxy.get("/readyz").0 == 503);
    let asked = Instant::now();
    flood(&crowd, set(100_000), 10);
    for client in &mut crowd {
        assert_eq!(client.hear(), NOT_EXECUTED);
    }
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    siege.assert_peak_below(16 * MIB + 200 * WAITING + 8 * MIB);
    assert!(siege.metric("cloakroom_not_executed_total") >= 200.0);
    siege.server.start();
    wait_until("the server is back", || siege.enter().ask("SET k v") == "+OK");
}

/// Somebody listens and says nothing, to any number of attempts: clients are told, and the server is tried again.
#[test]
fn a_server_that_does_not_answer_a_handshake_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("a port");
    let attempts = thread::spawn(move || (0..3).map(|_| silent.accept().expect("an attempt").0).collect::<Vec<_>>());
    let proxy = super::support::Proxy::start(&format!(
        "listen.address = \"127.0.0.1:0\"\nlisten.workers = 1\nmetrics.address = \"127.0.0.1:0\"\nlog.format = \"json\"\n\
         upstream.server = \"{address}\"\nupstream.connect_timeout = \"200ms\"\nupstream.queue_timeout = \"500ms\"\n",
    ));
    proxy.allow("upstream unavailable");
    let honest = Honest::pinging(Wire::connect(proxy.port()));
    let asked = Instant::now();
    let mut crowd: Vec<_> = (0..100).map(|_| Wire::connect(proxy.port())).collect();
    for client in &mut crowd {
        client.say(&["GET k", "MULTI", "EXEC"]);
    }
    for client in &mut crowd {
        assert_eq!([client.hear(), client.hear()], [NOT_EXECUTED, "+OK"]);
        assert!(client.hear().starts_with("-EXECABORT"));
    }
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    attempts.join().expect("at least three attempts");
    honest.assert_served();
}

#[test]
fn a_crowd_that_wants_connections_of_its_own_gets_what_there_are() {
    let siege = Siege::with(&["limits.pinned = 4", "upstream.queue_timeout = \"500ms\""]);
    let mut crowd = siege.crowd(200);
    crowd.iter_mut().for_each(|client| client.say(&["BLPOP none 0"]));
    wait_until("the others are told", || siege.metric("cloakroom_not_executed_total") == 196.0);
    let pinned = siege.metric("cloakroom_upstream_connections{kind=\"pinned\"}");
    assert_eq!(pinned, 4.0);
    // Those who hold one send on, and wait.
    flood(&crowd, request(&["ECHO", &"x".repeat(10_000)]), 4);
    let told = "-LOADING no upstream connection free; command not executed";
    let mut waits = 0;
    for client in crowd {
        let mut client = client.patience(Duration::from_millis(100));
        match client.try_frame() {
            Ok(frame) => assert_eq!(frame, format!("{told}\r\n").as_bytes()),
            Err(_) => waits += 1,
        }
    }
    assert_eq!(waits, 4);
    siege.assert_peak_below(200 * 200 * KIB + 8 * MIB);
    // They have gone: what they held is to be had again.
    let mut one = siege.enter();
    wait_until("one is free", || one.ask("BLPOP none 0.001") == "*-1");
}
