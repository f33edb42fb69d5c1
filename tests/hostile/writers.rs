//! Requests that never end, or are larger than anybody needs.

use std::thread;
use std::time::{Duration, Instant};

use super::siege::{KIB, MIB, Siege, flood};
use super::support::{Wire, request, wait_until};

/// What a connection with nothing on it may take.
const CONNECTION: usize = 16 * KIB;

/// Sends one byte of `bytes` from each client, in turn, for as long as any of them takes it.
fn trickle(mut clients: Vec<Wire>, bytes: &[u8], within: Duration) {
    let until = Instant::now() + within;
    for byte in bytes.iter().cycle() {
        clients.retain_mut(|client| client.try_send(&[*byte]).is_ok());
        if clients.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{} are still let in after {within:?}", clients.len());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_request_that_never_ends_is_given_up() {
    let siege = Siege::with(&["limits.request_timeout = \"1s\""]);
    let starts: [&[u8]; 5] = [b"*", b"*1000000\r\n$3\r\nDEL\r\n", b"*2\r\n$3\r\nGET\r\n$1000\r\n", b"PING", b"*1\r\n$"];
    let mut clients = siege.crowd(100);
    for (client, start) in clients.iter_mut().zip(starts.iter().cycle()) {
        // One that has been served before has no more time than another.
        assert_eq!(client.ask("ECHO hello"), "hello");
        client.send(start);
    }
    let silent = clients.split_off(50);
    // Digits: of a length, of an argument, of a word.
    trickle(clients, b"1", Duration::from_secs(4));
    for mut client in silent {
        assert_eq!(client.rest(), Ok(Vec::new()), "closed without a word");
    }
    // A length of more than 32 digits is no length.
    let refused = siege.gone("protocol");
    siege.wait_gone("slow_writer", 100 - refused);
    assert!(refused <= 30, "{refused} were refused");
    siege.assert_peak_below(100 * CONNECTION + 2 * MIB);
}

/// One that is late is closed, however much it has sent: a second for each 64 KiB is all it gets on top.
#[test]
fn a_long_request_has_no_more_time_than_its_length_allows() {
    let siege = Siege::with(&["limits.request_timeout = \"500ms\""]);
    let mut client = siege.enter();
    let asked = Instant::now();
    client.send(&[b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n", &[b'x'; 130 * KIB][..]].concat());
    assert_eq!(client.rest(), Ok(Vec::new()));
    let lasted = asked.elapsed();
    assert!((2400..4500).contains(&lasted.as_millis()), "{lasted:?} for 130 KiB");
    siege.wait_gone("slow_writer", 1);
}

#[test]
fn a_length_that_is_only_announced_costs_nothing() {
    let siege = Siege::with(&["limits.request_timeout = \"2s\""]);
    let mut clients = siege.crowd(300);
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(match index % 3 {
            // The most a value may be.
            0 => b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n",
            1 => b"*4194304\r\n$536870000\r\n",
            _ => b"*4194304\r\n",
        });
    }
    for mut client in clients {
        assert_eq!(client.rest(), Ok(Vec::new()), "closed without a word");
    }
    siege.wait_gone("slow_writer", 300);
    siege.assert_peak_below(300 * CONNECTION + 2 * MIB);
    for (announced, text) in [
        (&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\n"[..], "invalid bulk length"),
        (b"*2\r\n$18446744073709551615\r\n", "invalid bulk length"),
        (b"*4194305\r\n", "invalid multibulk length"),
        (b"*9223372036854775807\r\n", "invalid multibulk length"),
    ] {
        let mut client = siege.enter();
        client.send(announced);
        let told = String::from_utf8(client.rest().unwrap_or_default()).expect("text");
        assert_eq!(told, format!("-ERR Protocol error: {text}\r\n"), "{}", announced.escape_ascii());
    }
    siege.wait_gone("protocol", 4);
}

#[test]
fn a_thousand_requests_half_sent_take_what_was_sent() {
    const CLIENTS: usize = 1000;
    let siege = Siege::with(&["limits.request_timeout = \"1s\""]);
    let clients = siege.crowd(CLIENTS);
    let half = [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$131072\r\n", &[b'x'; 64 * KIB][..]].concat();
    let before = siege.metric("cloakroom_client_received_bytes_total");
    flood(&clients, half, 1);
    let sent = (CLIENTS * 64 * KIB) as f64;
    wait_until("all of it is read", || siege.metric("cloakroom_client_received_bytes_total") - before >= sent);
    // A buffer that grows is twice as large as what it holds, for a while.
    siege.assert_peak_below(CLIENTS * 2 * 64 * KIB + 16 * MIB);
    siege.wait_gone("slow_writer", CLIENTS);
}

#[test]
fn a_million_empty_arguments_are_paid_for_once() {
    const CLIENTS: usize = 4;
    let siege = Siege::with(&[]);
    let arguments = request(&vec![""; 1 << 20]);
    let mut clients = siege.crowd(CLIENTS);
    let writers: Vec<_> = clients
        .iter()
        .map(|client| {
            let (mut writer, arguments) = (client.writer(), arguments.clone());
            thread::spawn(move || std::io::Write::write_all(&mut writer, &arguments).expect("it is read"))
        })
        .collect();
    for (writer, client) in writers.into_iter().zip(&mut clients) {
        writer.join().expect("it is read");
        assert!(client.hear().starts_with("-ERR unknown command"));
        assert_eq!(client.ask("PING"), "+PONG");
    }
    // Its bytes, and where each argument is: 6 and 16 bytes an argument, and as much again while they grow.
    siege.assert_peak_below(CLIENTS * 2 * 22 * MIB + 8 * MIB);
    let mut one_more = siege.enter();
    one_more.send(b"*4194305\r\n");
    assert_eq!(one_more.rest(), Ok(b"-ERR Protocol error: invalid multibulk length\r\n".to_vec()));
    siege.wait_gone("protocol", 1);
}
