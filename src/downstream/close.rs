//! Why clients go.

use std::io;

/// Why a client's connection ended: a log field and a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// It closed its side.
    Client,
    /// It said `QUIT`.
    Quit,
    /// Its socket failed.
    Io,
    /// It sent what is no request.
    Protocol,
    /// It spoke HTTP or TLS where neither is expected; nothing was answered.
    OtherProtocol,
    /// It did not complete the TLS handshake.
    Tls,
    /// `CLIENT KILL`.
    Killed,
    /// The upstream connection it depended on was lost.
    UpstreamLost,
    /// The proxy is stopping.
    Drain,
    /// `listen.max_clients` were connected.
    TooMany,
    /// It took none of its replies for `limits.unread_timeout`.
    SlowReader,
    /// It did not finish a request within `limits.request_timeout`.
    SlowWriter,
    /// It did not authenticate within `limits.auth_timeout`.
    Unauthenticated,
    /// It held most of what was more than `limits.memory`.
    Memory,
}

impl CloseReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 14] = [
        Self::Client,
        Self::Quit,
        Self::Io,
        Self::Protocol,
        Self::OtherProtocol,
        Self::Tls,
        Self::Killed,
        Self::UpstreamLost,
        Self::Drain,
        Self::TooMany,
        Self::SlowReader,
        Self::SlowWriter,
        Self::Unauthenticated,
        Self::Memory,
    ];

    /// What an error of the client's socket means: with TLS, a client that simply closes is one.
    pub(super) fn of_io(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Client } else { Self::Io }
    }

    /// Whether the client needs no orderly end: it is gone, or has been waited for long enough.
    pub(super) fn is_abrupt(self) -> bool {
        matches!(
            self,
            Self::Client | Self::Io | Self::OtherProtocol | Self::SlowReader | Self::SlowWriter | Self::Memory
        )
    }

    /// The reason as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Quit => "quit",
            Self::Io => "io",
            Self::Protocol => "protocol",
            Self::OtherProtocol => "other_protocol",
            Self::Tls => "tls",
            Self::Killed => "killed",
            Self::UpstreamLost => "upstream_lost",
            Self::Drain => "drain",
            Self::TooMany => "too_many",
            Self::SlowReader => "slow_reader",
            Self::SlowWriter => "slow_writer",
            Self::Unauthenticated => "unauthenticated",
            Self::Memory => "memory",
        }
    }
}
