//! The server is there no more, or is no primary any more: hits end in time, whoever notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::facts::{ALONE, behind, cached, counts, heat, metric, millis};
use super::support::{Cut, Proxy, RedisServer, Relay, Wire, stays_so, wait_until};

/// Asks until nothing comes for a while. When the last read was asked that was answered with this.
fn last_hit(client: &mut Wire, value: &str) -> Instant {
    let mut last = Instant::now();
    loop {
        let asked = Instant::now();
        client.say(&["GET k"]);
        match client.try_frame() {
            Ok(frame) if super::support::shown(&frame) == value => last = asked,
            Ok(_) | Err(_) => return last,
        }
    }
}

fn client(proxy: &Proxy) -> Wire {
    Wire::connect(proxy.port()).patience(millis(400))
}

#[test]
fn a_stopped_server_ends_hits_within_staleness() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE]);
    server.cli(&["SET", "k", "v"]);
    let mut client = client(&proxy);
    heat(&server, &mut client, &["k"]);
    server.pause();
    let stopped = Instant::now();
    let last = last_hit(&mut client, "v");
    server.resume();
    assert!(last < stopped + millis(100), "a hit {:?} after the server stopped", last - stopped);
    assert_eq!(client.hear(), "v", "it has waited");
}

#[test]
fn a_blackhole_ends_hits_within_staleness() {
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    let proxy = behind(&relay, &[]);
    server.cli(&["SET", "k", "v"]);
    let mut client = client(&proxy);
    heat(&server, &mut client, &["k"]);
    relay.stop();
    let stopped = Instant::now();
    server.cli(&["SET", "k", "new"]);
    let last = last_hit(&mut client, "v");
    assert!(last < stopped + millis(100), "a hit {:?} after the last that was heard", last - stopped);
    relay.resume();
    assert_eq!(client.hear(), "new", "it has waited");
}

/// A proof is as old as what it proves, not as its arrival.
#[test]
fn a_long_way_does_not_make_hits_older() {
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    let proxy = behind(&relay, &[]);
    let mut client = Wire::connect(proxy.port());
    let mut direct = Wire::connect(server.port());
    assert_eq!(direct.ask("SET k 0"), "+OK");
    heat(&server, &mut client, &["k"]);
    let is_over = AtomicBool::new(false);
    let (written, reads) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                reads.push((asked, client.ask("GET k").parse::<usize>().expect("a number")));
            }
            reads
        });
        let mut written = vec![Instant::now()];
        for value in 1..=40 {
            relay.lag(millis(40 + value % 3 * 20));
            // At any time, as seen from whoever proves that values are fresh.
            thread::sleep(millis(fastrand::u64(60..360)));
            assert_eq!(direct.ask(&format!("SET k {value}")), "+OK");
            written.push(Instant::now());
        }
        is_over.store(true, Ordering::Relaxed);
        (written, reader.join().expect("no panic"))
    });
    for (asked, value) in &reads {
        let age = written.get(value + 1).map_or(millis(0), |overwritten| asked.saturating_duration_since(*overwritten));
        assert!(age < millis(100), "{value} was read {age:?} after it was overwritten");
    }
    counts(&proxy, "hits_total", 100);
}

#[test]
fn a_demoted_server_ends_hits_in_time() {
    let server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE]);
    proxy.allow("upstream connection lost");
    proxy.allow("upstream unavailable");
    server.cli(&["SET", "k", "v"]);
    let mut client = client(&proxy);
    heat(&server, &mut client, &["k"]);
    // It will not hear of anything from where nobody is.
    let nobody = Relay::to("127.0.0.1:1");
    let port = nobody.address().rsplit(':').next().map(ToOwned::to_owned).expect("a port");
    assert_eq!(server.cli(&["REPLICAOF", "127.0.0.1", &port]), "OK");
    let demoted = Instant::now();
    let mut ask = || {
        client.say(&["GET k"]);
        let _ = client.try_frame();
    };
    // Hits are counted at leisure.
    wait_until("hits have ended", || {
        ask();
        demoted.elapsed() > millis(200)
    });
    let hits = metric(&proxy, "hits_total");
    stays_so("nothing is answered from memory", millis(300), || {
        ask();
        metric(&proxy, "hits_total") == hits
    });
    server.cli(&["REPLICAOF", "NO", "ONE"]);
}

