//! Where clients share a limit, one that fills it delays others and does not stop them (G7).

use std::thread;
use std::time::{Duration, Instant};

use super::House;
use crate::support::{Wire, request, wait_until};

/// Told that there is room again, the client was woken and did nothing, for it had no bytes to write.
#[test]
fn a_client_that_found_no_room_is_served_once_there_is() {
    let house = House::with(&["limits.queue = \"1MiB\""]);
    let big = request(&[b"SET", &b"big"[..], &vec![b'x'; 3 << 20]]);
    let mut filler = house.enter();
    let mut writer = filler.writer();
    thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write;
            (0..20).for_each(|_| writer.write_all(&big).expect("the proxy reads"));
        });
        let mut other = house.enter();
        for n in 1..=200 {
            assert_eq!(other.ask("INCR n"), format!(":{n}"));
        }
        (0..20).for_each(|_| assert_eq!(filler.hear(), "+OK"));
    });
}

/// One attempt that failed refused all later ones: nobody else was trying, for the shared connections were well.
#[test]
fn a_server_that_was_full_for_a_moment_is_asked_again() {
    let house = House::with(&["upstream.queue_timeout = \"200ms\""]);
    house.proxy.allow("upstream unavailable");
    let mut client = house.enter();
    assert_eq!(client.ask("GET k"), "$-1");
    assert_eq!(house.server_says("CONFIG SET maxclients 1"), "+OK\r\n");
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
    // By now the server counts as away for longer than a request may wait.
    let refused = Instant::now();
    wait_until("a while has passed", || refused.elapsed() > Duration::from_millis(300));
    assert_eq!(house.server_says("CONFIG SET maxclients 10000"), "+OK\r\n");
    wait_until("a transaction runs", || client.ask("MULTI") == "+OK" && client.ask("EXEC") == "*0");
}

/// As fast as it comes it was read, whatever could be sent on: gigabytes in seconds.
#[test]
fn a_client_that_streams_requests_is_not_read_far_ahead() {
    let house = House::open();
    let some = request(&[b"SET", &b"k"[..], &vec![b'x'; 1 << 10]]).repeat(1 << 10);
    let mut client = house.enter();
    let mut writer = client.writer();
    thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write;
            (0..150).for_each(|_| writer.write_all(&some).expect("the proxy reads"));
        });
        (0..150 << 10).for_each(|_| assert_eq!(client.frame(), b"+OK\r\n"));
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", house.proxy.pid())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 64 << 10, "{peak} KiB for 150 MiB of requests");
}

/// What its client says next comes behind the whole of it, however slowly the server takes it.
#[test]
fn a_long_request_is_not_mixed_with_the_next() {
    const LEN: usize = 8 << 20;
    let house = House::open();
    let mut client = house.enter();
    // The connections it will need are there: what counts is only what is written on them.
    assert_eq!(client.ask("BLPOP none 0.001"), "*-1");
    house.server.pause();
    let long = request(&[b"SET", &b"long"[..], &vec![b'x'; LEN]]);
    client.send(&long);
    let received = || house.metric("cloakroom_client_received_bytes_total");
    wait_until("the proxy has all of it", || received() >= LEN as f64);
    client.say(&["STRLEN long", "SET short 1", "MULTI", "GET short", "EXEC", "ECHO end"]);
    house.server.resume();
    let replies: Vec<_> = (0..7).map(|_| client.hear()).collect();
    assert_eq!(replies, ["+OK", &format!(":{LEN}"), "+OK", "+OK", "+QUEUED", "*1 $1 1", "end"]);
    assert!(client.frame_of("GET long").ends_with(b"xxxx\r\n"));
}

/// It comes in pieces, of which the last one alone answers a request.
#[test]
fn a_long_reply_on_a_connection_of_ones_own_is_one_reply() {
    let house = House::open();
    let mut client = house.enter().patience(Duration::from_secs(5));
    client.send(&request(&[b"SET", &b"long"[..], &vec![b'x'; 300_000]]));
    assert_eq!(client.hear(), "+OK");
    assert_eq!(client.ask("WATCH k"), "+OK");
    client.say(&["GET long", "GET short", "ECHO end", "UNWATCH"]);
    assert!(client.frame().ends_with(b"xxxx\r\n"));
    assert_eq!([client.hear(), client.hear(), client.hear()], ["$-1", "end", "+OK"]);
}

/// More than a socket holds, on the connection all clients share.
#[test]
fn requests_the_server_is_slow_to_take_arrive_whole() {
    const LEN: usize = 700 << 10;
    let house = House::open();
    let mut client = house.enter();
    house.server.pause();
    let values: Vec<_> = (b'a'..b'u').map(|letter| vec![letter; LEN]).collect();
    for value in &values {
        client.send(&request(&[b"SET", &value[..1], value]));
    }
    let received = || house.metric("cloakroom_client_received_bytes_total");
    wait_until("the proxy has all of it", || received() >= (LEN * values.len()) as f64);
    house.server.resume();
    values.iter().for_each(|_| assert_eq!(client.hear(), "+OK"));
    for value in &values {
        let reply = client.frame_of(&format!("GET {}", char::from(value[0])));
        assert!(reply.strip_suffix(b"\r\n").is_some_and(|reply| reply.ends_with(value)));
    }
}

