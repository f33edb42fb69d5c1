//! A proxy under attack, somebody honest who must be served all the while, and what it costs.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{Proxy, RedisServer, Wire, wait_until};

pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;

/// The password of a [`Siege::locked`] proxy.
pub const PASSWORD: &str = "open-sesame";

/// The longest anybody honest may wait for a reply, on a machine that is busy with the attack itself: what attackers ask
/// of the server comes before what is asked behind them, with a proxy and without.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A proxy with one worker, so that attackers and the honest client share everything. When dropped, the test
/// fails if the honest client was not served.
pub struct Siege {
    honest: Option<Honest>,
    pub proxy: Proxy,
    pub port: u16,
    pub server: RedisServer,
    /// Bytes resident before the attack.
    base: usize,
    _directory: Option<TempDir>,
}

impl Siege {
    pub fn with(lines: &[&str]) -> Self {
        Self::before(RedisServer::plain(), lines)
    }

    /// In front of a server of one's own choice.
    pub fn before(server: RedisServer, lines: &[&str]) -> Self {
        let mut siege = Self::unwatched(server, lines);
        let client = siege.enter();
        siege.watch(Honest::counting(client));
        siege
    }

    /// Clients must `AUTH`.
    pub fn locked(lines: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("passwords");
        fs::write(&file, format!("{PASSWORD}\n")).expect("a writable directory");
        let file = format!("listen.password_file = \"{}\"", file.display());
        let lines: Vec<_> = [file.as_str()].into_iter().chain(lines.iter().copied()).collect();
        let mut siege = Self::unwatched(RedisServer::plain(), &lines);
        siege._directory = Some(directory);
        let mut client = siege.enter();
        assert_eq!(client.ask(&format!("AUTH {PASSWORD}")), "+OK");
        siege.watch(Honest::counting(client));
        siege
    }

    /// Without an honest client, until [`Siege::watch`] brings one.
    pub fn unwatched(server: RedisServer, lines: &[&str]) -> Self {
        raise_descriptors();
        let lines: Vec<_> = ["listen.workers = 1"].iter().chain(lines).copied().collect();
        let proxy = Proxy::with(&server, &lines);
        let port = proxy.port();
        Self { honest: None, port, proxy, server, base: 0, _directory: None }
    }

    /// Has `honest` served from now on. What the proxy takes beyond this moment is the attack's.
    pub fn watch(&mut self, honest: Honest) {
        wait_until("somebody is served", || honest.served() > 10);
        self.honest = Some(honest);
        self.base = self.status("VmRSS");
    }

    /// The honest client was served until now, and is not any more.
    pub fn stop_watching(&mut self) {
        self.honest.take().expect("somebody honest").assert_served();
    }

    pub fn enter(&self) -> Wire {
        Wire::connect(self.port)
    }

    pub fn crowd(&self, count: usize) -> Vec<Wire> {
        (0..count).map(|_| self.enter()).collect()
    }

    /// Replies the honest client has had.
    pub fn served(&self) -> usize {
        self.honest.as_ref().map_or(0, Honest::served)
    }

    /// Bytes the proxy holds now, beyond what it held before the attack.
    pub fn held(&self) -> usize {
        self.status("VmRSS").saturating_sub(self.base)
    }

    /// The most it has ever held, beyond what it held before the attack.
    pub fn peak(&self) -> usize {
        self.status("VmHWM").saturating_sub(self.base)
    }

    pub fn assert_peak_below(&self, most: usize) {
        let peak = self.peak();
        assert!(peak < most, "{} KiB more than before; at most {} were expected", peak / KIB, most / KIB);
    }

    /// The attack is over: what it took is given back.
    pub fn wait_memory_is_back(&self, but_for: usize) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.held() > but_for {
            let kept = self.held() / KIB;
            assert!(Instant::now() < deadline, "{kept} KiB are kept; at most {} were expected", but_for / KIB);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A number of `/metrics`, labels and all.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.proxy.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    }

    /// Clients gone for a reason.
    pub fn gone(&self, reason: &str) -> usize {
        self.metric(&format!("cloakroom_client_disconnects_total{{reason=\"{reason}\"}}")) as usize
    }

    /// Returns when so many are gone for that reason.
    pub fn wait_gone(&self, reason: &str, count: usize) {
        wait_until(&format!("{count} gone: {reason}"), || self.gone(reason) >= count);
        assert_eq!(self.gone(reason), count, "gone: {reason}");
    }

    /// Returns when so many are connected, the honest one included.
    pub fn wait_clients(&self, count: usize) {
        wait_until("so many are connected", || self.metric("cloakroom_client_connections") == count as f64);
    }

