//! One simulation, from its seed to what was wrong in it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::config::{Address, Limits, Reconnect};
use cloakroom::downstream::{Door, Settings, Users, Workers};
use cloakroom::metrics::{Labels, Metrics};
use cloakroom::upstream::{self, Access, Dial, LaneLimits, Password, Server};
use cloakroom::watch::Watch;
use metrics::NoopRecorder;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::client::Client;
use super::history::{History, Moment, Reply, Token, Told};
use super::model::Redis;
use super::network::Network;
use super::plan::Plan;
use super::register::{self, Verdict};
use super::run::Sum;
use super::tokens::{self, Gaps, Kept};
use super::{CONNECT_TIMEOUT, LONGEST, QUEUE_TIMEOUT, RECOVERY, REPLY_TIMEOUT};

/// Keys that hold one value; behind them one whose values live briefly, and a hash of one field.
pub(crate) const REGISTERS: usize = 3;
pub(crate) const HASH: usize = REGISTERS + 1;
pub(crate) const VALUES: usize = REGISTERS + 2;

/// Lists that only grow.
pub(crate) const LISTS: usize = 2;

/// The token that ends a channel.
pub(crate) const LAST: Token = 0;

/// How long clients go on after the last fault: longer than anything arrives late.
const PEACE: Duration = Duration::from_millis(450);

/// Whatever goes on for longer in a simulation will go on for ever.
const TOO_LONG: Duration = Duration::from_secs(120);

const PASSWORD: &str = "right";

pub(crate) fn key(at: usize) -> String {
    format!("value:{at}")
}

/// What all clients of a simulation share.
pub(crate) struct Scene {
    pub(crate) network: Rc<Network>,
    pub(crate) workers: Workers,
    pub(crate) is_over: Cell<bool>,
    /// `reconnect = "off"`: any connection may be closed.
    pub(crate) may_close: bool,
    /// The longest a client thinks, in milliseconds.
    pub(crate) leisure: u64,
    /// The longest a client waits for a reply that is up to others: while things go wrong, and then.
    pub(crate) patience: Duration,
    seed: u64,
    waits: RefCell<BTreeMap<&'static str, Wait>>,
}

/// The longest wait for an ending: for what, with which seed.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wait {
    longest: Duration,
    what: String,
    seed: u64,
}

/// What came of simulations.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: usize,
    pub(crate) executed: usize,
    pub(crate) not_executed: usize,
    pub(crate) unknown: usize,
    pub(crate) closed: usize,
    /// Keys whose history was too much to judge.
    pub(crate) undecided: usize,
    /// By ending.
    pub(crate) waits: BTreeMap<&'static str, Wait>,
    /// Of virtual time.
    pub(crate) length: Duration,
}

impl Scene {
    /// A client has waited for the end of a request.
    pub(crate) fn waited(&self, what: &str, told: &Told, waited: Moment) {
        let ending = match told {
            _ if what == "Dequeue" => "BLPOP",
            Told::Executed(_) => "executed",
            Told::NotExecuted => "not executed",
            Told::Unknown => "unknown",
            Told::Closed => "closed",
        };
        let mut waits = self.waits.borrow_mut();
        let longest = waits.entry(ending).or_default();
        if waited > longest.longest {
            *longest = Wait { longest: waited, what: what.to_owned(), seed: self.seed };
        }
    }

