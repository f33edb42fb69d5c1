mod subscribers;

use std::sync::Arc;

use super::*;
use crate::cache::Holds;
use crate::command::{Commands, Route};
use crate::outbox::Outbox;
use crate::resp::request::{Limits as RequestLimits, Parser};

struct Bench {
    pin: Pin,
    holds: Arc<Holds>,
    outbox: Outbox,
    now: Instant,
}

impl Bench {
    fn new(reason: PinReason, protocol: Protocol) -> Self {
        let pin = Pin::new(reason, protocol, false);
        Self { pin, holds: Holds::new(), outbox: Outbox::default(), now: Instant::now() }
    }

    fn send(&mut self, line: &str) -> Slot {
        let limits = RequestLimits { authenticated: true, arguments: 100, ..RequestLimits::UNAUTHENTICATED };
        let (mut parser, line) = (Parser::default(), format!("{line}\r\n"));
        parser.advance(line.as_bytes(), &limits).expect("well formed").expect("whole");
        let command = Commands::default().understand(parser.request(line.as_bytes()).expect("not empty"));
        let slot = self.outbox.reserve();
        let reason = if let Route::Pin(reason) = command.route() { Some(reason) } else { None };
        self.pin.sent(&command, reason, slot, self.now);
        self.pin.holds(self.holds.begin(&command, None));
        slot
    }

    fn hear(&mut self, frame: &str) -> Meaning {
        self.pin.received(frame.as_bytes(), self.now)
    }

    fn ask(&mut self, line: &str, reply: &str) -> Meaning {
        self.send(line);
        self.hear(reply)
    }
}

#[test]
fn a_transaction_ends_with_exec_or_discard() {
    for (end, reply) in
        [("EXEC", "*1\r\n+OK\r\n"), ("EXEC", "*-1\r\n"), ("EXEC", "-EXECABORT x\r\n"), ("DISCARD", "+OK\r\n")]
    {
        let mut bench = Bench::new(PinReason::Transaction, Protocol::Resp2);
        bench.ask("WATCH a", "+OK\r\n");
        bench.ask("MULTI", "+OK\r\n");
        assert!(bench.pin.is_in_transaction());
        bench.ask("SET a 1", "+QUEUED\r\n");
        assert!(!bench.pin.is_clear());
        bench.ask(end, reply);
        assert!(bench.pin.is_clear(), "{end} {reply}");
    }
}

/// What is queued runs with `EXEC`, and the server may not tell of it: `SWAPDB`.
#[test]
fn what_is_queued_is_held_until_it_has_run() {
    for (line, end, reply) in [
        ("SWAPDB 0 1", "EXEC", "*1\r\n+OK\r\n"),
        ("SET k 1", "EXEC", "*1\r\n+OK\r\n"),
        ("SET k 1", "EXEC", "*-1\r\n"),
        ("SET k 1", "DISCARD", "+OK\r\n"),
    ] {
        let mut bench = Bench::new(PinReason::Transaction, Protocol::Resp2);
        bench.ask("MULTI", "+OK\r\n");
        bench.ask(line, "+QUEUED\r\n");
        assert!(bench.holds.quiet(b"k").is_none(), "{line}: it waits");
        bench.send(end);
        assert!(bench.holds.quiet(b"k").is_none(), "{line}: it runs");
        bench.hear(reply);
        assert!(bench.holds.quiet(b"k").is_some(), "{line} {end} {reply}");
    }
    let mut bench = Bench::new(PinReason::Transaction, Protocol::Resp2);
    bench.ask("MULTI", "+OK\r\n");
    bench.ask("SET k 1", "+QUEUED\r\n");
    let holds = bench.holds.clone();
    drop(bench);
    assert!(holds.quiet(b"k").is_some(), "its client has gone");
}

