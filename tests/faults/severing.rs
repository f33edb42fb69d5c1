//! What an unknown outcome may still do, step by step: nothing, once its client was told and another has written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::UNKNOWN;
use super::support::{Cut, DEADLINE, Proxy, RedisServer, Relay, Wire, shown, stays_so, wait_until};

/// A server, the way to it, and a proxy with `lines`.
fn behind_relay(lines: &[&str]) -> (RedisServer, Relay, Proxy) {
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    let proxy = Proxy::start(&format!(
        "listen.address = \"127.0.0.1:0\"\nmetrics.address = \"127.0.0.1:0\"\nlog.format = \"json\"\ncache.enabled = false\n\
         upstream.server = \"{}\"\n{}\n",
        relay.address(),
        lines.join("\n"),
    ));
    proxy.allow("upstream connection lost");
    proxy.allow("upstream unavailable");
    proxy.wait_ready();
    (server, relay, proxy)
}

/// The bytes of `fatal` are on their way on connection `number` when that is cut, and arrive when `other` has been
/// told that it wrote. Severing takes its time; whether the client is told before or after it, is not said here.
fn lose(relay: &Relay, number: usize, client: Wire, fatal: &str, mut write: impl FnMut()) {
    relay.delay_one(number);
    relay.stop_newcomers();
    let mut client = client.patience(Duration::from_millis(500));
    let before = relay.held();
    client.say(&[fatal]);
    wait_until("the request is under way", || relay.held() > before);
    relay.cut_one(number, Cut::Reset);
    let mut told = client.try_frame();
    if told.is_err() {
        relay.resume();
        told = client.patience(DEADLINE).try_frame();
    }
    assert_eq!(told.map(|frame| shown(&frame)).as_deref(), Ok(format!("-{UNKNOWN}").as_str()));
    write();
    relay.deliver();
    thread::sleep(Duration::from_millis(50));
    relay.resume();
}

/// Asserts that `key` stays what it is.
fn assert_stays(server: &RedisServer, command: &[&str], value: &str) {
    stays_so("what was told done last", Duration::from_millis(500), || server.cli(command) == value);
}

#[test]
fn a_transaction_told_unknown_overwrites_nothing_told_written_after() {
    let (server, relay, proxy) = behind_relay(&["listen.workers = 1"]);
    let (mut client, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("SET k old"), "+QUEUED");
    lose(&relay, 1, client, "EXEC", || assert_eq!(other.ask("SET k new"), "+OK"));
    assert_stays(&server, &["GET", "k"], "new");
}

