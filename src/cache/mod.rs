//! Values of keys that are read again and again, never older than they may be (G4).
//!
//! A worker keeps what it has fetched over its own connections, whose server tells them of every change (`CLIENT
//! TRACKING`). The protocol is that of `research/cache-coherence.md`, section 6; `tests/coherence` tries every order of
//! its events. Pure: time is passed in, and nothing is sent from here.
//!
//! ```text
//!             a hot key is read:          PTTL is answered,
//!             CACHING · GET · PTTL        and the lease is good
//!   Absent ───────────────────▶ leased ────────────────────▶ held ──▶ hit, if that is proven
//!     ▲ ▲                         │ the server tells             │
//!     │ └── the lease is revoked ─┘ of a change                  │
//!     └──── told of a change, written by a client of ours, ──────┘
//!           too old, its connection lost
//! ```
//!
//! | rule | what it is good for |
//! |---|---|
//! | only the reader of the connection that fetched fills, in wire order | a change is told behind the value it changes |
//! | a write by any client of ours voids its keys before it leaves ([`Holds`]) | what is acknowledged here is seen here |
//! | a hit needs a *fence*: `DEL` of a key that is not there, answered without an error, sent at most `staleness` ago | a server that does not answer, or is none any more, ends hits without being noticed |
//! | with a `staleness` of 0 the fence must be sent after the read was asked | linearizable |
//! | what was answered elsewhere, or by a script, needs a fence sent after it | a client never reads older than it has read |
//! | what lives for a while is given out no longer | the server tells of an expiry late, or never |
//! | who asks for what is being fetched needs a fence, too | the fetch may have been answered before he asked |
//! | nothing is held for longer than `max_residency` | whatever a server may not tell of |
//!
//! # Why
//! Workers share no values: shared, each hit would take a lock, and would need the fence of another thread's
//! connection. What that costs is memory, and a fetch a worker.

mod clock;
mod counts;
mod filling;
mod holds;
mod keep;
mod link;
mod question;
mod seen;

pub use clock::Reading;
pub use counts::{Counts, Miss};
pub use holds::{Hold, Holds};
pub use link::{Ask, FenceNumber, Lease, Link, Refusal};
pub use question::{Answer, Question};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::clock::Clock;
use self::keep::{Entry, Keep};
use self::link::Generation;
use self::question::{Wants, length};
use self::seen::Seen;
use crate::glob::Globs;

/// How often the server is told that a key is in use.
const TOUCH: Duration = Duration::from_secs(30);

/// More bytes than this are not answered at once: the same key may be asked for a million times in one request.
const LONGEST_ANSWER: usize = 1 << 20;

/// What is kept, and for how long: `[cache]`, for one worker.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Of which keys.
    pub keys: Globs,
    /// Bytes of memory.
    pub max_size: usize,
    /// Bytes of a value.
    pub max_value_size: usize,
    /// How old a hit may be for writes made elsewhere.
    pub staleness: Duration,
    /// The longest a value is kept without being fetched again.
    pub max_residency: Duration,
    /// Without a server values are given out that were right so long ago.
    pub serve_stale_on_error: Option<Duration>,
}

/// What else of its client concerns a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The last fence that proves nothing to it: it has been answered elsewhere since.
    pub floor: FenceNumber,
    /// A write it has asked for is not answered: this must not overtake it.
    pub is_behind: bool,
}

/// What memory says to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recall {
    #[allow(missing_docs)]
    Hit(Answer),
    /// It would be one, after a fence.
    Unproven,
    #[allow(missing_docs)]
    Miss(Miss),
}

/// What one worker keeps.
#[derive(Debug)]
pub struct Cache {
    terms: Terms,
    holds: Arc<Holds>,
    keep: Keep,
    seen: Seen,
    clock: Clock,
    /// When the clocks were last looked at.
    looked: Option<Instant>,
    /// How often they have jumped.
    jumps: u64,
    /// How many fences were sent.
    fences: FenceNumber,
    /// Proofs up to this one are none any more.
    not_proven: FenceNumber,
    generations: u64,
    counts: Counts,
}

impl Cache {
    /// Nothing is kept yet.
    pub fn new(terms: Terms, holds: Arc<Holds>, now: Instant) -> Self {
        Self {
            keep: Keep::new(terms.max_size),
            terms,
            holds,
            seen: Seen::new(now),
            clock: Clock::default(),
            looked: None,
            jumps: 0,
            fences: 0,
            not_proven: 0,
            generations: 0,
            counts: Counts::default(),
        }
    }

