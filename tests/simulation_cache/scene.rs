//! One simulation, from its seed to everything that was seen.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::config::{Address, Limits, Reconnect};
use cloakroom::downstream::{Door, Settings, Users, Workers};
use cloakroom::metrics::{Labels, Metrics};
use cloakroom::upstream::{self, Access, Dial, LaneLimits, Password, Server};
use cloakroom::watch::Watch;
use fastrand::Rng;
use metrics::NoopRecorder;
use tokio::io::DuplexStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::client::Client;
use super::deed::Deed;
use super::judge::{self, Rules};
use super::model::Redis;
use super::network::Network;
use super::past::{Past, Stamp};
use super::plan::{Plan, ProxyPlan, Tastes};
use super::tally::Tally;
use super::wire::Wire;
use super::{CONNECT_TIMEOUT, QUEUE_TIMEOUT, RECOVERY, REPLY_TIMEOUT};

/// How long clients go on after the last fault: longer than anything arrives late.
const PEACE: Duration = Duration::from_millis(250);

/// Whatever goes on for longer in a simulation will go on for ever.
const TOO_LONG: Duration = Duration::from_secs(120);

/// `cache.own_key`
const OWN_KEY: &str = "own";

/// What all clients of a simulation share.
pub(crate) struct Scene {
    network: Rc<Network>,
    proxies: Vec<Workers>,
    /// Of each proxy; `reconnect = "off"`: any connection may be closed.
    pub(crate) may_close: Vec<bool>,
    pub(crate) tastes: Tastes,
    pub(crate) is_over: Cell<bool>,
    past_proxies: UnboundedSender<oneshot::Sender<DuplexStream>>,
    violations: RefCell<Vec<String>>,
}

impl Scene {
    /// Now, and later than all that was.
    pub(crate) fn stamp(&self) -> Stamp {
        self.network.with_redis(|redis, now| redis.past.as_mut().expect("it is wanted").stamp(now))
    }

    pub(crate) fn violated(&self, what: String) {
        self.violations.borrow_mut().push(what);
    }

