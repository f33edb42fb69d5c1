//! A connection of the client's own, and what goes on while it is waited for.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Buf;
use tokio::time::{sleep, timeout_at};

use super::Connection;
use crate::command::PinReason;
use crate::downstream::close::CloseReason;
use crate::downstream::mode::Mode;
use crate::downstream::worker::Order;

/// Before the second attempt to subscribe again; before the third twice as long, and so on.
const PAUSE: Duration = Duration::from_millis(50);

impl Connection {
    /// Takes a connection for the client. What blocks must not be sent for somebody who is not there any more.
    pub(super) async fn check_out(&mut self, reason: PinReason) {
        let worker = Rc::clone(&self.client.worker);
        let waiting = pin!(worker.dispatch.check_out(self.client.protocol, self.client.db));
        let has_gone = |this: &Self| (this.is_at_end && reason == PinReason::Blocking).then_some(CloseReason::Client);
        match self.meanwhile(waiting, has_gone).await {
            Ok(Ok(pinned)) => return self.client.pinned(pinned, reason),
            Ok(Err(error)) => self.client.not_pinned(reason, &error.to_string()),
            Err(reason) => self.closing = Some(reason),
        }
        if let Some(len) = self.parsed.take() {
            self.input.advance(len);
        }
    }

    /// Takes another connection for a client that was subscribed on the one it has lost.
    ///
    /// # Errors
    /// There is none within `upstream.queue_timeout`, or the client goes: it is closed.
    pub(super) async fn check_out_again(&mut self) -> Result<(), CloseReason> {
        let Mode::Lost { pin } = &self.client.mode else { return Ok(()) };
        let Some(gap) = pin.gap() else { return Ok(()) };
        let worker = Rc::clone(&self.client.worker);
        let (protocol, db) = (self.client.protocol, self.client.db);
        let until = gap.since + worker.settings().upstream.queue_timeout;
        let waiting = pin!(timeout_at(until, async {
            sleep(PAUSE * gap.again).await;
            worker.dispatch.check_out(protocol, db).await
        }));
        let must_go = |this: &Self| match this.handle.order.get() {
            _ if this.client.outbox.unread() > 0 => None,
            Order::Close(reason) | Order::Kill(reason) => Some(reason),
            Order::Serve => this.is_at_end.then_some(CloseReason::Client),
        };
        let Ok(Ok(conn)) = self.meanwhile(waiting, must_go).await? else { return Err(CloseReason::UpstreamLost) };
        self.client.pinned_again(conn);
        Ok(())
    }

    /// Waits for a connection. Meanwhile the client is written to, and it is noticed when it goes.
    ///
    /// What is waited for stays where it is: every client's task has room for it, once.
    async fn meanwhile<T>(
        &mut self,
        mut waiting: Pin<&mut impl Future<Output = T>>,
        is_over: impl Fn(&Self) -> Option<CloseReason>,
    ) -> Result<T, CloseReason> {
        let ended = poll_fn(|cx| {
            self.client.outbox.register(cx);
            if let Order::Kill(reason) = self.handle.order.get() {
                return Poll::Ready(Err(reason));
            }
            if let Err(error) = self.poll_write(cx) {
                return Poll::Ready(Err(CloseReason::of_io(&error)));
            }
            // First, whether it is still there: what it has waited for comes at the same moment, perhaps.
            while self.poll_read(cx).map_err(|error| CloseReason::of_io(&error))? {}
            if let Some(reason) = is_over(self) {
                return Poll::Ready(Err(reason));
            }
            waiting.as_mut().poll(cx).map(Ok)
        });
        ended.await
    }
}
