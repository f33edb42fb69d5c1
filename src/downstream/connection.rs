//! One client's socket: bytes in, bytes out.
//!
//! Each turn it acts on the requests that are whole, then waits for whatever comes first: bytes from the
//! client, replies in the outbox, bytes from its pinned connection, an order to close. It never waits for one
//! of them alone, so a client that does not read cannot stop its own replies from being taken in, and one
//! that does not write cannot stop them from being sent.

mod check_out;
mod patience;
mod reading;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use patience::Patience;
use reading::{READ, READ_MOST};

use super::client::{Client, Outcome};
use super::close::CloseReason;
use super::mode::Mode;
use super::worker::{Handle, Order};
use crate::command::PinReason;
use crate::config::{Limits, Reconnect};
use crate::resp::request::{Parser, RequestError};
use crate::socket::Stream;

/// How long a closed client may take to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// A client and its socket.
pub(super) struct Connection {
    stream: Stream,
    input: BytesMut,
    /// The most that `input` has held.
    input_peak: usize,
    parser: Parser,
    /// The length of the whole request at the start of `input`.
    parsed: Option<usize>,
    /// What is in `input` is no whole request: nothing can be done before more comes.
    wants_bytes: bool,
    /// Room for the next read.
    read_size: usize,
    /// The client has closed its side.
    is_at_end: bool,
    /// No further request is acted on.
    closing: Option<CloseReason>,
    patience: Patience,
    client: Client,
    handle: Rc<Handle>,
}

/// What the requests that are here have come to.
enum Turn {
    /// Nothing more can be done before something comes.
    Wait,
    /// A request needs a connection of its own.
    CheckOut(PinReason),
}

