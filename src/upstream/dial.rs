//! From an address to a socket, with TLS on it where that is asked for.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::AlertDescription;

use super::error::ConnectError;
use super::tls::Tls;
use crate::config::Address;
use crate::socket::{Socket, Stream};

/// How long the last word of a closed connection is waited for: it is here already, or never comes.
const LAST_WORD: Duration = Duration::from_millis(50);

/// Who makes a connection.
#[derive(Debug, Clone, Default)]
pub enum Network {
    /// The system.
    #[default]
    System,
    /// A simulation: it is asked for a socket, and refuses by dropping the question.
    Simulated(mpsc::UnboundedSender<oneshot::Sender<DuplexStream>>),
}

/// Where the server is and how to reach it.
#[derive(Debug, Clone)]
pub struct Dial {
    #[allow(missing_docs)]
    pub address: Address,
    /// `None`: plain.
    pub tls: Option<Tls>,
    /// For everything until the connection is ready.
    pub timeout: Duration,
    #[allow(missing_docs)]
    pub network: Network,
}

impl Dial {
    /// Opens a socket. A host name is resolved anew, and each of its addresses tried.
    ///
    /// # Cancel safety
    /// Dropping this closes whatever was opened.
    pub(super) async fn open(&self) -> Result<Socket, ConnectError> {
        let socket = match (&self.network, &self.address) {
            (Network::System, Address::Tcp { host, port }) => {
                TcpStream::connect((host.as_str(), *port)).await.map(Socket::Tcp)
            }
            (Network::System, Address::Unix(path)) => UnixStream::connect(path).await.map(Socket::Unix),
            (Network::Simulated(network), _) => {
                let (answer, socket) = oneshot::channel();
                let _ = network.send(answer);
                socket.await.map(Socket::Memory).map_err(|_| io::ErrorKind::ConnectionRefused.into())
            }
        };
        let socket = socket.map_err(ConnectError::Io)?;
        socket.tune().map_err(ConnectError::Io)?;
        Ok(socket)
    }

    /// Agrees on TLS, where that is asked for.
    ///
    /// # Cancel safety
    /// Dropping this closes the socket.
    pub(super) async fn secure(&self, socket: Socket) -> Result<Stream, ConnectError> {
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(socket)) };
        let connector = TlsConnector::from(tls.config.clone());
        match connector.connect(tls.name.clone(), socket).into_fallible().await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream.into()))),
            Err((error, socket)) => {
                let error = ConnectError::of_io(error).with_tls();
                Err(if let ConnectError::TlsClosed = error { last_word(socket).await.unwrap_or(error) } else { error })
            }
        }
    }
}

/// The alert a server left behind when it closed. Our next write fails before it is read, with TLS 1.2.
async fn last_word(mut socket: Socket) -> Option<ConnectError> {
    let mut record = [0; 7];
    timeout(LAST_WORD, socket.read_exact(&mut record)).await.ok()?.ok()?;
    // An alert record: type, version, length 2, level, description.
    match record {
        [0x15, _, _, 0, 2, _, description] => ConnectError::of_alert(AlertDescription::from(description)),
        _ => None,
    }
}
