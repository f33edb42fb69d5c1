//! Clients that live: each has its database, its transaction, its subscriptions, its name.

use super::House;
use crate::support::wait_until;

#[test]
fn each_client_stays_in_its_own_database() {
    let house = House::open();
    let mut clients: Vec<_> = (0..4).map(|_| house.enter()).collect();
    for (db, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&format!("SELECT {db}")), "+OK");
    }
    for round in 0..50 {
        for (db, client) in clients.iter_mut().enumerate() {
            client.say(&[&format!("SET where {db}-{round}"), "GET where", "ZADD z 1 a", "ZRANGE z 0 -1 WITHSCORES"]);
        }
        for (db, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.hear(), "+OK");
            assert_eq!(client.hear(), format!("{db}-{round}"));
            let (_, _) = (client.hear(), client.hear());
        }
    }
    assert_eq!(house.enter().ask("GET where"), "0-49");
    assert_eq!(house.server.cli(&["-n", "3", "GET", "where"]), "3-49");
}

#[test]
fn a_database_chosen_in_a_transaction_is_its_clients_alone() {
    let house = House::open();
    let (mut one, mut other) = (house.enter(), house.enter());
    one.say(&["MULTI", "SELECT 5", "SET k five"]);
    assert_eq!((one.hear(), one.hear(), one.hear()), ("+OK".into(), "+QUEUED".into(), "+QUEUED".into()));
    assert_eq!(other.ask("SET k zero"), "+OK");
    assert_eq!(one.ask("EXEC"), "*2 +OK +OK");
    assert_eq!(one.ask("GET k"), "five");
    assert_eq!(other.ask("GET k"), "zero");
    other.say(&["MULTI", "GET k", "EXEC"]);
    assert_eq!((other.hear(), other.hear(), other.hear()), ("+OK".into(), "+QUEUED".into(), "*1 $4 zero".into()));
}

#[test]
fn a_transaction_holds_only_its_own_clients_commands() {
    let house = House::open();
    let (mut one, mut other) = (house.enter(), house.enter());
    assert_eq!(one.ask("MULTI"), "+OK");
    assert_eq!(other.ask("SET a other"), "+OK");
    assert_eq!(one.ask("SET a one"), "+QUEUED");
    assert_eq!(other.ask("MULTI"), "+OK");
    assert_eq!(other.ask("GET a"), "+QUEUED");
    assert_eq!(house.enter().ask("GET a"), "other");
    assert_eq!(one.ask("EXEC"), "*1 +OK");
    assert_eq!(other.ask("EXEC"), "*1 $3 one");
}

#[test]
fn a_watch_is_broken_by_anybodys_write_and_breaks_nobody_elses_transaction() {
    let house = House::open();
    let (mut watcher, mut bystander, mut writer) = (house.enter(), house.enter(), house.enter());
    assert_eq!(watcher.ask("WATCH k"), "+OK");
    assert_eq!(bystander.ask("WATCH j"), "+OK");
    assert_eq!(writer.ask("SET k 1"), "+OK");
    for client in [&mut watcher, &mut bystander] {
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask("INCR n"), "+QUEUED");
    }
    assert_eq!(watcher.ask("EXEC"), "*-1");
    assert_eq!(bystander.ask("EXEC"), "*1 :1");
    // It is over with `EXEC`, on whatever connection the next one is.
    assert_eq!(writer.ask("SET k 2"), "+OK");
    assert_eq!(watcher.ask("MULTI"), "+OK");
    assert_eq!(watcher.ask("EXEC"), "*0");
}

#[test]
fn messages_reach_their_subscribers_and_nobody_else() {
    let house = House::open();
    let (mut resp2, mut resp3, mut pattern, mut shard) =
        (house.enter(), house.enter_resp3(), house.enter(), house.enter());
    let (mut plain, mut plain3, mut publisher) = (house.enter(), house.enter_resp3(), house.enter());
    assert_eq!(resp2.ask("SUBSCRIBE news"), "*3 $9 subscribe $4 news :1");
    assert_eq!(resp3.ask("SUBSCRIBE news"), ">3 $9 subscribe $4 news :1");
    assert_eq!(pattern.ask("PSUBSCRIBE n*"), "*3 $10 psubscribe $2 n* :1");
    assert_eq!(shard.ask("SSUBSCRIBE news"), "*3 $10 ssubscribe $4 news :1");
    assert_eq!(publisher.ask("PUBLISH news hello"), ":3");
    assert_eq!(publisher.ask("SPUBLISH news shard"), ":1");
    assert_eq!(resp2.hear(), "*3 $7 message $4 news $5 hello");
    assert_eq!(resp3.hear(), ">3 $7 message $4 news $5 hello");
    assert_eq!(pattern.hear(), "*4 $8 pmessage $2 n* $4 news $5 hello");
    assert_eq!(shard.hear(), "*3 $8 smessage $4 news $5 shard");
    for client in [&mut resp3, &mut plain, &mut plain3, &mut publisher] {
        client.expect_silence();
    }
    for client in [&mut resp2, &mut pattern, &mut shard] {
        assert_eq!(client.ask("PING"), "*2 $4 pong $0");
    }
}

