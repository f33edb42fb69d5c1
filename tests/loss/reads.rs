//! Reads change nothing: they are sent again, and their clients notice nothing.

use super::support::{Wire, request, shown};
use super::{Cut, Direction, NOT_EXECUTED, UNKNOWN, any_cut, any_direction, behind_relay, seeded};

/// Each reply is the value of its own key, although the connection was cut in the middle of them.
#[test]
fn reads_ride_through_a_cut_at_any_byte() {
    let (_server, relay, proxy) = behind_relay(&["upstream.queue_timeout = \"15s\""]);
    let mut random = seeded();
    let mut client = Wire::connect(proxy.port());
    let values: Vec<_> = (0..50).map(|key| format!("{key}:{}", "x".repeat(random.usize(0..2000)))).collect();
    for (key, value) in values.iter().enumerate() {
        assert_eq!(client.ask(&format!("SET {key} {value}")), "+OK");
    }
    for round in 0..200 {
        let keys: Vec<_> = (0..random.usize(1..20)).map(|_| random.usize(0..values.len())).collect();
        let direction = any_direction(&mut random);
        let size = |key: &usize| match direction {
            Direction::Requests => 24,
            Direction::Replies => values[*key].len() + 8,
        };
        let bytes: usize = keys.iter().map(size).sum();
        relay.cut_after(random.usize(0..bytes), direction, any_cut(&mut random));
        client.send(&keys.iter().flat_map(|key| request(&["GET", &key.to_string()])).collect::<Vec<_>>());
        for key in keys {
            let reply = String::from_utf8(client.frame()).expect("ASCII");
            let expected = format!("${}\r\n{}\r\n", values[key].len(), values[key]);
            assert!(reply == expected, "round {round}: GET {key} was answered {}", shown(reply.as_bytes()));
        }
        relay.forget_plan();
    }
    assert!(relay.cuts() > 100, "only {} cuts", relay.cuts());
}

/// A long value is passed on while it comes in. When the rest of it is lost, its client cannot be told so: it
/// is closed, within the value, and has not been given anything else for it.
#[test]
fn a_long_value_that_is_cut_is_never_completed_with_something_else() {
    let (_server, relay, proxy) = behind_relay(&["upstream.queue_timeout = \"15s\""]);
    let mut random = seeded();
    let value = "a long value ".repeat(40_000);
    assert_eq!(Wire::connect(proxy.port()).ask(&format!("SET long \"{value}\"")), "+OK");
    let (mut whole, mut closed) = (0, 0);
    for round in 0..60 {
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("STRLEN long"), format!(":{}", value.len()));
        relay.cut_after(random.usize(0..2 * value.len()), Direction::Replies, any_cut(&mut random));
        client.say(&["GET long", "PING"]);
        match client.try_frame() {
            Ok(frame) => {
                let expected = format!("${}\r\n{value}\r\n", value.len());
                assert!(frame == expected.as_bytes(), "round {round}: {}", shown(&frame));
                assert_eq!(client.hear(), "+PONG");
                whole += 1;
            }
            Err(_) => {
                let rest = client.rest().expect("the end of the connection");
                let expected = format!("${}\r\n{value}", value.len());
                assert!(expected.as_bytes().starts_with(&rest), "round {round}: {}", shown(&rest));
                closed += 1;
            }
        }
        relay.forget_plan();
    }
    eprintln!("{whole} whole, {closed} closed");
    assert!(whole > 0 && closed > 0);
}

/// A read that brings its connection down each time is not sent for ever.
#[test]
fn a_read_is_sent_again_twice_at_most() {
    let (_server, relay, proxy) = behind_relay(&["upstream.queue_timeout = \"15s\""]);
    let mut client = Wire::connect(proxy.port());
    relay.cut_on("poison");
    assert_eq!(client.ask("GET poison"), NOT_EXECUTED);
    assert_eq!(relay.cuts(), 3);
    assert_eq!(client.ask("GET k"), "$-1");
}

/// The order of one client's commands holds through a loss. A write that was sent behind a read may have run:
/// sent again, the read would tell what was written after it. `GET` and `DEL` in one burst would lose the value.
#[test]
fn a_read_is_not_answered_with_what_was_written_behind_it() {
    for (write, told) in [("SET k newer", "+OK"), ("DEL k", ":0"), ("APPEND k x", UNKNOWN)] {
        let (_server, relay, proxy) = behind_relay(&[]);
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("SET k v"), "+OK");
        // Both run, and neither reply arrives.
        relay.cut_after(0, Direction::Replies, Cut::Reset);
        client.say(&["GET k", write]);
        let read = client.hear();
        // What was written is looked for, where looking tells.
        assert_eq!(client.hear(), told, "{write}");
        assert!(["v", NOT_EXECUTED].contains(&read.as_str()), "a GET before {write} was answered {read}");
    }
}
