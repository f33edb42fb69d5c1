//! What goes wrong between the proxy and the server, and at the server.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use super::link::{Cut, Direction, Link};
use super::network::{Network, Newcomers, Weather};

/// How long a fault that wants requests under way waits for them, in milliseconds.
const MOST_PATIENT: u32 = 150;

/// Which connections a fault is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    All,
    /// The oldest are shared by many, the newest are pinned, most likely.
    Oldest(usize),
    Newest(usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Cut(Which, Cut),
    /// In the middle of a request, a reply or, where newcomers are meant, a handshake.
    CutAfter {
        which: Which,
        bytes: usize,
        direction: Direction,
        cut: Cut,
        newcomers: bool,
    },
    /// Requests stay under way, the proxy sees a close, and they arrive all the same. Meanwhile newcomers are met so.
    Late {
        which: Which,
        before: Duration,
        newcomers: Newcomers,
    },
    /// Nothing passes in this direction, or in both.
    Blackhole {
        which: Which,
        direction: Option<Direction>,
        newcomers: Newcomers,
    },
    /// The same to the end, unless the proxy gives up.
    Silence {
        which: Which,
        direction: Option<Direction>,
    },
    /// And all connections are cut.
    NoNewcomers(Newcomers),
    Trickle,
    Lag(u64),
    /// Replies take so much longer than those on other connections.
    Sluggish(Which, Duration),
    Crash {
        loads: Duration,
    },
    Stop,
    Demote,
    Slow,
    CloseClients,
}

/// A fault, when, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
    pub(crate) length: Duration,
}

impl Planned {
    pub(crate) fn any(random: &mut Rng) -> Self {
        let which = match random.u8(0..6) {
            0 => Which::All,
            1..=3 => Which::Oldest(random.usize(0..3)),
            _ => Which::Newest(random.usize(0..3)),
        };
        let millis = |random: &mut Rng, most| Duration::from_millis(random.u64(0..most));
        let direction = if random.bool() { Direction::Requests } else { Direction::Replies };
        let one_or_both = if random.bool() { Some(direction) } else { None };
        let cut = match random.u8(0..8) {
            0..=3 => Cut::Both,
            4 => Cut::Unseen,
            _ => Cut::Late(millis(random, 400)),
        };
        let newcomers = match random.u8(0..8) {
            0 => Newcomers::Refused,
            1 => Newcomers::Unanswered,
            2 => Newcomers::Slow(millis(random, 800)),
            _ => Newcomers::Welcome,
        };
        let most = match random.u8(0..64) {
            // Longer than anything is waited for.
            0 => 9000,
            1..8 => 2500,
            _ => 300,
        };
        let length = millis(random, most);
        let fault = match random.u8(0..25) {
            0 | 1 => Fault::Cut(which, cut),
            2..=5 => {
                let most = 1 << random.usize(2..11);
                let bytes = random.usize(0..most);
                Fault::CutAfter { which, bytes, direction, cut, newcomers: random.bool() }
            }
            6..=10 => Fault::Late { which, before: millis(random, 30), newcomers },
            11 | 12 => Fault::Blackhole { which, direction: one_or_both, newcomers },
            13 => Fault::Silence { which, direction: one_or_both },
            14 => Fault::NoNewcomers(newcomers),
            15 => Fault::Trickle,
            16 => Fault::Lag(random.u64(2..40)),
            17 => Fault::Crash { loads: Duration::ZERO },
            18 => Fault::Crash { loads: millis(random, 400) },
            19 => Fault::Stop,
            20 => Fault::Demote,
            21 | 22 => Fault::Slow,
            23 => Fault::Sluggish(which, millis(random, 60)),
            _ => Fault::CloseClients,
        };
        Self { at: millis(random, 800), fault, length }
    }

