//! Whatever changes a key, and however it is learned of.
//!
//! Where the staleness is as long as can be, nothing is seen because it was time to ask.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::facts::{ALONE, LONG, behind, cached, counts, heat, metric, millis, two_clients};
use super::support::{RedisServer, Relay, Wire, wait_until};

#[test]
fn a_write_by_a_client_of_another_worker_is_seen_at_once() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &["listen.workers = 2", LONG]);
    let [mut reader, mut writer] = two_clients(&proxy);
    heat(&server, &mut reader, &["k"]);
    for value in 1..300 {
        let line = match value % 6 {
            0 => format!("EVAL \"return redis.call('SET', KEYS[1], ARGV[1])\" 1 k {value}"),
            1 => format!("EVAL \"return redis.call('SET', ARGV[1], ARGV[2])\" 0 k {value}"),
            2 => format!("SETEX k 100 {value}"),
            _ => format!("SET k {value}"),
        };
        assert_eq!(writer.ask(&line), "+OK");
        assert_eq!(reader.ask("GET k"), value.to_string(), "after {line}");
        assert_eq!(reader.ask("GET k"), value.to_string(), "after {line}");
    }
    counts(&proxy, "hits_total", 50);
}

#[test]
fn a_pipelined_set_and_get_sees_its_own_write() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[LONG]);
    let mut client = Wire::connect(proxy.port());
    heat(&server, &mut client, &["k"]);
    for value in 1..100 {
        client.say(&[
            "GET k",
            &format!("SET k {value}"),
            "GET k",
            "DEL k",
            "GET k",
            &format!("SETNX k {value}"),
            "GET k",
        ]);
        client.frame();
        let value = value.to_string();
        for expected in ["+OK", &value, ":1", "$-1", ":1", &value] {
            assert_eq!(client.hear(), expected);
        }
    }
}

#[test]
fn watch_and_multi_see_the_server() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE, LONG]);
    let mut client = Wire::connect(proxy.port());
    for value in 1..20 {
        heat(&server, &mut client, &["k"]);
        server.cli(&["SET", "k", &value.to_string()]);
        assert_eq!(client.ask("WATCH k"), "+OK");
        assert_eq!(client.ask("GET k"), value.to_string());
        assert_eq!(client.ask("UNWATCH"), "+OK");
        server.cli(&["SET", "k", &(value + 100).to_string()]);
        client.say(&["MULTI", "GET k", "EXEC"]);
        (0..2).for_each(|_| drop(client.hear()));
        assert_eq!(client.hear(), format!("*1 $3 {}", value + 100));
        // And never older again.
        assert_eq!(client.ask("GET k"), (value + 100).to_string());
    }
}

/// What the server tells is late: it comes behind a reply that takes long.
#[test]
fn a_client_is_told_nothing_older_than_it_has_got_elsewhere() {
    const BIG: usize = 6_000_000;
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    let proxy = behind(&relay, &[LONG]);
    let mut client = Wire::connect(proxy.port());
    let mut direct = Wire::connect(server.port());
    direct.ask(&format!("EVAL \"redis.call('SET', 'big', string.rep('v', {BIG}))\" 0"));
    let elsewhere: [&[&str]; 4] = [
        &["MULTI", "GET k", "EXEC"],
        &["WATCH k", "GET k", "UNWATCH"],
        &["EVAL \"return redis.call('GET', KEYS[1])\" 1 k"],
        &["LCS k k IDX", "LCS k k"],
    ];
    for (value, requests) in elsewhere.iter().enumerate() {
        let ask = |client: &mut Wire| requests.iter().map(|line| client.ask(line)).collect::<String>();
        // Once, so that it has the connections for it.
        ask(&mut client);
        heat(&server, &mut client, &["k"]);
        relay.lag(millis(1));
        let mut other = Wire::connect(proxy.port());
        other.say(&["GET big"]);
        other.bytes(1000);
        thread::scope(|scope| {
            let late = scope.spawn(|| other.bytes(BIG - 1000).len());
            assert_eq!(direct.ask(&format!("SET k new:{value}")), "+OK");
            let told = ask(&mut client);
            assert!(told.contains(&format!("new:{value}")), "{requests:?}: {told}");
            assert!(!late.is_finished(), "it was all too quick");
            assert_eq!(client.ask("GET k"), format!("new:{value}"), "after {requests:?}");
            relay.lag(millis(0));
            late.join().expect("all of it comes");
        });
    }
}

