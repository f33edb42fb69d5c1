//! A client on the wire: how it sends what it has to say, how it listens, and how it goes.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::Tally;
use super::life::Life;
use super::talk::Talk;
use crate::support::DEADLINE;

/// What a read takes at most.
const READ: usize = 64 << 10;

/// Of the socket of a client that is slow to read.
const SMALL_BUFFER: usize = 64 << 10;

/// Comes, asks, goes and comes back until the soak is over.
pub(crate) async fn run(number: usize, port: u16, mut random: Rng, tally: Arc<Tally>) {
    let mut before = None;
    for lives in 0.. {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("the proxy listens");
        stream.set_nodelay(true).expect("a TCP socket");
        if random.u32(0..10) == 0 {
            // What it does not read, the proxy has to keep.
            SockRef::from(&stream).set_recv_buffer_size(SMALL_BUFFER).expect("a TCP socket");
        }
        let life = Life::new(number, lives, random.fork(), before.as_ref());
        let mut client = Client { life, stream, buffer: vec![0; READ] };
        client.exchange().await;
        while !client.wants_to_go() && !tally.is_over() {
            client.choose();
            client.exchange().await;
            tally.heard(client.life.talk.ends.len());
        }
        let heard = match client.life.random.u32(0..10) {
            0 => client.quit().await,
            _ => client.vanish(&tally).await,
        };
        tally.heard(heard);
        if tally.is_over() {
            return;
        }
        before = Some(client.life);
    }
}

struct Client {
    life: Life,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// How a burst is sent and heard.
struct Manner {
    /// Bytes of it sent at a time.
    pieces: Range<usize>,
    /// How long it thinks between reads.
    thinks: Duration,
}

impl Client {
    fn wants_to_go(&mut self) -> bool {
        self.life.random.u32(0..4) == 0
    }

    /// The next burst.
    fn choose(&mut self) {
        let random = &mut self.life.random;
        let (kind, few, some, many) =
            (random.u32(0..100), random.usize(1..10), random.usize(10..40), random.usize(100..500));
        match kind {
            0..3 => self.life.mix_large(),
            3..20 => self.life.mix(few),
            20..28 => self.life.mix(some),
            28..38 => self.life.read_and_write(few),
            _ => self.life.read_and_write(many),
        }
    }

    fn manner(&mut self) -> Manner {
        let random = &mut self.life.random;
        let len = self.life.talk.requests.len();
        let most = match random.u32(0..20) {
            0 => 1 + len / 40,
            1 => 1 + len / 5,
            _ => return Manner { pieces: len..len + 1, thinks: Duration::ZERO },
        };
        let thinks = Duration::from_millis(random.u64(0..3));
        Manner { pieces: 1..most + 1, thinks }
    }

    /// Sends the burst, hears all of its replies: in one go, or each before the next.
    async fn exchange(&mut self) {
        let talk = &self.life.talk;
        let (requests, replies) = (talk.requests.len(), talk.replies.len());
        let mut steps = vec![(requests, replies)];
        if talk.ends.len() < 15 && self.life.random.u32(0..4) == 0 {
            steps.splice(0..0, talk.ends.iter().copied());
        }
        let mut before = (0, 0);
        for (request, reply) in steps {
            if timeout(DEADLINE, self.talk(before.0..request, before.1..reply)).await.is_err() {
                panic!("{} was not answered for {DEADLINE:?}", self.life.name);
            }
            before = (request, reply);
        }
    }

    /// Says these bytes of the burst, hears those.
    async fn talk(&mut self, say: Range<usize>, hear: Range<usize>) {
        let manner = self.manner();
        let (mut reader, mut writer) = self.stream.split();
        let mut random = self.life.random.fork();
        let (talk, name) = (&self.life.talk, &self.life.name);
        let saying = async {
            let mut rest = &talk.requests[say];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random.usize(manner.pieces.clone()).min(rest.len()));
                writer.write_all(piece).await.expect("the proxy reads");
                rest = after;
                yield_now().await;
            }
        };
        let hearing = async {
            let mut heard = hear.start;
            while heard < hear.end {
                let most = READ.min(hear.end - heard);
                let len = reader.read(&mut self.buffer[..most]).await.expect("the proxy answers");
                assert!(len > 0, "{name} was closed upon");
                accept(talk, name, heard, &self.buffer[..len]);
                heard += len;
                if manner.thinks > Duration::ZERO {
                    sleep(manner.thinks).await;
                }
            }
        };
        tokio::join!(saying, hearing);
    }

    /// Says goodbye, and hears everything to the end.
    async fn quit(&mut self) -> usize {
        self.choose();
        self.life.quit();
        self.exchange().await;
        let end = timeout(DEADLINE, self.stream.read(&mut self.buffer)).await;
        let rest = end.expect("the proxy closes").expect("no reset");
        assert_eq!(rest, 0, "{} was told more than it asked for", self.life.name);
        self.life.talk.ends.len()
    }

    /// Goes in the middle of whatever it has begun.
    async fn vanish(&mut self, tally: &Tally) -> usize {
        match self.life.random.u32(0..4) {
            0 => self.life.talk.clear(),
            _ => self.choose(),
        }
        if self.life.random.bool() {
            self.life.begin_something();
        }
        let (random, talk) = (&mut self.life.random, &self.life.talk);
        let say = if random.bool() { talk.requests.len() } else { random.usize(0..talk.requests.len() + 1) };
        // What was wholly asked will be answered, if one waits.
        let asked = talk.ends.partition_point(|(request, _)| *request <= say);
        let due = asked.checked_sub(1).map_or(0, |last| talk.ends[last].1);
        let hear = match random.u32(0..3) {
            0 => 0,
            1 => random.usize(0..due + 1),
            _ => due,
        };
        let longest = Duration::from_millis(random.u64(0..30));
        let is_done = timeout(longest, self.talk(0..say, 0..hear)).await.is_ok();
        tally.vanished();
        if is_done { self.life.talk.ends.partition_point(|(_, reply)| *reply <= hear) } else { 0 }
    }
}

fn accept(talk: &Talk, name: &str, heard: usize, bytes: &[u8]) {
    if let Err(wrong) = talk.judge(heard, bytes) {
        let protocol = if talk.is_resp3 { 3 } else { 2 };
        panic!("a wrong reply for client {name}, which ends this burst in RESP{protocol}:\n  {wrong}");
    }
}
