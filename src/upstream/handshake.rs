//! From a socket to a connection that is ready: authenticated, in its database, answering.
//!
//! `HELLO` (with `AUTH` and `SETNAME`), `SELECT` and a `PING` with a nonce leave in one write; each reply is
//! checked before any user command may follow. `PING` is asked because everything before it succeeds while
//! the server is still loading (`research/reliability.md`, section 2).

use bytes::BytesMut;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Kind;
use super::error::ConnectError;
use crate::resp::scan::{Limits, Scan, ScanError};
use crate::resp::{decode, encode};

/// What the server says of itself in `HELLO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `redis` or `valkey`.
    pub server: String,
    #[allow(missing_docs)]
    pub version: String,
    /// `standalone`, `sentinel` or `cluster`.
    pub mode: String,
}

/// What we say of ourselves.
pub(super) struct Introduction<'a> {
    pub(super) username: &'a str,
    pub(super) password: Option<&'a SecretString>,
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// A text nobody else's `PING` would bear.
    pub(super) nonce: String,
}

impl Introduction<'_> {
    /// The requests, in the order [`Introduction::check`] wants the replies.
    pub(super) fn requests(&self) -> Vec<u8> {
        let protocol = self.kind.protocol.number().to_string();
        let mut hello: Vec<&[u8]> = vec![b"HELLO", protocol.as_bytes()];
        if let Some(password) = self.password {
            let user = if self.username.is_empty() { "default" } else { self.username };
            hello.extend([&b"AUTH"[..], user.as_bytes(), password.expose_secret().as_bytes()]);
        }
        if !self.name.is_empty() {
            hello.extend([&b"SETNAME"[..], self.name.as_bytes()]);
        }
        let mut out = Vec::new();
        encode::request(&mut out, &hello);
        encode::request(&mut out, &[b"SELECT", self.kind.db.to_string().as_bytes()]);
        encode::request(&mut out, &[b"PING", self.nonce.as_bytes()]);
        out
    }

    /// Reads and checks the replies; bytes behind them stay in `buf`.
    ///
    /// # Cancel safety
    /// None: a connection whose handshake was dropped must be closed.
    pub(super) async fn check(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        buf: &mut BytesMut,
    ) -> Result<Identity, ConnectError> {
        let hello = reply(stream, buf, "HELLO").await?;
        let text = |key| {
            let value = decode::field(&hello, key).and_then(decode::text).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        if decode::field(&hello, "proto").and_then(decode::integer) != Some(self.kind.protocol.number().into()) {
            return Err(ConnectError::NotRedis("HELLO was answered with something else than a greeting".to_owned()));
        }
        if text("role") == "replica" || text("role") == "slave" {
            return Err(ConnectError::Replica);
        }
        let selected = reply(stream, buf, "SELECT").await?;
        if decode::text(&selected) != Some(b"OK") {
            return Err(ConnectError::NotRedis("SELECT was answered with something else than OK".to_owned()));
        }
        let pong = reply(stream, buf, "PING").await?;
        if decode::text(&pong) != Some(self.nonce.as_bytes()) {
            return Err(ConnectError::NotRedis("PING was not answered with its own text".to_owned()));
        }
        Ok(Identity { server: text("server"), version: text("version"), mode: text("mode") })
    }

    /// Sends the requests and checks the replies. Bytes behind them are returned.
    ///
    /// # Cancel safety
    /// None: a connection whose handshake was dropped must be closed.
    pub(super) async fn perform(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(Identity, BytesMut), ConnectError> {
        stream.write_all(&self.requests()).await.map_err(ConnectError::of_io)?;
        stream.flush().await.map_err(ConnectError::of_io)?;
        let mut buf = BytesMut::new();
        let identity = self.check(stream, &mut buf).await?;
        Ok((identity, buf))
    }
}

/// The next reply; an error reply to `step` becomes an error.
pub(super) async fn reply(
    stream: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    step: &str,
) -> Result<decode::Frame, ConnectError> {
    // A greeting with a thousand loaded modules is far below these.
    let limits = Limits { bulk: 1 << 20, elements: 1 << 16, ..Limits::REPLY };
    let mut scan = Scan::new();
    loop {
        if let Some(found) = scan.advance(buf, &limits).map_err(not_redis)? {
            let frame = buf.split_to(found.len);
            let decoded = decode::decode(&frame)
                .ok_or_else(|| ConnectError::NotRedis(format!("the reply to {step} is no frame we know")))?;
            return match decode::error(&decoded) {
                Some(text) => Err(ConnectError::of_reply(step, &text)),
                None => Ok(decoded),
            };
        }
        if stream.read_buf(buf).await.map_err(ConnectError::of_io)? == 0 {
            return Err(ConnectError::Closed);
        }
    }
}

fn not_redis(error: ScanError) -> ConnectError {
    match error {
        // A TLS alert: what a TLS server says to somebody who speaks plain.
        ScanError::Type(0x15) => {
            ConnectError::Tls("the server speaks TLS on this port: set upstream.tls.enabled = true".to_owned())
        }
        ScanError::Type(b'H') => ConnectError::NotRedis("an HTTP server answers on this port".to_owned()),
        error => ConnectError::NotRedis(format!("the server does not speak Redis' protocol: {error}")),
    }
}

#[cfg(test)]
mod tests;
