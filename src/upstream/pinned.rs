//! Upstream connections held by one client for a while.
//!
//! A connection goes back to the pool only when it is provably clean: `RESET` was answered `+RESET`, and the
//! handshake that follows passed every check, its nonce included. Whatever a client left behind (`MULTI`,
//! `WATCH`, a subscription, another database) is gone then; a connection that cannot prove it is closed.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Kind;
use super::error::ConnectError;
use super::handshake::{self, Trace};
use super::replies::{Item, Replies};
use super::server::Server;
use crate::resp::decode;
use crate::resp::scan::ScanError;
use crate::socket::Stream;

/// Clean connections a worker keeps.
const KEEP_IDLE: usize = 8;

/// Between attempts to sever a connection.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// The longest a check-in may take before the connection is closed instead.
const CHECK_IN_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection with a single client.
pub struct Pinned {
    kind: Kind,
    stream: Stream,
    replies: Replies,
    unwritten: BytesMut,
    /// A large request, to be written behind `unwritten`; its memory goes with its last byte.
    large: Bytes,
    large_len: usize,
    /// Since when the socket has taken nothing of what is to be written.
    stuck_since: Option<Instant>,
    /// For whoever replaces it, should it be lost.
    trace: Trace,
    since: Instant,
    /// Which credentials it was made with.
    generation: u64,
    /// While a client holds it. An idle connection keeps nobody waiting.
    permit: Option<OwnedSemaphorePermit>,
    _gauge: Counted,
}

/// Lengths only (G8).
impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned connection {}", self.number())
    }
}

/// Counts the connections there are.
#[derive(Debug)]
struct Counted(metrics::Gauge);

impl Counted {
    fn new(gauge: &metrics::Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Why a pinned connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum PinnedLoss {
    #[error("the server closed the connection")]
    #[allow(missing_docs)]
    Closed,
    #[error("{0}")]
    #[allow(missing_docs)]
    Io(#[from] io::Error),
    /// Its bytes are not understood any more.
    #[error("{0}")]
    Bytes(#[from] ScanError),
}

impl Pinned {
    /// The protocol its replies are in, and the database it started in.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its number on the server (`CLIENT ID`).
    pub fn number(&self) -> i64 {
        self.trace.id
    }

    /// Queues a request.
    pub fn send(&mut self, request: &[u8]) {
        // Nothing overtakes a large request, whoever may ask for it.
        if !self.large.is_empty() {
            self.unwritten.extend_from_slice(&std::mem::take(&mut self.large));
        }
        self.unwritten.extend_from_slice(request);
    }

    /// Queues a large request without a copy. Nothing may be queued behind it before its reply.
    pub fn send_large(&mut self, request: Bytes) {
        self.large_len = request.len();
        self.large = request;
    }

    /// Whether everything queued has left: what has not surely did not run.
    pub fn is_written(&self) -> bool {
        self.unwritten.is_empty() && self.large.is_empty()
    }

    /// Since when the server takes nothing of a request that has not wholly left.
    pub fn stuck_since(&self) -> Option<Instant> {
        self.stuck_since
    }

    /// Bytes held for its client.
    pub fn held(&self) -> usize {
        let large = if self.large.is_empty() { 0 } else { self.large_len };
        self.unwritten.len() + large + self.replies.held()
    }

    /// Bytes of requests the socket has not taken.
    pub fn unwritten(&self) -> usize {
        self.unwritten.len() + self.large.len()
    }

    /// Writes what is queued, as far as the socket takes it.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), PinnedLoss> {
        while !self.is_written() {
            let next: &mut dyn Buf = if self.unwritten.is_empty() { &mut self.large } else { &mut self.unwritten };
            match Pin::new(&mut self.stream).poll_write(cx, next.chunk()) {
                Poll::Ready(Ok(0)) => return Err(PinnedLoss::Closed),
                Poll::Ready(Ok(len)) => {
                    next.advance(len);
                    self.stuck_since = None;
                }
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => {
                    self.stuck_since.get_or_insert_with(Instant::now);
                    return Ok(());
                }
            }
        }
        // Its memory must not wait for the reply.
        self.large = Bytes::new();
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Reads once more; afterwards [`Pinned::next_item`] may have something.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PinnedLoss>> {
        self.replies.poll_read(&mut self.stream, cx).map(|read| match read? {
            0 => Err(PinnedLoss::Closed),
            _ => Ok(()),
        })
    }

    /// The next reply, push, or piece of a reply that is here.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, PinnedLoss> {
        Ok(self.replies.next_item()?)
    }

    /// Whether the socket is open and silent, as an idle one must be.
    fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        !self.replies.is_within_reply() && self.replies.poll_read(&mut self.stream, &mut cx).is_pending()
    }

    /// Proves the connection clean, and makes it ready again.
    async fn reset(&mut self, server: &Server) -> Result<(), ConnectError> {
        if self.replies.is_within_reply() || !self.is_written() {
            return Err(ConnectError::Closed);
        }
        self.stream.write_all(b"*1\r\n$5\r\nRESET\r\n").await.map_err(ConnectError::of_io)?;
        self.stream.flush().await.map_err(ConnectError::of_io)?;
        let mut buf = BytesMut::new();
        let answer = handshake::reply(&mut self.stream, &mut buf, "RESET").await?;
        if decode::text(&answer) != Some(b"RESET") || !buf.is_empty() {
            return Err(ConnectError::NotRedis("RESET was not answered with RESET alone".to_owned()));
        }
        server.introduce(self.kind, &[], &mut self.stream).await?;
        self.replies = Replies::new();
        Ok(())
    }
}

/// Why no connection could be checked out. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// All of `limits.pinned` are in use, and stayed so for `queue_timeout`.
    #[error("LOADING no upstream connection free; command not executed")]
    Exhausted,
    /// The server is away.
    #[error("{}", super::NOT_EXECUTED)]
    Unavailable,
    /// The server's own word, which it would answer to the client's request as well.
    #[error("{0}")]
    Refused(String),
}

/// One worker's clean connections, within the bound all workers share.
#[derive(Debug)]
pub struct Pool {
    server: Arc<Server>,
    permits: Arc<Semaphore>,
    idle: RefCell<Vec<Pinned>>,
    /// Held by whoever severs lost connections.
    severing: Mutex<()>,
    queue_timeout: Duration,
}

impl Pool {
    /// An empty pool; `permits` bounds the connections of all pools that share it.
    pub fn new(server: Arc<Server>, permits: Arc<Semaphore>, queue_timeout: Duration) -> Rc<Self> {
        Rc::new(Self { server, permits, idle: RefCell::default(), severing: Mutex::default(), queue_timeout })
    }

