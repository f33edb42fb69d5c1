//! From the server's words to what is held: fetches, fences, changes it tells of.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::keep::Entry;
use super::link::{Fetch, Generation, Proof, Reply};
use super::question::Text;
use super::{Ask, Cache, FenceNumber, Lease, Link, Miss, Refusal};
use crate::resp::{decimal, peek};

/// What lives no longer than this is not kept.
const SHORTEST: Duration = Duration::from_millis(50);

/// Of a time to live, the part that clocks may differ by.
const DRIFT: u32 = 5000;

/// What could not be kept is fetched again after this, unless it is written before.
const UNFIT: Duration = Duration::from_secs(10);

/// A server that refuses a fence is not asked for another before this is over: each would cost a read a round trip more.
const REFUSED: Duration = Duration::from_secs(1);

/// A value, if there is one, and when it ends, at the earliest and at the latest, if ever.
type Fetched = (Option<Text>, Option<(Instant, Instant)>);

impl Cache {
    /// A read is sent that was not answered from memory: the right to keep what comes, if it is of use.
    ///
    /// `CLIENT CACHING YES`, the `GET` and `PTTL` must be sent one behind the other.
    pub fn lease<W>(&mut self, link: &mut Link<W>, key: Option<&[u8]>, miss: Miss, now: Instant) -> Option<Lease> {
        let fetched = self.fetch(link, key, miss, now);
        let miss = fetched.as_ref().err().copied().unwrap_or(miss);
        self.counts.misses[miss as usize] += 1;
        let lease = fetched.ok()?;
        link.leases.insert(lease.0.key.clone(), lease.clone());
        Some(lease)
    }

    fn fetch<W>(&mut self, link: &Link<W>, key: Option<&[u8]>, miss: Miss, now: Instant) -> Result<Lease, Miss> {
        // What is held need not be fetched.
        let key = key.filter(|_| !matches!(miss, Miss::Behind | Miss::Unproven | Miss::Unfit)).ok_or(miss)?;
        if !link.is_tracked() {
            return Err(Miss::Untracked);
        }
        if !self.terms.keys.matches(key) {
            return Err(Miss::Excluded);
        }
        // What was held was read again.
        if !self.seen.again(&(link.db, key), now) && miss == Miss::Absent {
            return Err(Miss::Cold);
        }
        if link.leases.contains_key(key) {
            return Err(Miss::Fetching);
        }
        let stamp = self.holds.quiet(key).ok_or(Miss::Written)?;
        let most = self.terms.max_value_size;
        let (key, sent) = (Bytes::copy_from_slice(key), now);
        let (jumps, is_revoked, reply) = (self.jumps, false.into(), Reply::None.into());
        Ok(Lease(Rc::new(Fetch { key, stamp, sent, is_revoked, jumps, most, reply })))
    }

    /// A fence, if one is wanted: it is to be sent now.
    pub fn fence<W>(&mut self, link: &mut Link<W>, now: Instant) -> Option<Ask> {
        if !link.needs_fence() {
            return None;
        }
        link.wants_fence = false;
        self.fences += 1;
        link.fences.push_back(Proof { number: self.fences, sent: now, scripts: self.holds.scripts_ended() });
        Some(Ask::Fence(self.fences))
    }

    /// The server has answered what was asked for the cache's sake. Those who waited for it, and whether they may be
    /// answered from memory now.
    pub fn hear<W>(&mut self, link: &mut Link<W>, ask: Ask, frame: &[u8], now: Instant) -> (Vec<W>, bool) {
        match ask {
            Ask::Optin(lease) if frame != b"+OK\r\n" => lease.revoke(),
            Ask::Optin(_) => {}
            Ask::Life(lease) => match self.fill(link, &lease, frame, now) {
                Ok(()) => self.counts.fills += 1,
                Err(refusal) => self.counts.refusals[refusal as usize] += 1,
            },
            Ask::Fence(number) => return self.fenced(link, number, frame[0] != b'-', now),
            Ask::Touch => {}
        }
        (Vec::new(), false)
    }

