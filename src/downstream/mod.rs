//! The clients.
//!
//! ```text
//! listener ─ a socket ─▶ worker ─▶ connection ─ bytes ─▶ client ─ decision ─▶ dispatch
//!  (one acceptor)       (thread)   (the socket)         (mode, database, protocol)
//!                                       ◀── outbox ◀──────── replies, in request order
//! ```
//!
//! A `connection` moves bytes and knows no command; a `client` knows what its commands mean and touches
//! no socket.

mod accepted;
mod auth;
mod client;
mod close;
mod connection;
mod here;
mod listener;
mod mode;
mod pin;
mod register;
mod worker;
mod workers;

pub use auth::Users;
pub use close::CloseReason;
pub use listener::{Listener, TlsListener};
pub use register::Register;
pub use worker::Worker;
pub use workers::{Door, Settings, Workers};
