//! `reconnect = "eager"`: subscriptions outlive their connection.

use std::time::Duration;

use super::support::{Cut, Proxy, RedisServer, Wire, stays_so, wait_until};
use super::{NOTHING, behind_relay, counted, pinned, proxy, wait_lost};

const EAGER: &str = "upstream.reconnect = \"eager\"";
const PATIENT: &str = "upstream.queue_timeout = \"15s\"";

/// Kinds of subscriptions: how it is made, how it is confirmed, where to publish, and what is heard of `x`.
const KINDS: [(&str, &str, &str, &str); 3] = [
    ("SUBSCRIBE news", "9 subscribe $4 news :1", "PUBLISH news x", "3 $7 message $4 news $1 x"),
    ("PSUBSCRIBE n*", "10 psubscribe $2 n* :1", "PUBLISH news x", "4 $8 pmessage $2 n* $4 news $1 x"),
    ("SSUBSCRIBE news", "10 ssubscribe $4 news :1", "SPUBLISH news x", "3 $8 smessage $4 news $1 x"),
];

fn connect(proxy: &Proxy, is_resp3: bool) -> (Wire, &'static str) {
    match is_resp3 {
        true => (Wire::connect_resp3(proxy.port()), ">"),
        false => (Wire::connect(proxy.port()), "*"),
    }
}

