//! Whether the server tells a connection of every change of what it has read: asked live, at every connect.
//!
//! ```text
//!  the connection                            another one
//!                                            SET probe 1
//!  CLIENT TRACKING ON OPTIN
//!  CLIENT CACHING YES · GET probe · PTTL probe
//!                                            SET probe 2
//!  DEL own_key                ◀── invalidate probe must have come before its answer
//! ```
//!
//! No list of versions and services is to be trusted (`research/cache-coherence.md`, sections 3 and 6.1): only versions
//! with known holes are refused unasked. Where the proof fails the connection serves as if there were no cache.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::ConnectError;
use super::handshake::{Identity, raw_reply, send};
use crate::resp::{encode, peek};

/// Whether a connection's server tells it of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracking {
    /// It does.
    On {
        /// Also of the creation of keys that were not there.
        keeps_nil: bool,
    },
    /// It does not, or that could not be proven.
    Off {
        /// It may tomorrow: it is to be asked again before long.
        may_pass: bool,
    },
}

/// Why it does not: for the log, and a metric label.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untracked {
    /// A version that is known to lose invalidations.
    #[error("{0} loses invalidations: Redis from 6.2.12, 7.0.10 or 7.2 on is needed, or Valkey")]
    Version(String),
    /// It does not let us, or does not know how.
    #[error("the server answered {step} with: {text}")]
    #[allow(missing_docs)]
    Refused { step: String, text: String },
    /// It let us, and told of nothing.
    #[error("the server does not tell of a change before it answers what was asked later")]
    Silent,
    /// There was no second connection to change anything with, or something was not answered.
    #[error("it could not be proven: {0}")]
    Unproven(ConnectError),
}

impl Untracked {
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Version(_) => "version",
            Self::Refused { .. } => "refused",
            Self::Silent => "silent",
            Self::Unproven(_) => "unproven",
        }
    }

    /// Whether it may be otherwise before long.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Version(_) | Self::Silent => false,
            Self::Unproven(_) => true,
            Self::Refused { text, .. } => !text.starts_with("NOPERM") && !text.starts_with("ERR"),
        }
    }

    fn refused(step: &[&[u8]], frame: &[u8]) -> Self {
        let text = String::from_utf8_lossy(frame.get(1..).unwrap_or_default()).trim_end().to_owned();
        // The same for every worker, so that it is said once.
        let step = match step {
            [b"CLIENT", what, ..] => format!("CLIENT {}", String::from_utf8_lossy(what)),
            [name, ..] => format!("{} of cache.own_key", String::from_utf8_lossy(name)),
            [] => String::new(),
        };
        Self::Refused { step, text }
    }
}

impl Identity {
    /// Whether this version tells of every change, as far as is known.
    pub(super) fn may_track(&self) -> Result<(), Untracked> {
        let mut parts = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version = [(); 3].map(|()| parts.next().unwrap_or(0));
        let is_fit = match version {
            _ if self.server != "redis" => true,
            [6, 2, patch] => patch >= 12,
            [7, 0, patch] => patch >= 10,
            [major, minor, _] => (major, minor) >= (7, 2),
        };
        is_fit.then_some(()).ok_or_else(|| Untracked::Version(format!("redis {}", self.version)))
    }

    /// Whether it tells of the creation of a key that was not there: not where keys move between servers.
    pub(super) fn tells_of_creation(&self) -> bool {
        self.mode == "standalone"
    }
}

/// In the errors of the handshake.
const STEP: &str = "the proof of CLIENT TRACKING";

/// How often the proof is made again because somebody has flushed a database meanwhile.
const AGAIN: usize = 3;

/// What has changed, if the frame is a push: keys, or everything.
fn pushed(frame: &[u8]) -> Option<&[u8]> {
    if frame.first() == Some(&b'>') {
        peek::elements(frame).and_then(|mut push| push.nth(1)).or(Some(b"_"))
    } else {
        None
    }
}

