//! The life of one connection: bytes out, replies in, time.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::{End, Lane};
use crate::socket::Stream;
use crate::upstream::error::ConnectError;
use crate::upstream::loss::Loss;
use crate::upstream::phase::Phase;
use crate::upstream::recovery::Recovery;
use crate::upstream::replies::{Item, Replies};
use crate::upstream::server::{Established, nonce};
use crate::upstream::timer::Timer;

/// Reads before others of the worker get their turn: a reply of 300 MB is many turns long.
const READS_A_TURN: usize = 8;

/// A successor that is being made.
type Renewal<'a> = Pin<Box<dyn Future<Output = Result<Established, ConnectError>> + 'a>>;

impl Lane {
    /// Moves bytes until the connection is lost, or another one takes over.
    pub(super) async fn drive(&self, established: Established) -> End {
        let mut stream = established.stream;
        let (mut replies, mut timer) = (Replies::new(), Timer::default());
        let (mut renewal, mut successor) = (None, None);
        let mut stuck_since = None;
        poll_fn(|cx| {
            self.task.register(cx);
            if self.is_closing.get() {
                return Poll::Ready(End::Unused);
            }
            self.tend_memory();
            let written = self.poll_write(&mut stream, &mut stuck_since, cx);
            // What has been answered is taken in, whatever became of the requests behind it.
            if let Poll::Ready(loss) = self.poll_replies(&mut stream, &mut replies, cx) {
                return Poll::Ready(End::Lost(loss));
            }
            if let Err(error) = written {
                return Poll::Ready(End::Lost(Loss::of_io(error)));
            }
            if let Poll::Ready(next) = self.poll_renewal(&mut renewal, cx) {
                successor = Some(next);
            }
            if let Poll::Ready(loss) = self.poll_timeouts(&mut timer, stuck_since, cx) {
                return Poll::Ready(End::Lost(loss));
            }
            if self.recovery.borrow().phase() == Phase::Up {
                // It was wanted, and is not any more.
                successor = None;
            }
            if self.recovery.borrow().has_left() {
                return Poll::Ready(End::Left(successor.take()));
            }
            // A reply or the time may have let something go.
            let is_unwritten = !self.recovery.borrow().unwritten().is_empty() || self.has_to_tend();
            if stuck_since.is_none() && is_unwritten {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// Writes what may be written, as far as the socket takes it.
    fn poll_write(
        &self,
        stream: &mut Stream,
        stuck_since: &mut Option<Instant>,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let mut recovery = self.recovery.borrow_mut();
        while !recovery.unwritten().is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, recovery.unwritten()) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(len)) => recovery.wrote(len),
                Poll::Ready(Err(error)) => {
                    // TLS does not tell how much of it has gone: most of it, perhaps, but not its end.
                    if matches!(stream, Stream::Tls(_)) {
                        let most = recovery.unwritten().len() - 1;
                        recovery.wrote(most);
                    }
                    return Err(error);
                }
                Poll::Pending => {
                    stuck_since.get_or_insert_with(Instant::now);
                    return Ok(());
                }
            }
            *stuck_since = None;
        }
        *stuck_since = None;
        if matches!(stream, Stream::Tls(_)) {
            // Only TLS holds bytes back.
            match Pin::new(stream).poll_flush(cx) {
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        Ok(())
    }

    fn poll_replies(&self, stream: &mut Stream, replies: &mut Replies, cx: &mut Context<'_>) -> Poll<Loss> {
        for _ in 0..READS_A_TURN {
            match ready!(replies.poll_read(stream, cx)) {
                Ok(0) => return Poll::Ready(Loss::Closed),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Loss::of_io(error)),
            }
            let (mut recovery, now) = (self.recovery.borrow_mut(), Instant::now());
            if let Some(age) = recovery.age(now) {
                self.server.metrics.round_trip.record(age.as_secs_f64());
            }
            recovery.heard(now);
            let paired = self.pair(&mut recovery, replies, now);
            let has_room = recovery.size() <= self.limits.queue / 2;
            drop(recovery);
            self.count();
            if let Err(loss) = paired {
                return Poll::Ready(loss);
            }
            if has_room {
                self.wake_waiting();
            }
        }
        // Those who have been answered go on before more is read.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands each reply that is here to the oldest request.
    fn pair(&self, recovery: &mut Recovery, replies: &mut Replies, now: Instant) -> Result<(), Loss> {
        while let Some(item) = replies.next_item()? {
            match item {
                // Of changes, perhaps; nothing else should be pushed here. It answers nobody.
                Item::Frame { frame: frame @ [b'>', ..], .. } => {
                    if !self.told(frame) {
                        self.server.metrics.unexpected_pushes.increment(1);
                    }
                }
                Item::Frame { frame, is_resp3 } => {
                    if let Some(ask) = recovery.answer(frame, is_resp3, now)? {
                        self.hear_ask(recovery, ask, frame, now);
                    }
                }
                Item::Piece { bytes, is_last } => recovery.answer_piece(bytes, is_last, now)?,
            }
        }
        Ok(())
    }

    fn poll_timeouts(&self, timer: &mut Timer, stuck_since: Option<Instant>, cx: &mut Context<'_>) -> Poll<Loss> {
        loop {
            let waiting_until = self.waiting_until();
            self.recovery.borrow_mut().waited_for(waiting_until.is_some());
            let next = self.recovery.borrow().next_deadline(stuck_since, Instant::now());
            let next = next.into_iter().chain(waiting_until).min();
            ready!(timer.poll(next, cx));
            let expired = self.recovery.borrow_mut().expire(stuck_since, Instant::now(), nonce);
            self.expire_waiting(Instant::now());
            if self.count() {
                self.wake_waiting();
            }
            if let Err(loss) = expired {
                return Poll::Ready(loss);
            }
        }
    }

    /// Makes a successor when one is wanted: ready when there is one.
    fn poll_renewal<'a>(&'a self, renewal: &mut Option<Renewal<'a>>, cx: &mut Context<'_>) -> Poll<Box<Established>> {
        let generation = self.server.generation();
        if self.recovery.borrow_mut().begin_renewal(generation, Instant::now()) {
            *renewal = Some(Box::pin(self.server.connect_tracked(self.kind)));
        }
        let Some(attempt) = renewal else { return Poll::Pending };
        let result = ready!(attempt.as_mut().poll(cx));
        *renewal = None;
        match result {
            Ok(established) if self.recovery.borrow_mut().succeeded(Instant::now()) => {
                Poll::Ready(Box::new(established))
            }
            // The server has meanwhile refused to execute anything: it may do so here as well.
            Ok(_) => Poll::Pending,
            Err(error) => {
                self.recovery.borrow_mut().not_succeeded(error.is_refusal(), Instant::now());
                self.server.metrics.renewals.add(error.label());
                Poll::Pending
            }
        }
    }
}
