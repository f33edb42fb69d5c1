//! A server that says what it is told to.
//!
//! It is polite at first: it introduces itself, and its reply to a request repeats the request's first argument.
//! In a *storm* it answers each request with the next of the storm's pieces, on whatever connection it comes.
//! When they are used up the storm is over: the connections it has touched close, and whoever comes next meets a
//! polite server.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::yield_now;

use crate::wire::parse_request;

/// Connections a storm may touch: the proxy waits longer for each that never answered.
const TOUCHED: usize = 2;

/// The server. It lives as long as the process.
#[derive(Clone)]
pub struct Script {
    storm: Arc<Mutex<Option<Storm>>>,
    /// Who was last told to close.
    closes: Arc<watch::Sender<Close>>,
}

#[derive(Debug, Clone, Copy)]
enum Close {
    All,
    Touched,
}

/// What is said in place of proper replies.
#[derive(Debug)]
pub struct Storm {
    pieces: VecDeque<Vec<u8>>,
    sip: usize,
    spoils_handshakes: bool,
    touched: usize,
}

impl Storm {
    /// A piece for each request, sent in `sip` bytes at a time or, with 0, at once. Handshakes may be answered so,
    /// too.
    pub fn new(pieces: VecDeque<Vec<u8>>, sip: usize, spoils_handshakes: bool) -> Self {
        Self { pieces, sip, spoils_handshakes, touched: 0 }
    }
}

/// What a connection does with a request.
enum Answer {
    Polite,
    Piece { bytes: Vec<u8>, sip: usize },
    Close,
}

impl Script {
    /// Listens on `socket`.
    pub fn start(socket: &Path) -> Self {
        let script = Self { storm: Arc::default(), closes: Arc::new(watch::channel(Close::All).0) };
        let (runtime, server) =
            (Builder::new_current_thread().enable_all().build().expect("a runtime"), script.clone());
        let listener = std::os::unix::net::UnixListener::bind(socket).expect("a writable temporary directory");
        listener.set_nonblocking(true).expect("a socket");
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = UnixListener::from_std(listener).expect("a listening socket");
                loop {
                    let (stream, _) = listener.accept().await.expect("a descriptor is left");
                    let (server, closes) = (server.clone(), server.closes.subscribe());
                    tokio::spawn(async move { server.serve(stream, closes).await });
                }
            });
        });
        script
    }

    /// Begins a storm. One that spoils handshakes closes what is open: only so are there any.
    pub fn begin(&self, storm: Storm) {
        let spoils_handshakes = storm.spoils_handshakes;
        *self.storm() = Some(storm);
        if spoils_handshakes {
            self.closes.send_replace(Close::All);
        }
    }

    /// Whether no piece is left.
    pub fn is_calm(&self) -> bool {
        self.storm().is_none()
    }

    /// Ends the storm, if it has not ended by itself.
    pub fn end(&self) {
        if self.storm().take().is_some() {
            self.closes.send_replace(Close::Touched);
        }
    }

    async fn serve(&self, mut stream: UnixStream, mut closes: watch::Receiver<Close>) -> io::Result<()> {
        let (mut input, mut is_ready, mut is_touched) = (Vec::new(), false, false);
        let mut last_read = Vec::new();
        loop {
            tokio::select! {
                _ = closes.changed() => match *closes.borrow_and_update() {
                    Close::Touched if !is_touched => continue,
                    Close::Touched | Close::All => return Ok(()),
                },
                read = stream.read_buf(&mut input) => if read? == 0 { return Ok(()) },
            }
            while let Some((args, len)) = parse_request(&input) {
                is_ready &= args[0] != b"RESET";
                match self.answer(is_ready, &mut is_touched) {
                    Answer::Polite => stream.write_all(&polite(&args, &mut last_read)).await?,
                    Answer::Piece { bytes, sip } => {
                        for sip in bytes.chunks(if sip == 0 { bytes.len().max(1) } else { sip.max(bytes.len() / 64) }) {
                            stream.write_all(sip).await?;
                            yield_now().await;
                        }
                    }
                    Answer::Close => {
                        self.end();
                        return Ok(());
                    }
                }
                is_ready |= args[0] == b"ECHO";
                input.drain(..len);
            }
        }
    }

    fn answer(&self, is_ready: bool, is_touched: &mut bool) -> Answer {
        let mut present = self.storm();
        let Some(storm) = present.as_mut() else { return Answer::Polite };
        if !is_ready && !storm.spoils_handshakes {
            return Answer::Polite;
        }
        if !std::mem::replace(is_touched, true) {
            storm.touched += 1;
        }
        match storm.pieces.pop_front() {
            Some(bytes) if storm.touched <= TOUCHED => Answer::Piece { bytes, sip: storm.sip },
            Some(_) | None => Answer::Close,
        }
    }

    fn storm(&self) -> MutexGuard<'_, Option<Storm>> {
        self.storm.lock().expect("no thread panics while it holds this lock")
    }
}

/// What a proper server answers, for as much as is to be known of it. To prove that it tells of changes it need only
/// tell, before it answers `DEL`, that what was read last has changed.
fn polite(args: &[&[u8]], last_read: &mut Vec<u8>) -> Vec<u8> {
    let first = args.get(1).copied().unwrap_or_default();
    match args[0] {
        b"HELLO" => {
            let kind = if first == b"3" { "%4" } else { "*8" };
            let first = String::from_utf8_lossy(first);
            format!("{kind}\r\n+server\r\n+redis\r\n+version\r\n+7.0.15\r\n+proto\r\n:{first}\r\n+id\r\n:7\r\n")
                .into_bytes()
        }
        b"INFO" => b"$12\r\nrun_id:one\r\n\r\n".to_vec(),
        b"CLIENT" if [&b"TRACKING"[..], b"CACHING"].contains(&first) => b"+OK\r\n".to_vec(),
        b"CLIENT" => b":1\r\n".to_vec(),
        b"SET" if args.len() > 3 => b"+OK\r\n".to_vec(),
        b"PTTL" => b":-1\r\n".to_vec(),
        b"DEL" => [b">2\r\n$10\r\ninvalidate\r\n*1\r\n", &bulk(last_read)[..], b":0\r\n"].concat(),
        b"SELECT" => b"+OK\r\n".to_vec(),
        b"RESET" => b"+RESET\r\n".to_vec(),
        b"PING" => b"+PONG\r\n".to_vec(),
        b"GET" => {
            *last_read = first.to_vec();
            bulk(first)
        }
        b"ECHO" => bulk(first),
        _ => [b"-ERR ", first, b"\r\n"].concat(),
    }
}

/// A bulk string.
pub fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}
