use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    queue: InFlight,
    client: Rc<Outbox>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { queue: InFlight::default(), client: Rc::default(), now: Instant::now() }
    }

    fn ask(&mut self, request: &[u8], effect: Effect) {
        let recipient = Recipient { outbox: self.client.clone(), slot: self.client.reserve(), form: Form::AsIs };
        self.queue.push(request, recipient, About { effect, shape: Shape::Any }, self.now);
    }

    fn write_all(&mut self) {
        self.queue.wrote(self.queue.unwritten().len());
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
    assert_eq!(bench.queue.answer(b"+a\r\n", false, Instant::now()), Ok(()));
    assert_eq!(bench.queue.answer(b"+b\r\n", false, Instant::now()), Ok(()));
    assert_eq!(bench.heard(), "+a\r\n+b\r\n");
    assert!(bench.queue.is_empty() && bench.queue.size() == 0);
}

#[test]
fn a_reply_nobody_waits_for_is_no_reply_to_somebody_else() {
    let mut bench = Bench::new();
    assert_eq!(bench.queue.answer(b"+x\r\n", false, Instant::now()), Err(Desync::Unasked));
    bench.ask(b"GET a", Effect::Read);
    assert_eq!(bench.queue.answer(b"+x\r\n", false, Instant::now()), Err(Desync::Unasked), "not sent yet");
    bench.queue.wrote(3);
    assert_eq!(bench.queue.answer(b"+x\r\n", false, Instant::now()), Err(Desync::Unasked), "not wholly sent");
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
        let recipient = Recipient { outbox: bench.client.clone(), slot: bench.client.reserve(), form: Form::AsIs };
        bench.queue.push(b"GET a", recipient, About { effect: Effect::Read, shape }, bench.now);
        bench.write_all();
        let result = bench.queue.answer(reply.as_bytes(), false, Instant::now());
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
    let endings = bench.queue.lose(OnLoss::Keep, bench.now);
    assert_eq!(endings, Endings { kept: 2, ..Endings::default() });
    assert_eq!(bench.heard(), "", "nobody is told before the connection is severed");
    assert_eq!(bench.queue.severed(), Endings { unknown: 1, ..Endings::default() });
    assert_eq!(bench.queue.unwritten(), b"GET bINCR c", "the read, and the write that was not wholly sent");
    bench.write_all();
    bench.queue.answer(b"+b\r\n", false, Instant::now()).expect("asked");
    bench.queue.answer(b":1\r\n", false, Instant::now()).expect("asked");
    assert_eq!(bench.heard(), format!("{}+b\r\n:1\r\n", unknown()));
}

#[test]
fn a_read_is_not_sent_again_behind_a_write_of_its_own_client() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.ask(b"DEL a", Effect::Write);
    bench.ask(b"GET a", Effect::Read);
    bench.write_all();
    assert_eq!(bench.queue.lose(OnLoss::Keep, bench.now), Endings { not_executed: 1, kept: 1, ..Endings::default() });
    bench.queue.severed();
    assert_eq!(bench.heard(), format!("{}{}", not_executed(), unknown()));
}

#[test]
fn a_read_is_sent_again_twice_at_most() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    for _ in 0..2 {
        bench.write_all();
        assert_eq!(bench.queue.lose(OnLoss::Keep, bench.now).kept, 1);
    }
    bench.write_all();
    assert_eq!(bench.queue.lose(OnLoss::Keep, bench.now).not_executed, 1);
    assert_eq!(bench.heard(), not_executed());
}

#[test]
fn with_reconnect_off_everything_is_answered_at_once() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.ask(b"INCR a", Effect::Write);
    bench.write_all();
    bench.ask(b"INCR b", Effect::Write);
    let endings = bench.queue.lose(OnLoss::Fail, bench.now);
    assert_eq!(endings, Endings { not_executed: 2, unknown: 1, kept: 0, executed: 0 });
    assert!(bench.queue.is_empty());
}

#[test]
fn an_unsent_request_waits_no_longer_than_the_queue_timeout() {
    let mut bench = Bench::new();
    bench.ask(b"INCR a", Effect::Write);
    bench.now += SECOND;
    bench.ask(b"INCR b", Effect::Write);
    assert_eq!(bench.queue.expire_unsent(2 * SECOND, bench.now + SECOND, NOT_EXECUTED).not_executed, 1);
    assert_eq!(bench.heard(), not_executed());
    assert_eq!(bench.queue.unwritten(), b"INCR b");
}

