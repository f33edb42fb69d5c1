//! A transaction or a watch, when the connection it was begun on is lost.

use std::time::{Duration, Instant};

use super::support::{Cut, RedisServer, Wire, request, stays_so, wait_until, words};
use super::{Direction, NOT_EXECUTED, UNKNOWN, any_cut, any_direction, behind_relay, counted, pinned, proxy, seeded};

const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.";

#[test]
fn a_transaction_that_is_lost_before_exec_is_not_executed() {
    for how in [Cut::Reset, Cut::Finish] {
        let (server, relay, proxy) = behind_relay(&[]);
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask("SET a 1"), "+QUEUED");
        relay.cut(how);
        // One that is on its way just then is told that it did not run.
        let reply = client.ask("SET b 2");
        assert!(["+QUEUED", NOT_EXECUTED].contains(&reply.as_str()), "{reply}");
        assert_eq!(client.ask("GET b"), "+QUEUED");
        assert_eq!(client.ask("EXEC"), ABORTED);
        assert_eq!(client.ask("EXEC"), "-ERR EXEC without MULTI");
        assert_eq!(server.cli(&["EXISTS", "a", "b"]), "0");
        assert_eq!(client.ask("SET c 3"), "+OK");
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask("SET a 1"), "+QUEUED");
        assert_eq!(client.ask("EXEC"), "*1 +OK");
    }
}

#[test]
fn a_transaction_that_is_lost_can_be_discarded() {
    let (server, relay, proxy) = behind_relay(&[]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("SET a 1"), "+QUEUED");
    relay.cut(Cut::Finish);
    wait_until("the loss is known", || pinned(&proxy) == 0);
    assert_eq!(client.ask("DISCARD"), "+OK");
    assert_eq!(client.ask("SET b 2"), "+OK");
    assert_eq!(server.cli(&["EXISTS", "a"]), "0");
}

/// Also while there is no server at all.
#[test]
fn a_transaction_that_is_lost_is_told_so_during_the_outage() {
    let mut server = RedisServer::plain();
    let proxy = proxy(&server.address(), &["upstream.queue_timeout = \"300ms\""]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("MULTI"), "+OK");
    server.kill();
    super::wait_lost(&proxy);
    assert_eq!(client.ask("SET a 1"), "+QUEUED");
    assert_eq!(client.ask("EXEC"), ABORTED);
    // Refused at once, or at its end.
    match client.ask("MULTI").as_str() {
        NOT_EXECUTED => assert_eq!(client.ask("SET a 1"), NOT_EXECUTED, "not queued: there is no transaction"),
        "+OK" => assert_eq!([client.ask("SET a 1"), client.ask("EXEC")], ["+QUEUED", ABORTED]),
        other => panic!("MULTI was answered {other}"),
    }
    server.start();
    wait_until("the client is served again", || client.ask("EXISTS a") == ":0");
}

#[test]
fn an_exec_that_is_lost_has_an_unknown_outcome() {
    let (server, relay, proxy) = behind_relay(&[]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("INCR counter"), "+QUEUED");
    relay.cut_after(0, Direction::Replies, Cut::Reset);
    assert_eq!(client.ask("EXEC"), UNKNOWN);
    assert_eq!(server.cli(&["GET", "counter"]), "1", "it ran, and is not sent again");
    assert_eq!(client.ask("GET counter"), "1");
    assert_eq!(client.ask("EXEC"), "-ERR EXEC without MULTI");
}

/// A transaction, in one packet or in steps, cut at any byte: what its client is told is true.
#[test]
fn a_transaction_cut_at_any_byte_runs_wholly_or_not_at_all() {
    let (server, relay, proxy) = behind_relay(&["upstream.queue_timeout = \"15s\""]);
    let mut random = seeded();
    let mut client = Wire::connect(proxy.port());
    let (mut executed, mut aborted, mut unknown) = (0, 0, 0);
    for round in 0..200 {
        let (one, two) = (format!("one:{round}"), format!("two:{round}"));
        let steps = ["MULTI", &format!("INCR {one}"), "GET none", &format!("INCR {two}"), "EXEC"].map(str::to_owned);
        // So many in one packet, the others one by one.
        let packed = [0, 4, 5][random.usize(0..3)];
        let direction = any_direction(&mut random);
        let longest = if direction == Direction::Requests { 140 } else { 60 };
        let mut replies = Vec::new();
        for step in &steps[..5 - packed] {
            replies.push(client.ask(step));
            if random.u8(0..10) == 0 {
                relay.cut(any_cut(&mut random));
            }
        }
        relay.cut_after(random.usize(0..longest), direction, any_cut(&mut random));
        client.send(&steps[5 - packed..].iter().flat_map(|step| request(&words(step))).collect::<Vec<_>>());
        replies.extend((0..packed).map(|_| client.hear()));
        relay.forget_plan();
        let counter = match replies[4].as_str() {
            "*3 :1 $-1 :1" => &mut executed,
            // An `EXEC` that could not be sent may also be told so.
            ABORTED | NOT_EXECUTED => &mut aborted,
            UNKNOWN => &mut unknown,
            _ => panic!("round {round}: {replies:?}"),
        };
        *counter += 1;
        // The server may have it still to do; it has all of it then, or nothing.
        let has_run = match Wire::connect(server.port()).ask(&format!("MGET {one} {two}")).as_str() {
            "*2 $1 1 $1 1" => true,
            "*2 $-1 $-1" => false,
            other => panic!("round {round}: {replies:?}, and the server has {other}"),
        };
        match replies[4].as_str() {
            ABORTED | NOT_EXECUTED => assert!(!has_run, "round {round}: {replies:?}, and it ran"),
            UNKNOWN => {}
            _ => assert!(has_run, "round {round}: {replies:?}, and it did not run"),
        }
        // A client that is told so by any of its commands may try all of it again.
        let is_denied = replies.iter().any(|reply| reply == NOT_EXECUTED);
        assert!(!(has_run && is_denied), "round {round}: {replies:?}, and it ran");
    }
    eprintln!("{executed} executed, {aborted} aborted, {unknown} unknown");
    assert!(executed > 0 && aborted > 0 && unknown > 0);
}

