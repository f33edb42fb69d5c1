//! A connected socket of either side: TCP or Unix, plain or TLS.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsStream;

/// A socket without TLS.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Of a simulated network: what time it is there is up to the simulation.
    Memory(DuplexStream),
}

/// A socket, with TLS on it or not.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// A listening Unix socket.
#[derive(Debug)]
pub struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
    /// Whether the file goes with it.
    is_ours: bool,
}

impl UnixDoor {
    /// Starts listening, with these permissions. A socket nobody listens on, which a killed process leaves behind, is
    /// replaced.
    ///
    /// # Errors
    /// Another process listens there, or there is a file that is no socket.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        let in_use = |text| Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        match std::fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => return in_use("there is a file that is no socket"),
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Ok(_) | Err(_) => return in_use("another process listens there"),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Made where nobody else can go, and moved into place with its permissions: there is no moment in which more
        // may connect.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let private = tempfile::Builder::new().prefix(".").rand_bytes(6).tempdir_in(parent)?;
        let place = private.path().join("s");
        let listener = UnixListener::bind(&place)?;
        std::fs::set_permissions(&place, Permissions::from_mode(mode))?;
        std::fs::rename(&place, path)?;
        Ok(Self { listener, path: path.to_owned(), is_ours: true })
    }

    /// Takes a socket that listens already, whose file is another's.
    ///
    /// # Errors
    /// The system's.
    pub fn adopt(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let path = listener.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
        Ok(Self { listener: UnixListener::from_std(listener)?, path, is_ours: false })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next connection.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(socket, _)| socket)
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// Sends small pieces at once, and finds out when the other host has died.
    ///
    /// # Errors
    /// The system's, when it refuses an option.
    pub fn tune(&self) -> io::Result<()> {
        let Self::Tcp(tcp) = self else { return Ok(()) };
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(5))
            .with_retries(3);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(Duration::from_secs(10)))
    }
}

impl Socket {
    /// Whether the other side has closed, also while bytes it sent before are not read.
    fn is_closed_by_peer(&self, cx: &mut Context<'_>) -> bool {
        let ready = match self {
            Self::Tcp(socket) => pin!(socket.ready(Interest::READABLE)).poll(cx),
            Self::Unix(socket) => pin!(socket.ready(Interest::READABLE)).poll(cx),
            // It tells whoever reads, and nobody else.
            Self::Memory(_) => return false,
        };
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }
}

impl Stream {
    /// Whether the other side has closed, also while bytes it sent before are not read. Nothing wakes the task
    /// when it does: ask again.
    pub fn is_closed_by_peer(&self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Plain(socket) => socket.is_closed_by_peer(cx),
            Self::Tls(tls) => tls.get_ref().0.is_closed_by_peer(cx),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Memory(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Memory(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Self::Memory(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Memory(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
