//! How long a client may keep the proxy waiting (G7).
//!
//! Each wait has a clock of its own, so that doing one thing does not gain time for another: who reads in bursts must
//! authenticate in time all the same.

use std::time::Duration;

use tokio::time::Instant;

use super::Connection;
use crate::downstream::close::CloseReason;
use crate::downstream::mode::Mode;

/// Bytes a second at which a long request may come at the slowest.
const SLOWEST: u64 = 64 << 10;

/// Since when the client has been waited for.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// To take this many bytes of replies: fewer would be progress.
    reading: Option<(usize, Instant)>,
    /// To finish a request.
    finishing: Option<Instant>,
    authenticating: Option<Instant>,
}

impl Patience {
    /// The next request has its own time to be finished.
    pub(super) fn request_is_whole(&mut self) {
        self.finishing = None;
    }
}

impl Connection {
    /// Says until when the client is waited for: to take its replies, to finish a request it has begun, to
    /// authenticate.
    pub(super) fn limit_patience(&mut self) {
        let settings = self.client.worker.settings();
        let limits = &settings.limits;
        let unread = self.client.outbox.unread();
        let is_unauthenticated = matches!(self.client.mode, Mode::Unauthenticated);
        let has_begun = !self.input.is_empty() && self.wants_bytes;
        let patience = &mut self.patience;
        patience.reading = patience.reading.filter(|(before, _)| *before == unread && unread > 0);
        patience.finishing = patience.finishing.filter(|_| has_begun);
        patience.authenticating = patience.authenticating.filter(|_| is_unauthenticated);
        if unread == 0 && !has_begun && !is_unauthenticated {
            self.handle.patience.set(None);
            return;
        }
        let now = Instant::now();
        let reading = (unread > 0).then(|| patience.reading.get_or_insert((unread, now)).1 + limits.unread_timeout);
        // A long request may take its time, as long as it comes.
        let at_least = Duration::from_secs(self.input.len() as u64 / SLOWEST);
        let finishing = has_begun.then(|| *patience.finishing.get_or_insert(now) + limits.request_timeout + at_least);
        let authenticating =
            is_unauthenticated.then(|| *patience.authenticating.get_or_insert(now) + limits.auth_timeout);
        let ends = [
            (reading, CloseReason::SlowReader),
            (finishing, CloseReason::SlowWriter),
            (authenticating, CloseReason::Unauthenticated),
        ];
        let first = ends.into_iter().filter_map(|(end, reason)| Some((end?, reason))).min_by_key(|(end, _)| *end);
        self.handle.patience.set(first);
    }
}