impl Connection {
    pub(super) fn new(stream: Stream, client: Client, handle: Rc<Handle>) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            input_peak: 0,
            parser: Parser::default(),
            parsed: None,
            wants_bytes: true,
            read_size: READ,
            is_at_end: false,
            closing: None,
            patience: Patience::default(),
            client,
            handle,
        }
    }

    /// Serves the client until it goes.
    ///
    /// # Cancel safety
    /// Dropping this closes the socket; replies still to come are discarded in their turn.
    pub(super) async fn serve(mut self) -> CloseReason {
        let reason = self.run().await;
        self.client.outbox.close();
        self.client.pay_what_is_owed();
        if !reason.is_abrupt() {
            // A last reply would be lost if unread bytes turned the close into a reset.
            let _ = timeout(LINGER, self.linger()).await;
        }
        reason
    }

    async fn run(&mut self) -> CloseReason {
        loop {
            if let Mode::Lost { .. } = self.client.mode
                && let Err(reason) = self.check_out_again().await
            {
                return reason;
            }
            match self.act() {
                Turn::Wait => {}
                Turn::CheckOut(reason) => {
                    self.check_out(reason).await;
                    continue;
                }
            }
            if let Some(reason) = self.ended() {
                return reason;
            }
            if let Err(reason) = poll_fn(|cx| self.poll(cx)).await {
                return reason;
            }
        }
    }

    /// Acts on every request that is whole, as far as limits and order allow.
    fn act(&mut self) -> Turn {
        // One look at the clock, and at the settings, for all requests of a turn.
        let mut now = None;
        self.wants_bytes = false;
        let settings = self.client.worker.settings();
        let limits = &settings.limits;
        while self.closing.is_none() && self.may_accept(limits) {
            let len = match self.parsed {
                Some(len) => len,
                None => match self.parser.advance(&self.input, &self.client.limits(limits)) {
                    Ok(Some(len)) => len,
                    Ok(None) => {
                        self.wants_bytes = true;
                        break;
                    }
                    Err(error) => {
                        self.refuse(error);
                        break;
                    }
                },
            };
            self.parsed = Some(len);
            let outcome = match self.parser.request(&self.input) {
                // An empty line: Redis does not answer it.
                None => {
                    self.client.skip_empty();
                    Outcome::Done
                }
                Some(request) => {
                    self.client.has_more = self.input.len() > len;
                    self.client.act(request, *now.get_or_insert_with(Instant::now))
                }
            };
            match outcome {
                Outcome::Wait => break,
                Outcome::CheckOut(reason) => return Turn::CheckOut(reason),
                Outcome::HandOver => self.hand_over(len),
                Outcome::Done => self.input.advance(len),
                Outcome::Close(reason) => {
                    self.closing = Some(reason);
                    self.input.advance(len);
                }
            }
            self.parsed = None;
            self.patience.request_is_whole();
        }
        self.settle();
        Turn::Wait
    }

    /// Hands the request at the start of the input over as it is.
    fn hand_over(&mut self, len: usize) {
        let request = self.input.split_to(len).freeze();
        // What is left must not keep the memory of what has gone.
        self.input = BytesMut::from(&self.input[..]);
        self.client.send_large(request);
    }

    /// After a burst: what is not needed any more is given back.
    fn settle(&mut self) {
        if self.input.is_empty() && std::mem::take(&mut self.input_peak) > READ {
            self.input = BytesMut::new();
        } else if self.input.len() < READ && self.input_peak > READ_MOST {
            // What is left of a burst, and waits, must not keep the memory of all of it.
            self.input = BytesMut::from(&self.input[..]);
            self.input_peak = 0;
        }
        if self.parsed.is_none() {
            self.client.check_in_if_clear();
        }
        self.client.end_turn();
    }

    /// Whether the client is within its bounds (G7).
    fn may_accept(&self, limits: &Limits) -> bool {
        let outbox = &self.client.outbox;
        let (most, held) = (self.client.unread_most(limits), outbox.held());
        let must_give_way = self.client.held() > 0 && self.handle.share.must_give_way();
        if must_give_way {
            self.handle.gives_way.set(true);
        }
        held < most
            && outbox.in_flight() < limits.in_flight.min(outbox.window(most - held))
            && !must_give_way
            && self.client.has_room_upstream(limits)
            && !self.client.is_held_up()
    }

    fn refuse(&mut self, error: RequestError) {
        self.closing = Some(match error {
            RequestError::OtherProtocol => {
                self.client.outbox.close();
                CloseReason::OtherProtocol
            }
            error => {
                self.client.begin_reply();
                self.client.error(error.text());
                CloseReason::Protocol
            }
        });
    }

    /// Whether, and why, the connection is over.
    fn ended(&self) -> Option<CloseReason> {
        let outbox = &self.client.outbox;
        if self.closing == Some(CloseReason::OtherProtocol) {
            return self.closing;
        }
        if outbox.is_closed() {
            return Some(CloseReason::UpstreamLost);
        }
        let leaving = match (self.closing, self.handle.order.get(), self.is_at_end) {
            (Some(reason), _, _) | (None, Order::Close(reason), _) => reason,
            (None, _, true) => CloseReason::Client,
            (None, _, false) => return None,
        };
        // What the client asked for before it said `QUIT`, or nonsense, is waited for as long as it is there.
        let is_told_to = self.is_at_end || self.handle.order.get() != Order::Serve;
        if let Mode::Pinned { pin, .. } = &self.client.mode
            && pin.waits_for_others()
            && (is_told_to || pin.in_flight() == 0)
            && !self.must_lose_pinned()
        {
            return (outbox.unread() == 0).then_some(leaving);
        }
        let has_request = self.closing.is_none() && self.parsed.is_some();
        (outbox.in_flight() == 0 && outbox.unread() == 0 && !has_request).then_some(leaving)
    }

    /// Waits for anything to happen, and does it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        let mut has_moved = self.client.outbox.register(cx);
        has_moved |= self.poll_write(cx).map_err(|error| CloseReason::of_io(&error))?;
        match self.handle.order.get() {
            Order::Serve => {}
            Order::Kill(reason) => return Poll::Ready(Err(reason)),
            Order::Close(_) if self.must_lose_pinned() => has_moved |= self.lose_pinned()?,
            // It may be over already, now that everything is written.
            Order::Close(_) => has_moved |= self.ended().is_some(),
        }
        has_moved |= self.poll_pinned(cx)?;
        has_moved |= self.poll_read(cx).map_err(|error| CloseReason::of_io(&error))?;
        if let Some(due) = self.client.wrong_password_due() {
            has_moved |= self.client.tell_wrong_password(Instant::now());
            self.handle.due.set(Some(due));
        }
        let held = self.input.capacity() + self.parser.held() + self.client.held() + self.client.remembers();
        if self.handle.share.set(held) {
            self.client.worker.over_budget.notify_one();
        }
        if has_moved {
            return Poll::Ready(Ok(()));
        }
        self.limit_patience();
        Poll::Pending
    }

    /// Sends replies, as far as the socket takes them.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Self { stream, client, .. } = self;
        let before = client.outbox.unread();
        let mut is_blocked = false;
        while client.outbox.unread() > 0 && !is_blocked {
            client.outbox.take(|bytes| match Pin::new(&mut *stream).poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => written,
                Poll::Pending => {
                    is_blocked = true;
                    Ok(0)
                }
            })?;
        }
        let sent = before - client.outbox.unread();
        if sent > 0 {
            client.worker.shared.metrics.client.sent.increment(sent as u64);
        }
        if (sent > 0 || before == 0) && matches!(stream, Stream::Tls(_)) {
            // Only TLS holds bytes back.
            if let Poll::Ready(flushed) = Pin::new(stream).poll_flush(cx) {
                flushed?;
            }
        }
        Ok(sent > 0)
    }

    /// Moves bytes of the pinned connection. Its replies wait upstream while the client does not read.
    fn poll_pinned(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let client = &mut self.client;
        let settings = client.worker.settings();
        let Mode::Pinned { conn, pin } = &mut client.mode else {
            self.handle.due.set(None);
            return Ok(false);
        };
        let has_room = client.outbox.unread() < settings.limits.unread_replies.bytes();
        let read = match conn.poll_write(cx) {
            Ok(()) if has_room => conn.poll_read(cx),
            Ok(()) => Poll::Pending,
            Err(loss) => Poll::Ready(Err(loss)),
        };
        match read {
            Poll::Ready(Ok(())) => {
                client.hear(Instant::now())?;
                return Ok(true);
            }
            Poll::Ready(Err(_)) => {
                return self.lose_pinned();
            }
            Poll::Pending => {}
        }
        // The server's time runs once it has the whole request and the client has taken what came before; until then,
        // as long as it takes nothing of it.
        let due = match conn.stuck_since() {
            Some(since) => Some(since + settings.upstream.reply_timeout),
            None => pin.due(settings.upstream.reply_timeout).filter(|_| has_room),
        };
        self.handle.due.set(due);
        if due.is_some_and(|due| due <= Instant::now()) {
            return self.lose_pinned();
        }
        Ok(false)
    }

    /// The worker's connection is lost, and the client must see what it would see without a proxy (`reconnect = "off"`): the
    /// one it holds is lost with it. What it waits for there may have run, and it is told so before it is closed (G2).
    fn must_lose_pinned(&self) -> bool {
        self.handle.order.get() == Order::Close(CloseReason::UpstreamLost)
            && matches!(&self.client.mode, Mode::Pinned { pin, .. } if pin.waits_for_others() && pin.in_flight() > 0)
    }

    fn lose_pinned(&mut self) -> Result<bool, CloseReason> {
        let is_off = self.client.worker.settings().upstream.reconnect == Reconnect::Off;
        match self.client.lost_pinned() {
            Err(reason) if is_off => self.closing = Some(reason),
            lost => lost?,
        }
        Ok(true)
    }

    /// Says that nothing more comes, and takes what the client has still to say.
    async fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut scratch = [0; 4096];
        while self.stream.read(&mut scratch).await? > 0 {}
        Ok(())
    }
}
