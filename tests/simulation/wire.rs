//! A client's connection to the proxy.

use std::time::Duration;

use cloakroom::downstream::Workers;
use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;

use super::support::{frame_len, request};

/// Why there was no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    Closed,
    Unanswered,
}

pub(crate) struct Wire {
    stream: DuplexStream,
    input: Vec<u8>,
}

impl Wire {
    /// Every other client speaks RESP3. Whoever comes at the wrong moment may be closed at once.
    pub(crate) async fn connect(number: usize, workers: &Workers) -> Self {
        for _ in 0..100 {
            let (ours, theirs) = duplex(if number.is_multiple_of(3) { 100 } else { 16 << 10 });
            workers.serve_in_memory(theirs);
            let mut wire = Self { stream: ours, input: Vec::new() };
            if number.is_multiple_of(2) {
                return wire;
            }
            let _ = wire.stream.write_all(&request(&["HELLO", "3"])).await;
            if wire.frame().await.is_ok_and(|frame| frame.starts_with(b"%")) {
                return wire;
            }
        }
        panic!("nobody is let in");
    }

    /// To whoever is at the other end.
    #[allow(dead_code, reason = "not every simulation has clients that go past the proxy")]
    pub(crate) fn over(stream: DuplexStream) -> Self {
        Self { stream, input: Vec::new() }
    }

    /// Sends requests, to somebody who may have closed; now and then in two parts.
    pub(crate) async fn say(&mut self, lines: &[impl AsRef<[String]>], random: &mut Rng) {
        let bytes: Vec<u8> = lines.iter().flat_map(|words| request(words.as_ref())).collect();
        let middle = if random.u8(0..16) == 0 { random.usize(0..bytes.len()) } else { bytes.len() };
        let (first, rest) = bytes.split_at(middle);
        // What is written while nothing is read may be more than both sides hold.
        let _ = self.stream.write_all(first).await;
        if !rest.is_empty() {
            sleep(Duration::from_millis(1)).await;
            let _ = self.stream.write_all(rest).await;
        }
    }

    /// The bytes of the next frame, whatever it is.
    pub(crate) async fn frame(&mut self) -> Result<Vec<u8>, Silence> {
        loop {
            if let Some(len) = frame_len(&self.input) {
                return Ok(self.input.drain(..len).collect());
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return Err(Silence::Closed);
            }
        }
    }
}
