//! The server, as far as the protocol needs it: one key, and who is to be told of it.

use std::collections::VecDeque;

/// What a key may hold. Each is written once; `0` is there from the beginning.
pub type Value = u8;
pub type Time = u8;
/// What is there when the key is gone.
pub const GONE: Value = Value::MAX;
/// Its place among the clients of a scene.
pub type ClientId = usize;

/// What is sent to the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// `GET`.
    Read { client: ClientId },
    /// `CLIENT CACHING YES` and `GET`; from now on the connection is to be told. [`Self::Ttl`] follows at once.
    Fetch { client: ClientId },
    /// `PTTL`. Somebody else's write may have come between.
    Ttl { sent: Time },
    /// `SET`.
    Write { client: ClientId, value: Value, proves: Proof },
    /// `DEL` of an absent key.
    Fence(Proof),
}

/// What `PTTL` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    Endless,
    For(Time),
    /// There is no such key, or no longer.
    Over,
}

/// What comes back, in the order of the requests; and what comes unasked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    Value {
        client: ClientId,
        value: Value,
    },
    Fetched {
        client: ClientId,
        value: Value,
    },
    /// And when it was asked.
    Ttl {
        sent: Time,
        left: Life,
    },
    Done {
        client: ClientId,
        value: Value,
        proves: Proof,
    },
    Fence(Proof),
    /// `-READONLY`, to a write, or to a fence.
    Refused {
        client: Option<ClientId>,
    },
    Invalidation,
}

/// What is known once a request is answered: at its sending, nothing was cached that had been overwritten.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proof {
    /// When it was sent.
    pub at: Time,
    /// Who was waiting for it then.
    pub clients: Vec<ClientId>,
}

/// A connection: what is sent and not executed, what is executed and not read. Both may last as long as they like:
/// so a slow server, a stalled one and a blackhole are all in here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Link {
    pub sent: VecDeque<Request>,
    pub told: VecDeque<Reply>,
    /// The server's tracking table: whether this connection is told of the next write.
    pub is_remembered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// What the key has held and since when, the newest last. Nobody sees it but the judges of the scene.
    pub past: Vec<(Value, Time)>,
    /// When the value that was there from the beginning expires. Nobody is told: that may be seconds later, or never.
    pub expires: Option<Time>,
    /// Where this server, no longer the primary, has stopped to follow.
    pub followed: Option<usize>,
}

impl Server {
    pub fn new(expires: Option<Time>) -> Self {
        Self { past: vec![(0, 0)], expires, followed: None }
    }

    /// What time does.
    pub fn expire(&mut self, now: Time) {
        if self.past.len() == 1 && self.expires == Some(now) {
            self.past.push((GONE, now));
        }
    }

    /// Executes the oldest request of a link. Whether it has written, and others are to be told.
    pub fn execute(&mut self, link: &mut Link, now: Time, is_fence_a_write: bool) -> bool {
        let is_primary = self.followed.is_none();
        let request = link.sent.pop_front().expect("something is sent");
        let is_write = matches!(request, Request::Write { .. });
        link.told.push_back(match request {
            Request::Read { client } => Reply::Value { client, value: self.value() },
            Request::Fetch { client } => {
                link.is_remembered = true;
                Reply::Fetched { client, value: self.value() }
            }
            Request::Ttl { sent } => {
                let left = match (self.value(), self.expires) {
                    (0, Some(at)) => Life::For(at - now),
                    (GONE, _) => Life::Over,
                    _ => Life::Endless,
                };
                Reply::Ttl { sent, left }
            }
            Request::Write { client, .. } if !is_primary => Reply::Refused { client: Some(client) },
            Request::Write { client, value, proves } => {
                self.past.push((value, now));
                Reply::Done { client, value, proves }
            }
            Request::Fence(_) if !is_primary && is_fence_a_write => Reply::Refused { client: None },
            Request::Fence(proof) => Reply::Fence(proof),
        });
        is_write && is_primary
    }

    /// What it answers to whoever asks here.
    fn value(&self) -> Value {
        self.past[self.followed.unwrap_or(self.past.len()) - 1].0
    }

    /// Of two values, the newer has the greater age.
    pub fn age(&self, value: Value) -> usize {
        self.past.iter().position(|(other, _)| *other == value).expect("a value that was written")
    }

    /// When this value was overwritten, if it was.
    pub fn overwritten(&self, value: Value) -> Option<Time> {
        self.past.get(self.age(value) + 1).map(|(_, at)| *at)
    }
}
