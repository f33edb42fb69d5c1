//! Whatever happens, in whatever order: nobody waits for ever, nothing is asked of the clock that has passed, and each
//! request is answered once.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Ask(usize, usize),
    /// So many bytes at most leave.
    Write(usize),
    Answer,
    Refuse,
    Piece(bool),
    Lose,
    Connect,
    Renew,
    Leave(bool),
    Wait(u64),
    Stick,
    Abandon(usize),
}

const REQUESTS: [(&str, Effect); 7] = [
    ("GET a", Effect::Read),
    ("SET a v", Effect::Write),
    ("SETEX a 60 v", Effect::Write),
    ("INCR a", Effect::Write),
    ("DEL a", Effect::Write),
    ("EXPIRE a 60", Effect::Write),
    ("MSET a v b w", Effect::Write),
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 0..REQUESTS.len()).prop_map(|(client, request)| Step::Ask(client, request)),
        6 => (1..200_usize).prop_map(Step::Write),
        6 => Just(Step::Answer),
        1 => Just(Step::Refuse),
        1 => any::<bool>().prop_map(Step::Piece),
        2 => Just(Step::Lose),
        4 => Just(Step::Connect),
        1 => Just(Step::Renew),
        3 => any::<bool>().prop_map(Step::Leave),
        3 => (1..4000_u64).prop_map(Step::Wait),
        1 => Just(Step::Stick),
        1 => (0..3_usize).prop_map(Step::Abandon),
    ]
}

/// The lane, without a socket.
struct Driver {
    queue: Recovery,
    writes: std::sync::Arc<Holds>,
    clients: [Rc<Outbox>; 3],
    now: Instant,
    stuck_since: Option<Instant>,
    has_successor: bool,
    generation: u64,
    in_pieces: bool,
}

impl Driver {
    fn arrival(&self) -> Arrival {
        Arrival { generation: self.generation, lifetime: Some(7 * SECOND), has_severed: true }
    }

    fn lose(&mut self) {
        if self.queue.phase().is_connected() {
            (self.stuck_since, self.has_successor, self.in_pieces) = (None, false, false);
            self.queue.lost(self.now, 0.5);
        }
    }

    fn answer(&mut self, frame: &[u8]) {
        let frame = match self.queue.queue.oldest().map(|ticket| &ticket.audience) {
            Some(Some(Audience::Probe(reply))) if frame[0] != b'-' => reply.clone(),
            _ => frame.into(),
        };
        self.queue.heard(self.now);
        if !self.in_pieces && self.queue.answer(&frame, false, self.now).is_err() {
            self.lose();
        }
    }

    fn take(&mut self, step: &Step) {
        let is_connected = self.queue.phase().is_connected();
        match step {
            Step::Ask(client, request) => {
                let (line, effect) = REQUESTS[*request];
                let mut bytes = Vec::new();
                encode::request(&mut bytes, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
                let outbox = &self.clients[*client];
                if outbox.is_abandoned() {
                    return;
                }
                let recipient = Recipient { outbox: Rc::clone(outbox), slot: outbox.reserve(), form: Form::AsIs };
                let about = About { effect, shape: Shape::Any };
                let ticket = Ticket::new(Audience::Client(recipient), bytes.len(), about, self.now);
                self.queue.push(Ticket { hold: hold(&self.writes, &bytes), ..ticket }, &bytes);
            }
            Step::Write(most) if is_connected => {
                self.queue.wrote(self.queue.unwritten().len().min(*most));
                self.stuck_since = None;
            }
            Step::Answer if is_connected => self.answer(b"+OK\r\n"),
            Step::Refuse if is_connected => self.answer(b"-LOADING it loads\r\n"),
            Step::Piece(is_last) if is_connected => {
                self.queue.heard(self.now);
                self.in_pieces = !is_last;
                if self.queue.answer_piece(Bytes::from_static(b"x"), *is_last, self.now).is_err() {
                    self.lose();
                }
            }
            Step::Lose => self.lose(),
            Step::Connect if !is_connected => self.queue.connected(self.arrival(), self.now, 0.5),
            Step::Renew => self.generation += 1,
            Step::Leave(does_succeed) if is_connected && self.queue.link.is_renewing => match does_succeed {
                true => self.has_successor = self.queue.succeeded(self.now),
                false => self.queue.not_succeeded(false, self.now),
            },
            Step::Wait(millis) => self.now += Duration::from_millis(*millis),
            Step::Stick if !self.queue.unwritten().is_empty() => {
                self.stuck_since.get_or_insert(self.now);
            }
            Step::Abandon(client) => self.clients[*client].abandon(),
            Step::Write(_)
            | Step::Answer
            | Step::Refuse
            | Step::Piece(_)
            | Step::Connect
            | Step::Leave(_)
            | Step::Stick => {}
        }
        self.turn();
    }

    /// What the lane does at the end of each of its turns.
    fn turn(&mut self) {
        let queue = &mut self.queue;
        let (lost, again, refused) = (!queue.lost.is_empty(), !queue.again.is_empty(), !queue.refused.is_empty());
        let is_out_of_place = match queue.phase() {
            Phase::Away => again || refused,
            Phase::Settling => lost || refused,
            Phase::Up => lost || again || refused,
            Phase::Leaving { .. } => lost,
        };
        assert!(!is_out_of_place, "{queue:?}");
        if !queue.phase().is_connected() {
            queue.give_up(2 * SECOND, NOT_EXECUTED, self.now);
            assert!(queue.next_to_give_up(2 * SECOND).is_none_or(|next| next > self.now));
            return;
        }
        queue.begin_renewal(self.generation, self.now);
        if queue.expire(self.stuck_since, self.now, || "nonce".to_owned()).is_err() {
            return self.lose();
        }
        if queue.phase() == Phase::Up {
            self.has_successor = false;
        }
        if queue.has_left() {
            let successor = std::mem::take(&mut self.has_successor);
            let arrival = successor.then(|| self.arrival());
            self.stuck_since = None;
            return self.queue.left(arrival, self.now, 0.5);
        }
        let next = queue.next_deadline(self.stuck_since, self.now);
        assert!(next.is_none_or(|next| next > self.now), "{next:?} has passed and nothing is done about it");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nobody_waits_for_ever(steps in prop::collection::vec(step(), 1..80), is_eager in any::<bool>()) {
        let now = Instant::now();
        let mode = if is_eager { Reconnect::Eager } else { Reconnect::Conservative };
        let mut driver = Driver {
            queue: Recovery::new(limits(mode), now),
            writes: Holds::new(),
            clients: Default::default(),
            now,
            stuck_since: None,
            has_successor: false,
            generation: 0,
            in_pieces: false,
        };
        steps.iter().for_each(|step| driver.take(step));
        // Nothing is heard any more: within all that may be waited for, everybody knows.
        driver.take(&Step::Lose);
        for _ in 0..40 {
            driver.take(&Step::Wait(500));
        }
        for client in &driver.clients {
            prop_assert!(client.in_flight() == 0 || client.is_closed(), "{:?}", driver.queue);
        }
        prop_assert!(driver.queue.is_idle(), "{:?}", driver.queue);
    }
}
