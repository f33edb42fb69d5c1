//! Workers with a cache and a tracked connection each, clients of theirs, and one server: every step is one that a
//! lane, a client or the server may take, in whatever order the case says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::super::{Ask, Asker, Cache, Hold, Holds, Lease, Link, Question, Recall, Terms};
use super::client::{Asked, Client, Outcome};
use super::server::{Item, KEYS, Kind, Place, Request, Said, Server, Write};
use super::steps::Step;
use crate::command::Commands;
use crate::glob::Globs;
use crate::resp::request::Parser;

pub(super) const WORKERS: usize = 2;
pub(super) const CLIENTS: usize = 4;

/// A read that waits for a fence.
#[derive(Debug)]
struct Waiting {
    client: usize,
    slot: u64,
    request: Request,
}

enum Audience {
    Client(usize, u64),
    Ask(Ask),
}

struct Ticket {
    request: Request,
    audience: Audience,
    lease: Option<Lease>,
    hold: Option<Hold>,
}

impl Ticket {
    fn of_client(client: usize, slot: u64, request: Request) -> Self {
        Self { request, audience: Audience::Client(client, slot), lease: None, hold: None }
    }

    fn of_ours(request: Request, ask: Ask) -> Self {
        Self { request, audience: Audience::Ask(ask), lease: None, hold: None }
    }

    fn of_waiting(Waiting { client, slot, request }: Waiting) -> Self {
        Self::of_client(client, slot, request)
    }
}

struct Worker {
    cache: Cache,
    link: Link<Waiting>,
    is_up: bool,
    /// Not sent, and sent.
    queue: VecDeque<Ticket>,
    in_flight: VecDeque<Ticket>,
}

pub(super) struct World {
    pub(super) staleness: Duration,
    keeps_nil: bool,
    start: Instant,
    /// By the clock here, and how much more by all others.
    now: Duration,
    slept: Duration,
    pub(super) server: Server,
    holds: Arc<Holds>,
    commands: Commands,
    workers: Vec<Worker>,
    pub(super) clients: Vec<Client>,
    /// What every read from now on must have seen.
    pub(super) seen: [Place; KEYS],
    pub(super) hits: u64,
}

impl World {
    pub(super) fn new(staleness: Duration, keeps_nil: bool, holds: Arc<Holds>) -> Self {
        let start = Instant::now();
        let terms = Terms {
            keys: Globs::new(["*"]),
            max_size: 1 << 16,
            max_value_size: 1 << 10,
            staleness,
            max_residency: Duration::from_secs(60),
            serve_stale_on_error: None,
        };
        let worker = |_| Worker {
            cache: Cache::new(terms.clone(), Arc::clone(&holds), start),
            link: Link::new(0),
            is_up: false,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
        };
        let workers = (0..WORKERS).map(worker).collect();
        let mut world = Self {
            staleness,
            keeps_nil,
            start,
            now: Duration::ZERO,
            slept: Duration::ZERO,
            server: Server::new(WORKERS, keeps_nil),
            holds,
            commands: Commands::default(),
            workers,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            seen: [0; KEYS],
            hits: 0,
        };
        (0..WORKERS).for_each(|worker| world.connect(worker));
        // Every key is hot, and held.
        for worker in 0..WORKERS {
            for key in (0..KEYS).chain(0..KEYS) {
                world.read(worker, Kind::Get, &[key]);
                world.settle(worker);
            }
        }
        world
    }

