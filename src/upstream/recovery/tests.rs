use std::rc::Rc;

use super::*;
use crate::cache::{Hold, Holds};
use crate::command::Commands;
use crate::config::Reconnect;
use crate::outbox::Outbox;
use crate::resp::encode;
use crate::resp::request::Parser;
use crate::upstream::NOT_EXECUTED;
use crate::upstream::loss::Loss;

mod anything;
mod attacked;
mod connection;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    queue: Recovery,
    client: Rc<Outbox>,
    now: Instant,
}

fn limits(reconnect: Reconnect) -> LaneLimits {
    LaneLimits { queue_timeout: 2 * SECOND, reply_timeout: 10 * SECOND, queue: 1 << 20, reconnect }
}

impl Bench {
    /// With a connection.
    fn new() -> Self {
        Self::with(Reconnect::Conservative)
    }

    fn with(reconnect: Reconnect) -> Self {
        let now = Instant::now();
        let mut bench = Self { queue: Recovery::new(limits(reconnect), now), client: Rc::default(), now };
        bench.connect();
        bench
    }

    fn connect(&mut self) {
        let arrival = Arrival { generation: 0, lifetime: Some(100 * SECOND), has_severed: true };
        self.queue.connected(arrival, self.now, 0.5);
    }

    fn ask(&mut self, request: &[u8], effect: Effect) {
        self.ask_shaped(request, effect, Shape::Any, None);
    }

    fn ask_shaped(&mut self, request: &[u8], effect: Effect, shape: Shape, hold: Option<Hold>) {
        let recipient = Recipient { outbox: self.client.clone(), slot: self.client.reserve(), form: Form::AsIs };
        let about = About { effect, shape };
        let ticket = Ticket::new(Audience::Client(recipient), request.len(), about, self.now);
        self.queue.push(Ticket { hold, ..ticket }, request);
    }

    fn write_all(&mut self) {
        self.queue.wrote(self.queue.unwritten().len());
    }

    fn answer(&mut self, replies: &[&str]) {
        for reply in replies {
            self.queue.answer(reply.as_bytes(), false, self.now).expect("asked");
        }
    }

    fn lose(&mut self) -> Endings {
        self.queue.lost(self.now, 0.5);
        self.queue.take_endings()
    }

    fn expire(&mut self) -> Result<(), Loss> {
        self.queue.expire(None, self.now, || "nonce".to_owned())
    }

    fn heard(&self) -> String {
        let mut all = Vec::new();
        while self.client.unread() > 0 {
            let _: Result<(), ()> = self.client.take(|bytes| {
                all.extend_from_slice(bytes);
                Ok(bytes.len())
            });
        }
        String::from_utf8(all).expect("text")
    }
}

fn unknown() -> String {
    format!("-{UNKNOWN_OUTCOME}\r\n")
}

fn not_executed() -> String {
    format!("-{NOT_EXECUTED}\r\n")
}

#[test]
fn a_reply_answers_the_oldest_request() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.ask(b"GET b", Effect::Read);
    bench.write_all();
    bench.answer(&["+a\r\n", "+b\r\n"]);
    assert_eq!(bench.heard(), "+a\r\n+b\r\n");
    assert!(bench.queue.is_idle() && bench.queue.size() == 0);
}

#[test]
fn a_reply_nobody_waits_for_is_no_reply_to_somebody_else() {
    let mut bench = Bench::new();
    let reply = |bench: &mut Bench| bench.queue.answer(b"+x\r\n", false, bench.now).map(drop);
    assert_eq!(reply(&mut bench), Err(Desync::Unasked));
    bench.ask(b"GET a", Effect::Read);
    assert_eq!(reply(&mut bench), Err(Desync::Unasked), "not sent yet");
    bench.queue.wrote(3);
    assert_eq!(reply(&mut bench), Err(Desync::Unasked), "not wholly sent");
    assert_eq!(bench.heard(), "");
}

#[test]
fn a_reply_of_another_shape_is_somebody_elses() {
    for (shape, reply, is_fit) in [
        (Shape::Text, "$1\r\na\r\n", true),
        (Shape::Text, "_\r\n", true),
        (Shape::Text, "-WRONGTYPE x\r\n", true),
        (Shape::Text, ":1\r\n", false),
        (Shape::Integer, "+OK\r\n", false),
        (Shape::StatusOrText, "+OK\r\n", true),
        (Shape::Collection, "$1\r\na\r\n", false),
    ] {
        let mut bench = Bench::new();
        bench.ask_shaped(b"GET a", Effect::Read, shape, None);
        bench.write_all();
        let result = bench.queue.answer(reply.as_bytes(), false, bench.now).map(drop);
        assert_eq!(result, if is_fit { Ok(()) } else { Err(Desync::Shape) }, "{shape:?} {reply}");
        assert_eq!(bench.heard(), if is_fit { reply } else { "" });
    }
}