/// Times a client may have missed messages.
fn gaps(proxy: &Proxy) -> u32 {
    let metrics = proxy.get("/metrics").1;
    let count = metrics.lines().find_map(|line| line.strip_prefix("cloakroom_subscription_gaps_total "));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

/// Says `publish` until somebody hears it.
fn publish(other: &mut Wire, publish: &str) {
    wait_until("somebody hears it", || other.ask(publish) == ":1");
}

#[test]
fn a_subscriber_hears_what_is_published_after_a_restart() {
    for is_resp3 in [false, true] {
        let mut server = RedisServer::plain();
        let proxy = proxy(&server.address(), &[EAGER, PATIENT]);
        let mut other = Wire::connect(proxy.port());
        let mut subscribers = KINDS.map(|(subscribe, confirmation, _, _)| {
            let (mut client, push) = connect(&proxy, is_resp3);
            assert_eq!(client.ask(subscribe), format!("{push}3 ${confirmation}"));
            (client, push)
        });
        server.kill();
        wait_lost(&proxy);
        server.start();
        proxy.wait_ready();
        wait_until("all are subscribed again", || gaps(&proxy) == 3);
        for ((client, push), (subscribe, _, say, heard)) in subscribers.iter_mut().zip(KINDS) {
            // A message for the channel goes to the pattern, too.
            wait_until("somebody hears it", || other.ask(say) != ":0");
            assert_eq!(client.hear(), format!("{push}{heard}"), "{subscribe}");
        }
        assert_eq!(pinned(&proxy), 3);
    }
}

#[test]
fn a_subscriber_goes_on_as_if_nothing_had_happened() {
    for how in [Cut::Reset, Cut::Finish] {
        let (_server, relay, proxy) = behind_relay(&[EAGER, PATIENT]);
        let (mut client, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
        assert_eq!(client.ask("SUBSCRIBE a"), "*3 $9 subscribe $1 a :1");
        assert_eq!(client.ask("PSUBSCRIBE b*"), "*3 $10 psubscribe $2 b* :2");
        for round in 1..=3 {
            relay.cut(how);
            wait_until("it is subscribed again", || gaps(&proxy) == round);
            publish(&mut other, "PUBLISH a x");
            assert_eq!(client.hear(), "*3 $7 message $1 a $1 x");
        }
        assert_eq!(client.ask("PING"), "*2 $4 pong $0");
        assert!(client.ask("GET k").starts_with("-ERR Can"), "as it may not now");
        assert_eq!(client.ask("SUBSCRIBE c"), "*3 $9 subscribe $1 c :3");
        assert_eq!(client.ask("UNSUBSCRIBE c"), "*3 $11 unsubscribe $1 c :2");
        assert_eq!(client.ask("UNSUBSCRIBE"), "*3 $11 unsubscribe $1 a :1");
        assert_eq!(client.ask("PUNSUBSCRIBE b*"), "*3 $12 punsubscribe $2 b* :0");
        assert_eq!(client.ask("GET k"), "$-1");
        wait_until("its connection is given back", || pinned(&proxy) == 1);
    }
}

#[test]
fn what_was_unsubscribed_from_is_not_subscribed_to_again() {
    let (server, relay, proxy) = behind_relay(&[EAGER, PATIENT]);
    let (mut client, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    client.say(&["SUBSCRIBE a b c"]);
    assert!((0..3).all(|_| client.hear().contains(" subscribe ")));
    assert_eq!(client.ask("UNSUBSCRIBE a"), "*3 $11 unsubscribe $1 a :2");
    relay.cut(Cut::Finish);
    wait_until("it is subscribed again", || gaps(&proxy) == 1);
    wait_until("to both", || server.cli(&["PUBSUB", "CHANNELS"]).lines().count() == 2);
    assert_eq!([other.ask("PUBLISH a x"), other.ask("PUBLISH b y"), other.ask("PUBLISH c z")], [":0", ":1", ":1"]);
    assert_eq!(client.hear(), "*3 $7 message $1 b $1 y");
    assert_eq!(client.hear(), "*3 $7 message $1 c $1 z");
    client.say(&["UNSUBSCRIBE"]);
    assert!((0..2).all(|_| client.hear().contains(" unsubscribe ")));
    relay.cut(Cut::Finish);
    assert_eq!(client.ask("ECHO here"), "here", "nothing was left to be subscribed to");
    assert_eq!(gaps(&proxy), 1);
}

#[test]
fn what_is_asked_meanwhile_waits() {
    let mut server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[EAGER, PATIENT]);
    let (mut client, mut other) = (Wire::connect_resp3(proxy.port()), Wire::connect(proxy.port()));
    assert_eq!(client.ask("SUBSCRIBE a"), ">3 $9 subscribe $1 a :1");
    server.kill();
    wait_lost(&proxy);
    client.say(&["SUBSCRIBE b", "SET k v", "PING", "UNSUBSCRIBE a", "CLIENT GETNAME"]);
    stays_so("they wait", Duration::from_millis(200), || counted(&proxy, "set") == 0);
    server.start();
    assert_eq!(client.hear(), ">3 $9 subscribe $1 b :2");
    assert_eq!([client.hear(), client.hear()], ["+OK", "+PONG"]);
    assert_eq!(client.hear(), ">3 $11 unsubscribe $1 a :1");
    assert_eq!(client.hear(), "_");
    publish(&mut other, "PUBLISH b x");
    assert_eq!(client.hear(), ">3 $7 message $1 b $1 x");
    assert_eq!(gaps(&proxy), 1);
}

#[test]
fn a_subscription_in_flight_is_made_all_the_same() {
    let (_server, relay, proxy) = behind_relay(&[EAGER, PATIENT]);
    let (mut client, mut other) = (Wire::connect_resp3(proxy.port()), Wire::connect(proxy.port()));
    assert_eq!(client.ask("SUBSCRIBE a"), ">3 $9 subscribe $1 a :1");
    relay.stop();
    client.say(&["SUBSCRIBE b c", "INCR n", "GET n", "UNSUBSCRIBE a"]);
    wait_until("they are under way", || counted(&proxy, "unsubscribe") == 1);
    relay.cut(Cut::Reset);
    relay.resume();
    assert_eq!(client.hear(), ">3 $9 subscribe $1 b :2");
    assert_eq!(client.hear(), ">3 $9 subscribe $1 c :3");
    assert_eq!([client.hear(), client.hear()], [super::UNKNOWN, super::NOT_EXECUTED], "as without a subscription");
    assert_eq!(client.hear(), ">3 $11 unsubscribe $1 a :2");
    assert_eq!(other.ask("PUBLISH a x"), ":0");
    publish(&mut other, "PUBLISH c x");
    assert_eq!(client.hear(), ">3 $7 message $1 c $1 x");
}

#[test]
fn who_was_not_subscribed_yet_has_missed_nothing() {
    let (_server, relay, proxy) = behind_relay(&[EAGER, PATIENT]);
    let mut client = Wire::connect(proxy.port());
    relay.cut_on("SUBSCRIBE");
    client.say(&["SUBSCRIBE a"]);
    wait_until("it was sent", || relay.cuts() > 0);
    relay.cut_on("nothing any more");
    assert_eq!(client.hear(), "*3 $9 subscribe $1 a :1");
    assert_eq!(gaps(&proxy), 0);
}

#[test]
fn a_server_away_for_longer_than_queue_timeout_closes_its_subscribers() {
    let mut server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[EAGER, "upstream.queue_timeout = \"300ms\""]);
    let (mut client, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    assert_eq!(client.ask("SUBSCRIBE a"), "*3 $9 subscribe $1 a :1");
    server.kill();
    assert_eq!(client.rest(), NOTHING);
    assert_eq!(other.ask("PING"), "+PONG", "others are not concerned");
    assert_eq!(gaps(&proxy), 0, "it has seen the gap");
}

/// A connection that is lost again and again: for no longer than a server that is away.
#[test]
fn a_subscription_that_costs_every_connection_is_given_up() {
    let (_server, relay, proxy) = behind_relay(&[EAGER, "upstream.queue_timeout = \"500ms\""]);
    relay.cut_on("poison");
    let mut client = Wire::connect(proxy.port());
    client.say(&["SUBSCRIBE poison"]);
    assert_eq!(client.rest(), NOTHING);
    assert!((2..20).contains(&relay.cuts()), "{} attempts", relay.cuts());
}

#[test]
fn who_may_not_subscribe_any_more_is_closed() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[EAGER, PATIENT]);
    let mut clients = ["a", "b"].map(|channel| {
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask(&format!("SUBSCRIBE {channel}")), format!("*3 $9 subscribe $1 {channel} :1"));
        client
    });
    // The server closes the connections of those who have subscribed to more.
    assert_eq!(server.operator().ask("ACL SETUSER default resetchannels &a"), "OK");
    assert_eq!(clients[1].rest(), NOTHING);
    publish(&mut Wire::connect(proxy.port()), "PUBLISH a x");
    assert_eq!(clients[0].hear(), "*3 $7 message $1 a $1 x");
}