#[test]
fn a_lost_connection_takes_its_values_with_it() {
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    let proxy = behind(&relay, &["cache.staleness = \"10s\""]);
    server.cli(&["SET", "k", "v"]);
    let mut client = Wire::connect(proxy.port());
    for value in 1..10 {
        heat(&server, &mut client, &["k"]);
        relay.stop_direction(super::support::Direction::Replies);
        server.cli(&["SET", "k", &value.to_string()]);
        relay.cut(Cut::Reset);
        relay.resume();
        // Until it is noticed, it is not known; the next round trip is the latest.
        wait_until("it is seen", || client.ask("GET k") == value.to_string());
    }
}

#[test]
fn a_server_that_is_away_may_be_covered_for_a_while() {
    let mut server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE, "cache.serve_stale_on_error = \"3s\"", "upstream.queue_timeout = \"300ms\""]);
    proxy.allow("upstream connection lost");
    proxy.allow("upstream unavailable");
    server.cli(&["SET", "k", "v"]);
    server.cli(&["SET", "brief", "v", "PX", "700"]);
    let mut client = Wire::connect(proxy.port());
    heat(&server, &mut client, &["k", "brief"]);
    server.kill();
    let killed = Instant::now();
    wait_until("it is known to be away", || client.ask("GET k") == "v");
    assert!(client.ask("GET other").starts_with("-LOADING"), "it was never held");
    wait_until("what has expired is not told", || client.ask("GET brief").starts_with("-LOADING"));
    assert_eq!(client.ask("GET k"), "v");
    assert!(client.ask("SET k new").starts_with("-LOADING"));
    wait_until("the while is over", || client.ask("GET k").starts_with("-LOADING"));
    assert!(killed.elapsed() > millis(2000), "over after {:?}", killed.elapsed());
    counts(&proxy, "stale_total", 2);
    server.start();
    wait_until("the server is asked again", || client.ask("GET k") == "$-1");
}

#[test]
fn a_server_that_is_away_is_not_covered_by_default() {
    let mut server = RedisServer::plain();
    let proxy = cached(&server, &[ALONE, "upstream.queue_timeout = \"300ms\""]);
    proxy.allow("upstream connection lost");
    proxy.allow("upstream unavailable");
    server.cli(&["SET", "k", "v"]);
    let mut client = Wire::connect(proxy.port());
    heat(&server, &mut client, &["k"]);
    server.kill();
    wait_until("hits have ended", || client.ask("GET k").starts_with("-LOADING"));
    assert_eq!(metric(&proxy, "stale_total"), 0);
}

/// Busy with a script: whenever that begins, the end of it is soon noticed.
#[test]
fn a_server_that_was_busy_is_used_again_when_it_is_not() {
    let server = RedisServer::with().config("busy-reply-threshold 10").start();
    let relay = Relay::to(&server.address());
    let proxy = behind(&relay, &[]);
    proxy.allow("the server tells of no changes");
    let mut client = Wire::connect(proxy.port());
    let mut other = Wire::connect(server.port());
    for delay in (0..160).step_by(10) {
        assert_eq!(client.ask("SET k v"), "+OK");
        let before = relay.connections();
        // What is said to a new connection takes its time.
        relay.lag(millis(8));
        relay.cut(Cut::Reset);
        client.say(&["GET k"]);
        wait_until("it is connected to again", || relay.connections() > before);
        thread::sleep(millis(delay));
        let mut busy = Wire::connect(server.port());
        busy.say(&["EVAL \"while true do end\" 0"]);
        wait_until("it says that it is busy", || other.ask("GET k").starts_with("-BUSY"));
        stays_so("it is busy", millis(100), || other.ask("GET k").starts_with("-BUSY"));
        assert_eq!(other.ask("SCRIPT KILL"), "+OK");
        assert!(busy.hear().starts_with("-ERR"));
        let ended = Instant::now();
        relay.lag(millis(0));
        client.hear();
        wait_until("it is asked again", || client.ask("GET k") == "v");
        assert!(ended.elapsed() < millis(5000), "only after {:?}", ended.elapsed());
    }
    proxy.wait_ready();
}
