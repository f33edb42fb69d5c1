//! One tracked connection: what it was asked for the cache's sake, and what it has proven.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use ahash::RandomState;
use bytes::Bytes;
use tokio::time::Instant;

use super::holds::Stamp;
use super::question::length;

/// Fences in flight at a time: one that is under way proves nothing to who asks now.
const MOST_FENCES: usize = 4;

/// Bytes of a string's header and its line ends, at most.
const BESIDES: usize = 32;

/// A tracked connection of one database, and its successors. `W` is a read that waits for a fence.
pub struct Link<W> {
    pub(super) db: u32,
    /// Of the connection there is; `None` while there is none, or one whose server tells of nothing.
    pub(super) generation: Option<Generation>,
    /// Of the last one, while there is none.
    pub(super) last: Option<(Generation, Proof)>,
    /// The newest.
    pub(super) proof: Option<Proof>,
    /// Fences in flight, oldest first.
    pub(super) fences: VecDeque<Proof>,
    /// The proof grows old, and hits need it.
    pub(super) wants_fence: bool,
    /// The server has refused a fence: until then it is not asked for another, and hits are none.
    pub(super) refused_until: Option<Instant>,
    /// Reads that would be hits: each needs this fence, or a newer one.
    pub(super) waiting: VecDeque<(FenceNumber, W)>,
    /// Fetches in flight that may still fill.
    pub(super) leases: HashMap<Bytes, Lease, RandomState>,
    /// Keys the server is to be told of that they are in use.
    pub(super) touches: Vec<Bytes>,
}

/// A fence's number among all of a worker. Who must not be answered by an old proof asks for a newer number than the
/// last one there was.
pub type FenceNumber = u64;

/// The life of a tracked connection, until it is lost or the server says that everything has changed. No two links have
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) number: u64,
    /// Keys that are not there are kept as such: the server tells when they are created.
    pub(super) keeps_nil: bool,
}

/// A fence the server has answered, or will: whatever it told of what happened before has come before the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    pub(super) number: FenceNumber,
    /// When it was sent, at the latest. What was changed before is known, what was changed later may not be.
    pub(super) sent: Instant,
    /// How many scripts had ended by then.
    pub(super) scripts: u32,
}

/// The right to fill one key once, for the fetch that was sent with it. Revoked by an invalidation, and with its
/// connection.
#[derive(Clone)]
pub struct Lease(pub(super) Rc<Fetch>);

pub(super) struct Fetch {
    pub(super) key: Bytes,
    pub(super) stamp: Stamp,
    /// When it was sent, at the earliest.
    pub(super) sent: Instant,
    pub(super) is_revoked: Cell<bool>,
    /// How often the clocks had jumped.
    pub(super) jumps: u64,
    /// The longest value that is kept.
    pub(super) most: usize,
    pub(super) reply: RefCell<Reply>,
}

/// What has come of a `GET`.
#[derive(Default)]
pub(super) enum Reply {
    #[default]
    None,
    /// It is not kept: an error, or too long.
    Unfit(Refusal),
    /// A piece of a string.
    Part(Vec<u8>),
    /// There is no such key.
    Nil,
    Text(Bytes),
}

/// Why what was fetched is not kept: a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The server has told of a change, or the connection was lost.
    Revoked,
    /// A client of ours has begun to write it.
    Written,
    /// It was gone when its time to live was asked for.
    Gone,
    /// It would be gone soon.
    Short,
    /// `cache.max_value_size`
    TooLarge,
    /// An error.
    Error,
    /// Not there, and the server may not tell when it is created.
    Nil,
}

impl Refusal {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Self; 7] =
        [Self::Revoked, Self::Written, Self::Gone, Self::Short, Self::TooLarge, Self::Error, Self::Nil];

    /// Whether the next fetch would most likely end so, too.
    pub(super) fn is_lasting(self) -> bool {
        match self {
            Self::Revoked | Self::Written | Self::Gone => false,
            Self::Short | Self::TooLarge | Self::Error | Self::Nil => true,
        }
    }

    #[allow(missing_docs)]
    pub fn label(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Written => "written",
            Self::Gone => "gone",
            Self::Short => "short",
            Self::TooLarge => "too_large",
            Self::Error => "error",
            Self::Nil => "nil",
        }
    }
}

/// What was asked of the server for the cache's sake; no client waits for the reply.
#[derive(Debug)]
pub enum Ask {
    /// `CLIENT CACHING YES`, before the `GET`.
    Optin(Lease),
    /// `PTTL`, behind the `GET`: what was fetched is whole.
    Life(Lease),
    /// `DEL` of a key nobody uses.
    Fence(FenceNumber),
    /// `TOUCH`
    Touch,
}