/// One end of the proof.
struct Side<'a, S> {
    stream: &'a mut S,
    buf: BytesMut,
    /// It was told that the probe has changed.
    was_told: bool,
    /// It was told that everything has changed: somebody has flushed a database.
    was_flushed: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Side<'a, S> {
    fn new(stream: &'a mut S) -> Self {
        Self { stream, buf: BytesMut::new(), was_told: false, was_flushed: false }
    }

    /// The reply to a request.
    async fn ask(&mut self, words: &[&[u8]], probe: &[u8]) -> Result<BytesMut, ConnectError> {
        let mut request = Vec::new();
        encode::request(&mut request, words);
        send(self.stream, &request).await?;
        loop {
            let frame = raw_reply(self.stream, &mut self.buf, STEP).await?;
            let Some(what) = pushed(&frame) else { return Ok(frame) };
            match peek::elements(what) {
                Some(mut keys) => self.was_told |= keys.any(|key| peek::word(key) == Some(probe)),
                None => self.was_flushed = true,
            }
        }
    }

    /// Reads what was pushed behind the last reply. Nothing is held yet that it could concern.
    async fn finish(mut self) -> Result<(), ConnectError> {
        while !self.buf.is_empty() {
            if pushed(&raw_reply(self.stream, &mut self.buf, STEP).await?).is_none() {
                return Err(ConnectError::NotRedis("the server said more than the handshake asked for".to_owned()));
            }
        }
        Ok(())
    }

    /// The same, where an error ends the proof.
    async fn expect(&mut self, words: &[&[u8]], probe: &[u8]) -> Result<Result<(), Untracked>, ConnectError> {
        let frame = self.ask(words, probe).await?;
        Ok(if frame.first() == Some(&b'-') { Err(Untracked::refused(words, &frame)) } else { Ok(()) })
    }
}

/// What is asked for the proof.
pub(super) struct Proof<'a> {
    /// A key nobody else uses; what stands beneath it is ours as well.
    pub(super) own_key: &'a str,
    /// A text nobody else's `ECHO` would bear.
    pub(super) nonce: String,
}