#[test]
fn a_pop_told_unknown_takes_nothing_told_pushed_after() {
    let (server, relay, proxy) = behind_relay(&["listen.workers = 1"]);
    let (mut client, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    // The connection is there already, so that it can be slow.
    assert_eq!(client.ask("BLPOP queue 0.01"), "*-1");
    wait_until("it was given back", || server.cli(&["CLIENT", "LIST"]).contains("cmd=echo"));
    let pinned = relay.connections() - 1;
    lose(&relay, pinned, client, "BLPOP queue 0", || assert_eq!(other.ask("RPUSH queue element"), ":1"));
    assert_stays(&server, &["LLEN", "queue"], "1");
}

/// Scripts of a RESP2 client go on a connection of their own, and so are no predecessor to other commands.
#[test]
fn a_script_told_unknown_overwrites_nothing_told_written_after() {
    let (server, relay, proxy) = behind_relay(&["listen.workers = 1"]);
    let (mut client, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    assert_eq!(client.ask(r#"EVAL "return 1" 0"#), ":1");
    let scripts = relay.connections() - 1;
    let fatal = r#"EVAL "return redis.call('SET', KEYS[1], ARGV[1])" 1 k old"#;
    lose(&relay, scripts, client, fatal, || assert_eq!(other.ask("SET k new"), "+OK"));
    assert_stays(&server, &["GET", "k"], "new");
}

#[test]
fn a_write_told_unknown_overwrites_nothing_another_worker_told_written_after() {
    let (server, relay, proxy) = behind_relay(&["listen.workers = 2"]);
    let (mut client, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    // Which of the two connections is the client's?
    relay.delay_one(0);
    client.say(&["SET k first"]);
    let mut is_first = false;
    wait_until("the request is held, or answered", || {
        is_first = relay.held() > 0;
        is_first || server.cli(&["EXISTS", "k"]) == "1"
    });
    relay.deliver();
    assert_eq!(client.hear(), "+OK");
    let number = usize::from(!is_first);
    lose(&relay, number, client, "SET k old", || assert_eq!(other.ask("SET k new"), "+OK"));
    assert_stays(&server, &["GET", "k"], "new");
}

/// However long nobody gets through.
#[test]
fn a_lost_connection_of_ones_own_is_severed_in_the_end() {
    let (server, relay, proxy) = behind_relay(&["listen.workers = 1", "upstream.queue_timeout = \"200ms\""]);
    let (mut client, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("SET k old"), "+QUEUED");
    relay.delay_one(1);
    relay.stop_newcomers();
    client.say(&["EXEC"]);
    wait_until("the request is under way", || relay.held() > 0);
    relay.cut_one(1, Cut::Reset);
    // Several times what a request may wait.
    thread::sleep(Duration::from_secs(2));
    relay.resume();
    assert_eq!(client.hear(), format!("-{UNKNOWN}"));
    let severed = || {
        let metrics = proxy.get("/metrics").1;
        let line = metrics.lines().find_map(|line| line.strip_prefix("cloakroom_severs_total{result=\"killed\"} "));
        line.is_some_and(|count| count != "0")
    };
    wait_until("the server has been told to forget it", severed);
    assert_eq!(other.ask("SET k new"), "+OK");
    relay.deliver();
    assert_stays(&server, &["GET", "k"], "new");
}

/// `queue_timeout` and then `reply_timeout`, however often the connection comes and goes meanwhile (G7).
///
/// A request that is not sent waited as long anew on each connection there was.
#[test]
fn a_request_waits_no_longer_because_the_server_comes_and_goes() {
    let (_server, relay, proxy) =
        behind_relay(&["listen.workers = 1", "upstream.queue_timeout = \"500ms\"", "upstream.reply_timeout = \"2s\""]);
    // So slow that most of what is queued stays here.
    relay.trickle(true);
    let value = "x".repeat(1_000_000);
    let mut others: Vec<_> = (0..15).map(|_| Wire::connect(proxy.port())).collect();
    for (number, other) in others.iter_mut().enumerate() {
        other.say(&[&format!("SET large:{number} {value}")]);
    }
    let mut client = Wire::connect(proxy.port()).patience(Duration::from_secs(10));
    let is_over = AtomicBool::new(false);
    let waited = thread::scope(|scope| {
        scope.spawn(|| {
            // Long enough to count as a good connection, so that the next comes soon.
            let mut next = Instant::now() + Duration::from_millis(1100);
            while !is_over.load(Ordering::Relaxed) {
                if Instant::now() > next {
                    relay.cut(Cut::Reset);
                    next += Duration::from_millis(1100);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        wait_until("everything is queued", || proxy.get("/metrics").1.contains("requests_total{command=\"set\"} 15"));
        let asked = Instant::now();
        client.say(&["SET small v"]);
        let told = client.try_frame();
        is_over.store(true, Ordering::Relaxed);
        assert!(told.is_ok(), "{told:?}");
        asked.elapsed()
    });
    assert!(waited < Duration::from_secs(4), "told after {waited:?}");
}

/// One client gave up before its write was sent, and asked again, elsewhere.
///
/// The write waited on the connection of one worker while another worker's was well, and was sent when nobody knew of
/// it any more.
#[test]
fn a_write_of_a_client_that_is_gone_overwrites_nothing_told_written_after() {
    let (server, relay, proxy) = behind_relay(&["listen.workers = 2"]);
    let (mut hasty, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    relay.delay_one(0);
    hasty.say(&["SET k first"]);
    let mut is_first = false;
    wait_until("the request is held, or answered", || {
        is_first = relay.held() > 0;
        is_first || server.cli(&["EXISTS", "k"]) == "1"
    });
    relay.deliver();
    assert_eq!(hasty.hear(), "+OK");
    relay.stop_newcomers();
    relay.cut_one(usize::from(!is_first), Cut::Reset);
    wait_until("one worker is without a connection", || proxy.get("/readyz").0 == 503);
    hasty.say(&["SET k old"]);
    wait_until("it is queued", || proxy.get("/metrics").1.contains("requests_total{command=\"set\"} 2"));
    drop(hasty);
    assert_eq!(other.ask("SET k old"), "+OK");
    assert_eq!(other.ask("SET k new"), "+OK");
    relay.resume();
    proxy.wait_ready();
    assert_stays(&server, &["GET", "k"], "new");
}
