//! What is queued between `MULTI` and `EXEC`.

use super::Pin;
use super::expected::What;
use crate::cache::Hold;
use crate::resp::peek;

/// A command that waits for `EXEC`.
#[derive(Debug)]
pub(super) struct Queued {
    /// The database it would select.
    select: Option<u32>,
    /// Its keys are held until it has run, or never will.
    _hold: Option<Hold>,
}

impl Queued {
    pub(super) fn new(what: &What, hold: Option<Hold>) -> Self {
        Self { select: if let What::Select(db) = what { Some(*db) } else { None }, _hold: hold }
    }
}

impl Pin {
    /// The transaction has run, with these replies. The database it left the connection in, if it chose one.
    ///
    /// Redis 7.0 counts messages among the replies and writes them in between, so that as many replies as there are
    /// messages come behind the frame.
    pub(super) fn ran(&mut self, frame: &[u8]) -> Option<u32> {
        let queued = self.transaction.take().unwrap_or_default();
        let (messages, replies): (Vec<_>, Vec<_>) =
            peek::elements(frame)?.partition(|element| element.first() == Some(&b'>'));
        if !messages.is_empty() {
            self.behind.extend(queued.iter().skip(replies.len()).map(|queued| queued.select));
        }
        let succeeded = queued.iter().zip(replies).filter(|(_, reply)| *reply == b"+OK\r\n");
        succeeded.rev().find_map(|(queued, _)| queued.select)
    }

    pub(super) fn end_transaction(&mut self) {
        self.transaction = None;
        self.is_watching = false;
        self.is_doomed = false;
    }
}
