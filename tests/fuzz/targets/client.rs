//! A client's bytes through the whole proxy, in front of a real server: it gets whole frames and a close, a
//! reply for each request, and nobody else notices.
//!
//! The first byte says how the client behaves, the second into pieces of what size its bytes are cut, the rest
//! are the bytes.

#![no_main]

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::time::Duration;

use cloakroom_fuzz::proxy::{Proxy, forbid_warnings};
use cloakroom_fuzz::wire::{Client, DEADLINE, expanded, frame, frames, parse_request, request, shown};
use cloakroom_fuzz::{directory, start_redis};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

/// Small enough to be met.
const LIMITS: &[&str] = &[
    "limits.request = \"1100KiB\"",
    "limits.arguments = 1000",
    "limits.in_flight = 20",
    "limits.unread_replies = \"32KiB\"",
    "limits.queue = \"16KiB\"",
    "limits.pinned = 4",
];

/// The longest argument list and request of [`LIMITS`] that surely pass.
const ARGUMENTS: usize = 1000;
const REQUEST: usize = 1 << 20;

/// As long as a repeated input may become.
const LONGEST: usize = 16 << 10;

/// What may be answered by no frame, or by several; what blocks may be cut short by the end of its client.
const NOT_ONE_REPLY: &[&str] = &[
    "subscribe",
    "psubscribe",
    "ssubscribe",
    "unsubscribe",
    "punsubscribe",
    "sunsubscribe",
    "monitor",
    "client",
    "quit",
    "wait",
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "xread",
    "xreadgroup",
];

/// Words that may end a connection within a frame: `CLIENT KILL`, and another protocol's first bytes. Inline
/// requests may spell them otherwise.
const ABRUPT: &[&str] = &["kill", "http/", "post ", "put /", "host:", "\\", "\x16", "\0"];

/// What may block, and how much is sent in that case: who sends more behind it than the proxy reads ahead and
/// the socket holds waits with it.
const BLOCKING: &[&str] = &["bl", "br", "bz", "wait", "\\"];
const MOST_BEHIND: usize = 128 << 10;

/// How long a client that does not listen goes on sending.
const PATIENCE: Duration = Duration::from_millis(5);

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It takes its replies, says that nothing more comes, and waits for the close.
    Finish,
    /// It takes nothing before it has sent everything it can.
    Deaf,
    /// It sends everything and goes without taking a reply.
    Leave,
    /// It sends what the socket takes and goes in the middle of it.
    Vanish,
}

struct Stage {
    runtime: Runtime,
    proxy: Proxy,
    /// The well-behaved client.
    watcher: RefCell<Option<Client>>,
    inputs: Cell<u64>,
}

thread_local! {
    static STAGE: Stage = Stage::set();
}

fuzz_target!(|bytes: &[u8]| {
    let [how, piece, bytes @ ..] = bytes else { return };
    STAGE.with(|stage| stage.runtime.block_on(stage.play(*how, usize::from(*piece), bytes)));
});

impl Stage {
    fn set() -> Self {
        let server = start_redis().unwrap_or_else(|problem| {
            eprintln!("{problem}");
            std::process::exit(1);
        });
        forbid_warnings();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let proxy = Proxy::start(&directory(), &server, LIMITS);
        let stage = Self { runtime, proxy, watcher: RefCell::default(), inputs: Cell::new(0) };
        // Before it has met the server the proxy takes no more than its queue holds.
        let first = async { Client::connect(stage.proxy.socket()).await.ask(&[&[b"GET", b"b"]]).await };
        stage.runtime.block_on(first).expect("the proxy answers");
        stage
    }

    async fn play(&self, how: u8, piece: usize, input: &[u8]) {
        let manner = [Manner::Finish, Manner::Deaf, Manner::Leave, Manner::Vanish][usize::from(how & 3)];
        let (is_resp3, has_twin, repeats) = (how & 4 != 0, how & 8 != 0, 1 << (how >> 4 & 7));
        let repeats = (LONGEST / input.len().max(1)).clamp(1, repeats);
        let mut bytes = if is_resp3 { request(&[b"HELLO", b"3"]) } else { Vec::new() };
        bytes.extend_from_slice(&expanded(&input.repeat(repeats)));
        if says_any(&bytes, BLOCKING) {
            bytes.truncate(MOST_BEHIND);
        }
        let client = || self.client(&bytes, manner, piece);
        match has_twin {
            true => {
                let (first, second) = tokio::join!(client(), client());
                [first, second].iter().flatten().for_each(|heard| judge(&bytes, heard));
            }
            false => client().await.iter().for_each(|heard| judge(&bytes, heard)),
        }
        self.look_around(!says_any(&bytes, ABRUPT)).await;
    }

