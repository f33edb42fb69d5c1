//! From an address to a socket, with TLS on it where that is asked for.

use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::error::ConnectError;
use super::tls::Tls;
use crate::config::Address;
use crate::socket::{Socket, Stream};

/// Where the server is and how to reach it.
#[derive(Debug, Clone)]
pub struct Dial {
    #[allow(missing_docs)]
    pub address: Address,
    /// `None`: plain.
    pub tls: Option<Tls>,
    /// For everything until the connection is ready.
    pub timeout: Duration,
}

impl Dial {
    /// Opens a socket. A host name is resolved anew, and each of its addresses tried.
    ///
    /// # Cancel safety
    /// Dropping this closes whatever was opened.
    pub(super) async fn connect(&self) -> Result<Stream, ConnectError> {
        let socket = match &self.address {
            Address::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await.map(Socket::Tcp),
            Address::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
        };
        let socket = socket.map_err(ConnectError::Io)?;
        socket.tune().map_err(ConnectError::Io)?;
        match &self.tls {
            None => Ok(Stream::Plain(socket)),
            Some(tls) => {
                let connector = TlsConnector::from(tls.config.clone());
                let stream = connector.connect(tls.name.clone(), socket).await.map_err(ConnectError::of_io)?;
                Ok(Stream::Tls(Box::new(stream.into())))
            }
        }
    }
}