#[test]
fn who_had_more_on_its_connection_sees_the_gap() {
    let (_server, relay, proxy) = behind_relay(&[EAGER, PATIENT]);
    let more = ["MULTI", "WATCH k", "CLIENT TRACKING ON"];
    let mut clients: Vec<_> = more
        .iter()
        .map(|more| {
            let mut client = Wire::connect_resp3(proxy.port());
            assert_eq!(client.ask("SUBSCRIBE a"), ">3 $9 subscribe $1 a :1");
            assert_eq!(client.ask(more), "+OK");
            client
        })
        .collect();
    let mut monitor = Wire::connect(proxy.port());
    assert_eq!(monitor.ask("MONITOR"), "+OK");
    relay.cut(Cut::Finish);
    for (client, more) in clients.iter_mut().zip(more) {
        assert_eq!(client.rest(), NOTHING, "{more}");
    }
    assert!(monitor.rest().is_ok(), "closed");
    assert_eq!(gaps(&proxy), 0);
}

/// Nobody tells the server where to send them now.
#[test]
fn who_got_invalidations_for_another_sees_the_gap() {
    let (server, _relay, proxy) = behind_relay(&[EAGER, PATIENT]);
    let (mut listener, mut reader) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    let id = listener.ask("CLIENT ID").trim_start_matches(':').to_owned();
    assert_eq!(listener.ask("SUBSCRIBE __redis__:invalidate"), "*3 $9 subscribe $20 __redis__:invalidate :1");
    assert_eq!(reader.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")), "+OK");
    assert_eq!(server.operator().ask("CLIENT KILL TYPE pubsub"), "1");
    assert_eq!(listener.rest(), NOTHING);
    assert_eq!(reader.ask("GET k"), "$-1");
}

#[test]
fn a_crowd_of_subscribers_is_subscribed_again() {
    const CROWD: u32 = 40;
    let mut server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[EAGER, PATIENT]);
    let mut clients: Vec<_> = (0..CROWD)
        .map(|index| {
            let (mut client, push) = connect(&proxy, index % 2 == 0);
            assert_eq!(client.ask("SUBSCRIBE a"), format!("{push}3 $9 subscribe $1 a :1"));
            (client, push)
        })
        .collect();
    server.kill();
    server.start();
    let mut other = Wire::connect(proxy.port());
    wait_until("all are subscribed again", || other.ask("PUBSUB NUMSUB a") == format!("*2 $1 a :{CROWD}"));
    assert_eq!(other.ask("PUBLISH a x"), format!(":{CROWD}"));
    for (client, push) in &mut clients {
        assert_eq!(client.hear(), format!("{push}3 $7 message $1 a $1 x"));
    }
    assert_eq!(gaps(&proxy), CROWD);
}

/// A client that goes, and a proxy that is told to, wait for no server.
#[test]
fn nobody_waits_for_the_sake_of_who_has_gone() {
    let mut server = RedisServer::plain();
    let mut proxy = proxy(&server.address(), &[EAGER, PATIENT]);
    let mut clients = [Wire::connect(proxy.port()), Wire::connect(proxy.port())];
    for client in &mut clients {
        assert_eq!(client.ask("SUBSCRIBE a"), "*3 $9 subscribe $1 a :1");
    }
    server.kill();
    wait_lost(&proxy);
    let [mut going, mut staying] = clients;
    going.finish();
    assert_eq!(going.rest(), NOTHING);
    proxy.signal("TERM");
    assert_eq!(staying.rest(), NOTHING);
    assert!(proxy.wait_exit().success());
}

/// The names are kept, so they count.
#[test]
fn what_is_remembered_of_subscribers_has_a_limit() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &[EAGER, "limits.memory = \"2MiB\""]);
    let mut client = Wire::connect(proxy.port());
    let name = "n".repeat(16 << 10);
    let fitting = (0..).take_while(|index| {
        client.say_or_fail(&[&format!("SUBSCRIBE {index}-{name}")]);
        client.try_frame().is_ok()
    });
    let fitting = fitting.count();
    assert!((100..140).contains(&fitting), "{fitting} names of 16 KiB");
    assert_eq!(Wire::connect(proxy.port()).ask("ECHO here"), "here");
}
