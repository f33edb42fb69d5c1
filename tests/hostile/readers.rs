//! Clients that ask for much and read nothing: what they ask for stays with the server, not here.

use std::time::{Duration, Instant};

use super::siege::{Honest, KIB, MIB, Siege, flood};
use super::support::{RedisServer, Wire, request, wait_until};

/// A connection's own, and one read of the server's bytes.
const CONNECTION: usize = 100 * KIB;

/// A server that would hold any number of replies for us, with values of some sizes.
pub fn patient_server() -> RedisServer {
    let limits = "client-output-buffer-limit pubsub 0 0 0 slave 0 0 0";
    let server = RedisServer::with().config(limits).start();
    for (key, len) in [("100k", 100_000), ("1m", 1_000_000)] {
        assert_eq!(server.cli(&["SETRANGE", key, &(len - 1).to_string(), "x"]), len.to_string());
    }
    server
}

pub fn repeated(line: &str, times: usize) -> Vec<u8> {
    let words: Vec<_> = line.split(' ').collect();
    request(&words).repeat(times)
}

/// Returns when the honest client has been served for a while, whatever the others do.
pub fn let_it_be_served(siege: &Siege) {
    let before = siege.served();
    wait_until("somebody else is served", || siege.served() > before + 300);
}

#[test]
fn replies_nobody_reads_stay_at_the_server() {
    let siege = Siege::before(patient_server(), &[]);
    let lazy = siege.enter();
    flood(std::slice::from_ref(&lazy), repeated("GET 100k", 3000), 1);
    let_it_be_served(&siege);
    // The first replies come before their size is known: 32 of them.
    siege.assert_peak_below(MIB + 32 * 100_000 + 4 * MIB);
    let mut crowd = siege.crowd(100);
    for client in &mut crowd {
        // A reply that is known to be large is asked for alone.
        assert_eq!(client.frame_of("GET 100k").len(), 100_011);
    }
    flood(&crowd, repeated("GET 100k", 300), 1);
    let_it_be_served(&siege);
    // A buffer that grows is twice as large as what it holds.
    siege.assert_peak_below(100 * 2 * (MIB + 100_000) + 8 * MIB);
}

/// Whoever sends a long pipeline before it reads is read ahead, and not without end.
#[test]
fn who_writes_and_never_reads_is_not_read_for_ever() {
    let siege = Siege::with(&["limits.read_ahead = \"4MiB\""]);
    let crowd = siege.crowd(10);
    let some = [request(&[b"SET", &b"k"[..], &[b'x'; 10_000]]), request(&["GET", "k"])].concat();
    flood(&crowd, some, 10_000);
    let_it_be_served(&siege);
    // A buffer that grows is twice as large as what it holds.
    siege.assert_peak_below(10 * (2 * 4 * MIB + MIB + CONNECTION) + 8 * MIB);
}

#[test]
fn a_limit_on_what_is_unread_holds_for_each_client() {
    let siege = Siege::before(patient_server(), &["limits.unread_replies = \"64KiB\""]);
    let mut crowd = siege.crowd(300);
    for client in &mut crowd {
        assert_eq!(client.frame_of("GET 1m").len(), 1_000_012);
    }
    flood(&crowd, repeated("GET 100k", 30), 1);
    let_it_be_served(&siege);
    siege.assert_peak_below(300 * (64 * KIB + 100_000 + CONNECTION) + 8 * MIB);
}

/// On a connection of its own nothing need be read that nobody takes.
#[test]
fn a_subscriber_that_does_not_read_leaves_the_messages_at_the_server() {
    let siege = Siege::before(patient_server(), &["limits.unread_timeout = \"3s\""]);
    let mut publisher = Wire::connect(siege.server.port());
    let mut lazy = [siege.enter(), Wire::connect_resp3(siege.port)];
    assert_eq!(lazy[0].ask("SUBSCRIBE c"), "*3 $9 subscribe $1 c :1");
    assert_eq!(lazy[1].ask("SUBSCRIBE c"), ">3 $9 subscribe $1 c :1");
    let message = request(&[&b"PUBLISH"[..], b"c", &[b'x'; 100_000]]).repeat(100);
    for _ in 0..30 {
        publisher.send(&message);
        (0..100).for_each(|_| assert_eq!(publisher.hear(), ":2"));
    }
    siege.assert_peak_below(2 * 2 * MIB + 4 * MIB);
    siege.wait_gone("slow_reader", 2);
}

#[test]
fn who_takes_no_reply_is_closed() {
    let siege = Siege::before(patient_server(), &["limits.unread_timeout = \"1s\""]);
    let crowd = siege.crowd(50);
    // More than the system holds for a client.
    flood(&crowd, repeated("GET 1m", 10), 1);
    siege.wait_gone("slow_reader", 50);
    for mut client in crowd {
        client.rest().expect("closed behind what had been sent");
    }
}

/// Who takes a little now and then is not closed, and holds no more than who takes nothing.
#[test]
fn who_reads_slowly_is_served_slowly() {
    let siege = Siege::before(patient_server(), &["limits.unread_timeout = \"1s\""]);
    let mut slow = siege.enter();
    slow.send(&repeated("GET 1m", 30));
    let begun = Instant::now();
    for turn in 1..=30 {
        wait_until("it has been a while", || begun.elapsed() > Duration::from_millis(100) * turn);
        assert_eq!(slow.frame().len(), 1_000_012);
    }
    assert_eq!(siege.gone("slow_reader"), 0);
    siege.assert_peak_below(40 * MIB);
}

#[test]
fn a_monitor_that_does_not_read_leaves_what_it_would_see_at_the_server() {
    let siege = Siege::before(patient_server(), &["limits.unread_timeout = \"3s\""]);
    let mut other = Wire::connect(siege.server.port());
    let mut lazy = siege.enter();
    assert_eq!(lazy.ask("MONITOR"), "+OK");
    let set = request(&[b"SET", &b"k"[..], &[b'x'; 100_000]]).repeat(100);
    for _ in 0..10 {
        other.send(&set);
        (0..100).for_each(|_| assert_eq!(other.hear(), "+OK"));
    }
    siege.assert_peak_below(2 * MIB + 4 * MIB);
    siege.wait_gone("slow_reader", 1);
}

/// Answered here, behind a request the server has not answered: they wait in the outbox, too.
#[test]
fn replies_that_wait_for_their_turn_are_unread_replies() {
    let mut siege = Siege::unwatched(RedisServer::plain(), &["upstream.reply_timeout = \"5s\""]);
    let honest = Honest::pinging(siege.enter());
    siege.watch(honest);
    let crowd = siege.crowd(10);
    siege.server.pause();
    let echo = request(&[&b"ECHO"[..], &[b'x'; 1_000_000]]);
    flood(&crowd, [repeated("GET k", 1), echo.repeat(30)].concat(), 1);
    let_it_be_served(&siege);
    siege.server.resume();
    siege.assert_peak_below(10 * 4 * MIB + 8 * MIB);
}