#[test]
fn a_subscriber_in_resp3_goes_on_with_other_commands() {
    let house = House::open();
    let (mut subscriber, mut other) = (house.enter_resp3(), house.enter());
    assert_eq!(subscriber.ask("SUBSCRIBE c"), ">3 $9 subscribe $1 c :1");
    for n in 0..100 {
        subscriber.say(&[&format!("SET k {n}"), "GET k"]);
        assert_eq!(other.ask(&format!("PUBLISH c {n}")), ":1");
        let mut heard = [subscriber.hear(), subscriber.hear(), subscriber.hear()];
        // The message comes whenever it comes, the replies in order.
        heard.sort_by_key(|frame| !frame.starts_with('>'));
        assert_eq!(heard, [format!(">3 $7 message $1 c ${} {n}", n.to_string().len()), "+OK".into(), n.to_string()]);
    }
    assert_eq!(subscriber.ask("UNSUBSCRIBE c"), ">3 $11 unsubscribe $1 c :0");
    assert_eq!(other.ask("PUBLISH c nobody"), ":0");
    subscriber.expect_silence();
}

#[test]
fn a_blocked_client_is_woken_by_anothers_push_and_holds_up_nobody() {
    let house = House::open();
    let mut blocked: Vec<_> = (0..3).map(|_| house.enter()).collect();
    for (at, client) in blocked.iter_mut().enumerate() {
        client.say(&[&format!("BLPOP l{at} 0")]);
        house.wait_blocked(at + 1);
    }
    let mut other = house.enter();
    for n in 1..=100 {
        assert_eq!(other.ask("INCR n"), format!(":{n}"));
    }
    for (at, client) in blocked.iter_mut().enumerate().rev() {
        assert_eq!(other.ask(&format!("RPUSH l{at} x{at}")), ":1");
        assert_eq!(client.hear(), format!("*2 $2 l{at} $2 x{at}"));
        client.expect_silence();
    }
    house.wait_clean();
}

/// What was sent behind a blocking command is done after it.
#[test]
fn a_blocked_clients_next_commands_wait_for_it() {
    let house = House::open();
    let (mut blocked, mut other) = (house.enter(), house.enter());
    blocked.say(&["SET order 1", "BLPOP l 0", "GET order", "SELECT 1", "GET order"]);
    assert_eq!(blocked.hear(), "+OK");
    house.wait_blocked(1);
    assert_eq!(other.ask("SET order 2"), "+OK");
    assert_eq!(other.ask("RPUSH l x"), ":1");
    assert_eq!(blocked.hear(), "*2 $1 l $1 x");
    assert_eq!((blocked.hear(), blocked.hear(), blocked.hear()), ("2".into(), "+OK".into(), "$-1".into()));
}

