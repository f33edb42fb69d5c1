//! What is known of keys without asking the server.

mod holds;

pub use holds::{Hold, Holds};