#[test]
fn a_write_elsewhere_is_seen_within_staleness() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &["listen.workers = 2"]);
    let mut clients = two_clients(&proxy);
    let mut direct = Wire::connect(server.port());
    for value in 1..15 {
        clients.iter_mut().for_each(|client| heat(&server, client, &["k"]));
        assert_eq!(direct.ask(&format!("SET k {value}")), "+OK");
        let written = Instant::now();
        for client in &mut clients {
            wait_until("it is seen", || {
                let asked = Instant::now();
                let is_seen = client.ask("GET k") == value.to_string();
                assert!(is_seen || asked < written + millis(100), "{:?} later it is not seen", asked - written);
                is_seen
            });
        }
    }
}

#[test]
fn whatever_is_done_elsewhere_is_seen_within_staleness() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &["listen.workers = 2"]);
    let mut clients = two_clients(&proxy);
    let mut direct = Wire::connect(server.port());
    for (line, expected) in [
        ("FLUSHALL", "$-1"),
        ("FLUSHDB", "$-1"),
        ("DEL k", "$-1"),
        ("UNLINK k", "$-1"),
        ("GETDEL k", "$-1"),
        ("PEXPIRE k -1", "$-1"),
        ("MOVE k 1", "$-1"),
        ("RENAME k other", "$-1"),
        ("RENAME made k", "made"),
        ("COPY made k REPLACE", "made"),
        ("SETRANGE k 0 2", "2"),
        ("APPEND k 2", "12"),
        ("INCR k", "2"),
        ("EVAL \"return redis.call('SET', ARGV[1], 'script')\" 0 k", "script"),
    ] {
        for line in ["FLUSHALL", "SET k 1", "SET made made"] {
            assert_eq!(direct.ask(line), "+OK");
        }
        for client in &mut clients {
            wait_until("the old value is seen", || client.ask("GET k") == "1");
            heat(&server, client, &["k"]);
        }
        let reply = direct.ask(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        let done = Instant::now();
        wait_until("it is time", || done.elapsed() > millis(100));
        for client in &mut clients {
            assert_eq!(client.ask("GET k"), expected, "after {line}");
        }
    }
}

/// Of this the server tells nobody.
#[test]
fn databases_swapped_past_the_proxy_are_seen_within_max_residency() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE, "cache.max_residency = \"1s\""]);
    let mut client = Wire::connect(proxy.port());
    server.cli(&["SET", "k", "old"]);
    server.cli(&["-n", "1", "SET", "k", "new"]);
    heat(&server, &mut client, &["k"]);
    assert_eq!(server.cli(&["SWAPDB", "0", "1"]), "OK");
    let swapped = Instant::now();
    wait_until("it is seen", || {
        let asked = Instant::now();
        let is_seen = client.ask("GET k") == "new";
        assert!(is_seen || asked < swapped + millis(1000), "not seen after {:?}", asked - swapped);
        is_seen
    });
}

#[test]
fn without_staleness_a_write_elsewhere_is_seen_at_once() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &["cache.staleness = \"0\""]);
    let mut client = Wire::connect(proxy.port());
    let mut direct = Wire::connect(server.port());
    heat(&server, &mut client, &["k"]);
    for value in 1..300 {
        assert_eq!(direct.ask(&format!("SET k {value}")), "+OK");
        for _ in 0..3 {
            assert_eq!(client.ask("GET k"), value.to_string());
        }
    }
    counts(&proxy, "hits_total", 100);
    counts(&proxy, "waits_total", 100);
}

#[test]
fn an_expired_key_is_gone_though_the_server_has_not_deleted_it() {
    let server = RedisServer::with().config("enable-debug-command yes").start();
    let relay = Relay::to(&server.address());
    let proxy = behind(&relay, &[]);
    assert_eq!(server.cli(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]), "OK");
    let mut client = Wire::connect(proxy.port());
    let mut direct = Wire::connect(server.port());
    for (life, lag) in [(300, 0), (450, 0), (700, 0), (700, 20), (800, 20), (900, 20)] {
        relay.lag(millis(lag));
        assert_eq!(direct.ask(&format!("SET k v PX {life}")), "+OK");
        let written = Instant::now();
        wait_until("it is there", || client.ask("GET k") == "v");
        let mut reads = 0;
        wait_until("it is gone", || {
            let asked = Instant::now();
            let is_gone = client.ask("GET k") == "$-1";
            // The server counts in whole milliseconds.
            assert!(is_gone || asked < written + millis(life + 1), "{:?} after {life} ms", asked - written);
            reads += 1;
            is_gone
        });
        assert!(reads > 5);
        assert!(Instant::now() > written + millis(life - 30), "gone too early");
    }
    counts(&proxy, "hits_total", 100);
}

