//! `reconnect = "off"`: a client sees what it would see without a proxy.

use super::support::{Cut, RedisServer, Wire, request, wait_until};
use super::{NOT_EXECUTED, NOTHING, UNKNOWN, behind_relay, counted, pinned, proxy, wait_lost};

const OFF: &str = "upstream.reconnect = \"off\"";

#[test]
fn idle_clients_are_closed_with_the_servers_connection() {
    let (_server, relay, proxy) = behind_relay(&[OFF]);
    let mut clients: Vec<_> = (0..5).map(|_| Wire::connect(proxy.port())).collect();
    assert!(clients.iter_mut().all(|client| client.ask("PING") == "+PONG"));
    relay.cut(Cut::Reset);
    for client in &mut clients {
        assert_eq!(client.rest(), NOTHING);
    }
}

#[test]
fn requests_in_flight_are_answered_before_their_client_is_closed() {
    let (_server, relay, proxy) = behind_relay(&[OFF]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("SET k v"), "+OK");
    relay.stop();
    client.say(&["GET k", "INCR counter"]);
    wait_until("they are under way", || {
        proxy.get("/metrics").1.contains("cloakroom_requests_total{command=\"incr\"} 1")
    });
    relay.cut(Cut::Reset);
    assert_eq!([client.hear(), client.hear()], [NOT_EXECUTED, UNKNOWN]);
    assert_eq!(client.rest(), NOTHING);
}

#[test]
fn a_pinned_client_is_closed_too() {
    for command in ["MULTI", "WATCH k", "SUBSCRIBE c"] {
        let (_server, relay, proxy) = behind_relay(&[OFF]);
        let mut client = Wire::connect(proxy.port());
        assert!(!client.ask(command).starts_with('-'));
        relay.cut(Cut::Finish);
        assert_eq!(client.rest(), NOTHING, "{command}");
    }
}

/// Some clients repeat what was cut off without a word.
#[test]
fn nor_without_a_word() {
    let (_server, relay, proxy) = behind_relay(&[OFF]);
    for (requests, told) in
        [(&["BLPOP queue 0"][..], &[UNKNOWN][..]), (&["MULTI", "INCR counter", "EXEC"], &["+OK", "+QUEUED", UNKNOWN])]
    {
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("SET k v"), "+OK");
        let (last, before) = requests.split_last().expect("some");
        let mut heard: Vec<_> = before.iter().map(|request| client.ask(request)).collect();
        let connections = relay.connections();
        if before.is_empty() {
            client.say(&[last]);
            wait_until("it has a connection", || relay.connections() > connections);
            wait_until("it waits", || pinned(&proxy) > 0);
        } else {
            relay.stop();
            client.say(&[last]);
            wait_until("it is under way", || counted(&proxy, "exec") > 0);
        }
        relay.cut(Cut::Reset);
        relay.resume();
        heard.push(client.hear());
        assert_eq!(heard, told);
        assert_eq!(client.rest(), NOTHING);
        proxy.wait_ready();
    }
}

/// The connection everybody shares is lost a moment before the one that waits, or alone.
#[test]
fn a_client_that_waits_on_its_own_connection_is_told_before_it_is_closed() {
    let (server, _relay, proxy) = behind_relay(&[OFF]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("SET k v"), "+OK");
    client.say(&["BLPOP queue 0"]);
    wait_until("it waits", || server.cli(&["INFO", "clients"]).contains("blocked_clients:1"));
    let list = server.cli(&["CLIENT", "LIST"]);
    let shared = list.lines().find(|line| line.contains("cmd=set")).expect("the shared connection");
    let id = shared.split_once("id=").and_then(|(_, id)| id.split(' ').next()).expect("an id");
    assert_eq!(server.cli(&["CLIENT", "KILL", "ID", id]), "1");
    assert_eq!(client.hear(), UNKNOWN);
    assert_eq!(client.rest(), NOTHING);
}

#[test]
fn clients_that_come_back_are_served_when_the_server_is_back() {
    let mut server = RedisServer::with().persistent().start();
    let proxy = proxy(&server.address(), &[OFF, "upstream.queue_timeout = \"300ms\""]);
    let mut first = Wire::connect(proxy.port());
    assert_eq!(first.ask("SET k v"), "+OK");
    server.kill();
    assert_eq!(first.rest(), NOTHING);
    wait_lost(&proxy);
    let mut during = Wire::connect(proxy.port());
    assert_eq!(during.ask("PING"), "+PONG");
    assert_eq!(during.ask("GET k"), NOT_EXECUTED);
    server.start();
    proxy.wait_ready();
    assert_eq!(Wire::connect(proxy.port()).ask("GET k"), "v");
}

/// Nothing is sent again, not even a read.
#[test]
fn nothing_is_sent_again() {
    let (_server, relay, proxy) = behind_relay(&[OFF]);
    let mut client = Wire::connect(proxy.port());
    relay.cut_on("poison");
    client.send(&request(&["GET", "poison"]));
    assert_eq!(client.hear(), NOT_EXECUTED);
    assert_eq!(client.rest(), NOTHING);
    assert_eq!(relay.cuts(), 1);
}