/// Redis 7.0 writes the message a transaction publishes to itself into the reply, and the last reply behind it: the
/// `1` of `PUBLISH` was taken for the success of the `SELECT` behind it.
#[test]
fn a_message_among_the_replies_is_no_reply() {
    let published = ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n";
    let refused = "-ERR DB index is out of range\r\n";
    for (reply, is_behind, database) in [
        (format!("*3\r\n{published}:1\r\n{refused}"), false, None),
        (format!("*3\r\n{published}:1\r\n+OK\r\n"), false, Some(3)),
        (format!("*2\r\n{published}:1\r\n"), true, None),
        (format!("*2\r\n:0\r\n{refused}"), false, None),
    ] {
        let mut bench = Bench::new(PinReason::Transaction, Protocol::Resp3);
        bench.ask("SUBSCRIBE a", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
        bench.ask("MULTI", "+OK\r\n");
        bench.ask("PUBLISH a x", "+QUEUED\r\n");
        bench.ask("SELECT 3", "+QUEUED\r\n");
        let slot = bench.send("EXEC");
        let meaning = bench.hear(&reply);
        assert_eq!((meaning.belongs, meaning.database), (Belongs::Reply(slot), database), "{reply}");
        if is_behind {
            let meaning = bench.hear("+OK\r\n");
            assert_eq!((meaning.belongs, meaning.database), (Belongs::Push, Some(3)));
        }
        assert_eq!(bench.hear("+OK\r\n").belongs, Belongs::Nobody);
    }
}

#[test]
fn a_nested_multi_changes_nothing() {
    let mut bench = Bench::new(PinReason::Transaction, Protocol::Resp2);
    bench.ask("MULTI", "+OK\r\n");
    bench.ask("MULTI", "-ERR MULTI calls can not be nested\r\n");
    bench.ask("WATCH a", "-ERR WATCH inside MULTI is not allowed\r\n");
    assert!(bench.pin.is_in_transaction());
    bench.ask("EXEC", "-EXECABORT x\r\n");
    assert!(bench.pin.is_clear());
}

#[test]
fn a_database_selected_in_a_transaction_counts_once_it_ran() {
    let mut bench = Bench::new(PinReason::Transaction, Protocol::Resp2);
    bench.ask("MULTI", "+OK\r\n");
    for line in ["SELECT 3", "GET a", "SELECT 99", "SELECT 4"] {
        assert_eq!(bench.ask(line, "+QUEUED\r\n").database, None);
    }
    let meaning = bench.ask("EXEC", "*4\r\n+OK\r\n$-1\r\n-ERR DB index is out of range\r\n+OK\r\n");
    assert_eq!(meaning.database, Some(4));
    bench.ask("MULTI", "+OK\r\n");
    bench.ask("SELECT 5", "+QUEUED\r\n");
    assert_eq!(bench.ask("DISCARD", "+OK\r\n").database, None);
    assert_eq!(bench.ask("SELECT 6", "+OK\r\n").database, Some(6));
}

#[test]
fn each_channel_is_confirmed_and_the_last_ends_the_request() {
    for (protocol, kind) in [(Protocol::Resp2, '*'), (Protocol::Resp3, '>')] {
        let mut bench = Bench::new(PinReason::Subscription, protocol);
        let confirm =
            |word: &str, count: u64| format!("{kind}3\r\n${}\r\n{word}\r\n$1\r\na\r\n:{count}\r\n", word.len());
        let slot = bench.send("SUBSCRIBE a b");
        assert_eq!(bench.hear(&confirm("subscribe", 1)).belongs, Belongs::Confirmation { slot, is_last: false });
        assert_eq!(bench.hear(&confirm("subscribe", 2)).belongs, Belongs::Confirmation { slot, is_last: true });
        assert_eq!(bench.hear(&format!("{kind}3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n:\r\n")).belongs, Belongs::Push);
        bench.send("PSUBSCRIBE *");
        bench.hear(&confirm("psubscribe", 3));
        let slot = bench.send("UNSUBSCRIBE");
        assert_eq!(bench.hear(&confirm("unsubscribe", 2)).belongs, Belongs::Confirmation { slot, is_last: false });
        assert_eq!(bench.hear(&confirm("unsubscribe", 1)).belongs, Belongs::Confirmation { slot, is_last: true });
        assert!(!bench.pin.is_clear());
        bench.send("PUNSUBSCRIBE *");
        bench.hear(&confirm("punsubscribe", 0));
        assert!(bench.pin.is_clear());
    }
}

#[test]
fn unsubscribing_from_nothing_is_confirmed_once() {
    let mut bench = Bench::new(PinReason::Subscription, Protocol::Resp2);
    let slot = bench.send("UNSUBSCRIBE");
    assert_eq!(
        bench.hear("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n").belongs,
        Belongs::Confirmation { slot, is_last: true }
    );
    assert!(bench.pin.is_clear());
}

#[test]
fn a_reply_that_looks_like_a_message_is_a_reply() {
    let mut bench = Bench::new(PinReason::Watch, Protocol::Resp2);
    let slot = bench.send("LRANGE l 0 -1");
    assert_eq!(bench.hear("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n").belongs, Belongs::Reply(slot));
    let slot = bench.send("SUBSCRIBE a");
    assert_eq!(bench.hear("-NOPERM x\r\n").belongs, Belongs::Reply(slot));
    assert!(bench.pin.is_clear());
}

#[test]
fn the_stream_of_monitor_answers_nobody() {
    let mut bench = Bench::new(PinReason::Monitor, Protocol::Resp2);
    bench.ask("MONITOR", "+OK\r\n");
    let slot = bench.send("SET a 1");
    assert_eq!(bench.hear("+1700000000.5 [0 127.0.0.1:1] \"SET\" \"a\"\r\n").belongs, Belongs::Push);
    assert_eq!(bench.hear("+OK\r\n").belongs, Belongs::Reply(slot));
    assert!(!bench.pin.is_clear());
}

#[test]
fn what_a_loss_means_depends_on_what_was_left() {
    use AfterLoss::{Aborted, Close, Doomed, Open};
    use Fate::{NotExecuted, Queued, Unknown};
    let ok = "+OK\r\n";
    let subscribed = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
    // Exchanges (no reply: in flight), what follows, and what each in flight is answered.
    type Case<'a> = (&'a [(&'a str, &'a str)], AfterLoss, &'a [Fate]);
    let cases: &[Case<'_>] = &[
        (&[("BLPOP a 0", "")], Open, &[Unknown]),
        (&[("XREAD BLOCK 0 STREAMS s 0", "")], Open, &[NotExecuted]),
        (&[("WATCH a", ok), ("GET a", "")], Doomed, &[NotExecuted]),
        (&[("WATCH a", ok), ("SET a 1", "")], Doomed, &[Unknown]),
        (&[("WATCH a", "")], Doomed, &[NotExecuted]),
        (&[("MULTI", ok), ("SET a 1", "+QUEUED\r\n"), ("SET b 1", "")], Aborted, &[Queued]),
        (&[("MULTI", ""), ("SET a 1", "")], Aborted, &[Fate::Ok, Queued]),
        (&[("MULTI", ok), ("DISCARD", ""), ("SET a 1", "")], Open, &[Fate::Ok, Unknown]),
        (&[("MULTI", ok), ("SET b 1", ""), ("EXEC", ""), ("SET c 1", "")], Open, &[Queued, Unknown, Unknown]),
        (&[("MULTI", ""), ("GET b", ""), ("EXEC", "")], Open, &[Fate::Ok, Queued, Unknown]),
        (&[("MULTI", ""), ("EXEC", ""), ("MULTI", ""), ("GET b", "")], Aborted, &[Fate::Ok, Unknown, Fate::Ok, Queued]),
        (&[("SUBSCRIBE a", subscribed)], Close, &[]),
        (&[("SUBSCRIBE a", "")], Close, &[NotExecuted]),
        (&[("MONITOR", ok)], Close, &[]),
        (&[("CLIENT TRACKING ON", ok)], Close, &[]),
    ];
    for (exchanges, then, fates) in cases {
        let mut bench = Bench::new(PinReason::Unknown, Protocol::Resp2);
        for (line, reply) in *exchanges {
            bench.send(line);
            if !reply.is_empty() {
                bench.hear(reply);
            }
        }
        let loss = bench.pin.lost();
        assert_eq!(loss.then, *then, "{exchanges:?}");
        assert_eq!(loss.in_flight.iter().map(|(_, fate)| *fate).collect::<Vec<_>>(), *fates, "{exchanges:?}");
    }
}

#[test]
fn an_exec_after_a_lost_watch_is_not_run() {
    let mut bench = Bench::new(PinReason::Transaction, Protocol::Resp2);
    bench.pin.is_doomed = true;
    bench.ask("MULTI", "+OK\r\n");
    bench.ask("SET a 1", "+QUEUED\r\n");
    let slot = bench.send("EXEC");
    assert_eq!(bench.hear("+OK\r\n").belongs, Belongs::NullInstead(slot));
    assert!(bench.pin.is_clear() && !bench.pin.is_doomed());
}

#[test]
fn what_does_not_block_must_be_answered_in_time() {
    let timeout = Duration::from_secs(1);
    let mut bench = Bench::new(PinReason::Transaction, Protocol::Resp2);
    assert_eq!(bench.pin.due(timeout), None);
    bench.send("MULTI");
    bench.now += timeout;
    bench.send("EXEC");
    assert_eq!(bench.pin.due(timeout), Some(bench.now), "the oldest counts");
    bench.hear("+OK\r\n");
    assert_eq!(bench.pin.due(timeout), Some(bench.now + timeout));

    let mut bench = Bench::new(PinReason::Transaction, Protocol::Resp2);
    bench.send("MULTI");
    bench.send("BLPOP a 0");
    assert!(!bench.pin.waits_for_others(), "MULTI is answered first");
    bench.hear("+OK\r\n");
    assert_eq!(bench.pin.due(timeout), None);
    assert!(bench.pin.waits_for_others());
}