    fn fenced<W>(&mut self, link: &mut Link<W>, number: FenceNumber, is_proof: bool, now: Instant) -> (Vec<W>, bool) {
        link.refused_until = (!is_proof).then(|| now + REFUSED);
        while let Some(fence) = link.fences.pop_front_if(|fence| fence.number <= number) {
            if is_proof && fence.number == number {
                link.proof = Some(fence);
            }
        }
        self.counts.fences += u64::from(is_proof);
        self.counts.fences_refused += u64::from(!is_proof);
        let mut due = Vec::new();
        while let Some((_, waiting)) = link.waiting.pop_front_if(|(needed, _)| *needed <= number) {
            due.push(waiting);
        }
        (due, is_proof)
    }

    fn fill<W>(&mut self, link: &mut Link<W>, lease: &Lease, life: &[u8], now: Instant) -> Result<(), Refusal> {
        let Fetch { key, stamp, sent, is_revoked, jumps, reply, .. } = &*lease.0;
        if link.leases.get(key).is_some_and(|newest| Rc::ptr_eq(&newest.0, &lease.0)) {
            link.leases.remove(key);
        }
        let is_revoked = is_revoked.get() || *jumps != self.jumps;
        let generation = link.generation.filter(|_| !is_revoked).ok_or(Refusal::Revoked)?;
        if !self.holds.is_current(stamp) {
            return Err(Refusal::Written);
        }
        let (text, ends, refusal) = match self.fetched(reply.take(), life, *sent, generation, now) {
            Ok((text, ends)) => (text, ends, None),
            // The next fetch would most likely end so, too: until the key is written none is made.
            Err(refusal) if refusal.is_lasting() => (None, Some((now + UNFIT, now + UNFIT)), Some(refusal)),
            Err(refusal) => return Err(refusal),
        };
        let (is_unfit, generation) = (refusal.is_some(), generation.number);
        let entry = Entry { text, ends, is_unfit, filled: now, touched: now.into(), generation, stamp: *stamp };
        self.keep.insert(link.db, key, entry);
        refusal.map_or(Ok(()), Err)
    }

    /// What was fetched, and when it ends, if it can be kept.
    fn fetched(
        &self,
        reply: Reply,
        life: &[u8],
        sent: Instant,
        generation: Generation,
        now: Instant,
    ) -> Result<Fetched, Refusal> {
        let life = life.strip_prefix(b":").and_then(|text| decimal(text.strip_suffix(b"\r\n")?));
        match (reply, life.ok_or(Refusal::Error)?) {
            (Reply::Nil, -2) if generation.keeps_nil => Ok((None, None)),
            (Reply::Nil, -2) => Err(Refusal::Nil),
            (Reply::Text(text), -1) => Ok((Some(text), None)),
            (Reply::Text(text), left @ 0..) => {
                let left = Duration::from_millis(left.unsigned_abs());
                if left < SHORTEST.max(2 * self.terms.staleness) {
                    return Err(Refusal::Short);
                }
                let drift = left / DRIFT;
                // It was told to the millisecond, at some time between.
                Ok((Some(text), Some((sent + left - drift, now + left + drift + Duration::from_millis(1)))))
            }
            (Reply::Nil | Reply::Text(_), _) => Err(Refusal::Gone),
            (Reply::Unfit(refusal), _) => Err(refusal),
            (Reply::None | Reply::Part(_), _) => Err(Refusal::Error),
        }
    }

    /// The server tells of a change. Whether this is understood; if not, everything is forgotten.
    pub fn told<W>(&mut self, link: &mut Link<W>, push: &[u8]) -> bool {
        let what = peek::elements(push).and_then(|mut elements| {
            let is_known = elements.next().and_then(peek::word) == Some(b"invalidate");
            elements.next().filter(|_| is_known)
        });
        if let Some(keys) = what.and_then(peek::elements) {
            for key in keys {
                // A key that is none would be one we do not know.
                let Some(key) = peek::word(key) else {
                    self.forget(link);
                    return false;
                };
                self.counts.told += 1;
                self.keep.remove(link.db, key);
                if let Some(lease) = link.leases.remove(key) {
                    lease.revoke();
                }
            }
            return true;
        }
        self.forget(link);
        what == Some(b"_\r\n")
    }

    /// Whatever this connection has filled may have changed.
    fn forget<W>(&mut self, link: &mut Link<W>) {
        self.counts.flushed += 1;
        self.keep.remove_all(link.db);
        link.revoke_all();
        self.generations += 1;
        let number = self.generations;
        link.generation = link.generation.map(|generation| Generation { number, ..generation });
    }
}