impl Proof<'_> {
    /// Turns tracking on and proves that it works. Where it does not, it is turned off again.
    ///
    /// # Errors
    /// The connection is of no use any more.
    ///
    /// # Cancel safety
    /// None: a connection whose proof was dropped must be closed.
    pub(super) async fn perform<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        other: &mut S,
    ) -> Result<Result<(), Untracked>, ConnectError> {
        let (mut tracked, mut other) = (Side::new(stream), Side::new(other));
        let mut proven = self.steps(&mut tracked, &mut other).await?;
        for _ in 0..AGAIN {
            // A flush makes the server forget whom to tell of what, and says so.
            if matches!(proven, Err(Untracked::Silent)) && std::mem::take(&mut tracked.was_flushed) {
                proven = self.steps(&mut tracked, &mut other).await?;
            }
        }
        if proven.is_err() {
            tracked.ask(&[b"CLIENT", b"TRACKING", b"OFF"], b"").await?;
            let echo = tracked.ask(&[b"ECHO", self.nonce.as_bytes()], b"").await?;
            if peek::word(&echo) != Some(self.nonce.as_bytes()) {
                return Err(ConnectError::NotRedis("ECHO was not answered with its own text".to_owned()));
            }
        }
        tracked.finish().await?;
        Ok(proven)
    }

    async fn steps<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        tracked: &mut Side<'_, S>,
        other: &mut Side<'_, S>,
    ) -> Result<Result<(), Untracked>, ConnectError> {
        let probe = format!("{}:probe:{}", self.own_key, self.nonce);
        let probe = probe.as_bytes();
        let write = |value| [&b"SET"[..], probe, value, b"PX", b"10000"];
        let of_other = |result: Result<_, ConnectError>| result.unwrap_or_else(|error| Err(Untracked::Unproven(error)));
        if let Err(untracked) = of_other(other.expect(&write(b"1"), probe).await) {
            return Ok(Err(untracked));
        }
        let reads: [&[&[u8]]; 4] = [
            &[b"CLIENT", b"TRACKING", b"ON", b"OPTIN"],
            &[b"CLIENT", b"CACHING", b"YES"],
            &[b"GET", probe],
            &[b"PTTL", probe],
        ];
        for step in reads {
            if let Err(untracked) = tracked.expect(step, probe).await? {
                return Ok(Err(untracked));
            }
        }
        if let Err(untracked) = of_other(other.expect(&write(b"2"), probe).await) {
            return Ok(Err(untracked));
        }
        if let Err(untracked) = tracked.expect(&[b"DEL", self.own_key.as_bytes()], probe).await? {
            return Ok(Err(untracked));
        }
        // It ends by itself where that fails.
        let _ = other.ask(&[b"DEL", probe], probe).await;
        Ok(tracked.was_told.then_some(()).ok_or(Untracked::Silent))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    const READS: &str = "+OK\r\n+OK\r\n$1\r\n1\r\n:9999\r\n";
    const TOLD: &str = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$14\r\nown:probe:once\r\n";
    const FLUSHED: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
    const FENCED: &str = ":0\r\n";
    const OFF: &str = "+OK\r\n$4\r\nonce\r\n";

    /// Against a server that says `tracked` to the connection, and agrees to whatever the other one asks.
    async fn prove(tracked: &str) -> Result<Result<(), Untracked>, ConnectError> {
        let ((mut ours, mut theirs), (mut other, mut others)) = (duplex(1 << 12), duplex(1 << 12));
        theirs.write_all(tracked.as_bytes()).await.expect("room");
        others.write_all("+OK\r\n+OK\r\n:1\r\n".repeat(1 + AGAIN).as_bytes()).await.expect("room");
        theirs.shutdown().await.expect("open");
        Proof { own_key: "own", nonce: "once".to_owned() }.perform(&mut ours, &mut other).await
    }

    #[tokio::test]
    async fn only_what_is_told_before_the_fence_is_a_proof() {
        for (tracked, is_proven) in [
            (vec![READS, TOLD, FENCED], true),
            (vec![READS, TOLD, FENCED, FLUSHED, FLUSHED], true),
            (vec![READS, FENCED, OFF], false),
            (vec![READS, FENCED, TOLD, OFF], false),
            // Somebody flushes a database meanwhile: it is proven again.
            (vec![READS, FLUSHED, FENCED, READS, TOLD, FENCED], true),
            (vec![READS, FLUSHED, FENCED, READS, FENCED, OFF], false),
        ] {
            let proven = prove(&tracked.concat()).await.expect("in step");
            assert_eq!(proven.is_ok(), is_proven, "{tracked:?} {proven:?}");
            assert!(is_proven || matches!(proven, Err(Untracked::Silent)), "{proven:?}");
        }
    }

    #[tokio::test]
    async fn what_is_refused_is_turned_off_again() {
        let refused = format!("-NOPERM no\r\n{OFF}");
        let said = prove(&refused).await.expect("in step").expect_err("refused");
        assert_eq!((said.label(), said.may_pass()), ("refused", false));
        assert!(said.to_string().contains("CLIENT TRACKING with: NOPERM no"), "{said}");
        for out_of_step in ["-BUSY x\r\n-BUSY x\r\n-BUSY x\r\n".to_owned(), [READS, TOLD, FENCED, ":1\r\n"].concat()] {
            assert!(prove(&out_of_step).await.is_err(), "{out_of_step:?}");
        }
    }

    #[test]
    fn versions_that_lose_invalidations_are_known() {
        for (server, version, is_fit) in [
            ("redis", "6.0.16", false),
            ("redis", "6.2.11", false),
            ("redis", "6.2.14", true),
            ("redis", "7.0.9", false),
            ("redis", "7.0.15", true),
            ("redis", "7.2.0", true),
            ("redis", "8.0.6", true),
            ("valkey", "7.2.4", true),
            ("redis", "255.255.255", true),
            ("redis", "", false),
        ] {
            let (server, version) = (server.to_owned(), version.to_owned());
            let identity = Identity { server, version, mode: "standalone".to_owned(), modules: Vec::new() };
            assert_eq!(identity.may_track().is_ok(), is_fit, "{identity:?}");
        }
    }
}
