//! What a request on a pinned connection waits for.

use std::borrow::Cow;
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::Hold;
use crate::command::{Command, Effect};
use crate::outbox::Slot;
use crate::resp::Protocol;
use crate::session::Aftermath;

/// A request that waits for its reply.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) slot: Slot,
    pub(super) effect: Effect,
    pub(super) what: What,
    pub(super) since: Instant,
    /// What it may take besides `reply_timeout`; `None`: as long as it likes.
    pub(super) patience: Option<Duration>,
    /// Its bytes, if it is sent again should its connection be lost; else empty.
    pub(super) request: Box<[u8]>,
    /// Tells others that its keys are being written, where that matters.
    pub(super) hold: Option<Hold>,
    pub(super) then: Then,
}

/// What the session rules make of a reply.
#[derive(Debug, Default)]
pub(in crate::downstream) struct Then {
    pub(in crate::downstream) aftermath: Option<Aftermath>,
    pub(in crate::downstream) owed: Option<Owed>,
}

/// What gives an expiry to the sessions a request may have left without one, once it has run.
#[derive(Debug)]
pub(in crate::downstream) struct Owed {
    pub(in crate::downstream) request: Vec<u8>,
    pub(in crate::downstream) aftermath: Aftermath,
    pub(in crate::downstream) db: u32,
}

impl Expected {
    /// Whether it is sent again should its connection be lost.
    pub(super) fn is_again(&self) -> bool {
        !self.request.is_empty()
    }
}

/// What its reply will mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Plain,
    /// It may wait for what others do.
    Block,
    /// Not known: it may block, too.
    Unknown,
    Multi,
    Exec,
    /// An `EXEC` sent as `DISCARD`, because a watch was lost.
    DoomedExec,
    Discard,
    Watch,
    Unwatch,
    Select(u32),
    /// So many confirmations to come.
    Subscribe(usize),
    /// Confirmations until nothing of the kind is left.
    UnsubscribeAll(Topic),
    Monitor,
    TrackingOn {
        is_broadcast: bool,
    },
    TrackingOff,
    /// A command that only makes the server abort the transaction; the client is told why.
    Refused(Cow<'static, str>),
    /// A `HELLO` of ours, for a client that was answered already.
    Hello(Protocol),
    /// A request of ours that changes nothing.
    Ours,
}

/// What can be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Channel,
    Pattern,
    Shard,
}

impl What {
    /// Whether it changes what the client is subscribed to.
    pub(super) fn is_subscription(&self) -> bool {
        matches!(self, Self::Subscribe(_) | Self::UnsubscribeAll(_))
    }

    /// What a command waits for; `is_doomed` says that a watched key may have changed unseen.
    pub(super) fn of(command: &Command<'_>, is_doomed: bool) -> Self {
        let request = &command.request;
        let names = request.len() - 1;
        let unsubscribe = |topic| if names == 0 { Self::UnsubscribeAll(topic) } else { Self::Subscribe(names) };
        match command.row().map(|row| row.name) {
            Some("multi") => Self::Multi,
            // With arguments it is an error, and ends the transaction all the same.
            Some("exec") if is_doomed && names == 0 => Self::DoomedExec,
            Some("exec") => Self::Exec,
            Some("discard") => Self::Discard,
            Some("watch") => Self::Watch,
            Some("unwatch") => Self::Unwatch,
            Some("select") => selected_database(command).map_or(Self::Plain, Self::Select),
            // Without a name it is an error: one reply, like any other.
            Some("subscribe" | "psubscribe" | "ssubscribe") if names > 0 => Self::Subscribe(names),
            Some("unsubscribe") => unsubscribe(Topic::Channel),
            Some("punsubscribe") => unsubscribe(Topic::Pattern),
            Some("sunsubscribe") => unsubscribe(Topic::Shard),
            Some("monitor") => Self::Monitor,
            Some("client") if request.is(1, "tracking") && request.is(2, "on") => {
                let is_broadcast = request.args_from(3).any(|option| option.eq_ignore_ascii_case(b"bcast"));
                Self::TrackingOn { is_broadcast }
            }
            Some("client") if request.is(1, "tracking") => Self::TrackingOff,
            _ => Self::Plain,
        }
    }
}

/// The database a well-formed `SELECT` names.
pub(in crate::downstream) fn selected_database(command: &Command<'_>) -> Option<u32> {
    let request = &command.request;
    match request.len() {
        2 => request.arg(1).and_then(crate::resp::decimal).and_then(|db| u32::try_from(db).ok()),
        _ => None,
    }
}