#[test]
fn a_lost_write_that_was_sent_is_never_sent_again() {
    let mut bench = Bench::new();
    bench.ask(b"INCR a", Effect::Write);
    bench.ask(b"GET b", Effect::Read);
    bench.ask(b"INCR c", Effect::Write);
    bench.queue.wrote(6 + 5 + 3);
    assert_eq!(bench.lose(), Endings { kept: 1, ..Endings::default() });
    assert_eq!(bench.heard(), "", "nobody is told before the connection is severed");
    bench.connect();
    assert_eq!(bench.queue.take_endings(), Endings { unknown: 1, ..Endings::default() });
    assert_eq!(bench.queue.unwritten(), b"GET bINCR c", "the read, and the write that was not wholly sent");
    bench.write_all();
    bench.answer(&["+b\r\n", ":1\r\n"]);
    assert_eq!(bench.heard(), format!("{}+b\r\n:1\r\n", unknown()));
}

#[test]
fn a_read_is_not_sent_again_behind_a_write_of_its_own_client() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.ask(b"DEL a", Effect::Write);
    bench.ask(b"GET a", Effect::Read);
    bench.write_all();
    assert_eq!(bench.lose(), Endings { not_executed: 1, kept: 1, ..Endings::default() });
    bench.connect();
    assert_eq!(bench.heard(), format!("{}{}", not_executed(), unknown()));
}

#[test]
fn a_read_is_sent_again_twice_at_most() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    for _ in 0..2 {
        bench.write_all();
        assert_eq!(bench.lose().kept, 1);
        bench.connect();
    }
    bench.write_all();
    assert_eq!(bench.lose().not_executed, 1);
    assert_eq!(bench.heard(), not_executed());
}

#[test]
fn with_reconnect_off_everything_is_answered_at_once() {
    let mut bench = Bench::with(Reconnect::Off);
    bench.ask(b"GET a", Effect::Read);
    bench.ask(b"INCR a", Effect::Write);
    bench.write_all();
    bench.ask(b"INCR b", Effect::Write);
    assert_eq!(bench.lose(), Endings { not_executed: 2, unknown: 1, ..Endings::default() });
    assert!(bench.queue.is_idle());
}

#[test]
fn an_unsent_request_waits_no_longer_than_the_queue_timeout() {
    let mut bench = Bench::new();
    bench.lose();
    bench.ask(b"INCR a", Effect::Write);
    bench.now += SECOND;
    bench.ask(b"INCR b", Effect::Write);
    bench.queue.give_up(2 * SECOND, NOT_EXECUTED, bench.now + SECOND);
    assert_eq!(bench.queue.take_endings().not_executed, 1);
    assert_eq!(bench.heard(), not_executed());
    bench.connect();
    assert_eq!(bench.queue.unwritten(), b"INCR b");
}

/// A server that takes nothing more, and has not closed: what has not begun to leave surely does not run.
#[test]
fn nor_behind_a_socket_that_takes_nothing() {
    let mut bench = Bench::new();
    bench.ask(b"INCR a", Effect::Write);
    bench.ask(b"INCR b", Effect::Write);
    bench.queue.wrote(3);
    let stuck = Some(bench.now);
    assert_eq!(bench.queue.next_deadline(stuck, bench.now), Some(bench.now + SECOND), "then it is asked for a word");
    bench.now += 2 * SECOND;
    bench.queue.expire(stuck, bench.now, String::new).expect("it may go on");
    assert_eq!(bench.queue.take_endings(), Endings { not_executed: 1, ..Endings::default() });
    assert!(bench.queue.unwritten().starts_with(b"R a*2"), "the one that has begun, and the question");
}

#[test]
fn a_late_reply_is_discarded_in_its_turn() {
    let mut bench = Bench::new();
    bench.ask(b"INCR a", Effect::Write);
    bench.ask(b"GET b", Effect::Read);
    bench.write_all();
    bench.queue.link.is_probed = true;
    bench.expire().expect("not yet");
    assert_eq!(bench.queue.take_endings(), Endings::default());
    bench.now += 10 * SECOND;
    bench.expire().expect("it may still answer");
    assert_eq!(bench.queue.take_endings(), Endings { not_executed: 1, unknown: 1, ..Endings::default() });
    bench.ask(b"GET c", Effect::Read);
    bench.write_all();
    bench.answer(&["+late a\r\n", "+late b\r\n", "+c\r\n"]);
    assert_eq!(bench.heard(), format!("{}{}+c\r\n", unknown(), not_executed()));
}

#[test]
fn the_reply_of_a_client_that_has_gone_reaches_nobody() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.client.close();
    bench.client = Rc::default();
    bench.ask(b"GET b", Effect::Read);
    bench.write_all();
    bench.answer(&["+a\r\n", "+b\r\n"]);
    assert_eq!(bench.heard(), "+b\r\n");
}

