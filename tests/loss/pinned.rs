//! Subscribers and those who block, when their connection is lost, and while it is not.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use super::support::{Cut, Wire, shown, stays_so, wait_until};
use super::{UNKNOWN, behind_relay, pinned};

#[test]
fn a_subscriber_sees_the_gap() {
    for subscribe in ["SUBSCRIBE channel", "PSUBSCRIBE *", "SSUBSCRIBE channel", "MONITOR"] {
        for is_resp3 in [false, true] {
            let (_server, relay, proxy) = behind_relay(&[]);
            let mut client = if is_resp3 { Wire::connect_resp3(proxy.port()) } else { Wire::connect(proxy.port()) };
            let mut other = Wire::connect(proxy.port());
            assert!(!client.ask(subscribe).starts_with('-'), "{subscribe}");
            relay.cut(Cut::Reset);
            assert_closed(&client, subscribe);
            assert_eq!(other.ask("GET k"), "$-1", "others are not concerned");
        }
    }
}

#[test]
fn a_client_that_tracks_sees_the_gap() {
    let (_server, relay, proxy) = behind_relay(&[]);
    let mut client = Wire::connect_resp3(proxy.port());
    assert_eq!(client.ask("CLIENT TRACKING ON"), "+OK");
    relay.cut(Cut::Finish);
    assert_closed(&client, "CLIENT TRACKING");
}

#[test]
fn a_subscriber_may_come_back_at_once() {
    let (_server, relay, proxy) = behind_relay(&["upstream.queue_timeout = \"15s\""]);
    for _ in 0..5 {
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("SUBSCRIBE channel"), "*3 $9 subscribe $7 channel :1");
        relay.cut(Cut::Finish);
        assert_closed(&client, "SUBSCRIBE");
    }
}

#[test]
fn a_blocking_pop_that_is_lost_has_an_unknown_outcome() {
    for how in [Cut::Reset, Cut::Finish] {
        let (_server, relay, proxy) = behind_relay(&[]);
        let mut client = Wire::connect(proxy.port());
        client.say(&["BLPOP queue 0"]);
        wait_until("it waits on the server", || pinned(&proxy) == 1);
        stays_so("it waits", Duration::from_millis(100), || pinned(&proxy) == 1);
        relay.cut(how);
        assert_eq!(client.hear(), UNKNOWN);
        assert_eq!(client.ask("GET k"), "$-1", "its connection stays");
        assert_eq!(client.ask("LPUSH queue a"), ":1");
        assert_eq!(client.ask("BLPOP queue 0"), "*2 $5 queue $1 a");
    }
}

/// `reply_timeout` is not for those that block.
#[test]
fn a_blocking_pop_waits_as_long_as_it_likes() {
    let (_server, _relay, proxy) = behind_relay(&["upstream.reply_timeout = \"200ms\""]);
    let (mut waiting, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    waiting.say(&["BLPOP queue 0"]);
    stays_so("nothing happens", Duration::from_secs(1), || other.ask("GET k") == "$-1");
    assert_eq!(other.ask("RPUSH queue a"), ":1");
    assert_eq!(waiting.hear(), "*2 $5 queue $1 a");
}

#[test]
fn who_waits_for_others_waits_as_long_as_it_likes() {
    let (_server, _relay, proxy) = behind_relay(&["upstream.reply_timeout = \"200ms\""]);
    let connect = || Wire::connect(proxy.port());
    let (mut subscriber, mut monitor, mut watching, mut other) = (connect(), connect(), connect(), connect());
    assert_eq!(subscriber.ask("SUBSCRIBE c"), "*3 $9 subscribe $1 c :1");
    assert_eq!(monitor.ask("MONITOR"), "+OK");
    assert_eq!(watching.ask("WATCH k"), "+OK");
    let mut blocked: Vec<_> =
        ["BLPOP q 1", "BLMOVE q r LEFT LEFT 1", "XREAD BLOCK 1000 STREAMS s $", "BZPOPMIN z 1", "WAIT 1 1000"]
            .into_iter()
            .map(|command| (command, connect()))
            .collect();
    blocked.iter_mut().for_each(|(command, client)| client.say(&[command]));
    for (command, client) in &mut blocked {
        let expected = if command.starts_with("WAIT") { ":0" } else { "*-1" };
        let reply = client.hear();
        assert!(reply == expected || reply == "$-1", "{command} was answered {reply}");
    }
    assert_eq!(other.ask("PUBLISH c hello"), ":1");
    assert_eq!(subscriber.hear(), "*3 $7 message $1 c $5 hello");
    while !monitor.hear().contains("PUBLISH") {}
    assert_eq!(watching.ask("MULTI"), "+OK");
    assert_eq!(watching.ask("EXEC"), "*0");
}

/// While its client does not read, a reply waits at the server: that is not the server's fault.
#[test]
fn a_client_that_reads_slowly_gets_all_of_its_reply() {
    let (_server, _relay, proxy) = behind_relay(&["upstream.reply_timeout = \"1s\""]);
    let mut client = Wire::connect(proxy.port());
    let value = "v".repeat(5_000_000);
    assert_eq!(client.ask(&format!("SET big {value}")), "+OK");
    assert_eq!(client.ask("MULTI"), "+OK");
    for _ in 0..4 {
        assert_eq!(client.ask("GET big"), "+QUEUED");
    }
    client.say(&["EXEC"]);
    let mut other = Wire::connect(proxy.port());
    stays_so("others are served", Duration::from_secs(3), || other.ask("STRLEN big") == ":5000000");
    let frame = client.frame();
    assert!(frame.len() > 20_000_000 && frame.starts_with(b"*4\r\n$5000000\r\nvvv"), "{}", shown(&frame));
    assert_eq!(client.ask("STRLEN big"), ":5000000");
}

/// With a FIN: a RST kills some clients.
fn assert_closed(client: &Wire, what: &str) {
    let mut stream = client.writer();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        // `MONITOR` shows what else was going on, its own `OK` is heard.
        Ok(_) => assert!(rest.is_empty() || what == "MONITOR", "{what}: {}", rest.escape_ascii()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => panic!("{what}: reset"),
        Err(error) => panic!("{what}: {error}"),
    }
}
