//! What is queued between `MULTI` and `EXEC`.

use std::borrow::Cow;

use tokio::time::Instant;

use super::Pin;
use super::expected::{Owed, Then, What};
use crate::cache::Hold;
use crate::resp::{encode, peek};

/// A command that waits for `EXEC`.
#[derive(Debug)]
pub(super) struct Queued {
    /// The database it would select.
    select: Option<u32>,
    /// Its keys are held until it has run, or never will.
    _hold: Option<Hold>,
    then: Then,
}

/// What a transaction has done.
#[derive(Debug, Default)]
pub(super) struct Ran {
    /// The database it left the connection in, if it chose one.
    pub(super) database: Option<u32>,
    /// What the client is told in place of its replies, if anything.
    pub(super) told: Option<Vec<u8>>,
    /// What is owed to the sessions it has written.
    pub(super) owed: Vec<Owed>,
}

impl Queued {
    pub(super) fn new(what: &What, hold: Option<Hold>, then: Then) -> Self {
        Self { select: if let What::Select(db) = what { Some(*db) } else { None }, _hold: hold, then }
    }

    /// The database it would select.
    pub(super) fn select(&self) -> Option<u32> {
        self.select
    }

    /// The database it has selected, to judge by its reply.
    pub(super) fn selected(&self, reply: &[u8]) -> Option<u32> {
        self.select.filter(|_| reply == b"+OK\r\n")
    }

    /// What the client is told in place of its reply, if anything.
    pub(super) fn told<'f>(&self, reply: &'f [u8], now: Instant) -> Option<Cow<'f, [u8]>> {
        let told = self.then.aftermath.as_ref()?.hear(reply, now);
        (*told != *reply).then_some(told)
    }

    pub(super) fn take_owed(&mut self) -> Option<Owed> {
        self.then.owed.take()
    }
}

impl Pin {
    /// The transaction has run, with these replies.
    ///
    /// Redis 7.0 counts messages among the replies and writes them in between, so that as many replies as there are
    /// messages come behind the frame.
    pub(super) fn ran(&mut self, frame: &[u8], now: Instant) -> Ran {
        let mut queued = self.transaction.take().unwrap_or_default();
        let Some(elements) = peek::elements(frame) else { return Ran::default() };
        let owed = queued.iter_mut().filter_map(Queued::take_owed).collect();
        let (messages, replies): (Vec<_>, Vec<_>) = elements.partition(|element| element.first() == Some(&b'>'));
        if !messages.is_empty() {
            self.behind.extend(queued.split_off(replies.len().min(queued.len())));
        }
        let database = queued.iter().zip(replies).rev().find_map(|(queued, reply)| queued.selected(reply));
        Ran { database, told: told(&queued, frame, now), owed }
    }

    pub(super) fn end_transaction(&mut self) {
        self.transaction = None;
        self.is_watching = false;
        self.is_doomed = false;
    }
}

/// The replies as the session rules have them told, if any of them is another. Messages stay where they are.
fn told(queued: &[Queued], frame: &[u8], now: Instant) -> Option<Vec<u8>> {
    let mut queued = queued.iter();
    let mut is_other = false;
    let told = peek::elements(frame)?.map(|element| {
        let queued = if element.first() == Some(&b'>') { None } else { queued.next() };
        let told = queued.and_then(|queued| queued.told(element, now));
        is_other |= told.is_some();
        told.unwrap_or(element.into())
    });
    let told: Vec<_> = told.collect();
    let mut frame = Vec::new();
    encode::array_header(&mut frame, told.len());
    told.iter().for_each(|told| frame.extend_from_slice(told));
    is_other.then_some(frame)
}