#[test]
fn who_monitors_sees_the_others_and_is_alone_in_it() {
    let house = House::open();
    let (mut monitor, mut other) = (house.enter(), house.enter());
    assert_eq!(monitor.ask("MONITOR"), "+OK");
    assert_eq!(other.ask("SET seen yes"), "+OK");
    let line = loop {
        let line = monitor.hear();
        assert!(line.starts_with('+'), "{line}");
        if line.contains("SET") {
            break line;
        }
    };
    assert!(line.contains(r#"\"SET\" \"seen\" \"yes\""#), "{line}");
    other.expect_silence();
    assert_eq!(other.ask("GET seen"), "yes");
}

#[test]
fn who_monitors_may_go_on_asking() {
    let house = House::open();
    let mut monitor = house.enter();
    assert_eq!(monitor.ask("MONITOR"), "+OK");
    monitor.say(&["PING", "ECHO text"]);
    let mut replies = Vec::new();
    while replies.len() < 2 {
        let frame = monitor.hear();
        if !frame.contains('[') {
            replies.push(frame);
        }
    }
    assert_eq!(replies, ["+PONG", "text"]);
    // `RESET` ends it; lines of before may still come.
    monitor.say(&["RESET"]);
    while monitor.hear() != "+RESET" {}
    monitor.expect_silence();
}

/// One line of `MONITOR` is as long as the longest request.
#[test]
fn who_monitors_sees_long_requests_whole() {
    let house = House::open();
    let (mut monitor, mut other) = (house.enter(), house.enter());
    assert_eq!(monitor.ask("MONITOR"), "+OK");
    let value = "v".repeat(300_000);
    assert_eq!(other.ask(&format!("SET long {value}")), "+OK");
    loop {
        let line = monitor.frame();
        if line.len() > 300_000 {
            assert!(line.windows(5).any(|window| window == b"vv\"\r\n"), "the end of the value");
            break;
        }
    }
}

#[test]
fn replies_switched_off_by_one_client_come_for_all_others() {
    let house = House::open();
    let (mut silent, mut other) = (house.enter(), house.enter());
    silent.say(&["CLIENT REPLY OFF"]);
    for n in 1..=50 {
        silent.say(&["INCR n", "ZADD z 1 a", "BLPOP none 0.001"]);
        assert_eq!(other.ask(&format!("ECHO {n}")), n.to_string());
        assert_eq!(other.ask("EXISTS none"), ":0");
    }
    silent.say(&["CLIENT REPLY ON"]);
    assert_eq!(silent.hear(), "+OK");
    assert_eq!(silent.ask("GET n"), "50");
}

#[test]
fn invalidations_reach_the_client_that_tracks_and_nobody_else() {
    let house = House::open();
    let (mut tracker, mut bystander, mut writer) = (house.enter_resp3(), house.enter_resp3(), house.enter());
    assert_eq!(tracker.ask("CLIENT TRACKING ON"), "+OK");
    assert_eq!(tracker.ask("GET k"), "_");
    assert_eq!(bystander.ask("GET k"), "_");
    assert_eq!(writer.ask("SET k 1"), "+OK");
    assert_eq!(tracker.hear(), ">2 $10 invalidate *1 $1 k");
    assert_eq!(tracker.ask("GET k"), "1");
    bystander.expect_silence();
    assert_eq!(tracker.ask("CLIENT TRACKING OFF"), "+OK");
    assert_eq!(writer.ask("SET k 2"), "+OK");
    tracker.expect_silence();
    assert_eq!(writer.ask("FLUSHALL"), "+OK");
    tracker.expect_silence();
}

#[test]
fn a_flush_reaches_the_client_that_tracks() {
    let house = House::open();
    let (mut tracker, mut writer) = (house.enter_resp3(), house.enter());
    assert_eq!(tracker.ask("CLIENT TRACKING ON BCAST"), "+OK");
    assert_eq!(writer.ask("FLUSHALL"), "+OK");
    assert_eq!(tracker.hear(), ">2 $10 invalidate _");
    assert_eq!(writer.ask("SET k 1"), "+OK");
    assert_eq!(tracker.hear(), ">2 $10 invalidate *1 $1 k");
}

#[test]
fn names_numbers_and_protocols_are_each_clients_own() {
    let house = House::open();
    let (mut one, mut other) = (house.enter(), house.enter());
    assert_eq!(one.ask("CLIENT SETNAME one"), "+OK");
    assert_eq!(other.ask("CLIENT GETNAME"), "$-1");
    assert!(one.ask("HELLO 3").starts_with("%7"));
    assert_eq!(other.ask("HGETALL none"), "*0");
    assert_eq!(one.ask("HGETALL none"), "%0");
    assert_eq!(other.ask("GET none"), "$-1");
    assert_ne!(one.ask("CLIENT ID"), other.ask("CLIENT ID"));
    assert_eq!(one.ask("RESET"), "+RESET");
    assert_eq!(one.ask("CLIENT GETNAME"), "$-1");
    assert_eq!(one.ask("HGETALL none"), "*0");
}

/// Seen by those who may see it: clients know each other, not the server's connections.
#[test]
fn clients_see_the_list_of_the_proxys_clients() {
    let house = House::open();
    let (mut one, mut other) = (house.enter(), house.enter_resp3());
    assert_eq!(one.ask("CLIENT SETNAME first"), "+OK");
    assert_eq!(other.ask("SELECT 3"), "+OK");
    house.wait_clients(2);
    let list = String::from_utf8(one.frame_of("CLIENT LIST")).expect("text");
    assert_eq!(list.lines().filter(|line| line.starts_with("id=")).count(), 2, "{list}");
    assert!(list.contains(&format!(" addr={} ", one.address())) && list.contains(" name=first "), "{list}");
    assert!(list.contains(&format!(" addr={} ", other.address())) && list.contains(" db=3 "), "{list}");
    // From a connection of its own the view is the same.
    assert_eq!(one.ask("WATCH k"), "+OK");
    let list = String::from_utf8(one.frame_of("CLIENT LIST")).expect("text");
    assert_eq!(list.lines().filter(|line| line.starts_with("id=")).count(), 2, "{list}");
}

#[test]
fn a_killed_client_is_closed_whatever_it_does() {
    let house = House::open();
    let mut killer = house.enter();
    let preparations: &[&[&str]] =
        &[&[], &["MULTI", "SET killed 1"], &["WATCH k"], &["SUBSCRIBE c"], &["MONITOR"], &["BLPOP none 0"]];
    for lines in preparations {
        let mut victim = house.enter();
        let id = victim.ask("CLIENT ID");
        victim.say(lines);
        let is_blocked = lines.first().is_some_and(|line| line.starts_with("BLPOP"));
        if is_blocked {
            house.wait_blocked(1);
        } else {
            lines.iter().for_each(|_| drop(victim.hear()));
        }
        assert_eq!(killer.ask(&format!("CLIENT KILL ID {}", &id[1..])), ":1", "{lines:?}");
        victim.rest().unwrap_or_else(|end| panic!("{lines:?}: {end}"));
        house.wait_clean();
    }
    assert_eq!(killer.ask("EXISTS killed"), ":0");
}

#[test]
fn a_client_that_kills_itself_gets_its_reply() {
    let house = House::open();
    for preparation in ["PING", "WATCH k", "SELECT 2"] {
        let mut client = house.enter();
        client.ask(preparation);
        let id = client.ask("CLIENT ID");
        assert_eq!(client.ask(&format!("CLIENT KILL ID {} SKIPME no", &id[1..])), ":1", "after {preparation}");
        assert_eq!(client.rest(), Ok(Vec::new()), "after {preparation}");
    }
    let mut client = house.enter();
    let address = client.address();
    assert_eq!(client.ask(&format!("CLIENT KILL {address}")), "+OK");
    assert_eq!(client.rest(), Ok(Vec::new()));
}

/// The numbers clients know are not the server's: what was meant for one's own second connection would reach
/// a stranger's, or a shared one.
#[test]
fn invalidations_cannot_be_sent_to_another_client() {
    let house = House::open();
    let (mut victim, mut other) = (house.enter_resp3(), house.enter_resp3());
    assert_eq!(victim.ask("SUBSCRIBE c"), ">3 $9 subscribe $1 c :1");
    let list = house.server_says("CLIENT LIST");
    let ids: Vec<_> = list.lines().filter_map(|line| line.strip_prefix("id=")?.split(' ').next()).collect();
    assert!(ids.len() > 2, "{list}");
    for id in ids {
        other.say(&[&format!("CLIENT TRACKING ON BCAST REDIRECT {id}")]);
        let reply = other.hear();
        assert!(reply.starts_with('-'), "REDIRECT {id}: {reply}");
    }
    assert_eq!(house.enter().ask("SET k 1"), "+OK");
    victim.expect_silence();
}

/// A transaction, a watch, a subscription on the connection of a client of before: the next one has none of it.
#[test]
fn a_connection_that_comes_back_is_clean_for_the_next_client() {
    let house = House::with(&["limits.pinned = 1", "upstream.queue_timeout = \"10s\""]);
    let uses: &[(&[&str], &str)] = &[
        (&["MULTI", "SELECT 7", "EXEC"], "*1 +OK"),
        (&["WATCH next", "SELECT 7", "UNWATCH"], "+OK"),
        (&["WATCH next", "MULTI", "EXEC"], "*0"),
        (&["MULTI", "FOO", "EXEC"], "-EXECABORT Transaction discarded because of previous errors."),
        (&["MULTI", "SET queued 1", "DISCARD"], "+OK"),
        (&["SUBSCRIBE c", "UNSUBSCRIBE c"], "*3 $11 unsubscribe $1 c :0"),
        (&["PSUBSCRIBE c*", "PUNSUBSCRIBE"], "*3 $12 punsubscribe $2 c* :0"),
        (&["BLPOP none 0.001"], "*-1"),
        (&["READONLY"], "-ERR This instance has cluster support disabled"),
    ];
    for (lines, last) in uses {
        // It may still be on its way back when the next client asks; then that one gets a new one.
        wait_until("the next client gets the same connection", || {
            let before = house.connections_made();
            let (mut client, mut next) = (house.enter(), house.enter());
            client.say(lines);
            let replies: Vec<_> = lines.iter().map(|_| client.hear()).collect();
            assert_eq!(replies.last().map(String::as_str), Some(*last), "{lines:?}");
            assert_eq!(next.ask("SET next 1"), "+OK");
            next.say(&["MULTI", "GET next", "EXEC", "GET queued"]);
            let replies: Vec<_> = (0..4).map(|_| next.hear()).collect();
            assert_eq!(replies, ["+OK", "+QUEUED", "*1 $1 1", "$-1"], "after {lines:?}");
            house.connections_made() == before
        });
    }
}
