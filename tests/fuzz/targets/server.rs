//! A server's bytes, whatever they are: every client gets frames and then a close, the proxy goes on, and who
//! comes when the server is itself again gets the replies to its own requests.
//!
//! The first byte chooses the clients, the second how the server behaves; each piece of the rest, up to a byte
//! 255, is its reply to one request.

#![no_main]

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use cloakroom_fuzz::proxy::Proxy;
use cloakroom_fuzz::wire::{Client, DEADLINE, expanded, frames, request, shown};
use cloakroom_fuzz::{Script, Storm, bulk, directory};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

/// Nothing waits for long.
const LIMITS: &[&str] = &["upstream.queue_timeout = \"500ms\"", "upstream.reply_timeout = \"1s\""];

/// What each client asks for, one that says `3` first in RESP3. Together they use every kind of connection.
const CLIENTS: [&[&str]; 8] = [
    &["GET a1", "GET a2", "GET a3", "SET a4 x", "INCR a5"],
    &["3", "GET b1", "HGETALL b2", "SMEMBERS b3", "TYPE b4"],
    &["ZSCORE c1 x", "LPOP c2", "ZADD c3 1 x", "ZRANGE c4 0 -1"],
    &["WATCH d1", "MULTI", "SET d2 x", "SELECT 5", "SUBSCRIBE d3", "EXEC", "GET d4"],
    &["SUBSCRIBE e1 e2", "PSUBSCRIBE e3", "UNSUBSCRIBE", "SSUBSCRIBE e4", "SUNSUBSCRIBE", "PUNSUBSCRIBE", "GET e5"],
    &["3", "CLIENT TRACKING ON", "GET f1", "MULTI", "HELLO 2", "EXEC", "CLIENT TRACKING OFF", "SUBSCRIBE f2", "GET f3"],
    &["BLPOP g1 0", "SELECT 7", "GET g2", "NOSUCH g3", "SUBSCRIBE", "XREAD BLOCK 0 STREAMS g4 $", "UNSUBSCRIBE"],
    &["MONITOR", "GET h1", "RESET", "GET h2"],
];

/// How long clients stay when the server leaves requests unanswered.
const STAY: Duration = Duration::from_millis(5);

struct Stage {
    runtime: Runtime,
    proxy: Proxy,
    script: Script,
    inputs: Cell<u64>,
}

thread_local! {
    static STAGE: Stage = Stage::set();
}

fuzz_target!(|bytes: &[u8]| {
    let [who, how, bytes @ ..] = bytes else { return };
    STAGE.with(|stage| stage.runtime.block_on(stage.play(*who, *how, bytes)));
});

impl Stage {
    fn set() -> Self {
        let directory = directory();
        let socket = directory.join("server.sock");
        let script = Script::start(&socket);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let stage = Self { runtime, proxy: Proxy::start(&directory, &socket, LIMITS), script, inputs: Cell::new(0) };
        stage.runtime.block_on(stage.look_around());
        stage
    }

    async fn play(&self, who: u8, how: u8, bytes: &[u8]) {
        let pieces = bytes.split(|byte| *byte == 0xff).map(expanded).collect();
        let (spoils_handshakes, sip) = (how & 1 != 0, usize::from(how >> 1));
        self.script.begin(Storm::new(pieces, sip, spoils_handshakes));
        let clients = CLIENTS.iter().enumerate().filter(|(index, _)| who >> index & 1 != 0);
        let clients: Vec<_> = clients.map(|(_, requests)| self.client(requests)).collect();
        if timeout(DEADLINE, all(clients)).await.is_err() {
            panic!("a client is still there after {DEADLINE:?}");
        }
        self.script.end();
        self.look_around().await;
    }

    /// One client's life: it asks, stays as long as the storm goes on, and hears everything to the end.
    async fn client(&self, requests: &[&str]) {
        let mut stream = UnixStream::connect(self.proxy.socket()).await.expect("the proxy listens");
        let (mut from, mut to) = stream.split();
        let mut said = Vec::new();
        for line in requests {
            let line = if *line == "3" { "HELLO 3" } else { line };
            said.extend(request(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()));
        }
        let asked = async {
            // A proxy that has closed is heard to the end.
            let _ = to.write_all(&said).await;
            let until = Instant::now() + STAY;
            while !self.script.is_calm() && Instant::now() < until {
                sleep(Duration::from_millis(1)).await;
            }
            let _ = to.shutdown().await;
            // What it has not answered by now it will not answer.
            self.script.end();
        };
        let mut heard = Vec::new();
        let listened = async { while from.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {} };
        tokio::join!(asked, listened);
        let (_, rest) = frames(&heard);
        let is_broken_off = rest.len() > 6 && rest[0] == b'$';
        assert!(rest.is_empty() || is_broken_off, "a close within a frame: {}\nof {}", shown(rest), shown(&heard));
    }

    /// Whether new clients are served, each with its own, on every kind of connection.
    async fn look_around(&self) {
        let count = self.inputs.replace(self.inputs.get() + 1);
        let key = |name: &str| format!("{name}-{count}").into_bytes();
        let (shared, own, pinned) = (key("shared"), key("own"), key("pinned"));
        let requests: &[&[&[u8]]] = &[&[b"GET", &shared], &[b"ZSCORE", &own, b"x"], &[b"BLPOP", &pinned, b"0"]];
        let error = |text: &[u8]| [b"-ERR ", text, b"\r\n"].concat();
        let expected = [bulk(&shared), error(&own), error(&pinned)].concat();
        let is_served = async {
            loop {
                let mut client = Client::connect(self.proxy.socket()).await;
                let replies = client.ask(requests).await.expect("nothing its client did closes it").concat();
                if replies == expected {
                    return;
                }
                let is_away = replies.starts_with(b"-LOADING") || shown(&replies).contains("\\n-LOADING");
                assert!(is_away, "somebody else's reply: {} instead of {}", shown(&replies), shown(&expected));
                // The proxy has been told what it takes for a mistake of its operator's.
                self.proxy.reload();
                sleep(Duration::from_millis(2)).await;
            }
        };
        if timeout(DEADLINE, is_served).await.is_err() {
            panic!("no client is served {DEADLINE:?} after the storm");
        }
    }
}

async fn all(futures: Vec<impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
