//! A server that is there and does not answer: stopped, or behind a dead network.

use std::time::{Duration, Instant};

use super::support::{Certificates, RedisServer, Relay, Wire, stays_so, wait_until};
use super::{NOT_EXECUTED, UNKNOWN, behind_relay, proxy, wait_lost};

const TIMEOUT: &str = "upstream.reply_timeout = \"600ms\"";

/// What an answer after `reply_timeout` may take.
fn assert_in_time(asked: Instant) {
    let waited = asked.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_secs(4)).contains(&waited), "answered after {waited:?}");
}

#[test]
fn what_a_stopped_server_does_not_answer_in_time_is_told() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[TIMEOUT]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("SET k v"), "+OK");
    server.pause();
    for (command, told) in
        [("GET k", NOT_EXECUTED), ("SET k w", UNKNOWN), ("INCR counter", UNKNOWN), ("EXISTS k", NOT_EXECUTED)]
    {
        let asked = Instant::now();
        assert_eq!(client.ask(command), told, "{command}");
        assert_in_time(asked);
        assert_eq!(client.ask("PING"), "+PONG");
    }
    server.resume();
    wait_until("the server has caught up", || client.ask("GET k") == "w");
    assert_eq!(client.ask("GET counter"), "1");
}

/// The late replies go to nobody: each client has the value it asks for, in every order.
#[test]
fn late_replies_go_to_nobody() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[TIMEOUT]);
    let mut clients: Vec<_> = (0..10).map(|_| Wire::connect(proxy.port())).collect();
    for key in 0..200 {
        assert_eq!(clients[0].ask(&format!("SET k{key} v{key}")), "+OK");
    }
    for _ in 0..3 {
        server.pause();
        for (number, client) in clients.iter_mut().enumerate() {
            client.say(&[&format!("GET k{number}"), &format!("GET k1{number}"), &format!("INCR late{number}")]);
        }
        for client in &mut clients {
            assert_eq!([client.hear(), client.hear(), client.hear()], [NOT_EXECUTED, NOT_EXECUTED, UNKNOWN]);
        }
        // Half of them go, the others ask for more: before, while and after the late replies come.
        clients.truncate(5);
        clients.extend((0..5).map(|_| Wire::connect(proxy.port())));
        for (number, client) in clients.iter_mut().enumerate() {
            client.say(&[&format!("GET k2{number}")]);
        }
        server.resume();
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.hear(), format!("v2{number}"));
        }
        for key in 0..200 {
            let client = &mut clients[key % 10];
            assert_eq!(client.ask(&format!("GET k{key}")), format!("v{key}"));
        }
    }
}

/// Nothing tells a stopped process from a slow one but time: after some seconds its connection is given up.
#[test]
fn a_connection_that_stays_silent_is_given_up() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[TIMEOUT, "upstream.queue_timeout = \"500ms\""]);
    let mut client = Wire::connect(proxy.port());
    for key in 0..20 {
        assert_eq!(client.ask(&format!("SET k{key} v{key}")), "+OK");
    }
    server.pause();
    assert_eq!(client.ask("INCR counter"), UNKNOWN);
    wait_lost(&proxy);
    stays_so("everything fails", Duration::from_secs(1), || {
        client.ask("GET k1") == NOT_EXECUTED && client.ask("PING") == "+PONG" && proxy.get("/readyz").0 == 503
    });
    server.resume();
    proxy.wait_ready();
    for key in 0..20 {
        assert_eq!(client.ask(&format!("GET k{key}")), format!("v{key}"));
    }
    let counter = client.ask("GET counter");
    assert!(["$-1", "1"].contains(&counter.as_str()), "{counter}");
}

#[test]
fn a_blackhole_is_survived() {
    let (_server, relay, proxy) =
        behind_relay(&[TIMEOUT, "upstream.queue_timeout = \"500ms\"", "upstream.connect_timeout = \"300ms\""]);
    let mut client = Wire::connect(proxy.port());
    for key in 0..20 {
        assert_eq!(client.ask(&format!("SET k{key} v{key}")), "+OK");
    }
    relay.stop();
    let asked = Instant::now();
    client.say(&["GET k1", "INCR counter"]);
    assert_eq!([client.hear(), client.hear()], [NOT_EXECUTED, UNKNOWN]);
    assert_in_time(asked);
    wait_lost(&proxy);
    assert_eq!(client.ask("PING"), "+PONG");
    wait_until("requests fail at once", || {
        let asked = Instant::now();
        client.ask("GET k1") == NOT_EXECUTED && asked.elapsed() < Duration::from_millis(100)
    });
    relay.resume();
    proxy.wait_ready();
    for key in 0..20 {
        assert_eq!(client.ask(&format!("GET k{key}")), format!("v{key}"));
    }
    let counter = client.ask("GET counter");
    assert!(["$-1", "1"].contains(&counter.as_str()), "{counter}");
}

