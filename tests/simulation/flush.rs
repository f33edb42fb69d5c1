//! What happens to a whole database, and what can be seen of it from outside.

use super::{Keys, Millis, Value};

/// What a text key holds, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) text: Vec<u8>,
    pub(crate) expires: Option<Millis>,
}

impl Keys {
    pub(crate) fn names(&self) -> impl Iterator<Item = Vec<u8>> {
        self.entries.keys().cloned()
    }

    /// Those whose time is over, and that are still there.
    pub(crate) fn expired(&self, now: Millis) -> impl Iterator<Item = Vec<u8>> {
        self.entries.iter().filter(move |(_, entry)| entry.is_over(now)).map(|(key, _)| key.clone())
    }

    /// Whoever asks is told of this, if it is a text.
    pub(crate) fn held(&self, key: &[u8], now: Millis) -> Option<Held> {
        let entry = self.entries.get(key).filter(|entry| !entry.is_over(now))?;
        match &entry.value {
            Value::Text(text) => Some(Held { text: text.clone(), expires: entry.expires }),
            Value::List(_) | Value::Hash(_) => None,
        }
    }

    /// `FLUSHDB`: the names of what was there. Whoever watches one of them sees it.
    pub(crate) fn flush(&mut self) -> Vec<Vec<u8>> {
        let names: Vec<_> = self.names().collect();
        names.iter().for_each(|key| *self.changes.entry(key.clone()).or_default() += 1);
        self.entries.clear();
        names
    }

    /// `SWAPDB`: the names of what is in either. Whoever watches one of them sees it, and whoever waits for a list.
    pub(crate) fn swap(&mut self, other: &mut Self) -> Vec<Vec<u8>> {
        std::mem::swap(&mut self.entries, &mut other.entries);
        let names: Vec<_> = self.names().chain(other.names()).collect();
        for keys in [self, other] {
            names.iter().for_each(|key| *keys.changes.entry(key.clone()).or_default() += 1);
            let lists = keys.entries.iter().filter(|(_, entry)| matches!(entry.value, Value::List(_)));
            keys.pushed.extend(lists.map(|(key, _)| key.clone()));
        }
        names
    }
}
