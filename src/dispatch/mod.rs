//! Carries out a decision: the only place where a request meets the server.
//!
//! It answers two questions: which connection may carry this command, and how the reply becomes the client's
//! own protocol.
//!
//! | client | command | carried by | reply |
//! |---|---|---|---|
//! | RESP3 | any | the RESP3 lane of its database | as it comes |
//! | RESP2 | with one meaning in both protocols | the same RESP3 lane | nulls, maps and sets as RESP2 writes them |
//! | RESP2 | any other | the RESP2 lane, opened when first needed | as it comes |
//! | either | that changes its connection | a pinned connection | as it comes |

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::cache::{Asker, Cache, Counts, FenceNumber, Hold};
use crate::command::{Command, Effect, ReplyForm};
use crate::outbox::{Form, Outbox, Slot};
use crate::resp::Protocol;
use crate::session::Touch;
use crate::upstream::{Admission, Kind, Lane, LaneLimits, Outgoing, PinError, Pinned, Pool, Recalled, Repair, Server};

/// A lane no client holds is closed when its last request was so long ago.
const UNUSED: Duration = Duration::from_secs(60);

/// One worker's way to the server.
pub struct Dispatch {
    server: Arc<Server>,
    limits: LaneLimits,
    pool: Rc<Pool>,
    lanes: RefCell<HashMap<Kind, Rc<Lane>>>,
    /// The lane that stands for the worker's readiness.
    first: Kind,
    /// Databases the server has said exist.
    databases: RefCell<HashSet<u32>>,
    /// Called when a lane is lost.
    on_loss: Rc<dyn Fn()>,
    /// Values held in memory, where they are.
    cache: Option<Rc<RefCell<Cache>>>,
}

/// The connection a client's requests in flight are on: it has them on one at a time, so that they stay in
/// order. And what its next read must not be older than, or before.
#[derive(Default)]
pub struct Track {
    lane: Option<(Kind, Rc<Lane>)>,
    /// The last fence when the client was answered on another connection, at the earliest.
    floor: FenceNumber,
    /// Its last request that was no read.
    write: Option<Slot>,
    /// Its last read that waits for a fence.
    waiting: Option<Slot>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// Its reply will come to the outbox.
    Sent,
    /// Not now: the client's task is woken when trying again makes sense.
    Wait,
    /// The server is known to be down. Nothing was sent.
    Refused,
}

impl Dispatch {
    /// Starts connecting: clients of `db` find the first lane open.
    pub fn new(
        server: Arc<Server>,
        pool: Rc<Pool>,
        limits: LaneLimits,
        cache: Option<Cache>,
        db: u32,
        on_loss: Rc<dyn Fn()>,
    ) -> Self {
        let first = Kind { protocol: Protocol::Resp3, db };
        let dispatch = Self {
            first,
            server,
            limits,
            pool,
            lanes: RefCell::default(),
            databases: RefCell::new(HashSet::from([db])),
            on_loss,
            cache: cache.map(|cache| Rc::new(RefCell::new(cache))),
        };
        dispatch.lane(first);
        dispatch
    }

    /// What all workers know of the server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Whether the server has said that this database exists.
    pub fn knows_database(&self, db: u32) -> bool {
        self.databases.borrow().contains(&db)
    }

    /// The server has answered `SELECT db` with `OK`.
    pub fn learn_database(&self, db: u32) {
        self.databases.borrow_mut().insert(db);
    }

    /// Sends a request on a connection shared with other clients.
    pub fn forward(
        &self,
        outgoing: &mut Outgoing<'_>,
        protocol: Protocol,
        db: u32,
        track: &mut Track,
        outbox: &Rc<Outbox>,
        now: Instant,
    ) -> Forwarded {
        let command = outgoing.command;
        let (carrier, form) = match (protocol, command.reply_form()) {
            (Protocol::Resp2, ReplyForm::Same) => (Protocol::Resp3, Form::Resp2),
            (Protocol::Resp2, ReplyForm::Differs) => (Protocol::Resp2, Form::AsIs),
            (Protocol::Resp3, _) => (Protocol::Resp3, Form::AsIs),
        };
        let kind = Kind { protocol: carrier, db };
        match &track.lane {
            Some((present, _)) if *present == kind => {}
            Some(_) if outbox.in_flight() > 0 => return Forwarded::Wait,
            other => {
                if other.is_some() {
                    self.answered_elsewhere(track);
                }
                track.lane = Some((kind, self.lane(kind)));
            }
        }
        let Track { lane: Some((_, lane)), floor, write, waiting } = track else { unreachable!("just set") };
        let is_open = |slot: Option<Slot>| slot.is_some_and(|slot| !outbox.has_answered(slot));
        let mut miss = None;
        if command.effect() == Effect::Read && outgoing.may_hold {
            let asker = Asker { floor: *floor, is_behind: is_open(*write) };
            match lane.recall(outgoing, outbox, form, asker, now) {
                Recalled::Answered => return Forwarded::Sent,
                Recalled::Waits(slot) => {
                    *waiting = Some(slot);
                    return Forwarded::Sent;
                }
                Recalled::Forward(why) => miss = why,
            }
        }
        // What waits for a fence may still have to be sent: it must not come behind this.
        if is_open(waiting.take()) {
            lane.forward_waiting(outbox, now);
        }
        match lane.send(outgoing, outbox, form, miss, now) {
            Admission::Accepted(slot) => {
                if command.effect() == Effect::Write {
                    *write = Some(slot);
                }
                Forwarded::Sent
            }
            Admission::Full => Forwarded::Wait,
            Admission::Refused => Forwarded::Refused,
        }
    }

