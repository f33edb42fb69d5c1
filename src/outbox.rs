//! One client's replies, each waiting for its turn.
//!
//! Every request takes a slot when it is accepted; a reply may come for any slot, but leaves only behind all
//! the slots before it. So a client gets one reply a request, in order, whoever answers (G2).
//!
//! ```text
//!   slots:  [7 waiting] [8 parked: +OK] [9 waiting]      deliver(7, "$1 a")
//!                                                         ──▶ ready: "$1 a" "+OK",  slots: [9 waiting]
//! ```
//!
//! It stands below `upstream`, which fills it, and `downstream`, which empties it into the client's socket.
//! Both live on one thread: plain cells, no locks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::task::Context;

use bytes::{Buf, Bytes, BytesMut};

use crate::resp::{convert, encode};
use crate::wakeup::Wakeup;

/// The number of a request in its client's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u64);

impl Slot {
    /// No request of a client: whatever is delivered there is thrown away.
    pub const NONE: Self = Self(u64::MAX);
}

/// How a reply's bytes reach the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they came.
    AsIs,
    /// RESP3 turned into RESP2.
    Resp2,
}

/// A reply larger than this is handed over without a copy.
const COPY_UP_TO: usize = 16 << 10;

/// Requests a client may have in flight before it is known to ask for small values.
const FIRST_WINDOW: usize = 32;

/// A reply up to this size is a small one.
const SMALL: usize = 4 << 10;

/// Bytes of replies whose buffer an idle client may keep.
const IDLE_CAPACITY: usize = 4 << 10;

/// The replies of one client.
#[derive(Default)]
pub struct Outbox {
    state: RefCell<State>,
    /// The client's task.
    task: Wakeup,
}

/// A large piece, of which less and less is left; its memory goes with the last byte.
struct Chunk {
    left: Bytes,
    len: usize,
}

impl Chunk {
    fn new(bytes: Bytes) -> Self {
        Self { len: bytes.len(), left: bytes }
    }
}

#[derive(Default)]
struct State {
    /// Bytes whose turn has come, oldest first: large pieces, then the small ones behind them.
    chunks: VecDeque<Chunk>,
    tail: BytesMut,
    /// The most that `tail` has held.
    tail_peak: usize,
    /// Bytes in `chunks` and `tail`.
    unread: usize,
    /// Bytes of replies whose turn has not come.
    parked: usize,
    /// Requests not wholly answered yet; the first one's number is `first`.
    slots: VecDeque<Reply>,
    first: u64,
    /// The size of a large reply of late: what the next ones may take.
    typical: usize,
    /// Small replies since the last large one.
    small_in_a_row: usize,
    /// Bytes of the reply that comes in pieces.
    piecewise: usize,
    /// Replies to requests from now on are thrown away (`CLIENT REPLY`).
    is_muted: bool,
    /// The client has gone, or a reply broke off in the middle.
    is_closed: bool,
    /// The client says nothing more: it may have gone.
    is_abandoned: bool,
}

enum Reply {
    /// Not (wholly) here.
    Waiting { is_muted: bool },
    /// Here, and not its turn.
    Parked(BytesMut),
}

/// Lengths only (G8).
impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox of {} bytes", self.held())
    }
}

impl Outbox {
    /// Takes the next slot, for a request whose reply comes later.
    pub fn reserve(&self) -> Slot {
        let mut state = self.state.borrow_mut();
        let slot = Slot(state.first + state.slots.len() as u64);
        let is_muted = state.is_muted;
        state.slots.push_back(Reply::Waiting { is_muted });
        slot
    }

    /// Takes the next slot and fills it at once.
    pub fn answer(&self, write: impl FnOnce(&mut BytesMut)) {
        let mut state = self.state.borrow_mut();
        match (state.is_muted, state.slots.is_empty()) {
            (true, true) => {}
            (true, false) => state.slots.push_back(Reply::Parked(BytesMut::new())),
            (false, true) => state.append(write),
            (false, false) => {
                let mut parked = BytesMut::new();
                write(&mut parked);
                state.parked += parked.len();
                state.slots.push_back(Reply::Parked(parked));
            }
        }
    }

