//! What is not kept, and how much is.

use super::facts::{ALONE, LONG, cached, calls_of, counts, heat, metric};
use super::support::{RedisServer, Wire, wait_until};

#[test]
fn values_above_max_value_size_are_not_kept() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE, "cache.max_value_size = \"4KiB\""]);
    let mut client = Wire::connect(proxy.port());
    for (len, expected) in [(4096, 2), (4097, 10), (1 << 20, 10)] {
        let value = "v".repeat(len);
        assert_eq!(client.ask(&format!("SET k {value}")), "+OK");
        let asked = calls_of(&server, "get", || {
            for _ in 0..10 {
                assert_eq!(client.frame_of("GET k").len(), len + len.to_string().len() + 5);
            }
        });
        assert_eq!(asked, expected, "{len} bytes");
    }
    counts(&proxy, "fills_refused_total", 1);
}

#[test]
fn max_size_bounds_memory() {
    const MOST: u64 = 256 << 10;
    let server = RedisServer::plain();
    let proxy = cached(
        &server,
        &["listen.workers = 2", LONG, "cache.max_size = \"256KiB\"", "cache.max_value_size = \"8KiB\""],
    );
    let mut clients = super::facts::two_clients(&proxy);
    server.cli(&["EVAL", "for i = 1, 600 do redis.call('SET', i, string.rep('v', 1500)) end", "0"]);
    for key in 0..600 {
        for client in &mut clients {
            (0..3).for_each(|_| drop(client.ask(&format!("GET {key}"))));
        }
        if key % 50 == 0 {
            assert!(metric(&proxy, "bytes") <= MOST);
        }
    }
    let (bytes, entries) = (metric(&proxy, "bytes"), metric(&proxy, "entries"));
    assert!((MOST / 2..=MOST).contains(&bytes), "{bytes} bytes");
    assert!((80..175).contains(&entries), "{entries} entries");
    counts(&proxy, "evictions_total", 500);
}

#[test]
fn keys_that_are_not_there_have_no_room_to_push_others_out() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE, LONG, "cache.max_size = \"256KiB\""]);
    let mut client = Wire::connect(proxy.port());
    server.cli(&["SET", "hot", "v"]);
    heat(&server, &mut client, &["hot"]);
    for key in 0..5000 {
        client.say(&[format!("GET guess:{key}").as_str(); 3]);
        (0..3).for_each(|_| assert_eq!(client.hear(), "$-1"));
        if key % 100 == 0 {
            client.ask("GET hot");
        }
    }
    assert!(metric(&proxy, "bytes") < 256 << 10);
    assert_eq!(calls_of(&server, "get", || drop(client.ask("GET hot"))), 0, "it is still held");
}

/// A value that is only read from memory looks unused to the server, which would evict it first.
#[test]
fn a_hot_key_is_not_what_the_server_evicts() {
    const JUNK: &str = "for i = 1, 1000 do redis.call('SET', ARGV[1] .. i, string.rep('v', 4000)) end";
    let server = RedisServer::with().config("maxmemory-policy allkeys-lru").config("maxmemory-samples 20").start();
    let proxy = cached(&server, &[ALONE]);
    let (mut client, mut direct) = (Wire::connect(proxy.port()), Wire::connect(server.port()));
    assert_eq!(direct.ask("SET hot v"), "+OK");
    heat(&server, &mut client, &["hot"]);
    std::thread::sleep(super::facts::millis(2500));
    // These are younger than the last read that the server has seen.
    direct.ask(&format!("EVAL \"{JUNK}\" 0 junk:"));
    let used = direct.ask("INFO memory");
    let used = used.split("used_memory:").nth(1).and_then(|rest| rest.split("\\r").next().map(ToOwned::to_owned));
    let used = used.and_then(|used| used.split(' ').next()?.parse::<u64>().ok()).expect("a number of bytes");
    assert_eq!(direct.ask(&format!("CONFIG SET maxmemory {}", used + 200_000)), "+OK");
    let server_reads = super::facts::calls(&server, "get");
    let deadline = std::time::Instant::now() + super::facts::millis(45_000);
    while metric(&proxy, "touches_total") == 0 {
        assert!(std::time::Instant::now() < deadline, "the server was not told that the key is in use");
        assert_eq!(client.ask("GET hot"), "v");
        std::thread::sleep(super::facts::millis(50));
    }
    assert_eq!(super::facts::calls(&server, "get"), server_reads, "only hits");
    wait_until("it is touched", || super::facts::calls(&server, "touch") > 0);
    direct.ask(&format!("EVAL \"{}\" 0 more:", JUNK.replace("1000", "500")));
    assert!(direct.ask("INFO stats").contains("evicted_keys:"));
    assert_eq!(direct.ask("EXISTS hot"), ":1");
    assert_ne!(direct.ask("DBSIZE"), ":1501", "nothing was evicted");
}
