//! cloakroom
pub mod command;
pub mod config;
pub mod resp;
