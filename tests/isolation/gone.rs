//! Clients that vanish in the middle of something.

use super::House;
use crate::support::{Wire, wait_until};

#[test]
fn a_vanished_clients_transaction_never_runs() {
    let house = House::open();
    for lines in
        [&["MULTI", "SET ghost 1"][..], &["WATCH ghost", "MULTI", "SET ghost 1"], &["MULTI", "SELECT 3", "SET ghost 1"]]
    {
        let mut client = house.enter();
        client.say(lines);
        lines.iter().for_each(|_| drop(client.hear()));
        vanish(&house, client);
    }
    // Half of it is not heard of, and `EXEC` is cut short.
    let mut client = house.enter();
    client.say(&["MULTI", "SET ghost 1"]);
    client.send(b"*1\r\n$4\r\nEXE");
    vanish(&house, client);
    // The next transactions hold nothing but their own.
    let mut next = house.enter();
    for _ in 0..5 {
        next.say(&["MULTI", "EXISTS ghost", "EXEC"]);
        assert_eq!((next.hear(), next.hear(), next.hear()), ("+OK".into(), "+QUEUED".into(), "*1 :0".into()));
    }
    assert_eq!(house.server.cli(&["-n", "3", "EXISTS", "ghost"]), "0");
}

/// Everything it sent has arrived: that is a transaction as any other.
#[test]
fn a_transaction_sent_whole_runs_though_its_client_has_gone() {
    let house = House::open();
    let mut client = house.enter();
    client.say(&["MULTI", "INCR whole", "INCR whole", "EXEC"]);
    drop(client);
    wait_until("it has run", || house.server_says("GET whole").contains("2"));
}

#[test]
fn a_vanished_clients_watch_breaks_no_later_transaction() {
    let house = House::with(&["limits.pinned = 1", "upstream.queue_timeout = \"10s\""]);
    let mut client = house.enter();
    assert_eq!(client.ask("WATCH k"), "+OK");
    vanish(&house, client);
    let mut next = house.enter();
    assert_eq!(next.ask("MULTI"), "+OK");
    assert_eq!(house.server_says("SET k 1"), "+OK\r\n");
    assert_eq!(next.ask("GET k"), "+QUEUED");
    assert_eq!(next.ask("EXEC"), "*1 $1 1");
}

#[test]
fn a_vanished_client_swallows_nothing_that_is_pushed_afterwards() {
    let house = House::open();
    let ways: &[(&[&str], &str)] = &[
        (&["BLPOP l 0"], "a list, alone"),
        (&["BRPOP other l 0", "PING", "GET x"], "with more behind it"),
        (&["BLMOVE l swallowed LEFT LEFT 0"], "with a destination"),
        (&["WATCH k", "BLPOP l 0"], "while it watches"),
        (&["WATCH k", "BLPOP l 0", "PING", "MULTI", "SET ghost 1", "EXEC"], "while it watches, with more behind it"),
        (&["CLIENT REPLY OFF", "BLPOP l 0"], "without replies"),
        (&["SELECT 0", "BLPOP l 0"], "after SELECT"),
    ];
    for (lines, way) in ways {
        let mut client = house.enter();
        client.say(lines);
        house.wait_blocked(1);
        drop(client);
        house.wait_blocked(0);
        assert_eq!(house.enter().ask("RPUSH l x"), ":1", "{way}");
        assert_eq!(house.enter().ask("LRANGE l 0 -1"), "*1 $1 x", "{way}");
        assert_eq!(house.enter().ask("DEL l"), ":1", "{way}");
        house.wait_clean();
    }
    assert_eq!(house.enter().ask("EXISTS swallowed ghost"), ":0");
}

#[test]
fn a_vanished_client_in_resp3_swallows_nothing_either() {
    let house = House::open();
    for lines in [
        &["SUBSCRIBE c", "BLPOP l 0"][..],
        &["CLIENT TRACKING ON", "BLPOP l 0"],
        &["SUBSCRIBE c", "WATCH k", "BLPOP l 0"],
    ] {
        let mut client = house.enter_resp3();
        client.say(lines);
        house.wait_blocked(1);
        drop(client);
        house.wait_blocked(0);
        assert_eq!(house.enter().ask("RPUSH l x"), ":1", "{lines:?}");
        assert_eq!(house.enter().ask("LPOP l"), "x", "{lines:?}");
        house.wait_clean();
    }
}

/// It closes its side only, as `nc` does: nobody could tell it anything else than that it waits.
#[test]
fn a_blocked_client_that_closes_its_side_waits_no_more() {
    let house = House::open();
    let mut client = house.enter();
    client.say(&["BLPOP l 0"]);
    house.wait_blocked(1);
    client.finish();
    assert_eq!(client.rest(), Ok(Vec::new()));
    house.wait_blocked(0);
}

#[test]
fn a_client_that_closes_its_side_gets_what_it_asked_for() {
    let house = House::open();
    let mut client = house.enter();
    client.say(&["SET a 1", "GET a", "MULTI", "INCR a", "EXEC", "EVAL \"return {1,{2}}\" 0", "WATCH a", "GET a"]);
    client.finish();
    let answer = client.rest().expect("an end");
    let expected = b"+OK\r\n$1\r\n1\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n*2\r\n:1\r\n*1\r\n:2\r\n+OK\r\n$1\r\n2\r\n";
    assert_eq!(answer.escape_ascii().to_string(), expected.escape_ascii().to_string());
    house.wait_clean();
}

