//! A server that executes nothing for a while: it has become a replica, or reads its data (G3).

use std::thread;
use std::time::{Duration, Instant};

use super::support::{Proxy, RedisServer, Wire, wait_until};
use super::{NOT_EXECUTED, counted, proxy};

/// How often the proxy has met such an answer.
fn refused(proxy: &Proxy) -> bool {
    !proxy.get("/metrics").1.contains("cloakroom_refused_requests_total 0")
}

/// As a failover does, and its end.
#[test]
fn a_write_waits_for_a_primary() {
    let (server, other) = (RedisServer::plain(), RedisServer::plain());
    let proxy = proxy(&server.address(), &["upstream.queue_timeout = \"10s\""]);
    let (mut client, mut reader) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    assert_eq!(client.ask("SET k v"), "+OK");
    assert_eq!(reader.ask("GET k"), "v");
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    client.say(&["INCR counter", "INCR counter"]);
    wait_until("it was refused", || refused(&proxy));
    // What comes now waits behind it.
    reader.say(&["INCR counter"]);
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    let (first, second, third) = (client.hear(), client.hear(), reader.hear());
    assert_eq!((first.as_str(), second.as_str(), third.as_str()), (":1", ":2", ":3"));
    assert_eq!(server.cli(&["GET", "counter"]), "3", "each ran once");
}

/// One worker hears of it by a write. Another, whose clients only read, went on reading what may be old.
#[test]
fn nobody_reads_from_what_is_no_primary_any_more() {
    let (server, other) = (RedisServer::plain(), RedisServer::plain());
    let proxy = Proxy::start(&format!(
        "listen.address = \"127.0.0.1:0\"\nlisten.workers = 2\nmetrics.address = \"127.0.0.1:0\"\nlog.format = \"json\"\n\
         upstream.server = \"{}\"\nupstream.queue_timeout = \"300ms\"\n",
        server.address(),
    ));
    proxy.allow("upstream connection lost");
    proxy.allow("upstream unavailable");
    proxy.wait_ready();
    let mut clients: Vec<_> = (0..4).map(|_| Wire::connect(proxy.port())).collect();
    assert!(clients.iter_mut().all(|client| client.ask("GET k") == "$-1"));
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    assert_eq!(clients[0].ask("SET k v"), NOT_EXECUTED);
    for client in &mut clients {
        wait_until("it is told so", || client.ask("GET k") == NOT_EXECUTED);
    }
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    proxy.wait_ready();
    assert!(clients.iter_mut().all(|client| client.ask("GET k") == "$-1"));
}

#[test]
fn but_not_for_longer_than_the_queue_timeout() {
    let (server, other) = (RedisServer::plain(), RedisServer::plain());
    let proxy = proxy(&server.address(), &["upstream.queue_timeout = \"500ms\""]);
    let mut client = Wire::connect(proxy.port());
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    let asked = Instant::now();
    assert_eq!(client.ask("INCR counter"), NOT_EXECUTED);
    assert!(asked.elapsed() < Duration::from_secs(3));
    // From then on nobody waits, reads included: what a replica knows may be old.
    wait_until("it fails at once", || {
        let asked = Instant::now();
        client.ask("GET counter") == NOT_EXECUTED && asked.elapsed() < Duration::from_millis(20)
    });
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    proxy.wait_ready();
    assert_eq!(client.ask("INCR counter"), ":1");
}

/// The server reads its data while its clients stay connected: a write in the meantime is not an error.
#[test]
fn nobody_hears_that_the_server_is_loading() {
    let server = RedisServer::with().persistent().config("enable-debug-command yes").start();
    let proxy = proxy(&server.address(), &["upstream.queue_timeout = \"20s\""]);
    server.cli(&["EVAL", "for i = 1, 2000 do redis.call('SET', 'fill:' .. i, i) end return 1", "0"]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("SET k 1"), "+OK");
    server.cli(&["CONFIG", "SET", "key-load-delay", "500"]);
    thread::scope(|scope| {
        let loading = scope.spawn(|| server.cli(&["DEBUG", "LOADAOF"]));
        let mut asked = 1;
        while !loading.is_finished() {
            assert_eq!(client.ask("INCR k"), format!(":{}", asked + 1));
            assert_eq!(client.ask("GET k"), (asked + 1).to_string());
            asked += 1;
        }
    });
    assert!(counted(&proxy, "incr") > 0);
}
