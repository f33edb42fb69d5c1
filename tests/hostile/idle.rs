//! Ten thousand clients that do nothing now.

use super::readers::patient_server;
use super::siege::{KIB, Siege, raise_descriptors};
use super::support::request;

const CLIENTS: usize = 10_000;

/// What one of them may take.
const EACH: usize = 16 * KIB;

/// Descriptors for everything else this process does meanwhile.
const OTHERS: usize = 3000;

#[test]
fn ten_thousand_idle_clients_take_little() {
    let siege = Siege::before(patient_server(), &["listen.max_clients = 20000"]);
    let count = CLIENTS.min(raise_descriptors().saturating_sub(OTHERS));
    if count < CLIENTS {
        eprintln!("only {count} clients: the hard limit of descriptors is too low for {CLIENTS}");
    }
    let mut crowd = siege.crowd(count);
    siege.wait_clients(count + 1);
    assert_each(&siege, count, "which have only connected");
    for client in &mut crowd {
        assert_eq!(client.ask("SET k v"), "+OK");
    }
    assert_each(&siege, count, "which have made one request");
    for client in &mut crowd {
        assert_eq!(client.frame_of("GET 100k").len(), 100_011);
    }
    assert_each(&siege, count, "which have read 100 KB");
}

/// A buffer that is empty again may still be as large as it ever was.
#[test]
fn who_has_sent_much_keeps_nothing_of_it() {
    const CLIENTS: usize = 1000;
    let siege = Siege::with(&[]);
    let mut crowd = siege.crowd(CLIENTS);
    let long = request(&[b"SET", &b"k"[..], &[b'x'; 100_000]]);
    for client in &mut crowd {
        client.send(&long);
        assert_eq!(client.hear(), "+OK");
    }
    assert_each(&siege, CLIENTS, "which have sent 100 KB");
}

#[test]
fn who_has_sent_many_arguments_keeps_no_list_of_them() {
    const CLIENTS: usize = 100;
    let siege = Siege::with(&[]);
    let mut crowd = siege.crowd(CLIENTS);
    let many = request(&[vec!["DEL"], vec!["k"; 100_000]].concat());
    for client in &mut crowd {
        client.send(&many);
        assert_eq!(client.hear(), ":0");
    }
    // 16 bytes an argument would be 1.6 MB each.
    siege.wait_memory_is_back(CLIENTS * 256 * KIB);
}

fn assert_each(siege: &Siege, count: usize, who: &str) {
    let each = siege.held() / count;
    assert!(each <= EACH, "{each} bytes for each of {count} clients {who}");
}