    /// By everybody's clock but this machine's.
    pub(super) fn time(&self) -> Duration {
        self.now + self.slept
    }

    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Read(client, kind, keys) => self.read(*client, *kind, keys),
            Step::Write(client, write) => self.write(*client, write),
            Step::Pin(client, request) => self.pin(*client, request),
            Step::ServePinned(client) => self.serve_pinned(*client),
            Step::TellPinned(client) => self.tell_pinned(*client),
            Step::Send(worker, most) => self.send(*worker, *most),
            Step::Serve(worker, most) => self.serve(*worker, *most),
            Step::Hear(worker, most, is_whole) => self.hear(*worker, *most, *is_whole),
            Step::Settle(worker) => self.settle(*worker),
            Step::Direct(write) => self.server.write(write, self.time()),
            Step::Notice(key) => self.server.notice(*key, self.time()),
            Step::Refuse(refuses) => self.server.refuses_fences = *refuses,
            Step::Pass(time) => self.now += *time,
            Step::Sleep(time) => {
                self.slept += *time;
                // Nothing is looked at in the very nanosecond it was before.
                self.now += Duration::from_nanos(1);
            }
            Step::Lose(worker, executed) => self.lose(*worker, *executed),
            Step::Connect(worker) => self.connect(*worker),
            Step::GiveUp(worker) => {
                let given_up = self.workers[*worker].link.give_up(|_| true);
                given_up.into_iter().for_each(|waiting| self.tell(waiting.client, waiting.slot, Outcome::Failed));
            }
        }
    }

    fn worker_of(client: usize) -> usize {
        client % WORKERS
    }

    /// What every read that is asked now must have seen.
    fn asked(&self, request: &Request) -> Asked {
        let time = self.time();
        let known = time.checked_sub(self.staleness);
        let places = std::array::from_fn(|key| {
            let history = &self.server.history[key];
            let is_known = |at: Duration| known.is_some_and(|known| at <= known);
            let direct = history.iter().rposition(|version| !version.is_ours && is_known(version.at));
            self.seen[key].max(2 * direct.unwrap_or(0))
        });
        Asked { request: request.clone(), time, places }
    }

    fn hold(&self, request: &Request) -> Option<Hold> {
        let (bytes, mut parser) = (request.bytes(), Parser::default());
        self.holds.begin(&self.commands.understand(parser.known(&bytes).expect("a request")), None)
    }

    fn read(&mut self, client: usize, kind: Kind, keys: &[usize]) {
        let request = Request::Read(kind, keys.to_vec());
        let asked = self.asked(&request);
        let (now, index) = (self.start + self.now, Self::worker_of(client));
        let this = &mut self.clients[client];
        if this.is_pinned() {
            return;
        }
        let Worker { cache, link, .. } = &mut self.workers[index];
        if std::mem::take(&mut this.was_pinned) {
            this.floor = cache.fences();
        }
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30) + self.now + self.slept;
        cache.look_at_clocks(now, || (now.into_std(), wall, now.into_std()));
        // As the dispatcher and the lane do it.
        let floor = if this.in_flight() > 0 { cache.fences() } else { this.floor };
        let asker = Asker { floor, is_behind: this.is_open(this.write) };
        let (bytes, mut parser) = (request.bytes(), Parser::default());
        let command = self.commands.understand(parser.known(&bytes).expect("a request"));
        let question = Question::of(&command).expect("memory may answer it");
        match cache.recall(link, &question, asker, now) {
            Recall::Hit(answer) => {
                self.hits += 1;
                let slot = this.reserve(Some(asked));
                let time = self.time();
                self.tell(client, slot, Outcome::Remembered(answer, time));
            }
            Recall::Unproven => {
                let slot = this.reserve(Some(asked));
                cache.wait(link, Waiting { client, slot, request });
            }
            Recall::Miss(miss) => {
                let waiting = link.take_waiting(|waiting| waiting.client == client);
                let lease = cache.lease(link, question.value_of(), miss, now);
                let slot = this.reserve(Some(asked));
                let queue = &mut self.workers[index].queue;
                queue.extend(waiting.into_iter().map(Ticket::of_waiting));
                queue.extend(lease.clone().map(|lease| Ticket::of_ours(Request::Optin, Ask::Optin(lease))));
                queue.push_back(Ticket { lease: lease.clone(), ..Ticket::of_client(client, slot, request) });
                let life = Request::Read(Kind::PTtl, keys.to_vec());
                queue.extend(lease.map(|lease| Ticket::of_ours(life, Ask::Life(lease))));
            }
        }
    }

    fn write(&mut self, client: usize, write: &Write) {
        if self.clients[client].is_pinned() {
            return;
        }
        let request = Request::Write(write.clone());
        let hold = self.hold(&request);
        let this = &mut self.clients[client];
        let slot = this.reserve(None);
        this.write = Some(slot);
        let Worker { link, queue, .. } = &mut self.workers[Self::worker_of(client)];
        queue.extend(link.take_waiting(|waiting| waiting.client == client).into_iter().map(Ticket::of_waiting));
        queue.push_back(Ticket { hold, ..Ticket::of_client(client, slot, request) });
    }

    fn pin(&mut self, client: usize, request: &Request) {
        let this = &self.clients[client];
        if this.is_pinned() || this.in_flight() > 0 {
            return;
        }
        let hold = self.hold(request);
        let asked = matches!(request, Request::Read(..)).then(|| self.asked(request));
        let this = &mut self.clients[client];
        this.was_pinned = true;
        let slot = this.reserve(asked);
        this.pinned = Some((slot, request.clone(), hold, None));
    }

    fn serve_pinned(&mut self, client: usize) {
        let time = self.time();
        if let Some((_, request, _, said @ None)) = &mut self.clients[client].pinned {
            *said = Some(self.server.serve_alone(request, time));
        }
    }

    fn tell_pinned(&mut self, client: usize) {
        let Some((slot, request, hold, Some(said))) =
            self.clients[client].pinned.take_if(|(_, _, _, said)| said.is_some())
        else {
            return;
        };
        drop(hold);
        self.tell(client, slot, Outcome::said(&request, said));
    }

    fn send(&mut self, index: usize, most: usize) {
        let worker = &mut self.workers[index];
        if !worker.is_up {
            return;
        }
        let fence = worker.cache.fence(&mut worker.link, self.start + self.now);
        worker.queue.extend(fence.map(|fence| Ticket::of_ours(Request::Fence, fence)));
        if !worker.link.take_touches().is_empty() {
            worker.queue.push_back(Ticket::of_ours(Request::Touch, Ask::Touch));
        }
        for _ in 0..most {
            let Some(ticket) = worker.queue.pop_front() else { break };
            self.server.wires[index].asked.push_back(ticket.request.clone());
            worker.in_flight.push_back(ticket);
        }
    }

    fn serve(&mut self, index: usize, most: usize) {
        let most = most.min(self.server.wires[index].asked.len());
        (0..most).for_each(|_| self.server.serve(index, self.time()));
    }

    fn hear(&mut self, index: usize, most: usize, is_whole: bool) {
        for _ in 0..most {
            let Some(item) = self.server.wires[index].said.pop_front() else { return };
            let worker = &mut self.workers[index];
            let said = match item {
                Item::Push(push) => {
                    assert!(worker.cache.told(&mut worker.link, &push), "it is understood");
                    continue;
                }
                Item::Reply(said) => said,
            };
            let Ticket { request, audience, lease, hold } = worker.in_flight.pop_front().expect("it was asked for");
            match lease {
                Some(lease) if !is_whole && said.frame.starts_with(b"$") => {
                    let (first, last) = said.frame.split_at(said.frame.len() / 2);
                    lease.hear_piece(first, false);
                    lease.hear_piece(last, true);
                }
                Some(lease) => lease.hear(&said.frame),
                None => {}
            }
            match audience {
                Audience::Ask(ask) => self.hear_ask(index, ask, &said),
                Audience::Client(client, slot) => {
                    drop(hold);
                    self.tell(client, slot, Outcome::said(&request, said));
                }
            }
        }
    }

    /// As [`crate::upstream::Lane`] does it.
    fn hear_ask(&mut self, index: usize, ask: Ask, said: &Said) {
        let now = self.start + self.now;
        let worker = &mut self.workers[index];
        let (due, is_proven) = worker.cache.hear(&mut worker.link, ask, &said.frame, now);
        let mut forwarded = Vec::new();
        for Waiting { client, slot, request } in due {
            let (bytes, mut parser) = (request.bytes(), Parser::default());
            let command = self.commands.understand(parser.known(&bytes).expect("a request"));
            let question = Question::of(&command).expect("memory may answer it");
            let Worker { cache, link, queue, .. } = &mut self.workers[index];
            let may_answer = is_proven && !forwarded.contains(&client);
            match may_answer.then(|| cache.recall_proven(link, &question, now)).flatten() {
                Some(answer) => {
                    self.hits += 1;
                    self.tell(client, slot, Outcome::Remembered(answer, self.time()));
                }
                None => {
                    forwarded.push(client);
                    queue.push_back(Ticket::of_client(client, slot, request));
                }
            }
        }
        let Worker { link, queue, .. } = &mut self.workers[index];
        let behind = link.take_waiting(|waiting| forwarded.contains(&waiting.client));
        queue.extend(behind.into_iter().map(Ticket::of_waiting));
    }

    fn settle(&mut self, worker: usize) {
        for _ in 0..4 {
            self.send(worker, usize::MAX);
            self.serve(worker, usize::MAX);
            self.hear(worker, usize::MAX, true);
        }
    }

    fn lose(&mut self, index: usize, executed: usize) {
        self.serve(index, executed);
        self.server.cut(index);
        let worker = &mut self.workers[index];
        worker.is_up = false;
        let waiting = worker.cache.end(&mut worker.link);
        let (sent, queue) = (std::mem::take(&mut worker.in_flight), std::mem::take(&mut worker.queue));
        let count = sent.len();
        for (place, ticket) in sent.into_iter().chain(queue).enumerate() {
            match (&ticket.audience, &ticket.request) {
                (Audience::Ask(_), _) => {}
                (Audience::Client(client, slot), Request::Write(_)) if place < count => {
                    let (client, slot) = (*client, *slot);
                    drop(ticket);
                    self.tell(client, slot, Outcome::Failed);
                }
                (Audience::Client(..), _) => self.workers[index].queue.push_back(ticket),
            }
        }
        self.workers[index].queue.extend(waiting.into_iter().map(Ticket::of_waiting));
    }

    /// A new connection; one that is there is left when it has answered everything.
    fn connect(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        if !worker.in_flight.is_empty() {
            return;
        }
        self.server.cut(index);
        worker.is_up = true;
        worker.queue.retain(|ticket| matches!(ticket.audience, Audience::Client(..)));
        let waiting = worker.cache.begin(&mut worker.link, self.keeps_nil);
        worker.queue.extend(waiting.into_iter().map(Ticket::of_waiting));
    }

    fn tell(&mut self, client: usize, slot: u64, outcome: Outcome) {
        self.clients[client].fill(slot, outcome);
        self.release(client);
    }
}