/// Counts only (G8).
impl<W> fmt::Debug for Link<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link with {} leases, {} reads waiting", self.leases.len(), self.waiting.len())
    }
}

/// Lengths only (G8).
impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease of a key of {} bytes", self.0.key.len())
    }
}

impl Fetch {
    fn text(&self, text: Bytes) -> Reply {
        match usize::try_from(length(&text)).is_ok_and(|len| len <= self.most) {
            true => Reply::Text(text),
            false => Reply::Unfit(Refusal::TooLarge),
        }
    }
}

impl Lease {
    /// What is fetched.
    pub fn key(&self) -> &[u8] {
        &self.0.key
    }

    /// The server has answered the `GET`.
    pub fn hear(&self, frame: &[u8]) {
        *self.0.reply.borrow_mut() = match frame.first() {
            Some(b'$') if frame[1] != b'-' => self.0.text(Bytes::copy_from_slice(frame)),
            Some(b'_') => Reply::Nil,
            _ => Reply::Unfit(Refusal::Error),
        };
    }

    /// A piece of the reply to the `GET` has come.
    pub fn hear_piece(&self, bytes: &[u8], is_last: bool) {
        let mut reply = self.0.reply.borrow_mut();
        let mut text = match std::mem::take(&mut *reply) {
            Reply::None => Vec::new(),
            Reply::Part(text) => text,
            other => return *reply = other,
        };
        if text.len() + bytes.len() > self.0.most + BESIDES {
            return *reply = Reply::Unfit(Refusal::TooLarge);
        }
        text.extend_from_slice(bytes);
        *reply = if is_last { self.0.text(text.into_boxed_slice().into()) } else { Reply::Part(text) };
    }

    pub(super) fn revoke(&self) {
        self.0.is_revoked.set(true);
        // Nobody will want it.
        *self.0.reply.borrow_mut() = Reply::Unfit(Refusal::Revoked);
    }
}

impl<W> Link<W> {
    /// Of a database, without a connection yet.
    pub fn new(db: u32) -> Self {
        Self {
            db,
            generation: None,
            last: None,
            proof: None,
            fences: VecDeque::new(),
            wants_fence: false,
            refused_until: None,
            waiting: VecDeque::new(),
            leases: HashMap::default(),
            touches: Vec::new(),
        }
    }

    /// Whether there is a connection whose server tells of changes.
    pub fn is_tracked(&self) -> bool {
        self.generation.is_some()
    }

    /// Whether what was known before its connection was lost may be told.
    pub fn may_be_stale(&self) -> bool {
        self.last.is_some()
    }

    /// Whether something is to be sent for it, a fence perhaps.
    pub fn has_to_send(&self) -> bool {
        self.needs_fence() || !self.touches.is_empty()
    }

    /// Whether somebody waits for a newer fence than those in flight, and one more may be sent.
    pub(super) fn needs_fence(&self) -> bool {
        let newest = self.fences.back().map_or(0, |fence| fence.number);
        let is_waited_for = self.waiting.back().is_some_and(|(number, _)| *number > newest);
        self.is_tracked() && self.fences.len() < MOST_FENCES && (is_waited_for || self.wants_fence)
    }

    /// The oldest of the waiting reads.
    pub fn oldest_waiting(&self) -> Option<&W> {
        self.waiting.front().map(|(_, waiting)| waiting)
    }

    /// Takes out the waiting reads that are such, from the oldest on.
    pub fn give_up(&mut self, is_such: impl Fn(&W) -> bool) -> Vec<W> {
        let mut given_up = Vec::new();
        while let Some((_, waiting)) = self.waiting.pop_front_if(|(_, waiting)| is_such(waiting)) {
            given_up.push(waiting);
        }
        given_up
    }

    /// Takes out the waiting reads that are such, wherever they stand.
    pub fn take_waiting(&mut self, is_such: impl Fn(&W) -> bool) -> Vec<W> {
        let (such, others): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|(_, waiting)| is_such(waiting));
        self.waiting.extend(others);
        such.into_iter().map(|(_, waiting)| waiting).collect()
    }

    /// The server is to be told that these keys are in use.
    pub fn take_touches(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.touches)
    }

    pub(super) fn revoke_all(&mut self) {
        self.leases.drain().for_each(|(_, lease)| lease.revoke());
    }
}
