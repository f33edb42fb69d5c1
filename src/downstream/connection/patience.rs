//! How long a client may keep the proxy waiting (G7).

use std::time::Duration;

use tokio::time::Instant;

use super::Connection;
use crate::downstream::close::CloseReason;
use crate::downstream::mode::Mode;

/// Bytes a second at which a long request may come at the slowest.
const SLOWEST: u64 = 64 << 10;

/// What a client keeps the proxy waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// To take this many bytes of replies: fewer would be progress.
    Reading(usize),
    /// To finish a request.
    Finishing,
    Authenticating,
}

impl Connection {
    /// Says until when the client is waited for: to take its replies, to finish a request it has begun, to
    /// authenticate.
    pub(super) fn limit_patience(&mut self) {
        let settings = self.client.worker.settings();
        let limits = &settings.limits;
        let unread = self.client.outbox.unread();
        let has_begun = !self.input.is_empty() && self.wants_bytes;
        let (waiting, patience, reason) = if unread > 0 {
            (Waiting::Reading(unread), limits.unread_timeout, CloseReason::SlowReader)
        } else if matches!(self.client.mode, Mode::Unauthenticated) {
            (Waiting::Authenticating, limits.auth_timeout, CloseReason::Unauthenticated)
        } else if has_begun {
            // A long request may take its time, as long as it comes.
            let at_least = Duration::from_secs(self.input.len() as u64 / SLOWEST);
            (Waiting::Finishing, limits.request_timeout + at_least, CloseReason::SlowWriter)
        } else {
            self.waiting = None;
            self.handle.patience.set(None);
            return;
        };
        let since = match self.waiting {
            Some((present, since)) if present == waiting => since,
            _ => Instant::now(),
        };
        self.waiting = Some((waiting, since));
        self.handle.patience.set(Some((since + patience, reason)));
    }
}
