//! What becomes of the connection itself: refused, asked for a word, replaced.

use super::*;
use crate::upstream::recovery::renewal::RENEW_AGAIN;

/// `LOADING` to one, and it will be so to all: they wait for a server that executes again.
#[test]
fn what_a_server_refuses_for_now_waits() {
    let mut bench = Bench::new();
    for request in [b"INCR a", b"INCR b", b"INCR c"] {
        bench.ask(request, Effect::Write);
    }
    bench.queue.wrote(6 + 6 + 3);
    bench.answer(&["-LOADING Redis is loading the dataset in memory\r\n"]);
    assert_eq!(bench.queue.unwritten(), b"R c", "what has begun is sent to its end");
    assert!(!bench.queue.has_left(), "there is more to be heard");
    bench.write_all();
    bench.ask(b"INCR d", Effect::Write);
    assert_eq!(bench.queue.unwritten(), b"");
    bench.answer(&["-LOADING Redis is loading the dataset in memory\r\n"; 2]);
    assert!(bench.queue.has_left());
    bench.queue.left(None, bench.now, 0.5);
    assert!(bench.queue.attempt_at() > bench.now);
    assert_eq!(bench.heard(), "");
    bench.connect();
    assert_eq!(bench.queue.unwritten(), b"INCR aINCR bINCR cINCR d", "in the order they were asked");
}

/// It would run behind what its client sent after it.
#[test]
fn what_was_overtaken_by_its_own_client_does_not_wait() {
    const REFUSAL: &str = "-READONLY You can't write against a read only replica.\r\n";
    let mut bench = Bench::new();
    bench.ask(b"INCR a", Effect::Write);
    bench.ask(b"GET a", Effect::Read);
    bench.write_all();
    bench.answer(&[REFUSAL]);
    assert_eq!(bench.heard(), "");
    bench.answer(&["$1\r\n1\r\n"]);
    assert_eq!(bench.heard(), format!("{REFUSAL}$1\r\n1\r\n"));
    // A script may have written before it was refused.
    let mut bench = Bench::new();
    bench.ask_shaped(b"EVAL", Effect::Write, Shape::Script, None);
    bench.write_all();
    bench.answer(&[REFUSAL]);
    assert_eq!((bench.heard().as_str(), bench.queue.phase()), (REFUSAL, Phase::Up));
    // Longer than that nobody waits.
    let mut bench = Bench::new();
    bench.ask(b"INCR a", Effect::Write);
    bench.write_all();
    bench.now += 2 * SECOND;
    bench.answer(&[REFUSAL]);
    assert_eq!(bench.heard(), REFUSAL);
}

#[test]
fn a_silent_server_is_asked_whether_it_is_still_there() {
    let mut bench = Bench::new();
    assert_eq!(bench.queue.next_deadline(None, bench.now), Some(bench.now + SECOND));
    bench.now += SECOND;
    bench.expire().expect("it is asked");
    assert_eq!(bench.queue.unwritten(), b"*2\r\n$4\r\nECHO\r\n$5\r\nnonce\r\n");
    bench.write_all();
    bench.answer(&["$5\r\nnonce\r\n"]);
    bench.queue.heard(bench.now);
    assert_eq!(bench.queue.next_deadline(None, bench.now), Some(bench.now + SECOND), "and again");
    bench.now += SECOND;
    bench.expire().expect("it is asked");
    bench.write_all();
    bench.now += STALL;
    assert!(matches!(bench.expire(), Err(Loss::Stalled)), "nobody else waits");
    bench.lose();
    bench.connect();
    bench.now += SECOND;
    bench.expire().expect("it is asked");
    bench.write_all();
    assert_eq!(bench.queue.answer(b"$5\r\nother\r\n", false, bench.now).map(drop), Err(Desync::Nonce));
}

#[test]
fn an_old_connection_gives_way_without_losing_anything() {
    let mut bench = Bench::new();
    assert!(!bench.queue.begin_renewal(0, bench.now));
    assert!(bench.queue.begin_renewal(1, bench.now), "other credentials");
    assert!(!bench.queue.begin_renewal(1, bench.now), "one at a time");
    bench.queue.not_succeeded(false, bench.now);
    assert!(!bench.queue.begin_renewal(1, bench.now), "not so soon");
    bench.now += RENEW_AGAIN;
    assert!(bench.queue.begin_renewal(1, bench.now));
    bench.ask(b"INCR a", Effect::Write);
    bench.queue.wrote(3);
    bench.ask(b"INCR b", Effect::Write);
    assert!(bench.queue.succeeded(bench.now));
    assert_eq!(bench.queue.unwritten(), b"R a", "the rest is for the successor");
    bench.write_all();
    assert!(!bench.queue.has_left());
    bench.answer(&[":1\r\n"]);
    assert!(bench.queue.has_left());
    let arrival = Arrival { generation: 1, lifetime: Some(100 * SECOND), has_severed: true };
    bench.queue.left(Some(arrival), bench.now, 0.5);
    assert_eq!((bench.queue.phase(), bench.queue.unwritten()), (Phase::Up, &b"INCR b"[..]));
    bench.now += 100 * SECOND;
    assert!(bench.queue.begin_renewal(1, bench.now), "it is old");
}

/// A slow command is in flight: others need not wait for it.
#[test]
fn a_hand_over_that_takes_long_is_put_off() {
    let mut bench = Bench::new();
    bench.ask(b"KEYS *", Effect::Read);
    bench.write_all();
    assert!(bench.queue.begin_renewal(1, bench.now) && bench.queue.succeeded(bench.now));
    bench.ask(b"INCR a", Effect::Write);
    assert_eq!(bench.queue.unwritten(), b"");
    let until = bench.queue.next_deadline(None, bench.now).expect("it is looked at again");
    assert!(until < bench.now + SECOND);
    bench.now = until;
    bench.expire().expect("it goes on");
    assert_eq!((bench.queue.phase(), bench.queue.unwritten()), (Phase::Up, &b"INCR a"[..]));
    assert!(!bench.queue.begin_renewal(1, bench.now), "not so soon");
    bench.now += RENEW_AGAIN;
    assert!(bench.queue.begin_renewal(1, bench.now));
}

/// It may have asked again elsewhere. One that asks and leaves without an outage is served as a server would.
#[test]
fn what_a_client_gave_up_in_an_outage_is_not_sent() {
    for (is_outage, sent) in [(true, &b""[..]), (false, b"INCR a")] {
        let now = Instant::now();
        let queue = Recovery::new(limits(Reconnect::Conservative), now);
        let mut bench = Bench { queue, client: Rc::default(), now };
        if is_outage {
            bench.connect();
            bench.lose();
        }
        bench.ask(b"INCR a", Effect::Write);
        bench.client.abandon();
        bench.connect();
        assert_eq!(bench.queue.unwritten(), sent);
    }
}