/// `EXEC` may have run, and with it everything before it: a client that is told "not executed" of a part would
/// send the transaction again.
#[test]
fn commands_in_flight_before_an_exec_that_is_lost_have_an_unknown_outcome() {
    let (server, relay, proxy) = behind_relay(&[]);
    let mut client = Wire::connect(proxy.port());
    // A connection is checked out already, so that this cut is not one of its handshake.
    assert_eq!(client.ask("WATCH other"), "+OK");
    relay.cut_after(0, Direction::Replies, Cut::Reset);
    client.say(&["MULTI", "INCR counter", "GET counter", "EXEC"]);
    let replies = [client.hear(), client.hear(), client.hear(), client.hear()];
    assert_eq!(server.cli(&["GET", "counter"]), "1");
    assert_eq!(replies[3], UNKNOWN);
    for (reply, expected) in replies.iter().zip(["+OK", "+QUEUED", "+QUEUED"]) {
        assert!([expected, UNKNOWN].contains(&reply.as_str()), "{replies:?}, and it ran");
    }
}

/// A client that writes a transaction in one go means all of it or nothing. Where `MULTI` cannot be had, what
/// follows must not run one by one.
#[test]
fn a_transaction_that_cannot_begin_is_not_run_piece_by_piece() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &["limits.pinned = 1", "upstream.queue_timeout = \"200ms\""]);
    let mut other = Wire::connect(proxy.port());
    assert_eq!(other.ask("MULTI"), "+OK");
    let mut client = Wire::connect(proxy.port());
    client.say(&["MULTI", "SET a 1", "SET b 2", "EXEC", "PING"]);
    let replies: Vec<_> = (0..5).map(|_| client.hear()).collect();
    assert_eq!(server.cli(&["EXISTS", "a", "b"]), "0", "{replies:?}");
    assert!(replies[3].starts_with('-'), "{replies:?}");
    assert_eq!(replies[4], "+PONG");
}

/// Told `OK`, its client is in a transaction until `EXEC`; told an error, it is not. One that is told an error
/// and finds itself in a transaction has every later command queued, for ever.
#[test]
fn a_multi_that_is_lost_leaves_its_client_where_it_is_told_to_be() {
    for direction in [Direction::Requests, Direction::Replies] {
        let (server, relay, proxy) = behind_relay(&[]);
        let mut client = Wire::connect(proxy.port());
        // A connection is checked out already, so that this cut is not one of its handshake.
        assert_eq!(client.ask("WATCH other"), "+OK");
        relay.cut_after(0, direction, Cut::Reset);
        let told = client.ask("MULTI");
        let replies = [client.ask("SET k v"), client.ask("EXEC")];
        match told.as_str() {
            "+OK" => {
                assert_eq!(replies, ["+QUEUED", ABORTED]);
                assert_eq!(server.cli(&["EXISTS", "k"]), "0");
            }
            NOT_EXECUTED => assert_eq!(replies, ["+OK", "-ERR EXEC without MULTI"], "MULTI was answered {told}"),
            other => panic!("MULTI was answered {other}"),
        }
        assert_eq!(client.ask("PING"), "+PONG");
    }
}

/// The bytes of an `EXEC` are still under way when its connection is lost, and arrive after a newer write was
/// acknowledged on another.
#[test]
fn a_late_exec_of_a_lost_connection_does_not_overwrite_a_newer_write() {
    let (server, relay, proxy) = behind_relay(&[]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("SET k old"), "+QUEUED");
    relay.delay();
    client.say(&["EXEC"]);
    wait_until("the request is counted", || counted(&proxy, "exec") == 1);
    // Its bytes must have left before the cut.
    stays_so("nothing comes", Duration::from_millis(100), || server.cli(&["EXISTS", "k"]) == "0");
    relay.cut(Cut::Reset);
    assert_eq!(client.hear(), UNKNOWN);
    // The shared connection is cut, too, and may not know it yet.
    wait_until("the newer value is acknowledged", || client.ask("SET k new") == "+OK");
    relay.deliver();
    stays_so("the newer value stays", Duration::from_millis(500), || server.cli(&["GET", "k"]) == "new");
}

