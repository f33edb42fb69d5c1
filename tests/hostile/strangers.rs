//! Clients that do not know the password: they get its bounds, its time, and nothing else.

use std::thread;
use std::time::{Duration, Instant};

use super::siege::{Flood, KIB, MIB, PASSWORD, Siege, flood, pour};
use super::support::{Wire, request};

const NOAUTH: &str = "-NOAUTH Authentication required.";

fn told(client: &mut Wire) -> String {
    String::from_utf8(client.rest().expect("a close")).expect("text")
}

#[test]
fn who_does_not_know_the_password_learns_nothing_and_costs_little() {
    let siege = Siege::locked(&[]);
    for (bytes, text) in [
        (&b"*11\r\n"[..], "unauthenticated multibulk length"),
        (b"*1048576\r\n", "unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$536870912\r\n", "unauthenticated bulk length"),
    ] {
        let mut client = siege.enter();
        client.send(bytes);
        assert_eq!(told(&mut client), format!("-ERR Protocol error: {text}\r\n"), "{}", bytes.escape_ascii());
    }
    siege.wait_gone("protocol", 4);
    // The most that is let in, and then some.
    let most = request(&vec![vec![b'x'; 16 * KIB]; 10]);
    let mut crowd = siege.crowd(200);
    flood(&crowd, most, 1);
    for client in &mut crowd {
        assert_eq!(told(client), "-ERR Protocol error: too big request\r\n");
    }
    siege.wait_gone("protocol", 204);
    siege.assert_peak_below(200 * 200 * KIB + 4 * MIB);
}

#[test]
fn who_never_authenticates_is_closed() {
    let siege = Siege::locked(&["limits.auth_timeout = \"1s\""]);
    let connected = Instant::now();
    let silent = siege.crowd(100);
    let (mut halves, mut talkers) = (siege.crowd(100), siege.crowd(20));
    for client in &mut halves {
        client.send(b"*2\r\n$4\r\nAUTH\r\n$16384\r\nopen-");
    }
    // Who talks, and reads what it is told, has no more time.
    let talking = thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(5);
        while !talkers.is_empty() {
            talkers.retain_mut(|client| {
                client.try_send(&request(&["PING"])).is_ok()
                    && client.try_frame().is_ok_and(|frame| frame == format!("{NOAUTH}\r\n").as_bytes())
            });
            assert!(Instant::now() < until, "{} are still let in", talkers.len());
            thread::sleep(Duration::from_millis(20));
        }
    });
    for mut client in silent.into_iter().chain(halves) {
        assert_eq!(told(&mut client), "", "closed without a word");
    }
    let lasted = connected.elapsed();
    assert!(lasted < Duration::from_secs(4), "{lasted:?}");
    talking.join().expect("who talks is closed as well");
    siege.wait_gone("unauthenticated", 220);
    siege.assert_peak_below(220 * 40 * KIB + 4 * MIB);
}

/// A client that lets its replies pile up, then takes them, is no further than before.
#[test]
fn who_reads_in_bursts_must_authenticate_in_time_all_the_same() {
    let siege = Siege::locked(&["limits.auth_timeout = \"2s\""]);
    let mut client = siege.enter();
    let connected = Instant::now();
    let mut floods = [Flood::new(&client, &request(&["PING"]).repeat(1000).into(), usize::MAX)];
    loop {
        // More than the system holds of the replies: the proxy waits for them to be taken.
        pour(&mut floods);
        if client.rest_for(Duration::from_millis(300)) {
            break;
        }
        let lasted = connected.elapsed();
        assert!(lasted < Duration::from_secs(6), "still let in after {lasted:?}");
    }
    siege.wait_gone("unauthenticated", 1);
}

#[test]
fn who_guesses_is_told_each_time_and_lets_nobody_wait() {
    let siege = Siege::locked(&["limits.auth_timeout = \"5s\"", "limits.auth_delay = \"1ms\""]);
    siege.proxy.allow("a client's password was refused");
    let mut crowd = siege.crowd(20);
    for round in 0..10 {
        for client in &mut crowd {
            client.say(&[&format!("AUTH wrong-{round}")]);
        }
        for client in &mut crowd {
            assert!(client.hear().starts_with("-WRONGPASS "));
        }
    }
    assert_eq!(crowd[0].ask("PING"), NOAUTH);
    let asked = Instant::now();
    assert_eq!(siege.enter().ask(&format!("AUTH {PASSWORD}")), "+OK");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    siege.assert_peak_below(2 * MIB);
}

/// Small as each is, they are replies, and nobody reads them: 1 KiB of them is held, and nothing more is read.
#[test]
fn who_leaves_its_refusals_unread_is_not_read_either() {
    const CLIENTS: usize = 50;
    let siege = Siege::locked(&["limits.auth_timeout = \"2s\""]);
    let crowd = siege.crowd(CLIENTS);
    flood(&crowd, request(&["GET", "k"]).repeat(1000), 200);
    siege.wait_gone("unauthenticated", CLIENTS);
    siege.assert_peak_below(CLIENTS * 250 * KIB + 2 * MIB);
    siege.wait_clients(1);
}

/// Whatever is said of it: it is closed, and holds no more than anybody may.
#[test]
fn who_leaves_its_refusals_unread_is_closed() {
    let siege = Siege::locked(&["limits.unread_timeout = \"1s\"", "limits.auth_timeout = \"1s\""]);
    let crowd = siege.crowd(50);
    flood(&crowd, request(&["GET", "k"]).repeat(1000), 200);
    siege.wait_clients(1);
    assert_eq!(siege.gone("slow_reader") + siege.gone("unauthenticated"), 50);
    siege.assert_peak_below(50 * 2 * MIB + 4 * MIB);
}