    pub(crate) async fn happen(self, network: &Rc<Network>, plain: Weather) {
        sleep(self.at).await;
        network.note(|| format!("{:?}, for {:?}", self.fault, self.length));
        let links = |which| chosen(network, which);
        match self.fault {
            Fault::Cut(which, cut) => links(which).iter().for_each(|link| link.cut(cut)),
            Fault::CutAfter { which, bytes, direction, cut, newcomers } => {
                links(which).iter().for_each(|link| link.cut_after(bytes, direction, cut));
                if newcomers {
                    network.cut_newcomers.set(Some((bytes, direction, cut)));
                }
            }
            Fault::Late { which, before, newcomers } => {
                let late = links(which);
                late.iter().for_each(|link| link.stop(Direction::Requests));
                for _ in 0..MOST_PATIENT {
                    if late.iter().any(|link| link.holds_requests()) {
                        break;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
                sleep(before).await;
                network.newcomers.set(newcomers);
                late.iter().for_each(|link| link.cut(Cut::Late(self.length)));
            }
            Fault::Blackhole { which, direction, newcomers } => {
                stop(&links(which), direction);
                network.newcomers.set(newcomers);
            }
            Fault::Silence { which, direction } => stop(&links(which), direction),
            Fault::NoNewcomers(newcomers) => {
                network.newcomers.set(newcomers);
                links(Which::All).iter().for_each(|link| link.cut(Cut::Both));
            }
            Fault::Trickle => network.weather.set(Weather { piece: 7, delay: 2, ..plain }),
            Fault::Lag(delay) => network.weather.set(Weather { delay, ..plain }),
            Fault::Sluggish(which, lag) => links(which).iter().for_each(|link| link.lag(lag)),
            Fault::Crash { .. } => network.with_redis(|redis, _| redis.crash()),
            Fault::Stop => network.with_redis(|redis, _| redis.stop()),
            Fault::Demote => network.with_redis(|redis, _| redis.demote()),
            Fault::Slow => {
                network.slowness.set(self.length);
                network.with_redis(|redis, _| redis.be_slow(true));
            }
            Fault::CloseClients => network.with_redis(|redis, _| redis.close_all()),
        }
        sleep(self.length).await;
        self.end(network, plain).await;
    }

    async fn end(self, network: &Rc<Network>, plain: Weather) {
        match self.fault {
            Fault::CutAfter { .. } => {
                network.cut_newcomers.set(None);
                network.links().iter().for_each(|link| link.forget_plan());
            }
            Fault::Blackhole { .. } => {
                network.newcomers.set(Newcomers::Welcome);
                network.links().iter().for_each(|link| link.open());
            }
            Fault::Late { .. } | Fault::NoNewcomers(_) => network.newcomers.set(Newcomers::Welcome),
            Fault::Trickle | Fault::Lag(_) => network.weather.set(plain),
            Fault::Sluggish(..) => network.links().iter().for_each(|link| link.lag(Duration::ZERO)),
            Fault::Crash { loads } => {
                network.with_redis(|redis, _| redis.start(!loads.is_zero()));
                sleep(loads).await;
                network.with_redis(|redis, _| redis.loaded());
            }
            Fault::Stop => network.with_redis(|redis, now| redis.resume(now)),
            Fault::Demote => network.with_redis(|redis, _| redis.promote()),
            Fault::Slow => {
                network.with_redis(|redis, _| redis.be_slow(false));
                sleep(self.length).await;
            }
            Fault::Cut(..) | Fault::Silence { .. } | Fault::CloseClients => {}
        }
        network.note(|| format!("{:?} is over", self.fault));
    }
}

fn stop(links: &[Rc<Link>], direction: Option<Direction>) {
    for link in links {
        let both = [Direction::Requests, Direction::Replies];
        both.into_iter()
            .filter(|way| direction.is_none_or(|direction| direction == *way))
            .for_each(|way| link.stop(way));
    }
}

fn chosen(network: &Network, which: Which) -> Vec<Rc<Link>> {
    let mut links = network.links();
    if let Which::Newest(_) = which {
        links.reverse();
    }
    match which {
        Which::All => links,
        Which::Oldest(at) | Which::Newest(at) => links.get(at).or(links.last()).cloned().into_iter().collect(),
    }
}
