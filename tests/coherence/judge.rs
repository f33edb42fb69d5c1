//! What is promised (G4), and who sees whether it is kept: somebody who knows when everything was executed.
//!
//! The server orders the writes, so a value is as good as its age: how many there were before it. Reads never older
//! than anything that was told before they were asked are linearizable, in that order; `history` finds that, too.

use crate::server::{ClientId, Server, Time, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// With a staleness of 0, a read is at least as new as all that anybody was told before it was asked.
    Linearizable,
    /// A hit is at least as new as every write acknowledged before through the same proxy.
    OwnProxy,
    /// A hit is at least as new as all that the same client was told before.
    OwnClient,
    /// A hit was the truth not longer ago than the staleness.
    Staleness,
    /// A hit is alive.
    Expiry,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judge {
    pub broken: Option<Promise>,
    /// The newest that anybody has been told of.
    told: Age,
    /// The newest write acknowledged through each proxy.
    acknowledged: Vec<Age>,
    clients: Vec<Known>,
}

type Age = usize;

/// What a client's read must not be older than.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Known {
    /// The newest that it was told of itself.
    own: Age,
    /// As it was when it asked.
    told: Age,
    acknowledged: Age,
}

impl Judge {
    pub fn of(clients: usize, proxies: usize) -> Self {
        Self { broken: None, told: 0, acknowledged: vec![0; proxies], clients: vec![Known::default(); clients] }
    }

    /// A client asks a proxy.
    pub fn begin(&mut self, client: ClientId, proxy: usize) {
        let known = &mut self.clients[client];
        (known.told, known.acknowledged) = (self.told, self.acknowledged[proxy]);
    }

    /// It is answered from the cache.
    pub fn hit(&mut self, server: &Server, client: ClientId, value: Value, staleness: Time, now: Time) {
        let age = server.age(value);
        let known = &self.clients[client];
        let is_dead = value == 0 && server.expires.is_some_and(|at| at <= now);
        let is_stale = server.overwritten(value).is_some_and(|at| at + staleness < now);
        let broken = [
            (is_dead, Promise::Expiry),
            (age < known.acknowledged, Promise::OwnProxy),
            (age < known.own, Promise::OwnClient),
            (is_stale, Promise::Staleness),
        ];
        self.broken = self.broken.or(broken.into_iter().find_map(|(is_so, promise)| is_so.then_some(promise)));
        self.read(server, client, value, staleness);
    }

    /// It is answered, wherever from.
    pub fn read(&mut self, server: &Server, client: ClientId, value: Value, staleness: Time) {
        let age = server.age(value);
        let known = &mut self.clients[client];
        if staleness == 0 && age < known.told {
            self.broken = self.broken.or(Some(Promise::Linearizable));
        }
        *known = Known { own: known.own.max(age), told: 0, acknowledged: 0 };
        self.told = self.told.max(age);
    }

    /// A write is acknowledged, through a proxy or past them all.
    pub fn acknowledge(&mut self, server: &Server, client: ClientId, proxy: Option<usize>, value: Value) {
        let age = server.age(value);
        self.told = self.told.max(age);
        self.clients[client].own = self.clients[client].own.max(age);
        if let Some(proxy) = proxy {
            self.acknowledged[proxy] = self.acknowledged[proxy].max(age);
        }
    }
}
