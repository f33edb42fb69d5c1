//! What the model does without being asked by its clients.

#![allow(dead_code, reason = "no simulation wants all of it")]

use super::Redis;
use crate::keys::{Keys, Millis};
use crate::resp::Reply;

impl Redis {
    /// What a command would be answered in database 0, which changes nothing.
    pub(crate) fn peek(&mut self, words: &[&str], now: Millis) -> Reply {
        let args: Vec<_> = words[1..].iter().map(|word| word.as_bytes().to_vec()).collect();
        let reply = self.keys(0).run(words[0], &args, now);
        self.settle(None, now);
        self.send();
        reply
    }

    /// As an operator's `PUBLISH` would.
    pub(crate) fn announce(&mut self, channel: &str, message: &str) {
        self.publish(channel.as_bytes(), message.as_bytes());
        self.send();
    }

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
        if let Some(past) = &mut self.past {
            past.stamp(now);
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
