//! From a socket to a connection that is ready: authenticated, in its database, answering.
//!
//! ```text
//! HELLO 3 [AUTH user password] [SETNAME name]     who we are, who it is
//! INFO server                                     which run of it: the `run_id`
//! CLIENT KILL ID old                              for each connection to this run that was lost: sever it
//! SELECT db · PING · ECHO nonce                   ready
//! COMMAND                                         once a run of the server: what it has that our table has not
//! ```
//!
//! Each reply is checked before any user command may follow. `PING` is asked because everything else succeeds while
//! the server is still loading (`research/reliability.md`, section 2), and the nonce of `ECHO` because `PING` is
//! refused by a server that cannot save (`MISCONF`), which answers reads all the same.
//!
//! **Sever**: bytes in a dead connection's socket can still be run, and overwrite a newer write that was
//! acknowledged. So the first thing any new connection does is to have the server forget those that were lost.

use bytes::BytesMut;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Kind;
use super::error::ConnectError;
use crate::command::Catalogue;
use crate::resp::scan::{Limits, Scan, ScanError};
use crate::resp::{decode, encode, peek};

/// More bytes than this are no reply to anything the handshake asks; `COMMAND` is answered with a tenth of it.
const LONGEST_REPLY: usize = 4 << 20;

/// What the server says of itself in `HELLO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `redis` or `valkey`.
    pub server: String,
    #[allow(missing_docs)]
    pub version: String,
    /// `standalone`, `sentinel` or `cluster`.
    pub mode: String,
    /// Its modules, as a RESP3 frame; empty where it was not asked in RESP3.
    pub modules: Vec<u8>,
}

/// A connection as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    /// `CLIENT ID`.
    pub(super) id: i64,
    /// Which run of the server: another run knows nothing of the connection. Empty where `INFO` is forbidden.
    pub(super) run_id: String,
}

/// What became of a lost connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severed {
    /// It was still there.
    Killed,
    /// It was gone, or the server is another one.
    Gone,
    /// The server does not let us: what was sent to it may still run.
    Denied,
}

impl Severed {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Gone => "gone",
            Self::Denied => "denied",
        }
    }
}

/// What a handshake has found out.
#[derive(Debug)]
pub(super) struct Introduced {
    pub(super) identity: Identity,
    pub(super) trace: Trace,
    /// What became of each lost connection.
    pub(super) severed: Vec<Severed>,
}

/// What we say of ourselves.
pub(super) struct Introduction<'a> {
    pub(super) username: &'a str,
    pub(super) password: Option<&'a SecretString>,
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// A text nobody else's `ECHO` would bear.
    pub(super) nonce: String,
    /// Lost connections nothing more may be run from.
    pub(super) condemned: &'a [Trace],
}

impl Introduction<'_> {
    /// Says everything, and checks every reply.
    ///
    /// # Cancel safety
    /// None: a connection whose handshake was dropped must be closed.
    pub(super) async fn perform(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<Introduced, ConnectError> {
        let mut greeting = self.greeting();
        // With none to sever nothing depends on a reply: one write, one round trip.
        if self.condemned.is_empty() {
            greeting.extend_from_slice(&self.closing());
        }
        send(stream, &greeting).await?;
        let mut buf = BytesMut::new();
        let (identity, trace) = self.check_greeting(stream, &mut buf).await?;
        let severed = sever(stream, &mut buf, self.condemned, &trace).await?;
        if !self.condemned.is_empty() {
            send(stream, &self.closing()).await?;
        }
        let selected = reply(stream, &mut buf, "SELECT").await?;
        if decode::text(&selected) != Some(b"OK") {
            return Err(ConnectError::NotRedis("SELECT was answered with something else than OK".to_owned()));
        }
        match reply(stream, &mut buf, "PING").await {
            Err(ConnectError::Refused(text)) if text.starts_with("MISCONF") => {}
            pong => drop(pong?),
        }
        check_nonce(stream, &mut buf, &self.nonce).await?;
        Ok(Introduced { identity, trace, severed })
    }

    fn greeting(&self) -> Vec<u8> {
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
        encode::request(&mut out, &[b"INFO", b"server"]);
        out
    }

    fn closing(&self) -> Vec<u8> {
        let mut out = Vec::new();
        encode::request(&mut out, &[b"SELECT", self.kind.db.to_string().as_bytes()]);
        encode::request(&mut out, &[b"PING"]);
        encode::request(&mut out, &[b"ECHO", self.nonce.as_bytes()]);
        out
    }

    async fn check_greeting(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        buf: &mut BytesMut,
    ) -> Result<(Identity, Trace), ConnectError> {
        let frame = raw_reply(stream, buf, "HELLO").await?;
        let hello = understand("HELLO", &frame)?;
        let text = |key| {
            let value = decode::field(&hello, key).and_then(decode::text).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        let number = |key| decode::field(&hello, key).and_then(decode::integer);
        if number("proto") != Some(self.kind.protocol.number().into()) {
            return Err(ConnectError::NotRedis("HELLO was answered with something else than a greeting".to_owned()));
        }
        if text("role") == "replica" || text("role") == "slave" {
            return Err(ConnectError::Replica);
        }
        // An ACL may forbid INFO: then no connection can be severed, which is counted when it is tried.
        let run_id = match reply(stream, buf, "INFO").await {
            Ok(info) => run_id(&info),
            Err(ConnectError::Auth(_)) => String::new(),
            Err(error) => return Err(error),
        };
        let modules = peek::field(&frame, b"modules").filter(|_| frame.starts_with(b"%")).unwrap_or_default().to_vec();
        let identity = Identity { server: text("server"), version: text("version"), mode: text("mode"), modules };
        Ok((identity, Trace { id: number("id").unwrap_or(0), run_id }))
    }
}

/// Makes sure that the server runs nothing more from lost connections: what became of each. However many there are, it
/// takes one round trip.
async fn sever(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buf: &mut BytesMut,
    lost: &[Trace],
    present: &Trace,
) -> Result<Vec<Severed>, ConnectError> {
    let mut kills = Vec::new();
    let known: Vec<_> = lost.iter().map(|lost| lost.fate(present)).collect();
    for (lost, _) in lost.iter().zip(&known).filter(|(_, fate)| fate.is_none()) {
        encode::request(&mut kills, &[b"CLIENT", b"KILL", b"ID", lost.id.to_string().as_bytes()]);
    }
    send(stream, &kills).await?;
    let mut severed = Vec::new();
    for fate in known {
        severed.push(match fate {
            Some(fate) => fate,
            None => match reply(stream, buf, "CLIENT KILL").await {
                Ok(killed) if decode::integer(&killed) == Some(0) => Severed::Gone,
                Ok(_) => Severed::Killed,
                Err(ConnectError::Auth(_) | ConnectError::Refused(_)) => Severed::Denied,
                Err(error) => return Err(error),
            },
        });
    }
    Ok(severed)
}

impl Trace {
    /// What became of a lost connection, where the server need not be asked.
    fn fate(&self, present: &Self) -> Option<Severed> {
        // Without a number it would be a filter that chooses everybody, to a Redis before 7.
        if self.run_id.is_empty() || present.run_id.is_empty() || self.id == 0 {
            return Some(Severed::Denied);
        }
        // The run that knew it is over; the same number may be somebody else's now.
        (self.run_id != present.run_id).then_some(Severed::Gone)
    }
}

pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), ConnectError> {
    stream.write_all(bytes).await.map_err(ConnectError::of_io)?;
    stream.flush().await.map_err(ConnectError::of_io)
}

