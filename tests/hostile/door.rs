//! Clients that only come, and clients that do not go.

use std::time::{Duration, Instant};

use super::readers::{patient_server, repeated};
use super::siege::{KIB, MIB, Siege, flood};
use super::support::wait_until;

#[test]
fn clients_that_say_nothing_take_no_more_places_than_there_are() {
    const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
    let siege = Siege::with(&["listen.max_clients = 101"]);
    let silent = siege.crowd(100);
    siege.wait_clients(101);
    for mut client in siege.crowd(1000) {
        assert_eq!(client.rest(), Ok(TOO_MANY.to_vec()));
    }
    // One that begins to talk at once, or never reads what it is told, is not served either.
    let mut crowd = siege.crowd(500);
    for client in &mut crowd {
        let _ = client.try_send(b"SET turned-away 1\r\n");
    }
    siege.wait_gone("too_many", 1500);
    drop(crowd);
    siege.assert_peak_below(100 * 16 * KIB + 4 * MIB);
    drop(silent);
    siege.wait_clients(1);
    assert_eq!(siege.enter().ask("EXISTS turned-away"), ":0");
}

/// Half a request, replies nobody reads, a wait without an end: none of it is waited for beyond `drain_timeout`.
#[test]
fn who_hangs_on_does_not_delay_the_end() {
    let mut siege = Siege::before(patient_server(), &["listen.drain_timeout = \"1s\""]);
    let mut halves = siege.crowd(50);
    for client in &mut halves {
        client.send(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$100\r\nx");
    }
    let mut waiting = siege.crowd(20);
    waiting.iter_mut().for_each(|client| client.say(&["BLPOP none 0"]));
    wait_until("some wait", || siege.metric("cloakroom_pins_total{reason=\"blocking\"}") == 20.0);
    let lazy = siege.crowd(20);
    flood(&lazy, repeated("GET 1m", 10), 1);
    siege.wait_clients(91);
    // Until here it was served.
    siege.stop_watching();
    let told = Instant::now();
    siege.proxy.signal("TERM");
    assert_eq!(siege.proxy.wait_exit().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    assert_eq!(siege.server.cli(&["EXISTS", "half"]), "0");
}