#[test]
fn what_changes_many_keys_ends_hits() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &["listen.workers = 2", LONG]);
    let [mut reader, mut writer] = two_clients(&proxy);
    for (line, expected) in [
        ("SWAPDB 0 1", "other"),
        ("FLUSHALL", "$-1"),
        ("FLUSHDB", "$-1"),
        ("RENAME made k", "made"),
        ("COPY made k REPLACE", "made"),
        ("MOVE k 1", "$-1"),
        ("GETDEL k", "$-1"),
        ("PEXPIRE k -1", "$-1"),
        ("UNLINK k", "$-1"),
        ("APPEND k 2", "12"),
        ("EVAL \"return redis.call('FLUSHALL')\" 0", "$-1"),
    ] {
        server.cli(&["FLUSHALL"]);
        server.cli(&["-n", "1", "SET", "k", "other"]);
        for set in [["SET", "made", "made"], ["SET", "k", "1"]] {
            server.cli(&set);
        }
        if line.starts_with("MOVE") {
            server.cli(&["-n", "1", "DEL", "k"]);
        }
        wait_until("the old value is seen", || reader.ask("GET k") == "1");
        heat(&server, &mut reader, &["k"]);
        let reply = writer.ask(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        assert_eq!(reader.ask("GET k"), expected, "after {line}");
    }
}

#[test]
fn databases_are_kept_apart() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE]);
    server.cli(&["SET", "k", "zero"]);
    server.cli(&["-n", "1", "SET", "k", "one"]);
    let mut clients = [Wire::connect(proxy.port()), Wire::connect(proxy.port())];
    assert_eq!(clients[1].ask("SELECT 1"), "+OK");
    for _ in 0..10 {
        assert_eq!(clients[0].ask("GET k"), "zero");
        assert_eq!(clients[1].ask("GET k"), "one");
    }
    assert_eq!(clients[1].ask("SET k two"), "+OK");
    for _ in 0..10 {
        assert_eq!(clients[0].ask("GET k"), "zero");
        assert_eq!(clients[1].ask("GET k"), "two");
    }
    counts(&proxy, "hits_total", 20);
}

/// The value is fetched in pieces, and changed meanwhile.
#[test]
fn what_changes_while_it_is_fetched_is_not_kept() {
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    let proxy = behind(&relay, &[LONG]);
    let mut client = Wire::connect(proxy.port());
    let mut direct = Wire::connect(server.port());
    wait_until("changes have come in between", || {
        for line in ["SET k begun", "SET behind what-was-told"] {
            assert_eq!(client.ask(line), "+OK");
        }
        relay.trickle(true);
        let is_over = AtomicBool::new(false);
        let last = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut value = 0;
                loop {
                    value += 1;
                    assert_eq!(direct.ask(&format!("SET k {value}")), "+OK");
                    if is_over.load(Ordering::Relaxed) {
                        return value;
                    }
                }
            });
            client.ask("GET k");
            is_over.store(true, Ordering::Relaxed);
            writer.join().expect("no panic")
        });
        relay.trickle(false);
        assert_eq!(client.ask("SET behind what-was-told"), "+OK");
        assert_eq!(client.ask("GET k"), last.to_string());
        metric(&proxy, "fills_refused_total") >= 10
    });
}

/// What was asked together may be answered from the server and from memory: the later answer is not the older one.
#[test]
fn a_pipeline_does_not_go_back_in_time() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE, LONG]);
    let mut client = Wire::connect(proxy.port());
    let mut direct = Wire::connect(server.port());
    for value in 1..30 {
        heat(&server, &mut client, &["k"]);
        server.pause();
        direct.say(&[&format!("SET k {value}")]);
        client.say(&["MGET k not-held", "GET k"]);
        // The server may take either first; what the client asked stays together.
        thread::sleep(millis(20));
        server.resume();
        let (first, second) = (client.hear(), client.hear());
        assert_eq!(direct.hear(), "+OK");
        let is_new = first.contains(&format!(" {value} "));
        assert!(!is_new || second == value.to_string(), "{first}, and then {second}");
        assert_eq!(client.ask("SET k again"), "+OK");
    }
}
