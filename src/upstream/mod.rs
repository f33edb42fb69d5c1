//! The server: the real Redis or Valkey behind.
//!
//! ```text
//!            ┌─ lane (RESP3, db 0) ── one connection, many clients ─┐
//! dispatch ──┼─ lane (RESP2, db 0) ── opened when first needed ─────┼── server
//!            └─ pool ── pinned connections, one client each ────────┘
//! ```
//!
//! Each worker has its own; [`Server`] is the little they share: the address, the secrets, how many
//! handshakes may run at once, and what was last wrong.

mod access;
mod attempts;
mod dial;
mod error;
mod handshake;
mod in_flight;
mod lane;
mod loss;
mod phase;
mod pinned;
mod read_back;
mod recovery;
mod replay;
mod replies;
mod server;
mod ticket;
mod timer;
pub mod tls;
mod tracking;

pub use access::{Access, Password};
pub use dial::{Dial, Network};
pub use error::ConnectError;
pub use handshake::Identity;
pub use lane::{Admission, Lane, LaneLimits, Outgoing, Recalled, Repair};
pub use pinned::{PinError, Pinned, Pool};
pub use replies::Item;
pub use server::Server;

use crate::resp::Protocol;

/// What a client is told when its request surely did not run: it may try again.
pub const NOT_EXECUTED: &str = "LOADING upstream unavailable; command not executed";

/// What a client is told when its request may have run, and must not be sent again (G3).
pub const UNKNOWN_OUTCOME: &str = "UNKNOWN upstream connection lost; outcome unknown";

/// What connections of one kind have in common: replies are in one protocol, keys in one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    #[allow(missing_docs)]
    pub protocol: Protocol,
    #[allow(missing_docs)]
    pub db: u32,
}