    /// How many fences there have been: whatever was known until now, a newer one proves.
    pub fn fences(&self) -> FenceNumber {
        self.fences
    }

    /// Looks at the system's clocks, if `now` is another moment than the last time: a jump of one of them means that this
    /// machine may have slept, and everything is forgotten.
    pub fn look_at_clocks(&mut self, now: Instant, clocks: impl FnOnce() -> Reading) {
        if self.looked.replace(now) != Some(now) && self.clock.have_jumped(clocks()) {
            self.not_proven = self.fences;
            self.keep.clear();
            self.jumps += 1;
            self.counts.jumps += 1;
        }
    }

    /// A connection is there whose server tells of changes.
    pub fn begin<W>(&mut self, link: &mut Link<W>, keeps_nil: bool) -> Vec<W> {
        let waiting = self.end(link);
        self.forget_lost(link);
        link.refused_until = None;
        self.generations += 1;
        link.generation = Some(Generation { number: self.generations, keeps_nil });
        waiting
    }

    /// The connection is gone, and with it everything it told of: who waited for its fences must ask the server.
    pub fn end<W>(&mut self, link: &mut Link<W>) -> Vec<W> {
        let last = link.generation.take().zip(link.proof.take());
        link.last = last.filter(|_| self.terms.serve_stale_on_error.is_some());
        if link.last.is_none() {
            self.keep.remove_all(link.db);
        }
        link.revoke_all();
        link.fences.clear();
        link.touches.clear();
        link.wants_fence = false;
        link.waiting.drain(..).map(|(_, waiting)| waiting).collect()
    }

    /// What is kept from before the connection was lost is of no use any more.
    pub fn forget_lost<W>(&mut self, link: &mut Link<W>) {
        link.last = None;
        self.keep.remove_all(link.db);
    }

    /// What is known in answer to a read.
    pub fn recall<W>(&mut self, link: &mut Link<W>, question: &Question<'_>, asker: Asker, now: Instant) -> Recall {
        let answer = match self.answer(link, question, now) {
            Ok(answer) => Some(answer),
            // The fence comes behind what is under way, which is held by then.
            Err(_) if self.is_fetching(link, question) => None,
            Err(miss) => return Recall::Miss(miss),
        };
        let proven = answer.zip(self.age_of_proof(link, asker.floor, now));
        let Some((answer, age)) = proven.filter(|_| !asker.is_behind) else {
            return match link.refused_until.is_some_and(|until| now < until) {
                _ if asker.is_behind => Recall::Miss(Miss::Behind),
                true => Recall::Miss(Miss::Unproven),
                false => Recall::Unproven,
            };
        };
        // The next hits need a newer one.
        link.wants_fence |= age > self.terms.staleness / 2 && link.fences.is_empty();
        self.counts.hits += 1;
        self.counts.oldest_proof = self.counts.oldest_proof.max(Some(age));
        Recall::Hit(answer)
    }

    /// The same for a read that has waited for a fence.
    pub fn recall_proven<W>(&mut self, link: &mut Link<W>, question: &Question<'_>, now: Instant) -> Option<Answer> {
        let answer = self.answer(link, question, now).ok()?;
        self.counts.hits += 1;
        Some(answer)
    }

    /// When a session ends that is surely there, at the earliest and at the latest; `None` if only the server knows.
    pub fn ends_between<W>(
        &self,
        link: &Link<W>,
        key: &[u8],
        asker: Asker,
        now: Instant,
    ) -> Option<(Instant, Instant)> {
        let entry = self.held(link, key, now).ok().filter(|entry| entry.text.is_some() && !asker.is_behind)?;
        self.age_of_proof(link, asker.floor, now)?;
        entry.ends
    }

    /// What was known when the connection was lost, if that may be told: not of keys somebody here has written since.
    pub fn recall_stale<W>(
        &mut self,
        link: &Link<W>,
        question: &Question<'_>,
        floor: FenceNumber,
        now: Instant,
    ) -> Option<Answer> {
        let ((generation, proof), longest) = link.last.zip(self.terms.serve_stale_on_error)?;
        let key = question.value_of()?;
        let is_right = proof.number > floor.max(self.not_proven)
            && self.holds.has_run_no_script_since(proof.scripts)
            && now.saturating_duration_since(proof.sent) <= longest;
        let entry = self.keep.get(link.db, key).filter(|_| is_right)?;
        self.judge(entry, generation, now).ok()?;
        let text = entry.text.clone()?;
        self.counts.stale += 1;
        Some(Answer::Value(Some(text)))
    }