/// Whether it still gets what the blocking command finds is nobody's business; what is before it is.
#[test]
fn a_blocked_client_that_closes_its_side_gets_what_was_answered_before() {
    let house = House::open();
    let mut client = house.enter();
    client.say(&["SET a 1", "MULTI", "INCR a", "EXEC", "BLPOP none 0"]);
    client.finish();
    let answer = client.rest().expect("an end");
    assert_eq!(answer.escape_ascii().to_string(), b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n".escape_ascii().to_string());
    house.wait_clean();
}

/// More than is read ahead stands behind the blocking command: its end cannot be read, but must be seen.
#[test]
fn a_blocked_client_that_vanishes_behind_a_long_pipeline_gives_its_connection_back() {
    let house = House::with(&["limits.pinned = 1", "upstream.queue_timeout = \"10s\""]);
    let mut client = house.enter();
    client.say(&["BLPOP never 0"]);
    wait_until("it blocks", || house.server_says("INFO clients").contains("blocked_clients:1"));
    client.send(&b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(4000));
    drop(client);
    let mut next = house.enter();
    assert_eq!(next.ask("MULTI"), "+OK");
    assert_eq!(next.ask("GET k"), "+QUEUED");
    assert_eq!(next.ask("EXEC"), "*1 $-1");
}

#[test]
fn a_vanished_subscriber_is_subscribed_no_more() {
    let house = House::open();
    let mut clients = [house.enter(), house.enter_resp3(), house.enter()];
    clients[0].say(&["SUBSCRIBE a b", "PSUBSCRIBE p*"]);
    clients[1].say(&["SUBSCRIBE a", "SSUBSCRIBE s"]);
    // Confirmations unread.
    clients[2].say(&["SUBSCRIBE a", "SUBSCRIBE b"]);
    wait_until("all are subscribed", || house.server_says("PUBSUB NUMSUB a b").contains(":3\r\n$1\r\nb\r\n:2"));
    drop(clients);
    wait_until("nobody is subscribed", || house.server_says("PUBSUB CHANNELS") == "*0\r\n");
    wait_until("nobody is subscribed to a shard", || house.server_says("PUBSUB SHARDCHANNELS") == "*0\r\n");
    assert_eq!(house.enter().ask("PUBLISH p1 x"), ":0");
    house.wait_clean();
}

#[test]
fn what_monitors_and_tracks_ends_with_its_client() {
    let house = House::open();
    let (mut monitor, mut tracker) = (house.enter(), house.enter_resp3());
    assert_eq!(monitor.ask("MONITOR"), "+OK");
    assert_eq!(tracker.ask("CLIENT TRACKING ON"), "+OK");
    drop((monitor, tracker));
    house.wait_clean();
    house.enter_resp3().expect_silence();
}

#[test]
fn half_a_request_of_a_vanished_client_is_not_run() {
    let house = House::open();
    let halves: [&[u8]; 6] = [
        b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\nhel",
        b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\nhello",
        b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\nhello\r",
        b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n",
        b"SET half inline",
        b"MULTI\r\nSET half multi\r\nEXEC",
    ];
    for half in halves {
        let mut client = house.enter();
        client.send(half);
        vanish(&house, client);
        assert_eq!(house.enter().ask("EXISTS half"), ":0", "{}", half.escape_ascii());
    }
}

#[test]
fn replies_nobody_reads_any_more_go_to_nobody_else() {
    let house = House::open();
    let mut other = house.enter();
    assert_eq!(other.ask(&format!("SET big {}", "x".repeat(1 << 20))), "+OK");
    for round in 0..20 {
        let mut client = house.enter();
        client.say(&["GET big"; 30]);
        // Some of it has come, most of it has not.
        if round % 2 == 0 {
            client.frame();
        }
        other.say(&["ECHO before", "GET none", "INCR n"]);
        drop(client);
        assert_eq!(
            (other.hear(), other.hear(), other.hear()),
            ("before".into(), "$-1".into(), format!(":{}", round + 1))
        );
    }
    house.wait_clients(1);
}

#[test]
fn requests_of_a_vanished_client_are_answered_to_nobody_else() {
    let house = House::open();
    let mut other = house.enter();
    for round in 1..=50 {
        let mut client = house.enter();
        client.say(&["INCR gone"; 40]);
        let before = format!("ECHO {round}");
        other.say(&["GET none", &before]);
        drop(client);
        other.say(&["PING", "EXISTS none"]);
        assert_eq!((other.hear(), other.hear()), ("$-1".into(), round.to_string()));
        assert_eq!((other.hear(), other.hear()), ("+PONG".into(), ":0".into()));
    }
    // What had been sent has been run, once.
    wait_until("all have run", || house.server_says("GET gone").contains("2000"));
}

/// The end of a client, wherever it stands, leaves nothing behind on either side.
#[test]
fn connections_of_vanished_clients_come_back_or_are_closed() {
    let house = House::open();
    let ends: &[&[&str]] = &[
        &["MULTI", "SET ghost 1"],
        &["WATCH k"],
        &["SUBSCRIBE c"],
        &["MONITOR"],
        &["BLPOP none 0"],
        &["CLIENT TRACKING ON BCAST"],
        &["WATCH k", "CLIENT REPLY OFF", "MULTI"],
    ];
    for _ in 0..5 {
        let clients: Vec<_> = ends
            .iter()
            .map(|lines| {
                let mut client = house.enter();
                client.say(lines);
                client
            })
            .collect();
        house.wait_blocked(1);
        drop(clients);
        house.wait_clients(0);
        house.wait_clean();
    }
    // A worker keeps eight at most.
    wait_until("few are kept", || house.metric("cloakroom_upstream_connections{kind=\"pinned\"}") <= 8.0);
    assert_eq!(house.enter().ask("EXISTS ghost"), ":0");
}

/// Returns when neither the proxy nor the server knows of it any more.
fn vanish(house: &House, client: Wire) {
    drop(client);
    house.wait_clients(0);
    house.wait_clean();
}
