//! One connection between the proxy and the server, and what can become of it on the way.
//!
//! ```text
//! proxy ─ socket ─▶ under way ─ delay, gate ─▶ server
//! proxy ◀─ gate, delay ─────────────────────── server
//! ```
//!
//! The socket holds so many bytes and no more: what the way does not take stays in it, and then in the proxy.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf, split};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::model::Id;
use super::network::Network;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Requests,
    Replies,
}

/// How a connection ends. The proxy sees a close at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// What was under way is lost; the server sees a close as well.
    Both,
    /// What was under way is lost, and the server never hears of it.
    Unseen,
    /// What the proxy has sent arrives all the same, so much later, and then the close.
    Late(Duration),
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    is_stopped: Cell<bool>,
    /// The connection is cut when so many more bytes have passed.
    left: Cell<Option<(usize, Cut)>>,
    opened: Notify,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: Id,
    requests: Way,
    replies: Way,
    /// Taken from the proxy's socket, and not arrived.
    under_way: RefCell<Vec<u8>>,
    /// How much longer replies take than on other connections.
    lag: Cell<Duration>,
    cut: Cell<Option<Cut>>,
    is_cut: Notify,
    /// The server has said something.
    pub(crate) news: Notify,
}

/// How a connection came to its end.
enum End {
    Proxy,
    Server,
    Cut(Cut),
}

impl Link {
    pub(crate) fn new(id: Id) -> Self {
        let (requests, replies) = (Way::default(), Way::default());
        let (cut, is_cut, news) = (Cell::new(None), Notify::new(), Notify::new());
        Self { id, requests, replies, under_way: RefCell::default(), lag: Cell::default(), cut, is_cut, news }
    }

    fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::Requests => &self.requests,
            Direction::Replies => &self.replies,
        }
    }

    /// Nothing passes, nothing is lost.
    pub(crate) fn stop(&self, direction: Direction) {
        self.way(direction).is_stopped.set(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.requests.is_stopped.get() || self.replies.is_stopped.get()
    }

    /// Whether requests are under way.
    pub(crate) fn holds_requests(&self) -> bool {
        !self.under_way.borrow().is_empty()
    }

    pub(crate) fn open(&self) {
        for way in [&self.requests, &self.replies] {
            way.is_stopped.set(false);
            way.opened.notify_waiters();
        }
    }

    /// Replies take so much longer.
    pub(crate) fn lag(&self, lag: Duration) {
        self.lag.set(lag);
    }

    pub(crate) fn cut(&self, cut: Cut) {
        self.cut.set(Some(cut));
        self.is_cut.notify_one();
    }

    pub(crate) fn cut_after(&self, bytes: usize, direction: Direction, cut: Cut) {
        self.way(direction).left.set(Some((bytes, cut)));
    }

    pub(crate) fn forget_plan(&self) {
        self.requests.left.set(None);
        self.replies.left.set(None);
    }

    /// Carries bytes until the connection ends, and ends it on both sides.
    pub(crate) async fn run(self: Rc<Self>, stream: DuplexStream, network: Rc<Network>) {
        let (mut reader, mut writer) = split(stream);
        let end = tokio::select! {
            biased;
            () = self.is_cut.notified() => End::Cut(self.cut.get().expect("it says how")),
            end = self.carry_requests(&mut reader, &network) => end,
            end = self.carry_replies(&mut writer, &network) => end,
        };
        let late = match end {
            End::Cut(Cut::Late(late)) => Some((late, self.rest(&mut reader).await)),
            End::Proxy | End::Server | End::Cut(Cut::Both | Cut::Unseen) => None,
        };
        drop((reader, writer));
        network.forget(&self);
        match (end, late) {
            (End::Cut(Cut::Unseen) | End::Server, _) => {}
            (_, None) => network.disconnect(self.id),
            (_, Some((late, bytes))) => {
                sleep(late).await;
                network.note(|| format!("{} bytes arrive late on {}", bytes.len(), self.id));
                network.deliver(self.id, &bytes);
                network.disconnect(self.id);
            }
        }
    }

    async fn carry_requests(&self, reader: &mut ReadHalf<DuplexStream>, network: &Rc<Network>) -> End {
        let mut buf = [0; 2048];
        loop {
            let piece = network.piece(buf.len());
            let len = reader.read(&mut buf[..piece]).await.unwrap_or(0);
            self.under_way.borrow_mut().extend_from_slice(&buf[..len]);
            network.delay().await;
            self.requests.wait_until_open().await;
            if let Some((left, cut)) = self.requests.last_bytes(len) {
                let mut bytes = self.under_way.take();
                self.under_way.replace(bytes.split_off(left));
                network.deliver(self.id, &bytes);
                return End::Cut(cut);
            }
            if len == 0 {
                return End::Proxy;
            }
            network.deliver(self.id, &self.under_way.take());
        }
    }

    async fn carry_replies(&self, writer: &mut WriteHalf<DuplexStream>, network: &Rc<Network>) -> End {
        loop {
            let (bytes, is_closed) = network.take(self.id);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(network.piece(rest.len()));
                network.delay().await;
                if !self.lag.get().is_zero() {
                    sleep(self.lag.get()).await;
                }
                self.replies.wait_until_open().await;
                let last = self.replies.last_bytes(piece.len());
                let passes = last.map_or(piece, |(left, _)| &piece[..left]);
                if writer.write_all(passes).await.is_err() {
                    // What the proxy sent before it closed still arrives.
                    pending::<()>().await;
                }
                if let Some((_, cut)) = last {
                    return End::Cut(cut);
                }
                rest = behind;
            }
            if is_closed {
                self.replies.wait_until_open().await;
                return End::Server;
            }
            if bytes.is_empty() {
                self.news.notified().await;
            }
        }
    }

    /// Everything the proxy has sent that has not arrived.
    async fn rest(&self, reader: &mut ReadHalf<DuplexStream>) -> Vec<u8> {
        let mut rest = self.under_way.take();
        let mut room = [0; 2048];
        loop {
            let mut buf = ReadBuf::new(&mut room);
            let read = poll_fn(|cx| Poll::Ready(Pin::new(&mut *reader).poll_read(cx, &mut buf))).await;
            if !matches!(read, Poll::Ready(Ok(()))) || buf.filled().is_empty() {
                return rest;
            }
            rest.extend_from_slice(buf.filled());
        }
    }
}

impl Way {
    async fn wait_until_open(&self) {
        while self.is_stopped.get() {
            self.opened.notified().await;
        }
    }

    /// How many of the next bytes pass before the connection is cut; `None` if it is not.
    fn last_bytes(&self, len: usize) -> Option<(usize, Cut)> {
        let (left, cut) = self.left.get()?;
        self.left.set(Some((left.saturating_sub(len), cut)));
        (left <= len).then_some((left, cut))
    }
}

/// How long a byte takes, and how many go together.
pub(crate) async fn delay(most: u64, random: &RefCell<fastrand::Rng>) {
    let millis = random.borrow_mut().u64(0..=most);
    if millis > 0 {
        sleep(Duration::from_millis(millis)).await;
    }
}