    /// Takes a clean connection out of the pool, or opens one, waiting up to `queue_timeout`.
    ///
    /// # Cancel safety
    /// Dropping this gives back what it had.
    pub async fn check_out(&self, kind: Kind) -> Result<Pinned, PinError> {
        let deadline = Instant::now() + self.queue_timeout;
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| PinError::Exhausted)?.expect("the semaphore is never closed");
        match self.take_idle(kind) {
            Some(idle) => Ok(Pinned { permit: Some(permit), ..idle }),
            None => self.open(kind, Some(permit), deadline).await,
        }
    }

    /// A connection was lost under a request that may have run: another one is opened, before which the server
    /// forgets it, so that what it still holds cannot overwrite what is written next. `then` is called when that is
    /// done, or when `queue_timeout` is over; it is tried on until it is done.
    pub fn sever(self: &Rc<Self>, lost: Pinned, then: impl FnOnce() + 'static) {
        let pool = Rc::clone(self);
        let Pinned { kind, trace, permit, .. } = lost;
        self.server.condemn(trace.clone());
        spawn_local(async move {
            let deadline = Instant::now() + pool.queue_timeout;
            let mut severed = pin!(pool.until_severed(kind, &trace, permit));
            let is_severed = timeout_at(deadline, &mut severed).await.is_ok();
            then();
            if !is_severed {
                severed.await;
            }
        });
    }

    /// One connection severs all that were lost together: the others find it done.
    async fn until_severed(&self, kind: Kind, lost: &Trace, mut permit: Option<OwnedSemaphorePermit>) {
        let _one = self.severing.lock().await;
        while self.server.is_condemned(lost) {
            match self.open(kind, permit.take(), Instant::now() + self.queue_timeout).await {
                Ok(pinned) => self.keep(pinned),
                Err(_) => sleep(TRY_AGAIN).await,
            }
        }
    }

    async fn open(
        &self,
        kind: Kind,
        permit: Option<OwnedSemaphorePermit>,
        deadline: Instant,
    ) -> Result<Pinned, PinError> {
        let attempts = async {
            loop {
                if self.server.is_known_to_be_down(Instant::now()) {
                    return Err(PinError::Unavailable);
                }
                self.server.wait_for_others().await;
                let error = match self.server.connect(kind).await {
                    Ok(established) => return Ok(established),
                    Err(error) => error,
                };
                if let Some(text) = error.own_word() {
                    return Err(PinError::Refused(text.to_owned()));
                }
                if matches!(error, ConnectError::HeldOff) || error.is_configuration() {
                    return Err(PinError::Unavailable);
                }
            }
        };
        let established = timeout_at(deadline, attempts).await.unwrap_or(Err(PinError::Unavailable))?;
        Ok(Pinned {
            kind,
            stream: established.stream,
            replies: Replies::new(),
            unwritten: BytesMut::new(),
            large: Bytes::new(),
            large_len: 0,
            stuck_since: None,
            trace: established.trace,
            since: Instant::now(),
            generation: established.generation,
            permit,
            _gauge: Counted::new(&self.server.metrics.pinned),
        })
    }

    /// Gives a connection back: it is proven clean in the background, or closed.
    pub fn check_in(self: &Rc<Self>, mut pinned: Pinned) {
        if self.server.is_old(pinned.since, pinned.generation) {
            return;
        }
        if self.idle.borrow().iter().filter(|idle| idle.kind == pinned.kind).count() >= KEEP_IDLE {
            return;
        }
        let pool = Rc::clone(self);
        spawn_local(async move {
            if let Ok(Ok(())) = timeout(CHECK_IN_TIMEOUT, pinned.reset(&pool.server)).await {
                pool.keep(pinned);
            }
        });
    }

    fn keep(&self, mut pinned: Pinned) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= KEEP_IDLE {
            // The oldest may be of a database nobody uses any more.
            idle.remove(0);
        }
        // Whoever waits for the permit finds the connection.
        let _permit = pinned.permit.take();
        idle.push(pinned);
    }

    fn take_idle(&self, kind: Kind) -> Option<Pinned> {
        let mut idle = self.idle.borrow_mut();
        while let Some(index) = idle.iter().rposition(|pinned| pinned.kind == kind) {
            let mut pinned = idle.remove(index);
            // One the server has closed meanwhile is dropped here, and one that is old.
            if pinned.is_quiet() && !self.server.is_old(pinned.since, pinned.generation) {
                return Some(pinned);
            }
        }
        None
    }
}
