//! A way between two processes that takes its time.
//!
//! ```text
//! accepted ── read ─▶ queue of (due, bytes) ─ write when due ──▶ server
//!          ◀─ write when due ─ queue of (due, bytes) ◀─ read ──
//! ```
//!
//! Each direction of a connection has a thread that reads and one that writes, so that nothing waits for what is
//! under way before it: bandwidth is plenty, only distance is added. All of them sleep, none of them spins.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Its threads end with their connections, and the one that accepts with the process.
pub(crate) struct Distance {
    port: u16,
    round_trips: Arc<AtomicU64>,
}

/// What is under way, and when it arrives. No bytes are the end.
type Parcel = (Instant, Vec<u8>);

impl Distance {
    /// To a server on this machine, half a `round_trip` away.
    pub(crate) fn to(server_port: u16, round_trip: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a TCP socket").port();
        let round_trips = Arc::new(AtomicU64::default());
        let counter = Arc::clone(&round_trips);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).expect("the server listens");
                carry(&client, &server, round_trip / 2, &counter);
            }
        });
        Self { port, round_trips }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How often something was sent on a connection whose server had spoken last: what is sent together, or before
    /// the server answers, counts once.
    pub(crate) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }
}

fn carry(client: &TcpStream, server: &TcpStream, way: Duration, round_trips: &Arc<AtomicU64>) {
    for stream in [client, server] {
        stream.set_nodelay(true).expect("a TCP socket");
    }
    // Whether the server has spoken last.
    let turn = Arc::new(Mutex::new(true));
    let (counter, asked) = (Arc::clone(round_trips), Arc::clone(&turn));
    direct(client, server, way, move || {
        if std::mem::replace(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner), false) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    direct(server, client, way, move || *turn.lock().unwrap_or_else(PoisonError::into_inner) = true);
}

/// One direction. `seen` is called for whatever is read.
fn direct(from: &TcpStream, to: &TcpStream, way: Duration, seen: impl Fn() + Send + 'static) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a handle is left");
    let (from, to) = (clone(from), clone(to));
    let (sender, receiver) = channel();
    thread::spawn(move || read(from, way, &sender, seen));
    thread::spawn(move || write(to, &receiver));
}

fn read(mut from: TcpStream, way: Duration, sender: &Sender<Parcel>, seen: impl Fn()) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = from.read(&mut buffer).unwrap_or(0);
        let parcel = (Instant::now() + way, buffer[..len].to_vec());
        if len > 0 {
            seen();
        }
        if sender.send(parcel).is_err() || len == 0 {
            return;
        }
    }
}

fn write(mut to: TcpStream, receiver: &Receiver<Parcel>) {
    for (due, bytes) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if bytes.is_empty() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
