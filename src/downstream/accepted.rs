//! A client's socket between the thread that accepts and the one that serves.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use tokio::io::DuplexStream;

use super::listener::Listener;
use crate::socket::Socket;

/// A client's socket on its way to a worker.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream),
    /// And the path it listens on.
    Unix(UnixStream, String),
    /// Of a simulated network.
    Memory(DuplexStream),
}

impl Accepted {
    /// Takes the socket off the runtime of the thread that accepted it.
    pub(super) fn new(socket: Socket, listener: &Listener) -> io::Result<Self> {
        match socket {
            Socket::Tcp(tcp) => tcp.into_std().map(Self::Tcp),
            Socket::Unix(unix) => unix.into_std().map(|unix| Self::Unix(unix, listener.path())),
            Socket::Memory(memory) => Ok(Self::Memory(memory)),
        }
    }

    /// The socket on this thread's runtime, with its two addresses.
    pub(super) fn into_socket(self) -> io::Result<(Socket, String, String)> {
        let (socket, peer, local) = match self {
            Self::Tcp(tcp) => {
                let (peer, local) = (tcp.peer_addr()?.to_string(), tcp.local_addr()?.to_string());
                (Socket::Tcp(tokio::net::TcpStream::from_std(tcp)?), peer, local)
            }
            Self::Unix(unix, path) => {
                // As Redis writes the peer of a Unix socket.
                (Socket::Unix(tokio::net::UnixStream::from_std(unix)?), format!("{path}:0"), format!("{path}:0"))
            }
            Self::Memory(memory) => (Socket::Memory(memory), String::new(), String::new()),
        };
        socket.tune()?;
        Ok((socket, peer, local))
    }
}