#[test]
fn a_late_reply_is_discarded_in_its_turn() {
    let mut bench = Bench::new();
    bench.ask(b"INCR a", Effect::Write);
    bench.ask(b"GET b", Effect::Read);
    bench.write_all();
    assert_eq!(bench.queue.expire_sent(SECOND, bench.now), Endings::default());
    bench.now += SECOND;
    assert_eq!(
        bench.queue.expire_sent(SECOND, bench.now),
        Endings { not_executed: 1, unknown: 1, kept: 0, executed: 0 }
    );
    bench.ask(b"GET c", Effect::Read);
    bench.write_all();
    for reply in ["+late a\r\n", "+late b\r\n", "+c\r\n"] {
        bench.queue.answer(reply.as_bytes(), false, Instant::now()).expect("its ticket stayed");
    }
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
    bench.queue.answer(b"+a\r\n", false, Instant::now()).expect("its ticket stayed");
    bench.queue.answer(b"+b\r\n", false, Instant::now()).expect("asked");
    assert_eq!(bench.heard(), "+b\r\n");
}

#[test]
fn a_reply_that_breaks_off_in_the_middle_closes_its_client() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.write_all();
    bench.queue.answer_piece(Bytes::from_static(b"$100\r\nxx"), false, Instant::now()).expect("asked");
    bench.queue.lose(OnLoss::Keep, bench.now);
    assert!(bench.client.is_closed());
    assert!(bench.queue.is_empty());
}

#[test]
fn the_servers_noauth_never_reaches_a_client() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.write_all();
    assert_eq!(bench.queue.answer(b"-NOAUTH Authentication required.\r\n", false, Instant::now()), Err(Desync::NoAuth));
    assert_eq!(bench.queue.lose(OnLoss::Keep, bench.now).kept, 1);
}

/// Never sent again, it is looked for; what is asked for that stands before whatever was sent behind it.
#[test]
fn a_lost_write_that_is_found_is_answered() {
    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nv\r\n";
    const LOOK: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$4\r\nPTTL\r\n$1\r\na\r\n";
    for (value, told, executed) in [("$1\r\nv\r\n", "+OK\r\n".to_owned(), 1), ("$1\r\nw\r\n", unknown(), 0)] {
        let mut bench = Bench::new();
        bench.ask(SET, Effect::Write);
        bench.write_all();
        bench.ask(SET, Effect::Write);
        assert_eq!(bench.queue.lose(OnLoss::Keep, bench.now), Endings { kept: 1, ..Endings::default() });
        assert_eq!(bench.queue.unwritten(), [LOOK, SET].concat());
        bench.write_all();
        for reply in [value, ":-1\r\n", "+OK\r\n"] {
            bench.queue.answer(reply.as_bytes(), false, bench.now).expect("asked");
        }
        assert_eq!(bench.heard(), format!("{told}+OK\r\n"));
        assert_eq!(bench.queue.take_found(), Endings { executed, unknown: 1 - executed, ..Endings::default() });
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
        bench.queue.lose(OnLoss::Keep, bench.now);
    }
    assert_eq!(bench.heard(), unknown());
    let mut bench = Bench::new();
    bench.ask(DEL, Effect::Write);
    bench.write_all();
    bench.queue.lose(OnLoss::Keep, bench.now);
    let endings = bench.queue.expire_unsent(SECOND, bench.now + SECOND, NOT_EXECUTED);
    assert_eq!((bench.heard(), endings), (unknown(), Endings { unknown: 1, ..Endings::default() }));
}

/// What does not leave is not waited for without end either.
#[test]
fn a_request_that_does_not_leave_ends_its_connection() {
    let mut bench = Bench::new();
    bench.ask(b"GET a", Effect::Read);
    bench.queue.wrote(3);
    assert_eq!(bench.queue.expire_sent(SECOND, bench.now + SECOND), Endings::default(), "it was not sent");
    assert_eq!(bench.queue.next_expiry(SECOND, SECOND), Some(bench.now + 2 * SECOND));
    assert_eq!(bench.queue.silence(bench.now + 2 * SECOND), Some(2 * SECOND));
}
