//! A network between the proxy and its server that fails when told to.
//!
//! ```text
//! Proxy ──▶ Relay ──▶ RedisServer
//!            ├ cut_after   after so many bytes in one direction
//!            ├ cut_on      whenever certain bytes pass
//!            ├ cut         now, all connections or one
//!            ├ stop        nothing passes, nothing is refused: a blackhole, also in one direction, or for newcomers
//!            ├ trickle     a byte at a time
//!            ├ lag         everything takes its time
//!            └ delay       requests are on their way for a while, even when their sender is cut off
//! ```

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::watch;
use tokio::time::sleep;

/// Bytes that pass at a time.
const BUFFER: usize = 16 << 10;

/// A relay for every connection made to it. Closes them all when dropped.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the proxy to the server.
    Requests,
    /// From the server to the proxy.
    Replies,
}

/// What the proxy sees of a cut; the server sees a FIN behind the last byte that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Reset,
    Finish,
}

struct Shared {
    server: String,
    /// Guards the rules; `changed` tells that they were.
    rules: Mutex<Rules>,
    changed: watch::Sender<()>,
    connections: AtomicUsize,
    cuts: AtomicUsize,
    held: AtomicUsize,
}

#[derive(Default)]
struct Rules {
    planned: Option<Planned>,
    /// What cuts every connection it is sent on.
    poison: Option<Vec<u8>>,
    stopped: Vec<Direction>,
    /// Nothing passes on connections from this number on.
    newcomers: Option<usize>,
    is_trickling: bool,
    /// What each read waits for.
    lag: Duration,
    /// Numbers of the connections that are slow.
    slow: Range<usize>,
    is_over: bool,
    /// How often, and at last how, everything was cut.
    cuts: usize,
    how: Option<Cut>,
    /// One connection that is cut, by its number.
    cut_one: Option<(usize, Cut)>,
}

struct Planned {
    direction: Direction,
    left: usize,
    how: Cut,
}

impl Relay {
    /// To a server at `host:port`.
    pub fn to(server: &str) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("the port of a listener");
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            rules: Mutex::default(),
            changed: watch::channel(()).0,
            connections: AtomicUsize::default(),
            cuts: AtomicUsize::default(),
            held: AtomicUsize::default(),
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || runtime.block_on(shared.run(listener))
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Connections accepted so far: the proxy's attempts.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Connections cut so far.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// Cuts the connection that carries one byte more than `bytes`, counted over all of them from now on: the
    /// byte does not arrive. Where exactly as many have passed, they arrive and the cut follows at once.
    pub fn cut_after(&self, bytes: usize, direction: Direction, how: Cut) {
        self.change(|rules| rules.planned = Some(Planned { direction, left: bytes, how }));
    }

    /// Whether a [`Self::cut_after`] is still to come.
    pub fn has_plan(&self) -> bool {
        self.shared.rules().planned.is_some()
    }

    pub fn forget_plan(&self) {
        self.change(|rules| rules.planned = None);
    }

    /// Cuts every connection to whose server `bytes` are sent; they do not arrive.
    pub fn cut_on(&self, bytes: &str) {
        self.change(|rules| rules.poison = Some(bytes.into()));
    }

    /// Cuts every connection.
    pub fn cut(&self, how: Cut) {
        self.change(|rules| {
            rules.cuts += 1;
            rules.how = Some(how);
        });
    }

    /// Cuts one connection; the first is number 0.
    pub fn cut_one(&self, number: usize, how: Cut) {
        self.change(|rules| rules.cut_one = Some((number, how)));
    }

    /// From now on nothing passes. Connections are still accepted, as a dead host's router may do.
    pub fn stop(&self) {
        self.change(|rules| rules.stopped = vec![Direction::Requests, Direction::Replies]);
    }

    /// As [`Self::stop`], but the other direction goes on.
    pub fn stop_direction(&self, direction: Direction) {
        self.change(|rules| rules.stopped = vec![direction]);
    }

    /// As [`Self::stop`], for the connections still to come.
    pub fn stop_newcomers(&self) {
        self.change(|rules| rules.newcomers = Some(self.connections()));
    }

    /// Ends [`Self::stop`] and its kin. What was on its way arrives.
    pub fn resume(&self) {
        self.change(|rules| (rules.stopped, rules.newcomers) = (Vec::new(), None));
    }

    /// Whether from now on each byte comes alone, in both directions.
    pub fn trickle(&self, does: bool) {
        self.change(|rules| rules.is_trickling = does);
    }

    /// From now on whatever is read is passed on so much later.
    pub fn lag(&self, lag: Duration) {
        self.change(|rules| rules.lag = lag);
    }

    /// Ends [`Self::trickle`].
    pub fn flow(&self) {
        self.change(|rules| rules.is_trickling = false);
    }

    /// From now on requests on the connections there are take their time: they arrive with [`Self::deliver`],
    /// whatever has become of their connection meanwhile.
    pub fn delay(&self) {
        self.change(|rules| rules.slow = 0..self.connections());
    }

    /// As [`Self::delay`], for one connection.
    pub fn delay_one(&self, number: usize) {
        self.change(|rules| rules.slow = number..number + 1);
    }