    /// Answers a touch of a session here, if that changes little enough.
    pub fn touch(&self, touch: &Touch<'_>, db: u32, track: &Track, outbox: &Rc<Outbox>, now: Instant) -> bool {
        match &track.lane {
            Some((kind, lane)) if *kind == (Kind { protocol: Protocol::Resp3, db }) => {
                lane.touch(touch, outbox, Asker { floor: track.floor, is_behind: false }, now)
            }
            Some(_) | None => false,
        }
    }

    /// Gives an expiry to sessions that were written on a connection of a client's own.
    pub fn repair(&self, repair: Repair<'_>, db: u32, now: Instant) {
        self.lane(Kind { protocol: Protocol::Resp3, db }).repair(repair, now);
    }

    /// A client has been answered on another connection than the one its reads are from: what it reads next must not be
    /// older than that.
    pub fn answered_elsewhere(&self, track: &mut Track) {
        if let Some(cache) = &self.cache {
            track.floor = cache.borrow().fences();
        }
    }

    /// What has happened to the values held in memory since this was last asked, and their bytes and number.
    pub fn take_counts(&self) -> Option<(Counts, u64, usize)> {
        let mut cache = self.cache.as_ref()?.borrow_mut();
        let (bytes, entries) = cache.size();
        Some((cache.take_counts(), bytes, entries))
    }

    /// Takes a connection for one client.
    ///
    /// # Errors
    /// There is none; nothing was sent.
    ///
    /// # Cancel safety
    /// Dropping this gives back what it had.
    pub async fn check_out(&self, protocol: Protocol, db: u32) -> Result<Pinned, PinError> {
        self.pool.check_out(Kind { protocol, db }).await
    }

    /// A command is about to be sent on a connection of a client's own: tells others that its keys are written, where
    /// lost writes may be sent again.
    pub fn hold(&self, command: &Command<'_>, also: Option<&[u8]>) -> Option<Hold> {
        self.server.hold(command, also)
    }

    /// The same for a write of unknown keys.
    pub fn hold_any(&self) -> Option<Hold> {
        self.server.hold_any()
    }

    /// Has the server forget a connection that was lost under a request that may have run; `then` is called when it
    /// has, or when that takes longer than a request may wait.
    pub fn sever(&self, lost: Pinned, then: impl FnOnce() + 'static) {
        self.pool.sever(lost, then);
    }

    /// Gives it back.
    pub fn check_in(&self, pinned: Pinned) {
        self.pool.check_in(pinned);
    }

    /// Closes lanes nobody uses: of databases that clients have left. The first one stays.
    pub fn close_unused(&self, now: Instant) {
        let is_unused = |kind: &Kind, lane: &Rc<Lane>| {
            let is_first = *kind == self.first;
            // The map and its own task hold it; so does every client that last used it.
            !is_first && Rc::strong_count(lane) <= 2 && lane.close_if_unused(UNUSED, now)
        };
        self.lanes.borrow_mut().retain(|kind, lane| !is_unused(kind, lane));
    }

    /// The lane of a kind, opened when first asked for.
    fn lane(&self, kind: Kind) -> Rc<Lane> {
        let mut lanes = self.lanes.borrow_mut();
        let is_first = kind == self.first;
        let lane = lanes.entry(kind).or_insert_with(|| {
            let lane = Lane::new(kind, self.limits, self.server.clone(), self.cache.clone());
            let on_loss = self.on_loss.clone();
            spawn_local(lane.clone().run(is_first, move || on_loss()));
            lane
        });
        lane.clone()
    }
}
