//! What a frame on a pinned connection means.

use std::borrow::Cow;

use super::expected::Owed;
use crate::outbox::Slot;

/// Where a frame belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::downstream) enum Belongs {
    /// It is the whole reply of this request.
    Reply(Slot),
    /// It is one of the frames, or the last, that confirm what was subscribed to.
    Confirmation { slot: Slot, is_last: bool },
    /// Nobody asked for it.
    Push,
    /// The reply of this request, but the client is told a null: its `EXEC` was not run.
    NullInstead(Slot),
    /// The reply of this request, but the client is told why it was refused here.
    RefusalInstead(Slot, Cow<'static, str>),
    /// Nobody: it answers a request of ours.
    Us,
    /// The client is not subscribed again as it was, and must see the gap.
    Gap,
    /// It is no push, and no request waits: replies have come out of step.
    Nobody,
}

/// What a frame means for the client.
#[derive(Debug)]
pub(in crate::downstream) struct Meaning {
    pub(in crate::downstream) belongs: Belongs,
    /// The client is in this database now.
    pub(in crate::downstream) database: Option<u32>,
    /// What it is told in place of the frame, if anything.
    pub(in crate::downstream) told: Option<Vec<u8>>,
    /// What is owed to the sessions it has written.
    pub(in crate::downstream) owed: Vec<Owed>,
}

impl Meaning {
    pub(super) fn new(belongs: Belongs) -> Self {
        Self { belongs, database: None, told: None, owed: Vec::new() }
    }
}