#[test]
fn a_watch_that_is_lost_makes_the_next_exec_answer_null() {
    for (is_resp3, null) in [(false, "*-1"), (true, "_")] {
        let (server, relay, proxy) = behind_relay(&[]);
        let mut client = if is_resp3 { Wire::connect_resp3(proxy.port()) } else { Wire::connect(proxy.port()) };
        assert_eq!(client.ask("WATCH k"), "+OK");
        relay.cut(Cut::Finish);
        wait_until("the loss is known", || pinned(&proxy) == 0);
        assert_eq!(client.ask("PING"), "+PONG");
        assert_eq!(client.ask("SET other v"), "+OK", "everything else goes on");
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask("SET k v"), "+QUEUED");
        assert_eq!(client.ask("EXEC"), null);
        assert_eq!(server.cli(&["EXISTS", "k"]), "0");

        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask("SET k v"), "+QUEUED");
        assert_eq!(client.ask("EXEC"), "*1 +OK", "the one after it is a transaction like any other");
    }
}

#[test]
fn a_watch_that_is_lost_can_be_given_up() {
    for forget in ["UNWATCH", "DISCARD"] {
        let (_server, relay, proxy) = behind_relay(&[]);
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("WATCH k"), "+OK");
        relay.cut(Cut::Finish);
        wait_until("the loss is known", || pinned(&proxy) == 0);
        if forget == "DISCARD" {
            assert_eq!(client.ask("MULTI"), "+OK");
        }
        assert_eq!(client.ask(forget), "+OK");
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask("SET k v"), "+QUEUED");
        assert_eq!(client.ask("EXEC"), "*1 +OK");
    }
}

#[test]
fn a_watch_in_flight_that_is_lost_is_a_watch_that_is_lost() {
    let (server, relay, proxy) = behind_relay(&[]);
    let mut client = Wire::connect(proxy.port());
    // A connection is checked out already, so that this cut is not one of its handshake.
    assert_eq!(client.ask("WATCH other"), "+OK");
    relay.cut_after(0, Direction::Replies, Cut::Reset);
    let reply = client.ask("WATCH k");
    assert!(reply == NOT_EXECUTED || reply == UNKNOWN, "{reply}");
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("SET k v"), "+QUEUED");
    assert_eq!(client.ask("EXEC"), "*-1");
    assert_eq!(server.cli(&["EXISTS", "k"]), "0");
}

/// Every wait has its limit (G7), on a connection of one's own, too.
#[test]
fn an_exec_that_is_not_answered_has_an_unknown_outcome() {
    let server = RedisServer::plain();
    let proxy = proxy(&server.address(), &["upstream.reply_timeout = \"1s\""]);
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("INCR counter"), "+QUEUED");
    server.pause();
    let asked = Instant::now();
    client.say(&["EXEC"]);
    // Should it wait for ever, the server is let go to end the test.
    let is_answered = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.hear());
        while asked.elapsed() < Duration::from_secs(10) && !waiting.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let waited = asked.elapsed();
        server.resume();
        (waiting.join().expect("no panic"), waited)
    });
    let (reply, waited) = is_answered;
    assert_eq!(reply, UNKNOWN, "after {waited:?}");
    assert!(waited < Duration::from_secs(6), "answered after {waited:?}");
    wait_until("the server is used again", || client.ask("GET other") == "$-1");
    assert!(["$-1", "1"].contains(&client.ask("GET counter").as_str()));
}

/// A connection with something left on it is not given to the next client.
#[test]
fn what_is_given_back_is_clean_after_any_cut() {
    let (_server, relay, proxy) = behind_relay(&["upstream.queue_timeout = \"15s\""]);
    let mut random = seeded();
    for round in 0..60 {
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("WATCH k"), "+OK", "round {round}");
        assert_eq!(client.ask("MULTI"), "+OK", "round {round}");
        assert_eq!(client.ask("GET k"), "+QUEUED", "round {round}");
        // The check-in that follows is cut, too: RESET and a handshake.
        relay.cut_after(random.usize(0..200), Direction::Replies, any_cut(&mut random));
        if random.bool() {
            client.say(&["EXEC"]);
        }
        drop(client);
        let mut next = Wire::connect(proxy.port());
        // This connection may be the one that is cut.
        let replies = [next.ask("MULTI"), next.ask("ECHO mine"), next.ask("EXEC")];
        relay.forget_plan();
        if replies[0] != "+OK" {
            assert_eq!(replies, [NOT_EXECUTED, "mine", "-ERR EXEC without MULTI"], "round {round}");
            continue;
        }
        assert!(["+QUEUED", NOT_EXECUTED].contains(&replies[1].as_str()), "round {round}: {replies:?}");
        assert!(["*1 $4 mine", ABORTED, UNKNOWN].contains(&replies[2].as_str()), "round {round}: {replies:?}");
    }
}