    /// The whole reply to the next request, which need not be asked for.
    pub fn deliver_now(&self, write: impl FnOnce(&mut BytesMut)) {
        let before = self.held();
        self.answer(write);
        let len = self.held() - before;
        self.state.borrow_mut().learn_size(len);
    }

    /// The whole reply for a slot.
    pub fn deliver(&self, slot: Slot, frame: &[u8], form: Form) {
        self.fill(slot, |out| match form {
            Form::AsIs => out.extend_from_slice(frame),
            Form::Resp2 => convert::to_resp2(frame, out),
        });
    }

    /// An error as the whole reply for a slot.
    pub fn fail(&self, slot: Slot, text: &str) {
        self.fill(slot, |out| encode::error(out, text.as_bytes()));
    }

    /// A piece of the reply for a slot, which must be the oldest one; `is_last` ends it.
    ///
    /// For a reply too large to be held until it is whole.
    pub fn deliver_part(&self, slot: Slot, bytes: Bytes, is_last: bool) {
        let mut state = self.state.borrow_mut();
        // Not the oldest: it belonged to a client that has closed.
        if slot.0 != state.first {
            return;
        }
        state.piecewise += bytes.len();
        let is_muted = matches!(state.slots.front(), Some(Reply::Waiting { is_muted: true }));
        if !is_muted {
            state.append_bytes(bytes);
        }
        if is_last {
            let whole = std::mem::take(&mut state.piecewise);
            state.learn_size(whole);
            state.slots.pop_front();
            state.first += 1;
            state.release_parked();
        }
        drop(state);
        self.wake();
    }

    /// The reply to the oldest request is sent whatever `CLIENT REPLY` has said: it is a push, to Redis.
    pub fn unmute(&self, slot: Slot) {
        let mut state = self.state.borrow_mut();
        if slot.0 == state.first
            && let Some(Reply::Waiting { is_muted }) = state.slots.front_mut()
        {
            *is_muted = false;
        }
    }

    /// Bytes nobody asked for: a push, a message of a subscription.
    pub fn push(&self, frame: &[u8]) {
        self.state.borrow_mut().append(|out| out.extend_from_slice(frame));
        self.wake();
    }

    /// The reply that has begun will never end: the client must be closed.
    pub fn break_off(&self) {
        self.state.borrow_mut().is_closed = true;
        self.wake();
    }

    /// Throws away everything and whatever still comes: the client has gone.
    pub fn close(&self) {
        let mut state = self.state.borrow_mut();
        *state = State { is_closed: true, first: state.first + state.slots.len() as u64, ..State::default() };
    }

    /// The client has ended its side of the connection. What is in flight may still reach it.
    pub fn abandon(&self) {
        self.state.borrow_mut().is_abandoned = true;
    }

    /// Whether the client may have gone.
    pub fn is_abandoned(&self) -> bool {
        let state = self.state.borrow();
        state.is_closed || state.is_abandoned
    }

    /// Whether replies have no way to the client any more.
    pub fn is_closed(&self) -> bool {
        self.state.borrow().is_closed
    }

    /// Whether replies to requests from now on are thrown away.
    pub fn mute(&self, is_muted: bool) {
        self.state.borrow_mut().is_muted = is_muted;
    }

    /// Requests not wholly answered.
    pub fn in_flight(&self) -> usize {
        self.state.borrow().slots.len()
    }

    /// How many requests may be in flight at a time, so that their replies take no more than `bytes`, as far as
    /// the last ones tell. A client starts with few, and every small reply lets it have one more.
    pub fn window(&self, bytes: usize) -> usize {
        let state = self.state.borrow();
        (bytes / state.typical.max(1)).clamp(1, FIRST_WINDOW + state.small_in_a_row)
    }

    /// Whether the reply for a slot, and all before it, are on their way to the client.
    pub fn has_answered(&self, slot: Slot) -> bool {
        slot.0 < self.state.borrow().first
    }

    /// Bytes the client has not taken.
    pub fn unread(&self) -> usize {
        self.state.borrow().unread
    }