#[test]
fn a_reply_that_breaks_off_in_the_middle_closes_its_client() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.write_all();
    bench.queue.answer_piece(Bytes::from_static(b"$100\r\nxx"), false, bench.now).expect("asked");
    bench.lose();
    assert!(bench.client.is_closed());
    assert!(bench.queue.is_idle());
}

#[test]
fn the_servers_noauth_never_reaches_a_client() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.write_all();
    let answered = bench.queue.answer(b"-NOAUTH Authentication required.\r\n", false, bench.now).map(drop);
    assert_eq!(answered, Err(Desync::NoAuth));
    assert_eq!(bench.lose().kept, 1);
}

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nv\r\n";
const LOOK: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$4\r\nPTTL\r\n$1\r\na\r\n";

/// Never sent again, it is looked for; nothing else is sent before all is known.
#[test]
fn a_lost_write_that_is_found_is_answered() {
    for (value, told, executed) in [("$1\r\nv\r\n", "+OK\r\n".to_owned(), 1), ("$1\r\nw\r\n", unknown(), 0)] {
        let mut bench = Bench::new();
        bench.ask(SET, Effect::Write);
        bench.write_all();
        bench.ask(SET, Effect::Write);
        assert_eq!(bench.lose(), Endings::default());
        bench.connect();
        assert_eq!(bench.queue.unwritten(), LOOK);
        bench.write_all();
        bench.answer(&[value, ":-1\r\n"]);
        assert_eq!(bench.queue.unwritten(), SET, "the one that was not sent");
        bench.write_all();
        bench.answer(&["+OK\r\n"]);
        assert_eq!(bench.heard(), format!("{told}+OK\r\n"));
        assert_eq!(bench.queue.take_endings(), Endings { executed, unknown: 1 - executed, ..Endings::default() });
    }
}

/// Whatever keeps us from looking, nobody is told that nothing ran.
#[test]
fn a_lost_write_that_cannot_be_looked_for_stays_unknown() {
    const DEL: &[u8] = b"*2\r\n$3\r\nDEL\r\n$1\r\na\r\n";
    let mut bench = Bench::new();
    bench.ask(DEL, Effect::Write);
    for _ in 0..4 {
        bench.write_all();
        bench.lose();
        bench.connect();
    }
    assert_eq!(bench.heard(), unknown());
    let mut bench = Bench::new();
    bench.ask(DEL, Effect::Write);
    bench.write_all();
    bench.lose();
    bench.queue.give_up(SECOND, NOT_EXECUTED, bench.now + SECOND);
    assert_eq!(bench.heard(), unknown());
    assert_eq!(bench.queue.take_endings(), Endings { unknown: 1, ..Endings::default() });
}

fn hold(holds: &std::sync::Arc<Holds>, request: &[u8]) -> Option<Hold> {
    let mut parser = Parser::default();
    holds.begin(&Commands::default().understand(parser.known(request).expect("a request")), None)
}

/// What was not found is sent again only where nobody else has touched it, and where the server has forgotten the
/// connection it was lost on.
#[test]
fn eager_repeats_what_nobody_else_has_touched() {
    let (eager, other) = (Reconnect::Eager, Reconnect::Conservative);
    for (mode, is_touched, has_severed, is_repeated) in [
        (eager, false, true, true),
        (eager, true, true, false),
        (eager, false, false, false),
        (other, false, true, false),
    ] {
        let (mut bench, holds) = (Bench::with(mode), Holds::new());
        bench.ask_shaped(SET, Effect::Write, Shape::StatusOrText, hold(&holds, SET));
        bench.write_all();
        bench.ask(b"GET a", Effect::Read);
        bench.lose();
        if is_touched {
            drop(hold(&holds, SET));
        }
        let arrival = Arrival { generation: 0, lifetime: None, has_severed };
        bench.queue.connected(arrival, bench.now, 0.5);
        bench.write_all();
        bench.answer(&["_\r\n", ":-2\r\n"]);
        let endings = bench.queue.take_endings();
        if !is_repeated {
            assert_eq!((bench.queue.unwritten(), endings.unknown), (&b"GET a"[..], 1));
            continue;
        }
        assert_eq!(bench.queue.unwritten(), [SET, b"GET a"].concat(), "before what its client sent behind it");
        assert_eq!(endings, Endings { replayed: 1, ..Endings::default() });
        // Lost before it has left, it may have run all the same.
        bench.lose();
        bench.queue.give_up(SECOND, NOT_EXECUTED, bench.now + SECOND);
        assert!(bench.heard().starts_with(&unknown()));
    }
}

/// What does not leave is not waited for without end either.
#[test]
fn a_request_that_does_not_leave_ends_its_connection() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.queue.wrote(3);
    bench.now += 10 * SECOND + STALL;
    assert!(matches!(bench.expire(), Err(Loss::Stalled)));
    assert_eq!(bench.queue.take_endings(), Endings::default(), "it was not sent");
}
