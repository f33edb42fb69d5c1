//! What holds for web sessions, whoever writes them: each expires, and a destroyed one stays destroyed (G5, G6).
//!
//! A request goes in with what its connection has seen; what to do with it comes out. Pure: time is passed in, and nothing
//! is sent from here.
//!
//! ```text
//!            ┌──────────┐  AsIs ─────────────────────────▶ as it came
//! request ──▶│ Rules    │  Rewritten ─ SET k v PX n ─────▶ one request for one, the same reply
//!            │  decide  │            └ EVAL write.lua ───▶  the same, and the rules with it, in one step
//!            └──────────┘  Repaired ─ EVAL … · repair.lua ▶ as it came, and behind it what it may have left out
//!                 ▲         Refused ──────────────────────▶ an error, nothing is sent
//!             Sightings ◀── Aftermath ◀── reply
//! ```
//!
//! | rule | how it is kept |
//! |---|---|
//! | a write that sets no time to live sets `expiry` | in the same command, or the same script |
//! | a destroyed session is not written back | the server keeps a *tombstone* beside it for a while. A write that would create the session asks for it in the same step; it passes if its connection has read the session as gone since |
//! | a session lives for `max_lifetime` at most | its birth is marked beside it, and every expiry ends with that |
//! | a value is no longer than `max_value_size` | it is not sent |
//! | a touch that changes little, or a value that is there already, costs nobody anything | [`Touch`], `write.lua` |
//!
//! # Why
//! A tombstone in the proxy's memory is not seen by the proxy beside the next web server, and cannot stop a write that
//! is on its way already on another connection. What the server decides in one step, it decides for all
//! (`research/session-clients.md`, section 4; `research/reliability.md`, section 3.1).
//!
//! A script costs the server some microseconds, several times what a `SET` does. A session its writer has read is there,
//! nearly always: it is written with `SET ... XX`, which costs nothing more, and only where that finds nothing a script
//! is asked, in a second request ([`Aftermath::second`]). `XX` alone would not do: a session that has merely expired may
//! be written by who has read it.

mod aftermath;
mod decide;
mod deed;
mod forbid;
mod ledger;
mod rule;
mod script;
mod sightings;
mod write;

pub use aftermath::Aftermath;
pub use decide::{Asking, Decision, Rewritten};
pub use ledger::{Ledger, Totals};
pub use rule::{Rule, Rules, Touch};
pub use script::{Scripts, Which};
pub use sightings::{Sightings, Versions};

#[cfg(test)]
mod tests;