    /// Bytes held for the client: those it has not taken, and those whose turn has not come.
    pub fn held(&self) -> usize {
        let state = self.state.borrow();
        state.unread + state.parked
    }

    /// Bytes of memory that takes: what is partly taken is held whole.
    pub fn memory(&self) -> usize {
        let state = self.state.borrow();
        state.chunks.iter().map(|chunk| chunk.len).sum::<usize>() + state.tail_peak + state.parked
    }

    /// Shows `write` the oldest bytes; it says how many of them it took.
    pub fn take<E>(&self, write: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<(), E> {
        let mut state = self.state.borrow_mut();
        let taken = write(state.chunks.front().map_or(&state.tail[..], |chunk| &chunk.left))?;
        state.advance(taken);
        Ok(())
    }

    /// Remembers the client's task; from now on a delivery wakes it. Tells whether it had been woken: something
    /// may have changed although there is nothing to write.
    pub fn register(&self, context: &Context<'_>) -> bool {
        self.task.register(context)
    }

    /// Wakes the client's task, once until it has run.
    pub fn wake(&self) {
        self.task.wake();
    }

    /// The whole reply for a slot, as `write` says it.
    pub fn fill(&self, slot: Slot, write: impl FnOnce(&mut BytesMut)) {
        let mut state = self.state.borrow_mut();
        // A slot before `first` belonged to a client that has closed: its reply is orphaned.
        let Some(index) = slot.0.checked_sub(state.first).map(|index| index as usize) else { return };
        let Some(Reply::Waiting { is_muted }) = state.slots.get(index) else { return };
        let is_muted = *is_muted;
        // A reply that has begun cannot become another one: it has broken off.
        if index == 0 && state.piecewise > 0 {
            state.is_closed = true;
            drop(state);
            return self.wake();
        }
        if index > 0 {
            let mut parked = BytesMut::new();
            if !is_muted {
                write(&mut parked);
            }
            state.learn_size(parked.len());
            state.parked += parked.len();
            state.slots[index] = Reply::Parked(parked);
            return;
        }
        let before = state.unread;
        if !is_muted {
            state.append(write);
        }
        let len = state.unread - before;
        state.learn_size(len);
        state.slots.pop_front();
        state.first += 1;
        state.release_parked();
        drop(state);
        self.wake();
    }
}

impl State {
    /// Large replies count at once, and are forgotten slowly.
    fn learn_size(&mut self, len: usize) {
        self.typical = len.max(self.typical - self.typical / 16);
        self.small_in_a_row = if len <= SMALL { self.small_in_a_row + 1 } else { 0 };
    }

    fn append(&mut self, write: impl FnOnce(&mut BytesMut)) {
        if self.is_closed {
            return;
        }
        let before = self.tail.len();
        write(&mut self.tail);
        self.unread += self.tail.len() - before;
        self.tail_peak = self.tail_peak.max(self.tail.len());
    }

    fn append_bytes(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_UP_TO {
            return self.append(|out| out.extend_from_slice(&bytes));
        }
        if self.is_closed {
            return;
        }
        self.unread += bytes.len();
        if !self.tail.is_empty() {
            self.chunks.push_back(Chunk { len: self.tail_peak, left: std::mem::take(&mut self.tail).freeze() });
            self.tail_peak = 0;
        }
        self.chunks.push_back(Chunk::new(bytes));
    }

    fn release_parked(&mut self) {
        while let Some(Reply::Parked(_)) = self.slots.front() {
            let Some(Reply::Parked(parked)) = self.slots.pop_front() else { unreachable!("just seen") };
            self.first += 1;
            self.parked -= parked.len();
            self.append_bytes(parked.freeze());
        }
    }

    fn advance(&mut self, taken: usize) {
        self.unread -= taken;
        if let Some(chunk) = self.chunks.front_mut() {
            chunk.left.advance(taken);
            if chunk.left.is_empty() {
                self.chunks.pop_front();
            }
            return;
        }
        self.tail.advance(taken);
        // A burst must not leave its memory with an idle client.
        if self.tail.is_empty() && std::mem::take(&mut self.tail_peak) > IDLE_CAPACITY {
            self.tail = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests;
