//! `limits.memory`: what all clients together may hold. Past it the clients that hold most wait, then go; the others
//! notice nothing.

use super::readers::{let_it_be_served, patient_server, repeated};
use super::siege::{Honest, MIB, Siege, flood};
use super::support::{RedisServer, request, wait_until};

const BUDGET: &str = "limits.memory = \"64MiB\"";

/// The budget, and what is not counted: connections, reads under way, what was given back and is not the system's yet.
const MOST: usize = 64 * MIB + 96 * MIB;

/// One megabyte of two.
fn half_a_request() -> Vec<u8> {
    [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000000\r\n", &[b'x'; 1_000_000][..]].concat()
}

#[test]
fn two_hundred_halves_of_requests_stay_within_the_budget() {
    let siege = Siege::with(&[BUDGET, "limits.request_timeout = \"3s\""]);
    let crowd = siege.crowd(200);
    flood(&crowd, half_a_request(), 1);
    let_it_be_served(&siege);
    siege.assert_peak_below(MOST);
    // Some for what they held, the others for what they never sent.
    wait_until("all are gone", || siege.gone("memory") + siege.gone("slow_writer") == 200);
    let mut next = siege.enter();
    next.send(&request(&[b"SET", &b"k"[..], &vec![b'x'; 2_000_000]]));
    assert_eq!(next.hear(), "+OK");
}

#[test]
fn replies_nobody_reads_stay_within_the_budget() {
    let siege = Siege::before(patient_server(), &[BUDGET]);
    let crowd = siege.crowd(40);
    // The system holds some MB for each of them.
    flood(&crowd, repeated("GET 1m", 12), 1);
    let_it_be_served(&siege);
    siege.assert_peak_below(MOST);
    drop(crowd);
    siege.wait_clients(1);
    let mut next = siege.enter();
    next.send(&repeated("GET 1m", 10));
    (0..10).for_each(|_| assert_eq!(next.frame().len(), 1_000_012));
}

/// Who holds little is not asked to pay: it is served, and stays.
#[test]
fn attackers_of_both_kinds_leave_the_others_in_peace() {
    let siege = Siege::before(patient_server(), &[BUDGET]);
    let mut bystanders = siege.crowd(50);
    let (halves, lazy) = (siege.crowd(100), siege.crowd(30));
    flood(&halves, half_a_request(), 1);
    flood(&lazy, repeated("GET 1m", 12), 1);
    for round in 0..20 {
        for (number, client) in bystanders.iter_mut().enumerate() {
            assert_eq!(client.ask(&format!("SET b{number} {round}")), "+OK");
            assert_eq!(client.frame_of("GET 100k").len(), 100_011);
            assert_eq!(client.ask(&format!("GET b{number}")), round.to_string());
        }
    }
    siege.assert_peak_below(MOST);
}

/// Nothing but its close gives back what it holds.
#[test]
fn who_asks_for_more_than_the_budget_and_does_not_read_is_closed() {
    let siege = Siege::before(patient_server(), &[BUDGET]);
    assert_eq!(siege.server.cli(&["SETRANGE", "300m", "299999999", "x"]), "300000000");
    let mut bystander = siege.enter();
    assert_eq!(bystander.ask("SET k v"), "+OK");
    let mut lazy = siege.enter();
    lazy.say(&["GET 300m"]);
    siege.wait_gone("memory", 1);
    siege.assert_peak_below(MOST);
    let rest = lazy.rest().expect("a close");
    assert!(rest.starts_with(b"$300000000\r\n") && rest.len() < 300_000_000, "{} bytes", rest.len());
    assert_eq!(bystander.ask("GET k"), "v");
}

/// Small replies are let in by the hundred; what was learned from them lets in large ones.
#[test]
fn who_has_read_small_replies_may_not_leave_large_ones_unread() {
    let siege = Siege::before(patient_server(), &[BUDGET]);
    let mut crowd = siege.crowd(2);
    for client in &mut crowd {
        client.send(&repeated("GET nothing", 1000));
        (0..1000).for_each(|_| assert_eq!(client.hear(), "$-1"));
    }
    flood(&crowd, repeated("GET 1m", 256), 1);
    let_it_be_served(&siege);
    siege.assert_peak_below(MOST);
}

/// Requests that were read and cannot be sent on are held as well: on shared connections and on one's own.
#[test]
fn requests_for_a_stopped_server_stay_within_the_budget() {
    let mut siege = Siege::unwatched(RedisServer::plain(), &[BUDGET]);
    siege.proxy.allow("upstream connection lost");
    let honest = Honest::pinging(siege.enter());
    siege.watch(honest);
    let mut crowd = siege.crowd(100);
    for client in &mut crowd[..20] {
        assert_eq!(client.ask("MULTI"), "+OK");
    }
    siege.server.pause();
    flood(&crowd, request(&[b"SET", &b"k"[..], &vec![b'x'; 900_000]]), 20);
    let_it_be_served(&siege);
    siege.assert_peak_below(MOST);
    siege.server.resume();
}