/// A short one is not noticed at all: the bytes are where they were.
#[test]
fn a_short_blackhole_is_not_noticed() {
    let (_server, relay, proxy) = behind_relay(&[]);
    let mut client = Wire::connect(proxy.port());
    for round in 1..=5 {
        relay.stop();
        client.say(&["INCR counter", "GET counter"]);
        stays_so("nothing comes", Duration::from_millis(200), || proxy.get("/readyz").0 == 200);
        relay.resume();
        assert_eq!([client.hear(), client.hear()], [format!(":{round}"), round.to_string()]);
    }
    assert_eq!(relay.connections(), 1);
}

/// The thinnest line there is: every frame is cut at every byte.
#[test]
fn a_line_of_single_bytes_is_understood() {
    let certificates = Certificates::new();
    let ca = format!("upstream.tls.ca_file = \"{}\"", certificates.ca.display());
    let plain = (RedisServer::plain(), vec![]);
    let tls = (RedisServer::with().tls(&certificates).start(), vec!["upstream.tls.enabled = true", &ca]);
    for (server, lines) in [plain, tls] {
        let relay = Relay::to(&server.address());
        relay.trickle(true);
        let proxy = proxy(&relay.address(), &lines);
        for mut client in [Wire::connect(proxy.port()), Wire::connect_resp3(proxy.port())] {
            let value = "0123456789".repeat(1000);
            client.say(&[
                &format!("SET k {value}"),
                "GET k",
                "STRLEN k",
                "MULTI",
                "GET k",
                "HGETALL none",
                "EXEC",
                "PING",
            ]);
            assert_eq!(client.hear(), "+OK");
            assert_eq!(client.frame(), format!("$10000\r\n{value}\r\n").as_bytes());
            assert_eq!(client.hear(), ":10000");
            assert_eq!([client.hear(), client.hear(), client.hear()], ["+OK", "+QUEUED", "+QUEUED"]);
            assert!(client.frame().starts_with(format!("*2\r\n$10000\r\n{value}\r\n").as_bytes()));
            assert_eq!(client.hear(), "+PONG");
        }
    }
}

/// Requests that find `limits.queue` full wait at their clients, and none is lost (G7).
#[test]
fn clients_wait_while_the_queue_is_full() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &["limits.queue = \"1KiB\""]);
    let mut clients: Vec<_> = (0..10).map(|_| Wire::connect(proxy.port())).collect();
    for _ in 0..3 {
        server.pause();
        for (number, client) in clients.iter_mut().enumerate() {
            for request in 0..50 {
                client.say(&[
                    &format!("ECHO {number}:{request}"),
                    &format!("SET k{number} {number}:{request}"),
                    &format!("GET k{number}"),
                ]);
            }
        }
        server.resume();
        for (number, client) in clients.iter_mut().enumerate() {
            for request in 0..50 {
                let value = format!("{number}:{request}");
                assert_eq!([client.hear(), client.hear(), client.hear()], [value.as_str(), "+OK", &value]);
            }
        }
    }
}

/// While the server is away nothing moves: what does not fit is told at once.
#[test]
fn what_does_not_fit_into_the_queue_during_an_outage_is_told_at_once() {
    let mut server = RedisServer::with().persistent().start();
    let proxy = proxy(&server.address(), &["limits.queue = \"1KiB\"", "upstream.queue_timeout = \"15s\""]);
    let mut first = Wire::connect(proxy.port());
    assert_eq!(first.ask("SET k v"), "+OK");
    server.kill();
    wait_lost(&proxy);
    let value = "x".repeat(900);
    first.say(&[&format!("SET k {value}")]);
    wait_until("it is counted", || proxy.get("/metrics").1.contains("cloakroom_requests_total{command=\"set\"} 2"));
    let mut second = Wire::connect(proxy.port());
    let asked = Instant::now();
    assert_eq!(second.ask(&format!("SET other {value}")), NOT_EXECUTED);
    assert!(asked.elapsed() < Duration::from_secs(5), "answered after {:?}", asked.elapsed());
    server.start();
    assert_eq!(first.hear(), "+OK");
    assert_eq!(second.ask("EXISTS other"), ":0");
    assert_eq!(second.ask("STRLEN k"), ":900");
}

/// A command that blocks says for how long; behind a dead network it waited for ever.
#[test]
fn a_command_that_blocks_takes_no_longer_than_it_says() {
    let (server, relay, proxy) = behind_relay(&[TIMEOUT]);
    let mut clients: Vec<_> = (0..3).map(|_| Wire::connect(proxy.port())).collect();
    let asked = Instant::now();
    let requests = ["BLPOP queue 1", "BLMPOP 1 1 queue LEFT", "XREAD BLOCK 1000 STREAMS s $"];
    clients.iter_mut().zip(requests).for_each(|(client, request)| client.say(&[request]));
    wait_until("all of them wait", || server.cli(&["INFO", "clients"]).contains("blocked_clients:3"));
    relay.stop();
    // Who may have taken something is told once the lost connection is severed, or `queue_timeout` is over.
    for (client, told) in clients.iter_mut().zip([UNKNOWN, UNKNOWN, NOT_EXECUTED]) {
        assert_eq!(client.hear(), told);
        assert!((Duration::from_millis(1500)..Duration::from_secs(7)).contains(&asked.elapsed()));
    }
    relay.resume();
}
