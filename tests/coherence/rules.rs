//! The rules of the protocol, by name. A scene may break one, to see what it is good for.

use crate::server::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// No hits and no leases for a key while a write to it is in flight.
    HoldWhatIsWritten,
    /// What was fetched before an invalidation or a write is not kept.
    RevokeLeases,
    /// Invalidations come on the connection that fetches.
    OneConnection,
    /// A hit needs a fence that was sent late enough.
    ProveHits,
    /// A proof counts from when it was asked for, not from when it came.
    CountFromSending,
    /// A fence is a write, and not a `PING`.
    FenceByWriting,
    /// A read that waits for a fetch sent before it was asked needs a fence, too.
    FenceJoined,
    /// A value is given out no longer than it lives.
    KeepTime,
    /// A value whose key is gone when its time to live is asked for is not kept.
    FillTheLivingOnly,
    /// What a connection has filled goes with it, and it fills no more.
    NewGeneration,
    /// What a client got over another connection, its hits are not older than.
    FloorOfClients,
    /// Nobody knows what a script writes, so nothing is held for it: once it is answered, hits need a fence sent since.
    FenceAfterScripts,
    /// A value that was written is not kept: the server does not tell of it.
    FillFromFetchesOnly,
}

/// What a proxy goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How old a hit may be for writes made elsewhere.
    pub staleness: Time,
    pub broken: Option<Rule>,
}

impl Rules {
    pub fn has(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
