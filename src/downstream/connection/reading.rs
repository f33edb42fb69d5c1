//! How far, and how much at a time, a client is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::Connection;
use crate::config::Limits;
use crate::downstream::mode::Mode;

/// Room for a read of an idle client, and for one that sends a lot.
pub(super) const READ: usize = 4 << 10;
pub(super) const READ_MOST: usize = 64 << 10;

/// Bytes read ahead of a request that must wait: a client that goes is noticed at once, unless it has sent more.
const READ_AHEAD: usize = 64 << 10;

/// How often a client that has sent more than that is looked after.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Connection {
    /// How far it may be read ahead of the requests that can be acted on. One that writes before it reads, as a
    /// client does that sends a long pipeline, would wait for us while we wait for it.
    fn read_ahead(&self, limits: &Limits) -> usize {
        let leaves_unread = self.client.outbox.unread() >= self.client.unread_most(limits);
        match self.client.mode {
            Mode::Unauthenticated => READ,
            _ if leaves_unread => limits.read_ahead.bytes(),
            _ => READ_AHEAD,
        }
    }

    /// Reads requests, unless there are enough already.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.is_at_end {
            return Ok(false);
        }
        // Half a request is read on while memory is short, for only whole can it be given back; once there is none,
        // somebody is closed first, and whoever waits is woken.
        let share = &self.handle.share;
        if share.must_wait() || !self.wants_bytes && share.must_give_way() {
            self.handle.gives_way.set(true);
            return Ok(self.look_again(cx));
        }
        if !self.wants_bytes && self.input.len() >= self.read_ahead(&self.client.worker.settings().limits) {
            return Ok(self.look_again(cx));
        }
        if self.closing.is_some() {
            // Only whether it goes is of interest.
            self.input.clear();
        }
        self.input.reserve(self.read_size);
        let Poll::Ready(read) = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input) else {
            return Ok(false);
        };
        let read = read?;
        if read == 0 {
            self.is_at_end = true;
            self.client.outbox.abandon();
        }
        self.input_peak = self.input_peak.max(self.input.len());
        self.read_size = match read >= self.read_size {
            true => (self.read_size * 4).min(READ_MOST),
            false => READ,
        };
        self.client.worker.shared.metrics.client.received.increment(read as u64);
        Ok(true)
    }

    /// Whether a client that is not read has gone, behind all it has sent. Nobody wakes us for that: it is looked at
    /// again.
    fn look_again(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_at_end = self.stream.is_closed_by_peer(cx);
        if self.is_at_end {
            self.client.outbox.abandon();
        }
        self.handle.due.set(self.handle.due.get().or_else(|| Some(Instant::now() + LOOK_AGAIN)));
        self.is_at_end
    }
}