    /// Bytes that were delayed so far.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::Relaxed)
    }

    pub fn deliver(&self) {
        self.change(|rules| rules.slow = 0..0);
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules());
        self.shared.changed.send_replace(());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.change(|rules| rules.is_over = true);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a relay does not panic");
        }
    }
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends with the relay; the runtime then drops what is left of the connections.
    async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut changed = self.changed.subscribe();
        while !self.rules().is_over {
            tokio::select! {
                _ = changed.changed() => {}
                accepted = listener.accept() => {
                    let Ok((proxy, _)) = accepted else { continue };
                    let connection = Connection {
                        number: self.connections.fetch_add(1, Ordering::Relaxed),
                        cuts_before: self.rules().cuts,
                        changed: self.changed.subscribe(),
                        delayed: Vec::new(),
                        shared: Arc::clone(&self),
                    };
                    tokio::spawn(connection.carry(proxy));
                }
            }
        }
    }

    /// How many of the bytes may pass, and whether the connection is cut behind them.
    fn admit<'a>(&self, direction: Direction, bytes: &'a [u8]) -> (&'a [u8], Option<Cut>) {
        let mut rules = self.rules();
        if direction == Direction::Requests
            && let Some(poison) = &rules.poison
            && let Some(start) = bytes.windows(poison.len()).position(|window| window == poison)
        {
            return (&bytes[..start], Some(Cut::Reset));
        }
        match &mut rules.planned {
            Some(planned) if planned.direction != direction || bytes.is_empty() => (bytes, None),
            Some(planned) if planned.left > bytes.len() => {
                planned.left -= bytes.len();
                (bytes, None)
            }
            Some(planned) => {
                let (left, how) = (planned.left, planned.how);
                rules.planned = None;
                (&bytes[..left], Some(how))
            }
            None => (bytes, None),
        }
    }
}

/// One connection of the proxy's, and the one to the server that goes with it.
struct Connection {
    number: usize,
    /// `Rules::cuts` when it began.
    cuts_before: usize,
    changed: watch::Receiver<()>,
    /// Requests on their way.
    delayed: Vec<u8>,
    shared: Arc<Shared>,
}

impl Connection {
    async fn carry(mut self, mut proxy: TcpStream) {
        let _ = proxy.set_nodelay(true);
        // Nobody there: the proxy sees its connection end.
        let Ok(mut server) = TcpStream::connect(&self.shared.server).await else { return };
        let _ = server.set_nodelay(true);
        let how = self.pump(&mut proxy, &mut server).await;
        if let Some(how) = how {
            self.shared.cuts.fetch_add(1, Ordering::Relaxed);
            if how == Cut::Reset {
                let _ = proxy.set_zero_linger();
            }
        }
        drop(proxy);
        while self.is_slow() && self.changed.changed().await.is_ok() {}
        let _ = server.write_all(&self.delayed).await;
    }

    fn is_slow(&self) -> bool {
        self.shared.rules().slow.contains(&self.number)
    }

    /// Moves bytes until the connection ends, or is cut.
    async fn pump(&mut self, proxy: &mut TcpStream, server: &mut TcpStream) -> Option<Cut> {
        let (mut requests, mut replies) = (vec![0; BUFFER], vec![0; BUFFER]);
        let mut is_asking = true;
        loop {
            let is_slow = self.is_slow();
            let (asks, answers, most, lag) = {
                let rules = self.shared.rules();
                if rules.cuts != self.cuts_before {
                    return rules.how;
                }
                if let Some((number, how)) = rules.cut_one
                    && number == self.number
                {
                    return Some(how);
                }
                let is_newcomer = rules.newcomers.is_some_and(|first| self.number >= first);
                let flows = |direction| !is_newcomer && !rules.stopped.contains(&direction);
                let most = if rules.is_trickling { 1 } else { BUFFER };
                (flows(Direction::Requests), flows(Direction::Replies), most, rules.lag)
            };
            if !is_slow && !self.delayed.is_empty() {
                server.write_all(&std::mem::take(&mut self.delayed)).await.ok()?;
            }
            // A server that takes no more may have said why: its side is read to the end in any case.
            tokio::select! {
                biased;
                _ = self.changed.changed() => {}
                read = proxy.read(&mut requests[..most]), if asks && is_asking => {
                    let len = read.ok()?;
                    wait(lag).await;
                    is_asking = len > 0;
                    // An end overtakes nothing.
                    if !is_asking && is_slow {
                        return None;
                    }
                    if !is_asking {
                        let _ = server.shutdown().await;
                    }
                    let (bytes, cut) = self.shared.admit(Direction::Requests, &requests[..len]);
                    match is_slow {
                        true => {
                            self.delayed.extend_from_slice(bytes);
                            self.shared.held.fetch_add(bytes.len(), Ordering::Relaxed);
                        }
                        false => {
                            let _ = server.write_all(bytes).await;
                        }
                    }
                    if cut.is_some() {
                        return cut;
                    }
                }
                read = server.read(&mut replies[..most]), if answers => {
                    wait(lag).await;
                    let len = match read {
                        Ok(0) => return None,
                        Ok(len) => len,
                        Err(_) => {
                            let _ = proxy.set_zero_linger();
                            return None;
                        }
                    };
                    let (bytes, cut) = self.shared.admit(Direction::Replies, &replies[..len]);
                    proxy.write_all(bytes).await.ok()?;
                    if cut.is_some() {
                        return cut;
                    }
                }
            }
        }
    }
}

async fn wait(lag: Duration) {
    if !lag.is_zero() {
        sleep(lag).await;
    }
}
