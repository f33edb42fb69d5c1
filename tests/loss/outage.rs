//! Outages: short ones are waited out, long ones are told, and both are over by themselves.

use std::thread;
use std::time::{Duration, Instant};

use super::support::{Cut, Proxy, RedisServer, Wire, stays_so, wait_until};
use super::{NOT_EXECUTED, UNKNOWN, behind_relay, proxy, wait_lost};

/// An answer that waits for nothing, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_millis(400);

#[test]
fn a_killed_server_is_waited_for() {
    is_waited_for(RedisServer::kill, RedisServer::start);
}

#[test]
fn a_server_that_ends_is_waited_for() {
    is_waited_for(RedisServer::stop, RedisServer::start);
}

/// Nobody is closed, `PING` is answered, and what is asked meanwhile is answered when the server is back.
fn is_waited_for(lose: fn(&mut RedisServer), bring_back: fn(&mut RedisServer)) {
    let mut server = RedisServer::with().persistent().start();
    let proxy = proxy(&server.address(), &["upstream.queue_timeout = \"15s\""]);
    let mut idle = Wire::connect(proxy.port());
    let mut busy = Wire::connect(proxy.port());
    assert_eq!(busy.ask("SET k v"), "+OK");

    for round in 0..3 {
        lose(&mut server);
        wait_lost(&proxy);
        assert_eq!(idle.ask("PING"), "+PONG");
        assert_eq!(busy.ask("PING"), "+PONG");
        assert_eq!(Wire::connect(proxy.port()).ask("PING"), "+PONG", "newcomers are welcome");
        busy.say(&["GET k", &format!("SET k {round}"), "INCR counter", "GET k", "SET k v"]);
        bring_back(&mut server);
        let replies: Vec<_> = (0..5).map(|_| busy.hear()).collect();
        assert_eq!(replies, ["v", "+OK", &format!(":{}", round + 1), &round.to_string(), "+OK"]);
        assert_eq!(idle.ask("GET k"), "v");
    }
    assert_eq!(disconnects(&proxy), 0);
}

#[test]
fn a_restart_is_not_noticed() {
    let mut server = RedisServer::with().persistent().start();
    let proxy = proxy(&server.address(), &[]);
    let mut clients: Vec<_> = (0..20).map(|_| Wire::connect(proxy.port())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&format!("SET k{number} {number}")), "+OK");
    }
    server.restart();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&format!("GET k{number}")), number.to_string());
    }
}

#[test]
fn after_a_long_outage_everything_goes_on() {
    let mut server = RedisServer::with().persistent().start();
    let proxy = proxy(&server.address(), &["upstream.queue_timeout = \"600ms\""]);
    let mut idle = Wire::connect(proxy.port());
    let mut reader = Wire::connect(proxy.port());
    let mut writer = Wire::connect(proxy.port());
    assert_eq!(writer.ask("SET k v"), "+OK");
    server.kill();
    wait_lost(&proxy);

    let asked = Instant::now();
    reader.say(&["GET k"]);
    writer.say(&["SET k w"]);
    assert_eq!(reader.hear(), NOT_EXECUTED);
    assert_eq!(writer.hear(), NOT_EXECUTED);
    let waited = asked.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&waited), "answered after {waited:?}");

    let mut quickest = Duration::MAX;
    stays_so("everything fails", Duration::from_secs(2), || {
        let asked = Instant::now();
        for command in ["GET k", "SET k w", "INCR counter", "WATCH k", "BLPOP q 0", "SUBSCRIBE c", "EVAL x 0"] {
            assert_eq!(writer.ask(command), NOT_EXECUTED, "{command}");
        }
        quickest = quickest.min(asked.elapsed());
        reader.ask("PING") == "+PONG"
    });
    assert!(quickest < AT_ONCE, "failed after {quickest:?}");

    server.start();
    wait_until("the same client is served again", || reader.ask("GET k") != NOT_EXECUTED);
    for client in [&mut reader, &mut writer, &mut idle] {
        assert_eq!(client.ask("GET k"), "v", "what was said not to be executed is not");
        assert_eq!(client.ask("EXISTS counter"), ":0");
    }
    assert_eq!(writer.ask("SET k w"), "+OK");
    assert_eq!(disconnects(&proxy), 0);
}

