//! When the attackers have gone, the memory they took is the system's again.
//!
//! A sixteenth of a GiB may stay with the allocator, whatever was taken; more would be a proxy that remembers its worst
//! day for ever.

use std::thread;

use super::readers::{patient_server, repeated};
use super::siege::{KIB, MIB, Siege, flood};
use super::support::{request, wait_until};

const STAYS: usize = 64 * MIB;

#[test]
fn memory_for_unread_replies_comes_back() {
    let siege = Siege::before(patient_server(), &["limits.unread_timeout = \"1s\""]);
    let crowd = siege.crowd(50);
    flood(&crowd, repeated("GET 1m", 10), 1);
    siege.wait_gone("slow_reader", 50);
    drop(crowd);
    siege.wait_memory_is_back(STAYS);
}

/// Those who have it now are still here, and ask for little.
#[test]
fn memory_for_replies_that_were_read_comes_back() {
    let siege = Siege::before(patient_server(), &[]);
    let mut crowd = siege.crowd(150);
    for client in &mut crowd {
        client.send(&repeated("GET 1m", 2));
    }
    for client in &mut crowd {
        (0..2).for_each(|_| assert_eq!(client.frame().len(), 1_000_012));
        assert_eq!(client.ask("GET nothing"), "$-1");
    }
    siege.wait_memory_is_back(STAYS);
}

#[test]
fn memory_for_requests_that_never_ended_comes_back() {
    const CLIENTS: usize = 2000;
    let siege = Siege::with(&["limits.request_timeout = \"1s\""]);
    let clients = siege.crowd(CLIENTS);
    let half = [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$131072\r\n", &[b'x'; 64 * KIB][..]].concat();
    flood(&clients, half, 1);
    siege.wait_gone("slow_writer", CLIENTS);
    drop(clients);
    siege.wait_memory_is_back(STAYS);
}

#[test]
fn memory_for_large_requests_comes_back() {
    let siege = Siege::with(&[]);
    let large = request(&[b"SET", &b"k"[..], &vec![b'x'; 30 * MIB]]);
    let mut clients = siege.crowd(8);
    thread::scope(|scope| {
        for client in &clients {
            let (mut writer, large) = (client.writer(), &large);
            scope.spawn(move || std::io::Write::write_all(&mut writer, large).expect("it is read"));
        }
    });
    for client in &mut clients {
        assert_eq!(client.hear(), "+OK");
    }
    wait_until("they are counted", || siege.metric("cloakroom_requests_total{command=\"set\"}") == 8.0);
    siege.wait_memory_is_back(STAYS);
}