    /// A connection to a proxy, or past them.
    pub(crate) async fn connect(&self, client: usize, proxy: Option<usize>) -> Wire {
        if let Some(proxy) = proxy {
            return Wire::connect(client, &self.proxies[proxy]).await;
        }
        loop {
            let (wish, answer) = oneshot::channel();
            self.past_proxies.send(wish).expect("somebody listens");
            match timeout(CONNECT_TIMEOUT, answer).await {
                Ok(Ok(stream)) => return Wire::over(stream),
                // For the next to come; it may be too late for those of now.
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn until_ready(&self, plan: &Plan) -> bool {
        let deadline = Instant::now() + RECOVERY;
        let is_ready = |(workers, plan): (&Workers, &ProxyPlan)| workers.server().ready_workers() == plan.workers;
        while !self.proxies.iter().zip(&plan.proxies).all(is_ready) {
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
    pub(crate) deeds: Vec<Deed>,
    past: Past,
    pub(crate) violations: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) length: Duration,
}

impl Seen {
    /// What is wrong with what was read, and how much of it there was.
    pub(crate) fn judged(&self, plan: &Plan) -> (Vec<String>, Tally) {
        let rules = |proxy: &ProxyPlan| Rules {
            staleness: proxy.cache.staleness.as_millis() as i64,
            sends_again: proxy.reconnect == Reconnect::Eager,
        };
        judge::judge(&self.deeds, &self.past, &plan.proxies.iter().map(rules).collect::<Vec<_>>())
    }
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
    redis.past = Some(Past::default());
    let network = Network::new(redis, plan.weather, random.fork(), is_noted);
    let mut tasks = Vec::new();
    let proxies = plan.proxies.iter().map(|proxy| start(proxy, &network, &mut tasks)).collect();
    let (past_proxies, asked) = unbounded_channel();
    tasks.push(spawn_local(Rc::clone(&network).listen(asked)));
    let scene = Rc::new(Scene {
        network: Rc::clone(&network),
        proxies,
        may_close: plan.proxies.iter().map(|proxy| proxy.reconnect == Reconnect::Off).collect(),
        tastes: plan.tastes,
        is_over: Cell::new(false),
        past_proxies,
        violations: RefCell::default(),
    });
    let mut deeds = Vec::new();
    if timeout(TOO_LONG, act(plan, &scene, &mut random, &mut deeds)).await.is_err() {
        scene.violated("it went on for ever".to_owned());
    }
    if network.panics().await > 0 || tasks.iter().any(JoinHandle::is_finished) {
        scene.violated("a part of it ended, most likely in a panic: see above".to_owned());
    }
    let past = network.with_redis(|redis, _| redis.past.take()).expect("it is wanted");
    let length = network.began.elapsed();
    Seen { deeds, past, violations: scene.violations.take(), notes: network.notes(), length }
}

/// A proxy whose network is ours.
fn start(plan: &ProxyPlan, network: &Rc<Network>, tasks: &mut Vec<JoinHandle<()>>) -> Workers {
    let (wishes, asked) = unbounded_channel();
    tasks.push(spawn_local(Rc::clone(network).listen(asked)));
    let metrics = Metrics::new(&NoopRecorder, &Labels::default());
    let access = Access {
        dial: Dial {
            address: Address::tcp("simulated", 6379),
            tls: None,
            timeout: CONNECT_TIMEOUT,
            network: upstream::Network::Simulated(wishes),
        },
        username: String::new(),
        password: Password::None,
        name: "cloakroom".to_owned(),
        lifetime: plan.lifetime,
        files: Watch::default(),
    };
    let limits = Limits { pinned: plan.pinned, ..Limits::default() };
    let upstream = LaneLimits {
        queue_timeout: QUEUE_TIMEOUT,
        reply_timeout: REPLY_TIMEOUT,
        queue: limits.queue.bytes(),
        reconnect: plan.reconnect,
    };
    let server = Server::new(access, 0, &upstream, Some(OWN_KEY.to_owned()), metrics.upstream.clone());
    let settings =
        Settings { limits, upstream, db: 0, logs_commands: false, cache: Some(plan.cache.clone()), rules: None };
    let door = Door { users: Arc::new(Users::default()), tls: None, max_clients: 1000 };
    let (workers, futures) = Workers::simulate(plan.workers, &settings, server, door, metrics);
    tasks.extend(futures.into_iter().map(spawn_local));
    workers
}

/// Lets faults happen while clients read and write.
async fn act(plan: &Plan, scene: &Rc<Scene>, random: &mut Rng, deeds: &mut Vec<Deed>) {
    if !scene.until_ready(plan).await {
        return scene.violated("the proxies did not become ready".to_owned());
    }
    let whims = spawn_local(have_whims(Rc::clone(scene), plan.expiry, plan.eviction, random.fork()));
    let through = (0..plan.proxies.len()).flat_map(|proxy| (0..plan.clients).map(move |_| Some(proxy)));
    let ways: Vec<_> = through.chain((0..plan.direct).map(|_| None)).collect();
    let mut clients = Vec::new();
    for (client, proxy) in ways.into_iter().enumerate() {
        let db = u32::from(plan.tastes.has_other_db && random.u8(0..3) == 0);
        clients.push(spawn_local(Client::new(client, proxy, db, scene, random.fork()).await.run()));
    }
    sleep(plan.tastes.length).await;
    plan.happen(&scene.network).await;
    sleep(PEACE).await;
    scene.is_over.set(true);
    for client in clients {
        match client.await {
            Ok(done) => deeds.extend(done),
            Err(_) => scene.violated("a client panicked, see above".to_owned()),
        }
    }
    whims.await.expect("no panic");
    if !scene.until_ready(plan).await {
        let ready: Vec<_> = scene.proxies.iter().map(|proxy| proxy.server().ready_workers()).collect();
        scene.violated(format!("the proxies did not find their way back: {ready:?} workers are ready"));
    }
}

/// What the server does without being asked.
async fn have_whims(scene: Rc<Scene>, expiry: Option<Duration>, eviction: Option<Duration>, mut random: Rng) {
    while !scene.is_over.get() {
        sleep(Duration::from_millis(random.u64(1..50))).await;
        let mut now_and_then =
            |every: Option<Duration>| every.is_some_and(|every| random.u128(0..every.as_millis()) < 25);
        let (expires, evicts) = (now_and_then(expiry), now_and_then(eviction));
        if expires {
            scene.network.with_redis(|redis, now| redis.expire(|| random.bool(), now));
        }
        if evicts {
            scene.network.with_redis(|redis, now| redis.evict(|count| random.usize(0..count), now));
        }
    }
}