    /// A read that would be a hit waits for the next fence.
    pub fn wait<W>(&mut self, link: &mut Link<W>, waiting: W) {
        self.counts.waits += 1;
        link.waiting.push_back((self.fences + 1, waiting));
    }

    /// Bytes and number of what is kept.
    pub fn size(&self) -> (u64, usize) {
        (self.keep.bytes(), self.keep.len())
    }

    /// What has happened since this was last asked.
    pub fn take_counts(&mut self) -> Counts {
        self.counts.evictions = self.keep.take_evictions();
        std::mem::take(&mut self.counts)
    }

    /// How old the proof is that makes what is held a hit; `None` if there is none.
    fn age_of_proof<W>(&self, link: &Link<W>, floor: FenceNumber, now: Instant) -> Option<Duration> {
        let proof = link.proof.filter(|proof| proof.number > floor.max(self.not_proven))?;
        let age = now.saturating_duration_since(proof.sent);
        // Of the clock, a thousandth may be wrong.
        let is_young = age + age / 1000 <= self.terms.staleness && !self.terms.staleness.is_zero();
        (is_young && self.holds.has_run_no_script_since(proof.scripts)).then_some(age)
    }

    /// Whether what is asked for is being fetched, and can be held.
    fn is_fetching<W>(&self, link: &Link<W>, question: &Question<'_>) -> bool {
        let lease = question.value_of().and_then(|key| link.leases.get(key));
        lease.is_some_and(|lease| self.holds.is_current(&lease.0.stamp))
    }

    /// What is held of a key, if it may be given out for what it is.
    fn held<W>(&self, link: &Link<W>, key: &[u8], now: Instant) -> Result<&Entry, Miss> {
        let generation = link.generation.ok_or(Miss::Untracked)?;
        let entry = self.keep.get(link.db, key).ok_or(Miss::Absent)?;
        self.judge(entry, generation, now)?;
        Ok(entry)
    }

    fn judge(&self, entry: &Entry, generation: Generation, now: Instant) -> Result<(), Miss> {
        let Entry { ends, filled, stamp, .. } = entry;
        if entry.generation != generation.number {
            Err(Miss::Lost)
        } else if !self.holds.is_current(stamp) {
            Err(Miss::Written)
        } else if ends.is_some_and(|(earliest, _)| earliest <= now) {
            Err(Miss::Expired)
        } else if now.saturating_duration_since(*filled) >= self.terms.max_residency {
            Err(Miss::Old)
        } else if entry.is_unfit {
            Err(Miss::Unfit)
        } else {
            Ok(())
        }
    }

    fn answer<W>(&mut self, link: &mut Link<W>, question: &Question<'_>, now: Instant) -> Result<Answer, Miss> {
        let mut unused = Vec::new();
        let answer = self.look_up(link, question, &mut unused, now);
        self.counts.touches += unused.len() as u64;
        link.touches.append(&mut unused);
        answer
    }

    /// A value that is only read here looks unused to the server, which may evict it for that: such keys go to `unused`.
    fn look_up<W>(
        &self,
        link: &Link<W>,
        question: &Question<'_>,
        unused: &mut Vec<Bytes>,
        now: Instant,
    ) -> Result<Answer, Miss> {
        let mut entries = question.keys.clone().map(|key| {
            let entry = self.held(link, key, now)?;
            if entry.text.is_some() && entry.is_due(TOUCH, now) {
                unused.push(Bytes::copy_from_slice(key));
            }
            Ok(entry)
        });
        let one = |entries: &mut dyn Iterator<Item = _>| entries.next().unwrap_or(Err(Miss::Absent));
        Ok(match question.wants {
            Wants::Value => Answer::Value(one(&mut entries)?.text.clone()),
            Wants::Length => Answer::Integer(one(&mut entries)?.text.as_ref().map_or(0, |text| length(text))),
            Wants::Milliseconds => Answer::Integer(one(&mut entries)?.milliseconds().ok_or(Miss::Inexact)?),
            Wants::Seconds => Answer::Integer(one(&mut entries)?.seconds(now).ok_or(Miss::Inexact)?),
            Wants::Existence => {
                Answer::Integer(entries.try_fold(0, |there, entry| Ok(there + i64::from(entry?.text.is_some())))?)
            }
            Wants::Values => {
                let (mut values, mut bytes) = (Vec::new(), 0);
                for entry in entries {
                    let text = entry?.text.clone();
                    bytes += text.as_ref().map_or(0, Bytes::len);
                    if bytes > LONGEST_ANSWER {
                        return Err(Miss::TooLarge);
                    }
                    values.push(text);
                }
                Answer::Values(values)
            }
        })
    }
}

#[cfg(test)]
mod tests;