fn run_id(info: &decode::Frame) -> String {
    let text = decode::text(info).unwrap_or_default();
    let mut lines = text.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(b"run_id:")).unwrap_or_default();
    String::from_utf8_lossy(value).trim().to_owned()
}

/// Asks the server for its commands. One that does not let us ask teaches nothing.
///
/// # Cancel safety
/// None: the connection must be closed.
pub(super) async fn catalogue(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    nonce: &str,
) -> Result<Catalogue, ConnectError> {
    let mut requests = Vec::new();
    encode::request(&mut requests, &[b"COMMAND"]);
    encode::request(&mut requests, &[b"ECHO", nonce.as_bytes()]);
    send(stream, &requests).await?;
    let mut buf = BytesMut::new();
    let frame = raw_reply(stream, &mut buf, "COMMAND").await?;
    check_nonce(stream, &mut buf, nonce).await?;
    Ok(Catalogue::read(&frame))
}

/// The server must answer `ECHO` with its own text, and say nothing more: it would be taken for the reply to the
/// first request.
async fn check_nonce(
    stream: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    nonce: &str,
) -> Result<(), ConnectError> {
    let echo = reply(stream, buf, "ECHO").await?;
    if decode::text(&echo) != Some(nonce.as_bytes()) {
        return Err(ConnectError::NotRedis("ECHO was not answered with its own text".to_owned()));
    }
    match buf.is_empty() {
        true => Ok(()),
        false => Err(ConnectError::NotRedis("the server said more than the handshake asked for".to_owned())),
    }
}

/// The next reply; an error reply to `step` becomes an error.
pub(super) async fn reply(
    stream: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    step: &str,
) -> Result<decode::Frame, ConnectError> {
    let frame = raw_reply(stream, buf, step).await?;
    understand(step, &frame)
}

fn understand(step: &str, frame: &[u8]) -> Result<decode::Frame, ConnectError> {
    let decoded = decode::decode(frame)
        .ok_or_else(|| ConnectError::NotRedis(format!("the reply to {step} is no frame we know")))?;
    match decode::error(&decoded) {
        Some(text) => Err(ConnectError::of_reply(step, &text)),
        None => Ok(decoded),
    }
}

/// The bytes of the next reply.
pub(super) async fn raw_reply(
    stream: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    step: &str,
) -> Result<BytesMut, ConnectError> {
    // A server with a thousand modules is far below these.
    let limits = Limits { bulk: 1 << 20, elements: 1 << 20, ..Limits::REPLY };
    let mut scan = Scan::new();
    loop {
        if let Some(found) = scan.advance(buf, &limits).map_err(not_redis)? {
            return Ok(buf.split_to(found.len));
        }
        if buf.len() > LONGEST_REPLY {
            return Err(ConnectError::NotRedis(format!("the reply to {step} is too long")));
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
