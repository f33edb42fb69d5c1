//! When the next request will have waited too long.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is touched only when it fires, when it is first needed, or when a deadline comes nearer: nearly
/// all deadlines only ever grow.
#[derive(Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Ready when `next` has come; pending without a timer when there is no `next`.
    pub(super) fn poll(&mut self, next: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else {
            let Some(next) = next else { return Poll::Pending };
            self.sleep = Some(Box::pin(sleep_until(next)));
            return self.poll(Some(next), cx);
        };
        // Once requests are given up, the connection's own deadline stands behind that of the next request.
        if let Some(next) = next.filter(|next| *next < sleep.deadline()) {
            sleep.as_mut().reset(next);
        }
        ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        match next {
            Some(next) if next > Instant::now() => self.poll(Some(next), cx),
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }
}