#[test]
fn clients_come_back_quickly() {
    let mut server = RedisServer::plain();
    let proxy = proxy(&server.address(), &["upstream.queue_timeout = \"200ms\""]);
    let mut client = Wire::connect(proxy.port());
    server.kill();
    wait_lost(&proxy);
    // Long enough for the wait between attempts to have grown to its bound.
    stays_so("the server is away", Duration::from_secs(6), || client.ask("GET k") == NOT_EXECUTED);
    server.start();
    let back = Instant::now();
    wait_until("served again", || client.ask("GET k") == "$-1");
    assert!(back.elapsed() < Duration::from_secs(4), "served again after {:?}", back.elapsed());
}

#[test]
fn a_connection_the_server_kills_is_made_again() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("SET k v"), "+OK");
    for round in 0..20 {
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert_eq!(client.ask("GET k"), "v", "round {round}");
        assert_eq!(client.ask("SET k v"), "+OK", "round {round}");
    }
}

#[test]
fn a_server_that_stands_still_for_a_moment_is_waited_for() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("SET k v"), "+OK");
    server.pause();
    client.say(&["GET k", "INCR counter", "GET counter"]);
    assert_eq!(Wire::connect(proxy.port()).ask("PING"), "+PONG");
    thread::scope(|scope| {
        scope.spawn(|| {
            stays_so("the proxy is ready", Duration::from_secs(1), || proxy.get("/readyz").0 == 200);
            server.resume();
        });
        assert_eq!([client.hear(), client.hear(), client.hear()], ["v", ":1", "1"]);
    });
}

/// One line when the server is lost and one when it is back, however many workers had connections to it.
#[test]
fn an_outage_is_two_lines_in_the_log() {
    let mut server = RedisServer::with().persistent().start();
    let proxy = Proxy::with(&server, &["listen.workers = 4"]);
    proxy.allow("upstream");
    let ready = |proxy: &Proxy| proxy.logs().iter().filter(|line| line.contains("upstream ready")).count();
    assert_eq!(ready(&proxy), 1, "{:#?}", proxy.logs());
    server.kill();
    wait_lost(&proxy);
    wait_until("it was tried a few times", || proxy.logs().iter().any(|line| line.contains("upstream unavailable")));
    stays_so("the server is away", Duration::from_secs(1), || proxy.get("/readyz").0 == 503);
    server.start();
    proxy.wait_ready();
    let logs = proxy.logs();
    let warnings: Vec<_> = logs.iter().filter(|line| line.contains(r#""level":"WARN""#)).collect();
    assert_eq!(ready(&proxy), 2, "{logs:#?}");
    // Lost, and why it cannot be reached.
    assert!(warnings.len() <= 2, "{warnings:#?}");
}

/// The bytes of a write are still under way when its connection is lost. They arrive after a newer write was
/// acknowledged on the next connection: without making sure that the old one can do nothing more, they
/// overwrite it, and a session goes back in time.
#[test]
fn a_late_write_of_a_lost_connection_does_not_overwrite_a_newer_one() {
    let (server, relay, proxy) = behind_relay(&[]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("SET k oldest"), "+OK");
    relay.delay();
    client.say(&["SET k old"]);
    // Its bytes must have left before the cut.
    wait_until("the request is counted", || {
        proxy.get("/metrics").1.contains("cloakroom_requests_total{command=\"set\"} 2")
    });
    stays_so("nothing comes", Duration::from_millis(100), || server.cli(&["GET", "k"]) == "oldest");
    relay.cut(Cut::Reset);
    assert_eq!(client.hear(), UNKNOWN);
    assert_eq!(client.ask("SET k new"), "+OK");
    relay.deliver();
    stays_so("the newer value stays", Duration::from_millis(500), || server.cli(&["GET", "k"]) == "new");
}

/// Clients that are gone, but for those who went by themselves.
fn disconnects(proxy: &Proxy) -> u64 {
    let metrics = proxy.get("/metrics").1;
    let lines = metrics.lines().filter(|line| line.starts_with("cloakroom_client_disconnects_total{"));
    let lines = lines.filter(|line| !line.contains("reason=\"client\""));
    lines.map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count")).sum()
}
