//! The door: one acceptor that hands each client to the least loaded worker.
//!
//! # Why
//! One listener per worker (`SO_REUSEPORT`) hashes clients unevenly: with 16 of them one worker of eight
//! often has none (`research/crates.md`, section 2).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket as RawSocket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, lookup_host};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tracing::warn;

use super::accepted::Accepted;
use super::close::CloseReason;
use super::workers::Workers;
use crate::config::{Address, ListenTls};
use crate::socket::{Socket, Stream, UnixDoor};
use crate::supervisor::Inherited;
use crate::upstream::tls::{TlsError, certificates, private_key};

/// Clients the system holds until they are accepted.
const BACKLOG: i32 = 1024;

/// What Redis says to one client too many.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

/// An open listening socket.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixDoor),
}

impl Listener {
    /// Starts listening.
    ///
    /// # Errors
    /// The system's: the address is in use, or not this machine's.
    pub async fn bind(address: &Address, unix_mode: u32) -> io::Result<Self> {
        let kind = match address {
            Address::Tcp { host, port } => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in lookup_host((host.as_str(), *port)).await? {
                    match listen(address) {
                        Ok(listener) => return Ok(Self { kind: Kind::Tcp(listener) }),
                        Err(error) => last = error,
                    }
                }
                return Err(last);
            }
            Address::Unix(path) => Kind::Unix(UnixDoor::bind(path, unix_mode)?),
        };
        Ok(Self { kind })
    }

    /// Takes a socket that listens already: a service manager's.
    ///
    /// # Errors
    /// The system's.
    pub fn adopt(inherited: Inherited) -> io::Result<Self> {
        let kind = match inherited {
            Inherited::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Kind::Tcp(TcpListener::from_std(listener)?)
            }
            Inherited::Unix(listener) => Kind::Unix(UnixDoor::adopt(listener)?),
        };
        Ok(Self { kind })
    }

    /// The path of a Unix socket.
    pub(super) fn path(&self) -> String {
        match &self.kind {
            Kind::Tcp(_) => String::new(),
            Kind::Unix(door) => door.path().display().to_string(),
        }
    }

    /// The address clients can use: with the port the system chose, if it was asked to.
    pub fn address(&self) -> io::Result<Address> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let address = listener.local_addr()?;
                Ok(Address::tcp(&address.ip().to_string(), address.port()))
            }
            Kind::Unix(door) => Ok(Address::Unix(door.path().to_owned())),
        }
    }

    /// Accepts clients for ever.
    ///
    /// # Cancel safety
    /// Dropping this stops accepting; no accepted client is lost.
    pub async fn run(&self, workers: &Workers) {
        loop {
            match self.accept().await {
                Ok(socket) if !workers.has_room() => {
                    workers.turned_away(CloseReason::TooMany);
                    turn_away(socket, workers.speaks_tls());
                }
                Ok(socket) => match Accepted::new(socket, self) {
                    Ok(accepted) => workers.serve(accepted),
                    Err(error) => warn!(cause = %error, "cannot hand on a client"),
                },
                Err(error) if is_about_one_client(&error) => {}
                Err(error) => {
                    // Out of file descriptors, most likely: trying again at once would only burn the processor.
                    warn!(cause = %error, "cannot accept clients");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        match &self.kind {
            Kind::Tcp(listener) => listener.accept().await.map(|(socket, _)| Socket::Tcp(socket)),
            Kind::Unix(door) => door.accept().await.map(Socket::Unix),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Says why, unless the client waits for TLS: it would take plain text for a broken handshake.
fn turn_away(mut socket: Socket, speaks_tls: bool) {
    tokio::spawn(async move {
        if !speaks_tls {
            let _ = socket.write_all(TOO_MANY).await;
        }
        let _ = socket.shutdown().await;
    });
}

/// Whether the error was one client's, who had gone before it was accepted.
fn is_about_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// TLS towards clients.
#[derive(Clone)]
pub struct TlsListener {
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsListener")
    }
}

impl TlsListener {
    /// Reads the files `settings` name; `None` where there is no certificate, and so no TLS.
    ///
    /// # Errors
    /// The key whose file cannot be used.
    pub fn new(settings: &ListenTls) -> Result<Option<Self>, TlsError> {
        let (Some(cert), Some(key)) = (&settings.cert_file, &settings.key_file) else { return Ok(None) };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new("cert_file", error))?;
        let builder = match &settings.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("client_ca_file", path)? {
                    roots.add(certificate).map_err(|error| TlsError::new("client_ca_file", error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::new("client_ca_file", error))?)
            }
        };
        let mut config = builder
            .with_single_cert(certificates("cert_file", cert)?, private_key("key_file", key)?)
            .map_err(|error| TlsError::new("cert_file", error))?;
        // A PHP request that opens a new connection resumes instead of a whole handshake.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| TlsError::new("cert_file", error))?;
        Ok(Some(Self { acceptor: TlsAcceptor::from(Arc::new(config)) }))
    }

    /// # Cancel safety
    /// Dropping this closes the socket.
    pub(super) async fn accept(&self, socket: Socket) -> io::Result<Stream> {
        Ok(Stream::Tls(Box::new(self.acceptor.accept(socket).await?.into())))
    }
}
