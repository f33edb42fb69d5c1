//! Sequences that have been got wrong before.

use super::*;

const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";

const READONLY: &str = "-READONLY You can't write against a read only replica.\r\n";

fn request(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode::request(&mut out, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    out
}

/// Two lost writes in eager mode that nobody can look for, and that wait to be sent again.
fn two_replays() -> (Bench, std::sync::Arc<Holds>) {
    let (mut bench, holds) = (Bench::with(Reconnect::Eager), Holds::new());
    for write in ["EXPIRE a 60", "DEL b c"].map(request) {
        bench.ask_shaped(&write, Effect::Write, Shape::Any, hold(&holds, &write));
    }
    bench.write_all();
    bench.lose();
    bench.connect();
    // The first is sent, and refused; the second has not left.
    let second = request("DEL b c").len();
    bench.queue.wrote(bench.queue.unwritten().len() - second);
    bench.answer(&[READONLY]);
    assert!(bench.queue.has_left());
    bench.queue.left(None, bench.now, 0.5);
    (bench, holds)
}

/// The later one may have run.
#[test]
fn what_was_refused_does_not_follow_a_lost_write_of_its_own_client() {
    let mut bench = Bench::new();
    bench.ask(&request("SET k 1"), Effect::Write);
    bench.ask(&request("SET k 2"), Effect::Write);
    bench.write_all();
    bench.answer(&[LOADING]);
    bench.lose();
    bench.connect();
    bench.write_all();
    bench.answer(&["$1\r\n2\r\n", ":-1\r\n"]);
    assert_eq!(bench.queue.unwritten(), b"");
    assert_eq!(bench.heard(), format!("{LOADING}+OK\r\n"));
}

#[test]
fn what_is_sent_again_keeps_its_order() {
    let (mut bench, holds) = (Bench::with(Reconnect::Eager), Holds::new());
    let (one, other) = (request("SET data v"), request("DEL lock1 lock2"));
    bench.ask_shaped(&one, Effect::Write, Shape::Any, hold(&holds, &one));
    bench.ask_shaped(&other, Effect::Write, Shape::Any, hold(&holds, &other));
    bench.write_all();
    bench.lose();
    bench.connect();
    bench.write_all();
    bench.answer(&["_\r\n", ":-2\r\n"]);
    assert_eq!(bench.queue.unwritten(), [one, other].concat());
}

#[test]
fn a_lost_write_whose_look_is_refused_does_not_wait_for_ever() {
    let (mut bench, holds) = (Bench::with(Reconnect::Eager), Holds::new());
    bench.ask_shaped(SET, Effect::Write, Shape::StatusOrText, hold(&holds, SET));
    bench.write_all();
    bench.lose();
    bench.connect();
    bench.write_all();
    bench.answer(&[LOADING, LOADING]);
    assert!(bench.queue.has_left());
    bench.queue.left(None, bench.now, 0.5);
    assert_eq!(bench.queue.next_to_give_up(2 * SECOND), Some(bench.now + 2 * SECOND));
    bench.queue.give_up(2 * SECOND, NOT_EXECUTED, bench.now + 2 * SECOND);
    assert_eq!(bench.heard(), unknown());
}

/// It was carried over, whatever others had written meanwhile.
#[test]
fn what_was_to_be_sent_again_is_judged_anew_on_each_connection() {
    let (mut bench, holds) = two_replays();
    drop(hold(&holds, &request("SET b acknowledged")));
    bench.connect();
    assert_eq!(bench.queue.unwritten(), b"");
    assert_eq!(bench.heard(), unknown().repeat(2));
    let (mut bench, _writes) = two_replays();
    bench.client.abandon();
    bench.connect();
    assert_eq!(bench.heard(), unknown().repeat(2), "it may have run the first time");
}

#[test]
fn what_was_refused_waits_no_longer_than_the_queue_timeout() {
    let mut bench = Bench::new();
    bench.ask(b"INCR a", Effect::Write);
    bench.ask(b"EVAL long", Effect::Write);
    bench.write_all();
    bench.answer(&[LOADING]);
    assert_eq!(bench.queue.next_deadline(None, bench.now), Some(bench.now + 2 * SECOND));
    bench.now += 2 * SECOND;
    bench.expire().expect("the script may still be answered");
    assert_eq!(bench.heard(), not_executed());
}

/// Whether it was answered late, behind a long reply, or had not left for a while.
#[test]
fn a_server_is_asked_again_after_it_was_late() {
    let asked_again = |bench: &Bench| {
        assert!(bench.queue.is_idle());
        assert_eq!(bench.queue.next_deadline(None, bench.now), Some(bench.now + SECOND));
    };
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.write_all();
    bench.now += SECOND;
    bench.expire().expect("it is asked");
    bench.write_all();
    bench.now += 11 * SECOND;
    bench.expire().expect("it may still answer");
    bench.queue.heard(bench.now);
    bench.answer(&["$1\r\na\r\n", "$5\r\nnonce\r\n"]);
    asked_again(&bench);
    let mut bench = Bench::new();
    bench.ask(b"INCR a", Effect::Write);
    bench.queue.wrote(3);
    let stuck = Some(bench.now);
    for _ in 0..4 {
        bench.now += SECOND;
        bench.queue.expire(stuck, bench.now, || "nonce".to_owned()).expect("it may go on");
    }
    bench.write_all();
    bench.queue.heard(bench.now);
    bench.answer(&[":1\r\n", "$5\r\nnonce\r\n"]);
    asked_again(&bench);
}