#[test]
fn a_client_that_does_not_read_delays_nobody_and_loses_nothing() {
    let house = House::open();
    let (mut lazy, mut other) = (house.enter(), house.enter());
    assert_eq!(other.ask(&format!("SET big {}", "x".repeat(1 << 20))), "+OK");
    lazy.say(&["GET big"; 100]);
    lazy.say(&["ECHO end"]);
    for n in 1..=500 {
        assert_eq!(other.ask("INCR n"), format!(":{n}"));
    }
    for _ in 0..100 {
        assert_eq!(lazy.frame().len(), (1 << 20) + "$1048576\r\n\r\n".len());
    }
    assert_eq!(lazy.hear(), "end");
}

/// The same on a connection of its own.
#[test]
fn a_subscriber_that_does_not_read_delays_nobody_and_loses_nothing() {
    let house = House::open();
    let (mut lazy, mut other) = (house.enter(), house.enter());
    assert_eq!(lazy.ask("SUBSCRIBE c"), "*3 $9 subscribe $1 c :1");
    let publish = format!("PUBLISH c {}", "x".repeat(100_000));
    for n in 1..=200 {
        assert_eq!(other.ask(&publish), ":1");
        assert_eq!(other.ask("INCR n"), format!(":{n}"));
    }
    for _ in 0..200 {
        assert!(lazy.frame().starts_with(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$100000\r\nxx"));
    }
    assert_eq!(lazy.ask("PING"), "*2 $4 pong $0");
}

/// What waits for others is not late.
#[test]
fn what_blocks_may_take_longer_than_a_reply() {
    let house = House::with(&["upstream.reply_timeout = \"200ms\""]);
    let lines = ["BLPOP none 0.6", "XREAD BLOCK 600 STREAMS none $", "WAIT 1 600", "BZPOPMIN none 0.6"];
    let mut clients = lines.map(|line| {
        let mut client = house.enter();
        client.say(&[line]);
        client
    });
    let (mut subscriber, mut watcher) = (house.enter(), house.enter());
    assert_eq!(subscriber.ask("SUBSCRIBE c"), "*3 $9 subscribe $1 c :1");
    assert_eq!(watcher.ask("WATCH k"), "+OK");
    let replies: Vec<_> = clients.iter_mut().map(Wire::hear).collect();
    assert_eq!(replies, ["*-1", "*-1", ":0", "*-1"]);
    assert_eq!(house.enter().ask("PUBLISH c late"), ":1");
    assert_eq!(subscriber.hear(), "*3 $7 message $1 c $4 late");
    watcher.say(&["MULTI", "EXEC"]);
    assert_eq!((watcher.hear(), watcher.hear()), ("+OK".into(), "*0".into()));
}

#[test]
fn a_request_beyond_its_limit_ends_its_own_connection_only() {
    let house = House::with(&["limits.request = \"1MiB\"", "limits.arguments = 100"]);
    let mut other = house.enter();
    let long = request(&[b"SET", &b"k"[..], &vec![b'x'; 1 << 21]]);
    let many = request(&vec!["DEL"; 101]);
    for (bytes, text) in [
        (long, "-ERR Protocol error: invalid bulk length\r\n"),
        (many, "-ERR Protocol error: invalid multibulk length\r\n"),
    ] {
        let mut client = house.enter();
        assert_eq!(client.ask("SET k small"), "+OK");
        // It is told before it has sent all of it, and may not be able to.
        let _ = client.try_send(&bytes);
        assert_eq!(String::from_utf8_lossy(&client.rest().expect("a close")), text);
        assert_eq!(other.ask("GET k"), "small");
    }
}

#[test]
fn one_client_too_many_is_told_so() {
    let house = House::with(&["listen.max_clients = 2"]);
    let (mut one, two) = (house.enter(), house.enter());
    assert_eq!(one.ask("PING"), "+PONG");
    house.wait_clients(2);
    let rest = house.enter().rest().expect("a close");
    assert_eq!(String::from_utf8_lossy(&rest), "-ERR max number of clients reached\r\n");
    drop(two);
    house.wait_clients(1);
    assert_eq!(house.enter().ask("PING"), "+PONG");
}

#[test]
fn who_finds_no_connection_free_is_told_so_and_goes_on() {
    let house = House::with(&["limits.pinned = 2", "upstream.queue_timeout = \"200ms\""]);
    let (mut one, mut two, mut three) = (house.enter(), house.enter(), house.enter());
    assert_eq!(one.ask("WATCH k"), "+OK");
    assert_eq!(two.ask("SUBSCRIBE c"), "*3 $9 subscribe $1 c :1");
    assert_eq!(three.ask("BLPOP none 0.001"), "-LOADING no upstream connection free; command not executed");
    assert_eq!(three.ask("SET k 3"), "+OK");
    drop(two);
    wait_until("one is free", || three.ask("BLPOP none 0.001") == "*-1");
    three.say(&["MULTI", "GET k", "EXEC"]);
    assert_eq!((three.hear(), three.hear(), three.hear()), ("+OK".into(), "+QUEUED".into(), "*1 $1 3".into()));
    assert_eq!(one.ask("MULTI"), "+OK");
    assert_eq!(one.ask("EXEC"), "*-1");
}

/// As a client of its own would, it waits for a connection for as long as a request may wait.
#[test]
fn who_waits_for_a_connection_gets_the_next_that_is_free() {
    let house = House::with(&["limits.pinned = 1", "upstream.queue_timeout = \"10s\""]);
    let (mut one, mut two) = (house.enter(), house.enter());
    assert_eq!(one.ask("MULTI"), "+OK");
    two.say(&["MULTI", "SET k two", "EXEC"]);
    assert_eq!(one.ask("SET k one"), "+QUEUED");
    assert_eq!(one.ask("EXEC"), "*1 +OK");
    assert_eq!((two.hear(), two.hear(), two.hear()), ("+OK".into(), "+QUEUED".into(), "*1 +OK".into()));
}

/// Sent in one go, as clients do: when `MULTI` fails, what is behind it is still a transaction.
#[test]
fn what_follows_a_refused_multi_is_not_run() {
    let house = House::with(&["limits.pinned = 1", "upstream.queue_timeout = \"100ms\""]);
    let (mut one, mut two) = (house.enter(), house.enter());
    assert_eq!(one.ask("MULTI"), "+OK");
    two.say(&["MULTI", "SET k alone", "EXEC", "PING"]);
    let replies: Vec<_> = (0..4).map(|_| two.hear()).collect();
    let aborted = "-EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(replies, ["+OK", "+QUEUED", aborted, "+PONG"]);
    assert_eq!(house.enter().ask("EXISTS k"), ":0");
    assert_eq!(one.ask("EXEC"), "*0");
    wait_until("one is free", || {
        two.say(&["MULTI", "SET k together", "EXEC"]);
        assert_eq!((two.hear(), two.hear()), ("+OK".into(), "+QUEUED".into()));
        two.hear() == "*1 +OK"
    });
}

/// Its transaction must not believe what it never watched.
#[test]
fn what_follows_a_refused_watch_is_not_run() {
    let house = House::with(&["limits.pinned = 1", "upstream.queue_timeout = \"100ms\""]);
    let (mut one, mut two) = (house.enter(), house.enter());
    assert_eq!(one.ask("MULTI"), "+OK");
    assert_eq!(two.ask("WATCH k"), "-LOADING no upstream connection free; command not executed");
    assert_eq!(one.ask("EXEC"), "*0");
    wait_until("one is free", || two.ask("BLPOP none 0.001") == "*-1");
    two.say(&["MULTI", "SET k unwatched", "EXEC"]);
    assert_eq!((two.hear(), two.hear(), two.hear()), ("+OK".into(), "+QUEUED".into(), "*-1".into()));
    assert_eq!(two.ask("EXISTS k"), ":0");
}

/// A client that waits for one vanishes: the next in line gets it.
#[test]
fn a_vanished_client_does_not_keep_its_place_in_line() {
    let house = House::with(&["limits.pinned = 1", "upstream.queue_timeout = \"10s\""]);
    let (mut one, mut two, mut three) = (house.enter(), house.enter(), house.enter());
    assert_eq!(one.ask("MULTI"), "+OK");
    two.say(&["MULTI", "SET ghost 1"]);
    drop(two);
    three.say(&["MULTI", "EXISTS ghost", "EXEC"]);
    assert_eq!(one.ask("DISCARD"), "+OK");
    let asked = Instant::now();
    assert_eq!((three.hear(), three.hear(), three.hear()), ("+OK".into(), "+QUEUED".into(), "*1 :0".into()));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    house.wait_clients(2);
}

/// Transactions one after the other need one connection, not one each.
#[test]
fn connections_are_used_again() {
    let house = House::open();
    let before = house.connections_made();
    for n in 1..=50 {
        let mut client = house.enter();
        client.say(&["MULTI", "INCR n", "EXEC"]);
        assert_eq!((client.hear(), client.hear(), client.hear()), ("+OK".into(), "+QUEUED".into(), format!("*1 :{n}")));
        house.wait_clean();
    }
    let made = house.connections_made() - before;
    assert!(made <= 10, "{made} connections for 50 transactions");
}

/// Who has started it waits for it; who can end it must not wait behind it.
#[test]
fn a_script_that_never_ends_can_be_killed_by_another_client() {
    let house = House::open();
    assert_eq!(house.server_says("CONFIG SET busy-reply-threshold 50"), "+OK\r\n");
    let (mut one, mut other) = (house.enter(), house.enter());
    one.say(&["EVAL \"while true do end\" 0"]);
    wait_until("the server is busy", || other.ask("GET k").starts_with("-BUSY"));
    assert_eq!(other.ask("SCRIPT KILL"), "+OK");
    assert!(one.hear().starts_with("-ERR Script killed by user"));
    assert_eq!(other.ask("GET k"), "$-1");
}
