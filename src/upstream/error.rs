//! Why the server cannot be used: one line for the operator that names the cause and, where there is one, the
//! key that mends it. Clients learn only [`super::NOT_EXECUTED`].

use std::io;

use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, unreachable, reset, no such host.
    #[error("{0}")]
    Io(io::Error),
    /// Not ready within `connect_timeout`.
    #[error("not ready within upstream.connect_timeout")]
    Timeout,
    /// No TLS within `connect_timeout`: a plain Redis waits for the end of what it takes for a request.
    #[error(
        "no answer to TLS within upstream.connect_timeout; does the server speak TLS on this port (upstream.tls.enabled)?"
    )]
    TlsTimeout,
    /// It closed the connection before it had answered the handshake.
    #[error("the server closed the connection during the handshake; does it want TLS (upstream.tls.enabled)?")]
    Closed,
    /// It closed the connection before TLS was agreed on, or behind it.
    #[error("the server closed the connection during the TLS handshake")]
    TlsClosed,
    /// Somebody else's attempt has just failed in a way that will not pass; this one was not made.
    #[error("not tried again so soon")]
    HeldOff,
    /// It is reading its data from disk.
    #[error("the server is loading its data")]
    Loading,
    /// It is a replica: writes would be refused, reads could be old.
    #[error("the server is a replica, not a primary: name the primary in upstream.server")]
    Replica,
    /// An error of the server that may pass: too many clients, busy.
    #[error("the server answered the handshake with: {0}")]
    Refused(String),
    /// User or password, or the right to do what the handshake does.
    #[error("{0}")]
    Auth(String),
    /// TLS cannot be agreed on until somebody changes something.
    #[error("{0}")]
    Tls(String),
    /// Something else than Redis, or a Redis too old.
    #[error("{0}")]
    NotRedis(String),
    /// It runs a script that does not end. It would answer the client's own request so, too.
    #[error("{0}")]
    Busy(String),
    /// It has no database of that number any more. Others are not concerned.
    #[error("{0}")]
    Database(String),
    /// A file of ours that cannot be read.
    #[error("{key}: {problem}")]
    #[allow(missing_docs)]
    File { key: &'static str, problem: String },
}

impl ConnectError {
    /// Whether trying again soon is useless, and harmful: it would fill the server's log or lock the user out.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Auth(_) | Self::Tls(_) | Self::NotRedis(_) | Self::File { .. } => true,
            Self::Io(_)
            | Self::Timeout
            | Self::TlsTimeout
            | Self::Closed
            | Self::TlsClosed
            | Self::HeldOff
            | Self::Loading
            | Self::Replica
            | Self::Database(_)
            | Self::Busy(_)
            | Self::Refused(_) => false,
        }
    }

    /// Whether the server is there, and executes nothing: it loads its data, or is no primary any more.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Loading | Self::Replica)
    }

    /// What the server would answer to a client's own request as well.
    pub(super) fn own_word(&self) -> Option<&str> {
        match self {
            Self::Busy(text) | Self::Database(text) => Some(text),
            _ => None,
        }
    }

    /// The kind of failure, for a metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Timeout | Self::TlsTimeout => "timeout",
            Self::Closed | Self::TlsClosed => "closed",
            Self::HeldOff => "held_off",
            Self::Loading => "loading",
            Self::Replica => "replica",
            Self::Refused(_) => "refused",
            Self::Auth(_) => "auth",
            Self::Tls(_) => "tls",
            Self::NotRedis(_) => "not_redis",
            Self::Database(_) => "database",
            Self::Busy(_) => "busy",
            Self::File { .. } => "file",
        }
    }

    /// What an I/O error during a handshake means; TLS' own errors hide in it.
    pub(super) fn of_io(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls.map(tls_problem) {
            Some(Some(problem)) => Self::Tls(problem),
            // A server that closes with our bytes unread resets the connection.
            Some(None) | None if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) => Self::Closed,
            Some(None) | None => Self::Io(error),
        }
    }

    /// The same on a connection with TLS.
    pub(super) fn with_tls(self) -> Self {
        match self {
            Self::Closed => Self::TlsClosed,
            Self::Timeout => Self::TlsTimeout,
            other => other,
        }
    }

    /// What the server's own word on why it will not speak TLS means.
    pub(super) fn of_alert(alert: AlertDescription) -> Option<Self> {
        tls_problem(&rustls::Error::AlertReceived(alert)).map(Self::Tls)
    }

    /// What an error reply to the handshake means.
    pub(super) fn of_reply(step: &str, text: &str) -> Self {
        let code = text.split(' ').next().unwrap_or_default();
        match code {
            "LOADING" => Self::Loading,
            "BUSY" => Self::Busy(text.to_owned()),
            "NOAUTH" => Self::Auth("the server wants a password: set upstream.password_file".to_owned()),
            "WRONGPASS" => Self::Auth(
                "the server refused upstream.username and the password (WRONGPASS): wrong, or the user is disabled"
                    .to_owned(),
            ),
            "NOPERM" => Self::Auth(format!("the server's ACL forbids {step} to upstream.username: {text}")),
            "NOPROTO" => Self::NotRedis(format!("the server does not speak RESP3: {text}")),
            "DENIED" => Self::Auth(format!("the server is in protected mode: {text}")),
            "ERR" if text.contains("unknown command") => {
                Self::NotRedis(format!("Redis 6 or newer, or Valkey, is needed: the server does not know {step}"))
            }
            "ERR" if text.contains("DB index") => Self::Database(text.to_owned()),
            // Our password stood in the request: an error may repeat it.
            _ if step == "HELLO" && !text.contains("max number of clients") => Self::Refused(code.to_owned()),
            _ => Self::Refused(text.to_owned()),
        }
    }
}

/// The operator's line for a TLS error that will not pass by itself; `None` for one that may.
fn tls_problem(error: &rustls::Error) -> Option<String> {
    use rustls::Error as Tls;
    Some(match error {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server's certificate is not trusted (unknown issuer): upstream.tls.ca_file must hold its authority".to_owned()
        }
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the server's certificate has expired".to_owned()
        }
        Tls::InvalidCertificate(
            error @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
        ) => format!(
            "the server's certificate is for another name ({error}): set upstream.tls.server_name, or verify = \"chain\""
        ),
        Tls::InvalidCertificate(CertificateError::Other(other)) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server shows its authority's own certificate (CA:TRUE) as its certificate: sign one for the server with it"
                .to_owned()
        }
        Tls::InvalidCertificate(error) => format!("the server's certificate is refused: {error}"),
        Tls::InvalidMessage(_) => {
            "the server does not speak TLS on this port: set upstream.tls.enabled = false, or name its TLS port".to_owned()
        }
        Tls::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied),
        ) => format!("the server refused our certificate ({alert:?}): set upstream.tls.cert_file and key_file"),
        Tls::AlertReceived(alert @ (AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion)) => {
            format!("no TLS version or cipher in common with the server, or it wants a client certificate ({alert:?})")
        }
        Tls::PeerIncompatible(problem) => format!("no TLS in common with the server: {problem:?}"),
        _ => return None,
    })
}
