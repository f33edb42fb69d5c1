//! Why a multiplexed connection is lost: a log field and a metric label.

use std::io;

use super::in_flight::Desync;
use crate::resp::scan::ScanError;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Loss {
    #[error("the server closed the connection")]
    Closed,
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Bytes(#[from] ScanError),
    #[error("{0}")]
    Desync(#[from] Desync),
    #[error("the server does not answer")]
    Stalled,
    #[error("the server executes nothing: it loads its data, or is no primary any more")]
    Refused,
}

impl Loss {
    /// With TLS, a server that simply closes is an error to the library.
    pub(super) fn of_io(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(error) }
    }

    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Io(_) => "io",
            Self::Bytes(_) | Self::Desync(_) => "desync",
            Self::Stalled => "stalled",
            Self::Refused => "refused",
        }
    }
}
