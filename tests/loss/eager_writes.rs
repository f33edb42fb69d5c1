//! `reconnect = "eager"`: a lost overwrite is sent again, unless somebody may have written the same key meanwhile (G3).

use std::time::Duration;

use super::support::{Cut, RedisServer, Wire, stays_so, wait_until};
use super::{UNKNOWN, behind_relay};

/// What is told of a `SET k mine` that never arrives, while another client says `others`; and the server.
fn lose(others: &[&str]) -> (String, RedisServer) {
    let (server, relay, proxy) = behind_relay(&["upstream.reconnect = \"eager\"", "upstream.queue_timeout = \"15s\""]);
    let (mut client, mut other) = (Wire::connect(proxy.port()), Wire::connect(proxy.port()));
    assert_eq!(other.ask("SET k first"), "+OK");
    // The connection of both; the other one's next commands go on others.
    relay.delay_one(0);
    client.say(&["SET k mine"]);
    wait_until("the request is under way", || relay.held() > 0);
    for line in others {
        let told = other.ask(line);
        assert!(!told.starts_with('-'), "{line}: {told}");
    }
    relay.cut_one(0, Cut::Reset);
    let told = client.hear();
    relay.deliver();
    (told, server)
}

fn assert_stays(server: &RedisServer, value: &str) {
    stays_so("nothing is written any more", Duration::from_millis(100), || server.cli(&["GET", "k"]) == value);
}

#[test]
fn a_lost_overwrite_is_sent_again() {
    let (told, server) = lose(&[]);
    assert_eq!(told, "+OK");
    assert_stays(&server, "mine");
}

/// On a connection of its own each marks what it writes in a way of its own.
#[test]
fn what_somebody_else_has_written_is_not_overwritten() {
    let ways: &[&[&str]] = &[
        &["MULTI", "SET k theirs", "EXEC"],
        &["WATCH other", "SET k theirs"],
        &["EVAL \"redis.call('SET', 'k', 'theirs')\" 0"],
    ];
    for others in ways {
        let (told, server) = lose(others);
        assert_eq!(told, UNKNOWN, "{others:?}");
        assert_stays(&server, "theirs");
    }
}
