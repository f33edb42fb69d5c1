//! Connections that are old hand over to new ones, and nobody sees it; those of a server that does not answer are
//! given up although nobody waits.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use super::support::{Certificates, RedisServer, Wire, wait_until};
use super::{NOT_EXECUTED, proxy, wait_lost};

/// The numbers of the proxy's connections.
fn connections(server: &RedisServer) -> BTreeSet<u64> {
    let list = server.cli(&["CLIENT", "LIST"]);
    let lines = list.lines().filter(|line| line.contains(" name=cloakroom "));
    lines.map(|line| line[3..].split(' ').next().and_then(|id| id.parse().ok()).expect("a number")).collect()
}

/// Counts through several lives of the connection, pipelines included: nothing is lost, nothing twice.
fn count_through_lives(server: &RedisServer, lines: &[&str]) {
    let proxy = proxy(&server.address(), &[&["upstream.max_lifetime = \"100ms\""], lines].concat());
    let seen = thread::scope(|scope| {
        for number in 0..4 {
            let port = proxy.port();
            scope.spawn(move || {
                let mut client = Wire::connect(port);
                for round in 0..300 {
                    client.say(&[&format!("INCR counter:{number}"), &format!("SET k:{number} {round}")]);
                    client.say(&[&format!("GET k:{number}"), "INCR all"]);
                    assert_eq!(client.hear(), format!(":{}", round + 1));
                    assert_eq!(client.hear(), "+OK");
                    assert_eq!(client.hear(), round.to_string());
                    assert!(client.hear().starts_with(':'));
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let mut seen = BTreeSet::new();
        wait_until("the connection has been replaced several times", || {
            seen.extend(connections(server));
            seen.len() > 8
        });
        seen
    });
    assert_eq!(server.cli(&["GET", "all"]), "1200");
    let metrics = proxy.get("/metrics").1;
    assert!(!metrics.contains("cloakroom_upstream_renewals_total{result=\"ok\"} 0"));
    assert!(metrics.contains("cloakroom_upstream_losses_total{cause=\"closed\"} 0"), "{seen:?}");
    assert!(metrics.contains("cloakroom_unknown_outcome_total 0"));
}

#[test]
fn an_old_connection_hands_over_without_losing_anything() {
    count_through_lives(&RedisServer::plain(), &[]);
}

#[test]
fn an_old_connection_hands_over_in_tls_as_well() {
    let certificates = Certificates::new();
    let server = RedisServer::with().tls(&certificates).start();
    let ca = format!("upstream.tls.ca_file = \"{}\"", certificates.ca.display());
    count_through_lives(&server, &["upstream.tls.enabled = true", &ca]);
}

/// Whoever comes next need not wait to find out.
#[test]
fn a_server_that_does_not_answer_is_noticed_while_nobody_asks() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("SET k v"), "+OK");
    server.pause();
    wait_lost(&proxy);
    wait_until("it fails at once", || {
        let asked = Instant::now();
        client.ask("GET k") == NOT_EXECUTED && asked.elapsed() < Duration::from_millis(20)
    });
    server.resume();
    proxy.wait_ready();
    assert_eq!(client.ask("GET k"), "v");
}
