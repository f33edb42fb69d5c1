//! What a seed stands for: the proxy's settings, the weather, and what goes wrong when.

use std::rc::Rc;
use std::time::Duration;

use cloakroom::config::Reconnect;
use fastrand::Rng;

use super::faults::Planned;
use super::link::Cut;
use super::network::{Network, Weather};

/// All that comes from a seed but what clients do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) reconnect: Reconnect,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) workers: usize,
    pub(crate) has_password: bool,
    /// `limits.in_flight`, `limits.queue` and `limits.pinned`.
    pub(crate) in_flight: usize,
    pub(crate) queue: usize,
    pub(crate) pinned: usize,
    pub(crate) weather: Weather,
    pub(crate) faults: Vec<Planned>,
    /// Clients that ask at random, a queue's two ends, a publisher and a subscriber.
    pub(crate) clients: usize,
    pub(crate) has_queue: bool,
    pub(crate) has_channel: bool,
    pub(crate) random: Rng,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let reconnect = match random.u8(0..10) {
            0..2 => Reconnect::Off,
            2..5 => Reconnect::Eager,
            _ => Reconnect::Conservative,
        };
        let mut one_in = |count| random.u32(0..count) == 0;
        let (has_password, has_queue, has_channel) = (one_in(4), one_in(3), one_in(3));
        let in_flight = if one_in(6) { 3 } else { 256 };
        let queue = if one_in(6) { 600 } else { 16 << 20 };
        let pinned = if one_in(6) { 1 } else { 1000 };
        // Connections take over from one another all the time.
        let lifetime = one_in(6).then_some(Duration::from_millis(200));
        let weather = Weather {
            delay: *random.choice(&[0, 0, 1, 1, 3, 12]).expect("some"),
            piece: *random.choice(&[2048, 2048, 100]).expect("some"),
            socket: *random.choice(&[64, 1024, 65536]).expect("some"),
        };
        let faults = (0..random.usize(1..=5)).map(|_| Planned::any(&mut random)).collect();
        let (workers, clients) = (random.usize(1..=2), random.usize(2..=4));
        Self {
            seed,
            reconnect,
            lifetime,
            workers,
            has_password,
            in_flight,
            queue,
            pinned,
            weather,
            faults,
            clients,
            has_queue,
            has_channel,
            random,
        }
    }

    /// Until when things go wrong.
    pub(crate) fn length(&self) -> Duration {
        self.faults.iter().map(|planned| planned.at + planned.length).max().unwrap_or_default()
    }

    /// Lets everything happen. When it is over, nothing is wrong any more.
    pub(crate) async fn happen(&self, network: &Rc<Network>) {
        let faults = self.faults.iter().map(|planned| {
            let (network, planned, plain) = (Rc::clone(network), *planned, self.weather);
            tokio::task::spawn_local(async move { planned.happen(&network, plain).await })
        });
        for fault in faults.collect::<Vec<_>>() {
            fault.await.expect("no panic");
        }
        // Whoever still hears nothing would be told by keepalive.
        network.links().iter().filter(|link| link.is_stopped()).for_each(|link| link.cut(Cut::Both));
    }
}
