//! Troubles that pass. When they have, the proxy goes on by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::{RedisServer, Relay, Wire, wait_until};
use super::trouble::Kind::Passing;
use super::trouble::{NOT_EXECUTED, is_told, is_told_at, warnings};
use super::{KEY, Proxy, assert_serves, configuration};

#[test]
fn a_server_that_is_not_there_is_waited_for() {
    let mut server = RedisServer::plain();
    server.stop();
    let proxy = is_told_at(&server.address(), "", Passing, "refused");
    let attempts = attempts(&proxy);
    assert!((4..80).contains(&attempts), "{attempts} attempts");
    server.start();
    assert_serves(&proxy);
}

#[test]
fn a_unix_socket_that_is_not_there_is_waited_for() {
    let mut server = RedisServer::with().unix_socket().start();
    server.stop();
    let proxy = is_told_at(&server.address(), "", Passing, "No such file");
    server.start();
    assert_serves(&proxy);
}

#[test]
fn a_host_name_that_does_not_exist_is_named() {
    is_told_at("no-such-host.invalid:6379", "", Passing, "lookup");
}

#[test]
fn a_server_that_never_answers_is_waited_for() {
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    relay.stop();
    let proxy = is_told(&relay, "connect_timeout = \"200ms\"", Passing, "not ready within upstream.connect_timeout");
    relay.resume();
    assert_serves(&proxy);
}

#[test]
fn a_server_that_is_stopped_is_waited_for() {
    let server = RedisServer::plain();
    server.pause();
    let relay = Relay::to(&server.address());
    let proxy = is_told(&relay, "connect_timeout = \"200ms\"", Passing, "not ready within upstream.connect_timeout");
    server.resume();
    assert_serves(&proxy);
}

#[test]
fn a_server_that_loads_its_data_is_waited_for() {
    let mut server = RedisServer::with()
        .config("enable-debug-command yes")
        // Looks at its clients after each key, and takes its time for each.
        .config("loading-process-events-interval-bytes 1024")
        .config("key-load-delay 2000")
        .start();
    server.cli(&["DEBUG", "POPULATE", "20000", "key", "100"]);
    server.cli(&["SAVE"]);
    server.stop();
    server.start_loading();
    let relay = Relay::to(&server.address());
    let proxy = is_told(&relay, "", Passing, "the server is loading its data");
    server.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
    assert_serves(&proxy);
}

#[test]
fn a_replica_is_not_used_before_it_is_promoted() {
    let primary = RedisServer::plain();
    let replica = RedisServer::with().config(format!("replicaof 127.0.0.1 {}", primary.port())).start();
    let relay = Relay::to(&replica.address());
    let proxy = is_told(&relay, "", Passing, "the server is a replica, not a primary");
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    assert_serves(&proxy);
}

#[test]
fn a_server_with_too_many_clients_is_waited_for() {
    let server = RedisServer::with().config("maxclients 2").start();
    let mut others: Vec<_> = (0..2).map(|_| Wire::connect(server.port())).collect();
    assert!(others.iter_mut().all(|other| other.ask("PING") == "+PONG"));
    let relay = Relay::to(&server.address());
    let proxy = is_told(&relay, "", Passing, "max number of clients reached");
    assert_eq!(others[0].ask("CONFIG SET maxclients 100"), "+OK");
    assert_serves(&proxy);
}

/// A connection that is lost as soon as it is made is a failure like any other: without a growing wait,
/// connecting would be all that the proxy and the server still do.
#[test]
fn a_server_that_hangs_up_after_every_handshake_is_not_hammered() {
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    let proxy = Proxy::start(&configuration(&format!("server = \"{}\"", relay.address())));
    proxy.allow("upstream");
    // What is killed may be the second connection, with which a first one proves that it is told of changes.
    proxy.allow("the server tells of no changes");
    let is_over = Arc::new(AtomicBool::new(false));
    let killer = thread::spawn({
        let (is_over, mut server) = (Arc::clone(&is_over), Wire::connect(server.port()));
        move || {
            while !is_over.load(Ordering::Relaxed) {
                server.ask("CLIENT KILL TYPE normal");
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let started = Instant::now();
    wait_until("some seconds are over", || started.elapsed() > Duration::from_secs(5));
    let (connections, lines) = (relay.connections(), warnings(&proxy).len());
    is_over.store(true, Ordering::Relaxed);
    killer.join().expect("the server answers");
    assert_serves(&proxy);
    // Four workers lose some ten connections each, and each takes three at most: itself, the one that proves that it is
    // told of changes, and, where that is lost, another one. Without the wait they are thousands.
    assert!(connections <= 250, "{connections} connections in five seconds");
    assert!(lines <= 120, "{lines} warnings in five seconds");
}

/// Severing what was lost is a precaution: where the server does not allow it, the proxy goes on without.
#[test]
fn a_user_who_may_not_kill_connections_can_come_back() {
    for forbidden in ["-client", "-client|kill", "-info", "-client -info"] {
        let server = RedisServer::with().user("web", "open-sesame").start();
        server.cli(&["ACL", "SETUSER", "other", "on", ">open-sesame", "~*", "&*", "+@all"]);
        let rules: Vec<_> = ["ACL", "SETUSER", "other"].into_iter().chain(forbidden.split(' ')).collect();
        assert_eq!(server.cli(&rules), "OK");
        let user = "username = \"other\"\npassword = \"open-sesame\"";
        let proxy = Proxy::start(&configuration(&format!("server = \"{}\"\n{user}", server.address())));
        proxy.allow("upstream connection lost");
        // `CLIENT TRACKING` is a command of the same name.
        proxy.allow("the server tells of no changes");
        proxy.wait_ready();
        for _ in 0..3 {
            server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
            assert_serves(&proxy);
        }
        let denied = proxy.logs().iter().filter(|line| line.contains("upstream unavailable")).count();
        assert_eq!(denied, 0, "{forbidden}");
    }
}

/// The first moments of a restart: nothing is known yet, so a request waits for the time it is given.
#[test]
fn a_request_that_waits_is_sent_when_the_server_comes() {
    let mut server = RedisServer::plain();
    server.stop();
    let proxy = Proxy::start(&configuration(&format!("server = \"{}\"\nqueue_timeout = \"15s\"", server.address())));
    proxy.allow("upstream unavailable");
    let mut client = Wire::connect(proxy.port());
    client.say(&[&format!("SET {KEY} v"), &format!("GET {KEY}")]);
    server.start();
    assert_eq!(client.hear(), "+OK");
    assert_eq!(client.hear(), "v");
}

#[test]
fn a_request_waits_no_longer_than_it_may() {
    let mut server = RedisServer::plain();
    server.stop();
    let proxy = Proxy::start(&configuration(&format!("server = \"{}\"\nqueue_timeout = \"1s\"", server.address())));
    proxy.allow("upstream unavailable");
    let mut client = Wire::connect(proxy.port());
    let asked = Instant::now();
    assert_eq!(client.ask(&format!("SET {KEY} v")), NOT_EXECUTED);
    assert!(asked.elapsed() < Duration::from_secs(5), "answered after {:?}", asked.elapsed());
    server.start();
    proxy.wait_ready();
    assert_eq!(client.ask(&format!("EXISTS {KEY}")), ":0", "what is said not to be executed is not, later either");
}

/// Attempts to connect, by the proxy's own account.
fn attempts(proxy: &Proxy) -> u64 {
    let metrics = proxy.get("/metrics").1;
    let lines = metrics.lines().filter(|line| line.starts_with("cloakroom_upstream_connects_total{"));
    lines.map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count")).sum()
}
