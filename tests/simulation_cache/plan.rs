//! What a seed stands for: the proxies' settings, the weather, what clients like, and what goes wrong when.

use std::rc::Rc;
use std::time::Duration;

use cloakroom::cache::Terms;
use cloakroom::config::Reconnect;
use cloakroom::glob::Globs;
use fastrand::Rng;
use tokio::task::spawn_local;

use super::faults::{Fault, Planned, Which};
use super::link::{Cut, Direction};
use super::network::{Network, Newcomers, Weather};

/// One of the proxies.
#[derive(Debug)]
pub(crate) struct ProxyPlan {
    pub(crate) workers: usize,
    pub(crate) reconnect: Reconnect,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) pinned: usize,
    pub(crate) cache: Terms,
}

/// All that comes from a seed but what clients do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) proxies: Vec<ProxyPlan>,
    pub(crate) weather: Weather,
    pub(crate) faults: Vec<Planned>,
    /// Clients of each proxy, and of none.
    pub(crate) clients: usize,
    pub(crate) direct: usize,
    pub(crate) tastes: Tastes,
    /// How often the server looks for keys whose time is over; perhaps never.
    pub(crate) expiry: Option<Duration>,
    /// How often it evicts one.
    pub(crate) eviction: Option<Duration>,
    pub(crate) random: Rng,
}

/// What clients like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tastes {
    /// Of a thousand deeds, those that write: through proxies, and past them.
    pub(crate) writes: u32,
    pub(crate) direct_writes: u32,
    /// Of a thousand writes, those that change everything.
    pub(crate) upheavals: u32,
    /// Whether some swap the databases: of that the server tells nobody.
    pub(crate) swaps: bool,
    /// The longest they think, in milliseconds.
    pub(crate) leisure: u64,
    /// Whether there are clients in the other database.
    pub(crate) has_other_db: bool,
    /// How long all this goes on without faults.
    pub(crate) length: Duration,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let tastes = Tastes::any(&mut random);
        // Another proxy would not know of the swaps.
        let proxies = (0..if tastes.swaps { 1 } else { 2 }).map(|_| ProxyPlan::any(&mut random)).collect();
        let weather = Weather {
            delay: *random.choice(&[0, 1, 1, 3, 12]).expect("some"),
            piece: *random.choice(&[2048, 2048, 100]).expect("some"),
            socket: *random.choice(&[1024, 65536]).expect("some"),
        };
        let faults = (0..random.usize(0..=4)).map(|_| any_fault(&mut random)).collect();
        let (clients, direct) = (random.usize(1..=3), random.usize(1..=2));
        let millis = |choices: &[u64], random: &mut Rng| {
            Some(Duration::from_millis(*random.choice(choices).expect("some"))).filter(|length| !length.is_zero())
        };
        let (expiry, eviction) = (millis(&[0, 0, 50, 100, 700], &mut random), millis(&[0, 0, 0, 150], &mut random));
        Self { seed, proxies, weather, faults, clients, direct, tastes, expiry, eviction, random }
    }

    /// Lets everything happen. When it is over, nothing is wrong any more.
    pub(crate) async fn happen(&self, network: &Rc<Network>) {
        let faults = self.faults.iter().map(|planned| {
            let (network, planned, plain) = (Rc::clone(network), *planned, self.weather);
            spawn_local(async move { planned.happen(&network, plain).await })
        });
        for fault in faults.collect::<Vec<_>>() {
            fault.await.expect("no panic");
        }
        // Whoever still hears nothing would be told by keepalive.
        network.links().iter().filter(|link| link.is_stopped()).for_each(|link| link.cut(Cut::Both));
    }
}

impl ProxyPlan {
    fn any(random: &mut Rng) -> Self {
        let reconnect = match random.u8(0..10) {
            0 => Reconnect::Off,
            1..4 => Reconnect::Eager,
            _ => Reconnect::Conservative,
        };
        // Connections take over from one another all the time.
        let lifetime = (random.u8(0..6) == 0).then_some(Duration::from_millis(200));
        let pinned = if random.u8(0..8) == 0 { 1 } else { 1000 };
        Self { workers: random.usize(1..=3), reconnect, lifetime, pinned, cache: terms(random) }
    }
}

/// `[cache]`
fn terms(random: &mut Rng) -> Terms {
    let mut of = |choices: &[u64]| *random.choice(choices).expect("some");
    Terms {
        keys: Globs::new(if of(&[0, 0, 0, 0, 1]) == 1 { ["[hw]*", "cold"] } else { ["*", "?"] }),
        max_size: of(&[1 << 20, 1 << 20, 1 << 20, 1500]) as usize,
        max_value_size: of(&[1 << 16, 1 << 16, 1 << 16, 20]) as usize,
        staleness: Duration::from_millis(of(&[0, 0, 0, 5, 20, 100, 100])),
        max_residency: Duration::from_millis(of(&[60_000, 60_000, 60_000, 30])),
        serve_stale_on_error: None,
    }
}

impl Tastes {
    fn any(random: &mut Rng) -> Self {
        let mut of = |choices: &[u32]| *random.choice(choices).expect("some");
        Self {
            writes: of(&[5, 20, 60, 150]),
            direct_writes: of(&[0, 20, 100, 400]),
            upheavals: of(&[0, 5, 30]),
            swaps: of(&[0, 0, 0, 1]) == 1,
            leisure: u64::from(of(&[1, 4, 4, 15])),
            has_other_db: of(&[0, 0, 1]) == 1,
            length: Duration::from_millis(u64::from(of(&[300, 600]))),
        }
    }
}

/// Those that matter to what is kept come often: silence above all.
fn any_fault(random: &mut Rng) -> Planned {
    let millis = |random: &mut Rng, most| Duration::from_millis(random.u64(0..most));
    let at = millis(random, 700);
    let length = millis(random, 400);
    let which = match random.u8(0..4) {
        0 => Which::All,
        _ => Which::Oldest(random.usize(0..5)),
    };
    let direction = match random.u8(0..3) {
        0 => None,
        1 => Some(Direction::Requests),
        _ => Some(Direction::Replies),
    };
    let newcomers = match random.u8(0..6) {
        0 => Newcomers::Refused,
        1 => Newcomers::Slow(millis(random, 300)),
        _ => Newcomers::Welcome,
    };
    let cut = if random.bool() { Cut::Both } else { Cut::Late(millis(random, 200)) };
    let fault = match random.u8(0..20) {
        0..5 => Fault::Blackhole { which, direction, newcomers },
        5 => Fault::Stop,
        6 => Fault::Slow,
        7..9 => Fault::Demote,
        9 => Fault::CloseClients,
        10 => Fault::Cut(which, cut),
        16..20 => Fault::Sluggish(which, millis(random, 60)),
        11 => Fault::Lag(random.u64(2..40)),
        12 => Fault::Trickle,
        13 => Fault::Crash { loads: Duration::ZERO },
        _ => return Planned::any(random),
    };
    Planned { at, fault, length }
}