    /// A line of `/proc/PID/status`, in bytes.
    fn status(&self, field: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.proxy.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("Linux tells");
        number.parse::<usize>().expect("a number") * KIB
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        if let Some(honest) = self.honest.take()
            && !thread::panicking()
        {
            honest.assert_served();
        }
    }
}

/// Somebody who asks one thing at a time, all the time, in a thread of its own.
pub struct Honest {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Duration>>,
}

impl Honest {
    /// Counts, and is told each number.
    pub fn counting(mut client: Wire) -> Self {
        let mut n = 0;
        Self::asking(move || {
            n += 1;
            assert_eq!(client.ask("INCR honest"), format!(":{n}"));
        })
    }

    /// Content with an answer of the proxy's own, as when the server is stopped.
    pub fn pinging(mut client: Wire) -> Self {
        Self::asking(move || assert_eq!(client.ask("PING"), "+PONG"))
    }

    pub fn asking(mut ask: impl FnMut() + Send + 'static) -> Self {
        let (is_over, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let thread = thread::spawn({
            let (is_over, served) = (Arc::clone(&is_over), Arc::clone(&served));
            move || {
                let mut slowest = Duration::ZERO;
                while !is_over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    ask();
                    slowest = slowest.max(asked.elapsed());
                    served.fetch_add(1, Ordering::Relaxed);
                    // It measures; the machine is for the attack.
                    thread::sleep(Duration::from_millis(1));
                }
                slowest
            }
        });
        Self { is_over, served, thread: Some(thread) }
    }

    /// Replies so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    pub fn assert_served(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("joined once");
        let slowest = thread.join().expect("the honest client was served");
        assert!(slowest < LONGEST_WAIT, "the honest client waited {slowest:?}");
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The test has failed already.
            let _ = thread.join();
        }
    }
}

/// Somebody who sends the same bytes again and again, and reads nothing.
pub struct Flood {
    stream: TcpStream,
    bytes: Arc<[u8]>,
    at: usize,
    left: usize,
}

impl Flood {
    /// `times` the same bytes.
    pub fn new(client: &Wire, bytes: &Arc<[u8]>, times: usize) -> Self {
        Self { stream: client.writer(), bytes: Arc::clone(bytes), at: 0, left: times }
    }

    /// Sends what the proxy takes at once; whether it was anything.
    fn pour(&mut self) -> bool {
        let mut has_sent = false;
        while self.left > 0 {
            match self.stream.write(&self.bytes[self.at..]) {
                Ok(len) => {
                    has_sent = true;
                    self.at += len;
                    if self.at == self.bytes.len() {
                        (self.at, self.left) = (0, self.left - 1);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It waits, or has been closed.
                Err(_) => break,
            }
        }
        has_sent
    }
}

/// All of them send until the proxy takes no more from anybody, for a while.
pub fn pour(floods: &mut [Flood]) {
    const A_WHILE: Duration = Duration::from_millis(300);
    let set_nonblocking = |floods: &[Flood], is_so| {
        floods.iter().for_each(|flood| flood.stream.set_nonblocking(is_so).expect("a TCP socket"));
    };
    set_nonblocking(floods, true);
    let mut moved = Instant::now();
    while moved.elapsed() < A_WHILE && floods.iter().any(|flood| flood.left > 0) {
        let mut has_moved = false;
        for flood in &mut *floods {
            has_moved |= flood.pour();
        }
        if has_moved {
            moved = Instant::now();
        }
        thread::sleep(Duration::from_millis(5));
    }
    set_nonblocking(floods, false);
}

/// Each of them sends the same bytes so many times, as far as the proxy takes them.
pub fn flood(clients: &[Wire], bytes: impl Into<Arc<[u8]>>, times: usize) {
    let bytes = bytes.into();
    let mut floods: Vec<_> = clients.iter().map(|client| Flood::new(client, &bytes, times)).collect();
    pour(&mut floods);
}

/// Descriptors this process, and each it starts, may have: all the system allows. The number is logged.
pub fn raise_descriptors() -> usize {
    static RAISED: Once = Once::new();
    let limits = || {
        let limits = fs::read_to_string("/proc/self/limits").expect("Linux tells");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit of files");
        let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(usize::MAX));
        (numbers.next().expect("a soft limit"), numbers.next().expect("a hard limit"))
    };
    RAISED.call_once(|| {
        let (soft, hard) = limits();
        if soft < hard {
            let pid = std::process::id().to_string();
            let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]).status();
            assert!(status.is_ok_and(|status| status.success()), "prlimit raises the soft limit to the hard one");
        }
    });
    limits().0
}
