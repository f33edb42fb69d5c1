//! What the model does without being asked.

#![allow(dead_code, reason = "only those who judge what was cached want it")]

use super::Redis;
use crate::keys::{Keys, Millis};

impl Redis {
    /// It comes across some of the keys whose time is over, as it does now and then, and removes them.
    pub(crate) fn expire(&mut self, mut is_found: impl FnMut() -> bool, now: Millis) {
        self.remove_some(|keys| keys.expired(now).filter(|_| is_found()).collect(), now);
    }

    /// It needs room, and one key has to go.
    pub(crate) fn evict(&mut self, mut choose: impl FnMut(usize) -> usize, now: Millis) {
        self.remove_some(|keys| keys.names().nth(choose(keys.names().count().max(1))).into_iter().collect(), now);
    }

    /// A replica leaves that to its primary.
    fn remove_some(&mut self, mut which: impl FnMut(&Keys) -> Vec<Vec<u8>>, now: Millis) {
        if !self.is_up || self.is_stopped || self.is_replica {
            return;
        }
        for keys in self.databases.values_mut() {
            for key in which(keys) {
                keys.remove(&key);
            }
        }
        self.settle(None, now);
        self.send();
    }
}