    async fn until_ready(&self, workers: usize) -> bool {
        let deadline = Instant::now() + RECOVERY;
        while self.workers.server().ready_workers() < workers {
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
        true
    }
}

/// Everything that was seen.
pub(crate) struct Seen {
    pub(crate) history: History,
    kept: Kept,
    pub(crate) notes: Vec<String>,
    waits: BTreeMap<&'static str, Wait>,
    length: Duration,
}

/// On a runtime of its own, whose clock goes on when everybody waits for it.
pub(crate) fn simulate(plan: &Plan, is_noted: bool) -> Seen {
    fastrand::seed(plan.seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(play(plan, is_noted))
}

async fn play(plan: &Plan, is_noted: bool) -> Seen {
    let mut random = plan.random.clone();
    let mut redis = Redis::new();
    redis.password = plan.has_password.then(|| PASSWORD.to_owned());
    let network = Network::new(redis, plan.weather, random.fork(), is_noted);
    let (workers, workers_ended) = start(plan, &network);
    // So that long simulations cost no more than short ones.
    let leisure = random.choice(&[150, 300, 600]).expect("some") * (1 + plan.length().as_secs());
    let scene = Rc::new(Scene {
        network: Rc::clone(&network),
        workers,
        is_over: Cell::new(false),
        may_close: plan.reconnect == Reconnect::Off,
        leisure,
        patience: LONGEST + plan.length(),
        seed: plan.seed,
        waits: RefCell::default(),
    });
    let mut history = History::default();
    if timeout(TOO_LONG, act(plan, &scene, &mut random, &mut history)).await.is_err() {
        history.violations.push("it went on for ever".to_owned());
    }
    if network.panics().await > 0 || workers_ended.iter().any(JoinHandle::is_finished) {
        history.violations.push("a part of it ended, most likely in a panic: see above".to_owned());
    }
    let kept = kept(&network);
    let length = network.began.elapsed();
    Seen { history, kept, notes: network.notes(), waits: scene.waits.take(), length }
}

/// A proxy whose network is ours.
fn start(plan: &Plan, network: &Rc<Network>) -> (Workers, Vec<JoinHandle<()>>) {
    let (wishes, asked) = unbounded_channel();
    let mut tasks = vec![spawn_local(Rc::clone(network).listen(asked))];
    let metrics = Metrics::new(&NoopRecorder, &Labels::default());
    let access = Access {
        dial: Dial {
            address: Address::tcp("simulated", 6379),
            tls: None,
            timeout: CONNECT_TIMEOUT,
            network: upstream::Network::Simulated(wishes),
        },
        username: String::new(),
        password: if plan.has_password { Password::Inline(PASSWORD.into()) } else { Password::None },
        name: "cloakroom".to_owned(),
        lifetime: plan.lifetime,
        files: Watch::default(),
    };
    let upstream = LaneLimits {
        queue_timeout: QUEUE_TIMEOUT,
        reply_timeout: REPLY_TIMEOUT,
        queue: plan.queue,
        reconnect: plan.reconnect,
    };
    let server = Server::new(access, 0, &upstream, None, metrics.upstream.clone());
    let limits = Limits { in_flight: plan.in_flight, pinned: plan.pinned, ..Limits::default() };
    let settings = Settings { limits, upstream, db: 0, logs_commands: false, cache: None, rules: None };
    let door = Door { users: Arc::new(Users::default()), tls: None, max_clients: 1000 };
    let (workers, futures) = Workers::simulate(plan.workers, &settings, server, door, metrics);
    tasks.extend(futures.into_iter().map(spawn_local));
    (workers, tasks)
}

/// Lets faults happen while clients ask.
async fn act(plan: &Plan, scene: &Rc<Scene>, random: &mut fastrand::Rng, history: &mut History) {
    if !scene.until_ready(plan.workers).await {
        history.violations.push("the proxy did not become ready".to_owned());
        return;
    }
    let mut tasks = Vec::new();
    let mut number = 0;
    for _ in 0..plan.clients {
        number += 1;
        tasks.push(spawn_local(Client::new(number, scene, random.fork()).await.run()));
    }
    if plan.has_queue {
        tasks.push(spawn_local(Client::new(number + 1, scene, random.fork()).await.enqueue()));
        tasks.push(spawn_local(Client::new(number + 2, scene, random.fork()).await.dequeue()));
    }
    let mut subscriber = None;
    if plan.has_channel {
        tasks.push(spawn_local(Client::new(number + 3, scene, random.fork()).await.publish()));
        subscriber = Some(spawn_local(Client::new(number + 4, scene, random.fork()).await.subscribe()));
    }
    plan.happen(&scene.network).await;
    sleep(PEACE).await;
    scene.is_over.set(true);
    for task in tasks {
        finish(task.await, history);
    }
    if !scene.until_ready(plan.workers).await {
        history.violations.push("the proxy did not find its way back".to_owned());
        return;
    }
    if let Some(subscriber) = subscriber {
        while !subscriber.is_finished() {
            scene.network.with_redis(|redis, _| redis.announce("channel", &format!("t={LAST}")));
            sleep(Duration::from_millis(10)).await;
        }
        finish(subscriber.await, history);
    }
    for _ in 0..2 {
        history.merge(Client::new(100, scene, random.fork()).await.look().await);
        sleep(Duration::from_millis(20)).await;
    }
}

fn finish(client: Result<History, tokio::task::JoinError>, history: &mut History) {
    match client {
        Ok(seen) => history.merge(seen),
        Err(_) => history.violations.push("a client panicked, see above".to_owned()),
    }
}

/// What the server holds now.
fn kept(network: &Rc<Network>) -> Kept {
    let peek = |words: &[&str]| {
        let mut bytes = Vec::new();
        network.with_redis(|redis, now| redis.peek(words, now)).write(2, &mut bytes);
        Reply::parse(&bytes)
    };
    let list = |key: &str| tokens::tokens(&peek(&["lrange", key, "0", "-1"]));
    Kept {
        lists: (0..LISTS).map(|at| list(&format!("list:{at}"))).collect(),
        both: [list("both:0"), list("both:1")],
        queue: list("queue"),
        counter: match peek(&["get", "counter"]) {
            Reply::Text(count) => count.parse().expect("a number"),
            _ => 0,
        },
    }
}

/// Everything that must not have happened, and what happened.
fn judge(history: &History, kept: &Kept, gaps: Gaps) -> (Vec<String>, Tally) {
    let mut wrong = history.violations.clone();
    wrong.extend(tokens::violations(history, kept, gaps));
    let mut tally = Tally { count: 1, ..Tally::default() };
    for entry in &history.entries {
        *match entry.told {
            Told::Executed(_) => &mut tally.executed,
            Told::NotExecuted => &mut tally.not_executed,
            Told::Unknown => &mut tally.unknown,
            Told::Closed => &mut tally.closed,
        } += 1;
    }
    for at in 0..VALUES {
        match register::judge(&history.entries, at) {
            Verdict::Linearizable => {}
            Verdict::Violated(why) => wrong.push(format!("{}: {why}", key(at))),
            Verdict::Undecided => tally.undecided += 1,
        }
    }
    (wrong, tally)
}

fn report(plan: &Plan, wrong: &[String], notes: &[String], history: &History) -> String {
    let mut text =
        format!("CLOAKROOM_SEED={} cargo test --test simulation\n{plan:#?}\n{}", plan.seed, wrong.join("\n"));
    if !notes.is_empty() {
        let mut entries: Vec<_> = history.entries.iter().collect();
        entries.sort_by_key(|entry| entry.invoked);
        let _ = write!(text, "\non the way:\n{}\nclients:", notes.join("\n"));
        entries.iter().for_each(|entry| write!(text, "\n{entry:?}").expect("a text"));
    }
    text
}

impl Sum for Tally {
    fn run(seed: u64, is_noted: bool) -> Result<Self, String> {
        let plan = Plan::new(seed);
        let Seen { history, kept, notes, waits, length } = simulate(&plan, is_noted);
        let gaps = if plan.reconnect == Reconnect::Eager { Gaps::Silent } else { Gaps::Seen };
        let (wrong, mut tally) = judge(&history, &kept, gaps);
        (tally.waits, tally.length) = (waits, length);
        if wrong.is_empty() { Ok(tally) } else { Err(report(&plan, &wrong, &notes, &history)) }
    }

    fn panicked(seed: u64) -> String {
        report(&Plan::new(seed), &["a panic, see above".to_owned()], &[], &History::default())
    }

    fn hangs(seed: u64) -> String {
        report(&Plan::new(seed), &["it does not end, and its clock stands still".to_owned()], &[], &History::default())
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.executed += other.executed;
        self.not_executed += other.not_executed;
        self.unknown += other.unknown;
        self.closed += other.closed;
        self.undecided += other.undecided;
        self.length += other.length;
        for (ending, wait) in other.waits {
            let longest = self.waits.entry(ending).or_default();
            *longest = wait.max(longest.clone());
        }
    }
}
