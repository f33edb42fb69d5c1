use tokio::time::Instant;

use super::*;
use crate::command::Commands;
use crate::outbox::Outbox;
use crate::resp::Protocol;
use crate::resp::request::{Limits, Parser};

fn with<T>(line: &str, check: impl FnOnce(&Command<'_>) -> T) -> T {
    let limits = Limits { authenticated: true, arguments: 100, ..Limits::UNAUTHENTICATED };
    let (mut parser, line) = (Parser::default(), format!("{line}\r\n"));
    parser.advance(line.as_bytes(), &limits).expect("well formed").expect("whole");
    check(&Commands::default().understand(parser.request(line.as_bytes()).expect("not empty")))
}

fn decision(mode: &Mode<()>, line: &str, in_flight: usize) -> Decision {
    with(line, |command| decide(mode, command, in_flight, false))
}

/// A pin after these requests and their replies.
fn pinned(reason: PinReason, exchanges: &[(&str, &str)]) -> Mode<()> {
    let outbox = Outbox::default();
    let mut pin = Pin::new(reason, Protocol::Resp2, false);
    for (line, reply) in exchanges {
        with(line, |command| pin.sent(command, None, outbox.reserve(), Instant::now()));
        if !reply.is_empty() {
            pin.received(reply.as_bytes(), Instant::now());
        }
    }
    Mode::Pinned { conn: (), pin }
}

#[test]
fn before_authentication_only_a_way_in_or_out_is_open() {
    for line in ["AUTH x", "HELLO 3", "QUIT", "RESET"] {
        assert!(matches!(decision(&Mode::Unauthenticated, line, 0), Decision::Here(_)), "{line}");
    }
    for line in ["PING", "GET a", "MULTI", "CLIENT LIST", "FOO"] {
        assert_eq!(decision(&Mode::Unauthenticated, line, 0), Decision::Refuse(NOAUTH), "{line}");
    }
}

#[test]
fn an_open_client_is_pinned_only_after_its_replies() {
    assert_eq!(decision(&Mode::Open, "GET a", 5), Decision::Forward);
    assert_eq!(decision(&Mode::Open, "MULTI", 5), Decision::Wait);
    assert_eq!(decision(&Mode::Open, "MULTI", 0), Decision::CheckOut(PinReason::Transaction));
    assert_eq!(decision(&Mode::Open, "CLIENT TRACKING ON", 0), Decision::CheckOut(PinReason::Tracking));
    assert_eq!(decision(&Mode::Open, "PING", 5), Decision::Here(Local::Ping));
    assert!(matches!(decision(&Mode::Open, "SYNC", 0), Decision::Refuse(_)));
}

#[test]
fn a_transaction_keeps_its_connection_and_its_secrets() {
    let mode = pinned(PinReason::Transaction, &[("MULTI", "+OK\r\n")]);
    assert_eq!(decision(&mode, "SET a 1", 0), Decision::Through(None));
    assert_eq!(decision(&mode, "PING", 0), Decision::Through(None));
    for line in
        ["AUTH secret", "HELLO 3 AUTH u secret", "CLIENT REPLY OFF", "CLIENT TRACKING ON", "SUBSCRIBE a", "MONITOR"]
    {
        assert_eq!(decision(&mode, line, 0), Decision::RefuseInTransaction, "{line}");
    }
    assert_eq!(decision(&mode, "RESET", 0), Decision::Here(Local::Reset));
    for line in ["RESET x", "SUBSCRIBE", "CLIENT", "CLIENT CACHING YES"] {
        assert!(matches!(decision(&mode, line, 0), Decision::Through(_)), "{line}");
    }

    let in_flight = pinned(PinReason::Transaction, &[("MULTI", "")]);
    assert_eq!(decision(&in_flight, "SET a 1", 0), Decision::Through(None), "a pipeline does not wait");
    assert_eq!(decision(&in_flight, "PING", 0), Decision::Wait);
    assert_eq!(decision(&in_flight, "SUBSCRIBE a", 0), Decision::Wait);
}

#[test]
fn a_client_that_watches_is_still_itself() {
    let mode = pinned(PinReason::Watch, &[("WATCH a", "+OK\r\n")]);
    assert_eq!(decision(&mode, "GET a", 0), Decision::Through(None));
    assert_eq!(decision(&mode, "CLIENT REPLY OFF", 0), Decision::Here(Local::Client));
    assert_eq!(decision(&mode, "AUTH secret", 0), Decision::Here(Local::Auth));
    assert_eq!(decision(&mode, "SELECT 3", 0), Decision::Through(None), "the watch is in its database");
}

#[test]
fn a_subscriber_in_resp2_may_only_subscribe() {
    let confirmed = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
    let mode = pinned(PinReason::Subscription, &[("SUBSCRIBE a", confirmed)]);
    assert_eq!(decision(&mode, "AUTH secret", 0), Decision::ThroughBlank);
    assert_eq!(decision(&mode, "PING", 0), Decision::Through(None));
    assert_eq!(decision(&mode, "GET a", 0), Decision::Through(None), "the server refuses it in its own words");
}

#[test]
fn a_connection_nothing_is_left_on_is_given_back() {
    let done = [("MULTI", "+OK\r\n"), ("SET a 1", "+QUEUED\r\n"), ("EXEC", "*1\r\n+OK\r\n")];
    let mode = pinned(PinReason::Transaction, &done);
    assert_eq!(decision(&mode, "GET a", 0), Decision::CheckIn);
    assert_eq!(decision(&mode, "PING", 0), Decision::CheckIn);
    assert_eq!(decision(&mode, "MULTI", 0), Decision::Through(Some(PinReason::Transaction)), "or used again");
}

#[test]
fn a_database_nobody_knows_is_for_the_server_to_judge() {
    let mode = pinned(PinReason::Database, &[]);
    assert_eq!(decision(&mode, "SELECT 3", 0), Decision::Through(None));
    assert_eq!(decision(&mode, "GET a", 0), Decision::CheckIn);
}

#[test]
fn nothing_is_sent_behind_a_blocking_command() {
    let mode = pinned(PinReason::Blocking, &[("BLPOP a 0", "")]);
    for line in ["GET a", "PING", "MULTI"] {
        assert_eq!(decision(&mode, line, 0), Decision::Wait, "{line}");
    }
}

#[test]
fn a_lost_transaction_is_aborted_and_not_half_run() {
    assert_eq!(decision(&Mode::Aborted, "SET a 1", 0), Decision::Queued);
    assert_eq!(decision(&Mode::Aborted, "PING", 0), Decision::Queued);
    assert_eq!(decision(&Mode::Aborted, "EXEC", 0), Decision::Abort);
    assert_eq!(decision(&Mode::Aborted, "DISCARD", 0), Decision::Discard);
}
