//! What is answered from memory, and what it costs the server.

use super::facts::{ALONE, LONG, cached, calls, calls_of, counts, heat, metric, two_clients};
use super::support::{RedisServer, Wire};

#[test]
fn a_hot_key_is_answered_without_the_server() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE]);
    server.cli(&["SET", "k", "v"]);
    let mut clients = [Wire::connect(proxy.port()), Wire::connect_resp3(proxy.port())];
    let asked = calls_of(&server, "get", || {
        for _ in 0..50 {
            clients.iter_mut().for_each(|client| assert_eq!(client.ask("GET k"), "v"));
        }
    });
    assert_eq!(asked, 2, "it is read, then read to be kept");
    counts(&proxy, "hits_total", 98);
    counts(&proxy, "fills_total", 1);
    assert_eq!(metric(&proxy, "entries"), 1);
}

#[test]
fn a_key_that_is_read_once_costs_one_plain_get() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE]);
    let others = ["del", "pttl", "client|caching"];
    let before = others.map(|command| calls(&server, command));
    let mut client = Wire::connect(proxy.port());
    let asked = calls_of(&server, "get", || (0..20).for_each(|key| drop(client.ask(&format!("GET {key}")))));
    assert_eq!(asked, 20);
    assert_eq!(others.map(|command| calls(&server, command)), before);
    assert_eq!(metric(&proxy, "entries"), 0);
}

/// As `Catalyst::Plugin::Session` reads: the session's end and its values, again and again.
#[test]
fn a_page_of_ten_reads_asks_the_server_twice_at_most() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE]);
    server.cli(&["SET", "session:1", "v", "EX", "3600"]);
    let mut client = Wire::connect(proxy.port());
    let mut page = || (0..10).for_each(|_| assert_eq!(client.ask("GET session:1"), "v"));
    assert_eq!(calls_of(&server, "get", &mut page), 2);
    assert_eq!(calls_of(&server, "get", &mut page), 0);
}

#[test]
fn each_worker_fetches_for_itself() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &["listen.workers = 2"]);
    server.cli(&["SET", "k", "v"]);
    let mut clients = two_clients(&proxy);
    let asked = calls_of(&server, "get", || {
        for _ in 0..20 {
            clients.iter_mut().for_each(|client| assert_eq!(client.ask("GET k"), "v"));
        }
    });
    assert_eq!(asked, 4);
}

#[test]
fn what_is_asked_of_a_held_value_agrees_with_the_server() {
    const KEYS: [&str; 5] = ["one", "two", "three", "binary", "missing"];
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE, LONG]);
    let mut direct = Wire::connect(server.port());
    for line in ["SET one 1", "SET two 22 EX 100", "SET three 333 PX 123456", "SET binary \"\\x00\\xff\\r\\n\""] {
        assert_eq!(direct.ask(line), "+OK");
    }
    for connect in [Wire::connect, Wire::connect_resp3] {
        let (mut client, mut direct) = (connect(proxy.port()), connect(server.port()));
        heat(&server, &mut client, &KEYS);
        let before = ["get", "strlen", "exists"].map(|command| calls(&server, command));
        for line in ["GET", "STRLEN", "EXISTS", "TTL"] {
            for key in KEYS {
                let line = format!("{line} {key}");
                assert_eq!(client.frame_of(&line), direct.frame_of(&line), "{line}");
            }
        }
        let after = ["get", "strlen", "exists"].map(|command| calls(&server, command));
        assert_eq!(after, before.map(|count| count + KEYS.len() as u64), "only the direct ones");
        for line in ["MGET one two three missing binary one", "EXISTS one one two"] {
            assert_eq!(client.frame_of(line), direct.frame_of(line), "{line}");
        }
        assert_eq!(client.ask("PTTL one"), ":-1");
        for key in ["two", "three"] {
            let life = |wire: &mut Wire| wire.ask(&format!("PTTL {key}"))[1..].parse::<u64>().expect("a number");
            let (before, held, after) = (life(&mut direct), life(&mut client), life(&mut direct));
            assert!((after..=before).contains(&held), "{key}: {after} <= {held} <= {before}");
        }
        let asked = calls(&server, "mget");
        client.ask("MGET one two three");
        assert_eq!(calls(&server, "mget"), asked, "what is held is not asked for");
        client.ask("MGET one two never-read");
        assert_eq!(calls(&server, "mget"), asked + 1);
    }
}

#[test]
fn nil_is_kept_and_ends_when_the_key_is_created() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &["listen.workers = 2", LONG]);
    let [mut reader, mut writer] = two_clients(&proxy);
    let asked = calls_of(&server, "get", || {
        (0..20).for_each(|_| assert_eq!(reader.ask("GET k"), "$-1"));
    });
    assert_eq!(asked, 2);
    assert_eq!(writer.ask("SET k v"), "+OK");
    assert_eq!(reader.ask("GET k"), "v");
}

#[test]
fn keys_that_match_no_pattern_are_left_alone() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE, "cache.keys = [\"session:*\", \"a?\"]"]);
    let mut client = Wire::connect(proxy.port());
    for (key, expected) in [("session:1", 2), ("other", 10), ("ab", 2), ("abc", 10)] {
        server.cli(&["SET", key, "v"]);
        let asked = calls_of(&server, "get", || {
            (0..10).for_each(|_| assert_eq!(client.ask(&format!("GET {key}")), "v"));
        });
        assert_eq!(asked, expected, "{key}");
    }
}

#[test]
fn without_the_cache_every_read_is_the_servers() {
    let server = RedisServer::plain();
    let proxy = super::support::Proxy::with(&server, &["cache.enabled = false"]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(calls_of(&server, "get", || (0..10).for_each(|_| drop(client.ask("GET k")))), 10);
    assert_eq!(calls(&server, "client|tracking"), 0);
}
