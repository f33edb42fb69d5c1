//! The proxy ends: what is in flight is answered first.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::support::{DEADLINE, RedisServer, Wire, stays_so, wait_until};
use super::{NOTHING, proxy};

#[test]
fn requests_in_flight_are_answered() {
    for signal in ["TERM", "INT"] {
        let server = RedisServer::plain();
        let mut proxy = proxy(&server.address(), &[]);
        let mut clients: Vec<_> = (0..5).map(|_| Wire::connect(proxy.port())).collect();
        let mut idle = Wire::connect(proxy.port());
        assert_eq!(idle.ask("SET k v"), "+OK");
        server.pause();
        for client in &mut clients {
            client.say(&["GET k", "INCR counter", "MULTI"]);
        }
        wait_until("they are under way", || {
            proxy.get("/metrics").1.contains("cloakroom_requests_total{command=\"incr\"} 5")
        });
        let port = proxy.port();
        proxy.signal(signal);
        proxy.wait_for_log("draining", DEADLINE);
        wait_until("no new clients", || TcpStream::connect(("127.0.0.1", port)).is_err());
        assert_eq!(idle.rest(), NOTHING, "who waits for nothing is closed at once");
        server.resume();
        for client in &mut clients {
            assert_eq!(client.hear(), "v");
            assert!(client.hear().starts_with(':'));
            // The third needs a connection of its own and had not been accepted.
            let rest = client.rest().expect("the end of the connection");
            assert!(rest.is_empty() || rest.starts_with(b"-") || rest == b"+OK\r\n", "{}", rest.escape_ascii());
        }
        assert_eq!(proxy.wait_exit().code(), Some(0));
        assert_eq!(server.cli(&["GET", "counter"]), "5");
    }
}

#[test]
fn a_transaction_under_way_is_not_waited_for() {
    let server = RedisServer::plain();
    let mut proxy = proxy(&server.address(), &[]);
    let mut client = Wire::connect(proxy.port());
    let mut subscriber = Wire::connect(proxy.port());
    let mut blocked = Wire::connect(proxy.port());
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("SET k v"), "+QUEUED");
    assert!(subscriber.ask("SUBSCRIBE c").starts_with('*'));
    blocked.say(&["BLPOP q 0"]);
    wait_until("it waits", || server.cli(&["INFO", "clients"]).contains("blocked_clients:1"));
    let asked = Instant::now();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "ended after {:?}", asked.elapsed());
    assert_eq!(client.rest(), NOTHING);
    assert_eq!(subscriber.rest(), NOTHING);
    assert_eq!(server.cli(&["EXISTS", "k"]), "0");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = RedisServer::plain();
    let mut proxy = proxy(&server.address(), &["listen.drain_timeout = \"1h\""]);
    let mut client = Wire::connect(proxy.port());
    server.pause();
    client.say(&["GET k"]);
    wait_until("it is under way", || proxy.get("/metrics").1.contains("cloakroom_requests_total{command=\"get\"} 1"));
    proxy.signal("TERM");
    proxy.wait_for_log("draining", DEADLINE);
    stays_so("it waits for the client", Duration::from_millis(500), || {
        !proxy.logs().iter().any(|line| line.contains("stopped"))
    });
    let asked = Instant::now();
    proxy.signal("TERM");
    proxy.wait_exit();
    assert!(asked.elapsed() < Duration::from_secs(5), "ended after {:?}", asked.elapsed());
}

#[test]
fn a_client_that_takes_too_long_is_left_behind() {
    let server = RedisServer::plain();
    let mut proxy = proxy(&server.address(), &["listen.drain_timeout = \"700ms\""]);
    let mut client = Wire::connect(proxy.port());
    server.pause();
    client.say(&["GET k"]);
    wait_until("it is under way", || proxy.get("/metrics").1.contains("cloakroom_requests_total{command=\"get\"} 1"));
    let asked = Instant::now();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit().code(), Some(0));
    let waited = asked.elapsed();
    assert!((Duration::from_millis(600)..Duration::from_secs(5)).contains(&waited), "ended after {waited:?}");
    assert_eq!(client.rest(), NOTHING);
}

/// Nobody is left to wait for.
#[test]
fn without_clients_it_ends_at_once_server_or_not() {
    for is_up in [true, false] {
        let mut server = RedisServer::plain();
        let mut proxy = proxy(&server.address(), &[]);
        if !is_up {
            server.kill();
            super::wait_lost(&proxy);
        }
        let asked = Instant::now();
        proxy.signal("TERM");
        assert_eq!(proxy.wait_exit().code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(5), "ended after {:?}", asked.elapsed());
    }
}

/// Requests that wait for the server to come back are told in time, and not left without an answer.
#[test]
fn requests_that_wait_for_the_server_are_answered() {
    let mut server = RedisServer::plain();
    let mut proxy = proxy(&server.address(), &["upstream.queue_timeout = \"1s\""]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("GET k"), "$-1");
    server.kill();
    super::wait_lost(&proxy);
    client.say(&["GET k", "SET k v"]);
    proxy.signal("TERM");
    assert_eq!([client.hear(), client.hear()], [super::NOT_EXECUTED; 2]);
    assert_eq!(client.rest(), NOTHING);
    assert_eq!(proxy.wait_exit().code(), Some(0));
}