    /// One client's life; what it heard, if it listened to the end.
    async fn client(&self, bytes: &[u8], manner: Manner, piece: usize) -> Option<Vec<u8>> {
        let mut stream = UnixStream::connect(self.proxy.socket()).await.expect("the proxy listens");
        if manner == Manner::Vanish {
            let _ = stream.try_write(bytes);
            return None;
        }
        let (mut from, mut to) = stream.split();
        let sent = async {
            let piece = if piece == 0 { bytes.len().max(1) } else { piece.max(bytes.len() / 64) };
            for piece in bytes.chunks(piece) {
                // The proxy has closed: what it said before is still to be heard.
                if to.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            if manner != Manner::Leave {
                let _ = to.shutdown().await;
            }
        };
        let mut heard = Vec::new();
        let listened = async { while from.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {} };
        let all = async {
            match manner {
                Manner::Finish => {
                    tokio::join!(sent, listened);
                }
                Manner::Deaf => {
                    let mut sent = pin!(sent);
                    match timeout(PATIENCE, &mut sent).await {
                        Ok(()) => listened.await,
                        Err(_) => {
                            tokio::join!(sent, listened);
                        }
                    }
                }
                // It may be that nothing more is taken from somebody who does not listen.
                Manner::Leave | Manner::Vanish => drop(timeout(PATIENCE, sent).await),
            }
        };
        if timeout(DEADLINE, all).await.is_err() {
            panic!("no close within {DEADLINE:?}, after {}", shown(&heard));
        }
        matches!(manner, Manner::Finish | Manner::Deaf).then_some(heard)
    }

    /// Whether the proxy goes on serving, and has forgotten the clients that went.
    async fn look_around(&self, is_safe: bool) {
        let count = self.inputs.replace(self.inputs.get() + 1);
        let all_gone = async {
            loop {
                let present = self.watcher.take();
                let mut watcher = match present {
                    Some(watcher) => watcher,
                    None => Client::connect(self.proxy.socket()).await,
                };
                match watch(&mut watcher, count).await {
                    Ok(is_alone) => {
                        self.watcher.replace(Some(watcher));
                        if is_alone {
                            return;
                        }
                        sleep(Duration::from_micros(200)).await;
                    }
                    Err(error) => assert!(!is_safe, "the proxy closed a client that did nothing: {error}"),
                }
            }
        };
        if timeout(DEADLINE, all_gone).await.is_err() {
            panic!("clients that went are still there after {DEADLINE:?}, or a value is not kept");
        }
    }
}

/// What a well-behaved client gets; whether it is the only one, and its value is there.
async fn watch(client: &mut Client, count: u64) -> io::Result<bool> {
    let (key, value) = (b"watcher's", format!("{count}-{}", std::process::id()));
    let value = value.as_bytes();
    let replies = client
        .ask(&[
            &[b"PING"],
            &[b"SET", key, value],
            &[b"GET", key],
            &[b"SET", b"b", &[b'x'; 70_000]],
            &[b"CLIENT", b"LIST"],
        ])
        .await?;
    assert_eq!(shown(&replies[0]), "+PONG\\r\\n");
    assert_eq!(shown(&replies[1]), "+OK\\r\\n");
    let bulk = [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat();
    // What a client that went has sent may still run, and remove the key.
    let is_there = replies[2] != b"$-1\r\n";
    assert!(!is_there || replies[2] == bulk, "another's reply: {}", shown(&replies[2]));
    assert_eq!(shown(&replies[3]), "+OK\\r\\n");
    let is_alone = String::from_utf8_lossy(&replies[4]).matches(" laddr=").count() == 1;
    if is_alone && count.is_multiple_of(32) {
        // No connection of its own is ever lost to others.
        let replies = client.ask(&[&[b"MULTI"], &[b"ECHO", value], &[b"EXEC"]]).await?;
        assert_eq!(shown(&replies.concat()), shown(&[b"+OK\r\n+QUEUED\r\n*1\r\n", &bulk[..]].concat()));
    }
    Ok(is_there && is_alone)
}

/// Whether what a client heard to the end is what one that said this hears.
fn judge(said: &[u8], heard: &[u8]) {
    let (frames, rest) = frames(heard);
    if !says_any(said, ABRUPT) {
        assert!(rest.is_empty(), "a close within a frame: {}\nof {}", shown(rest), shown(heard));
    }
    if !says_any(said, &["hello", "\\"]) {
        let resp3 = frames.iter().find(|bytes| frame(bytes).is_some_and(|(_, is_resp3)| is_resp3));
        assert!(resp3.is_none(), "a client of RESP2 was sent {}", shown(resp3.unwrap()));
    }
    if let Some(requests) = requests_with_one_reply(said) {
        assert_eq!(frames.len(), requests, "replies to {requests} requests: {}", shown(heard));
    }
}

/// How many requests there are, if they are well formed and each is answered by one frame.
fn requests_with_one_reply(mut said: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !said.is_empty() {
        let (args, len) = parse_request(said)?;
        let name = String::from_utf8_lossy(args[0]).to_lowercase();
        if NOT_ONE_REPLY.contains(&name.as_str()) || args.len() > ARGUMENTS || len > REQUEST {
            return None;
        }
        count += 1;
        said = &said[len..];
    }
    Some(count)
}

fn says_any(bytes: &[u8], words: &[&str]) -> bool {
    let is_there = |word: &str| bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()));
    words.iter().any(|word| is_there(word))
}
