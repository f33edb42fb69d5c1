//! Our table of commands against the one a real server keeps: its answer to `COMMAND`.
//!
//! What a session client sends is understood by a row, and a row that is wrong is a write sent twice, or a
//! connection left in somebody else's state.

#![allow(unreachable_pub, reason = "`pub` marks what the tests here use")]

mod support;

#[path = "command_table/keys.rs"]
mod keys;
#[path = "command_table/known.rs"]
mod known;

use std::collections::BTreeMap;

use cloakroom::command::{Commands, Effect, Local, PinReason, Route, Row};
use known::{Known, commands_of};
use support::ServerProgram;

#[test]
fn every_command_of_the_server_has_a_row_of_the_same_arity() {
    let rows = rows();
    let differences = known_commands().into_iter().filter_map(|(name, known)| match rows.get(name.as_str()) {
        None => Some(format!("{name}: no row")),
        Some(row) if row.arity != known.arity => Some(format!("{name}: {} here, {} there", row.arity, known.arity)),
        Some(_) => None,
    });
    assert_eq!(differences.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn every_row_is_a_command_of_the_server() {
    let known = known_commands();
    let strangers = rows().into_keys().filter(|name| !known.contains_key(*name));
    assert_eq!(strangers.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// A read is sent again when its connection is lost; a write never is.
#[test]
fn what_the_server_flags_readonly_is_a_read_and_what_it_flags_write_is_a_write() {
    let rows = rows();
    let mut checked = 0;
    for (name, known) in known_commands() {
        let Some(row) = rows.get(name.as_str()) else { continue };
        let flagged = match (known.flags.contains("readonly"), known.flags.contains("write")) {
            (true, false) => Effect::Read,
            (false, true) => Effect::Write,
            (false, false) => continue,
            (true, true) => panic!("{name} is both readonly and write"),
        };
        assert_eq!(row.effect, flagged, "{name}");
        checked += 1;
    }
    assert!(checked > 150, "{checked} commands checked");
}

/// Rows of commands the server flags neither `readonly` nor `write`: each one that is a read is named here.
#[test]
fn no_other_command_is_a_read_but_those_that_only_tell() {
    let known = known_commands();
    let is_flagged = |row: &Row| known.get(row.name).is_some_and(|known| known.flags.contains("readonly"));
    let others = rows().into_values().filter(|row| row.effect == Effect::Read && !is_flagged(row)).map(|row| row.name);
    // `OBJECT` and `XINFO` have no flags of their own; each of their subcommands is readonly, or is `HELP`.
    let only_tell = ["command", "echo", "info", "lastsave", "object", "ping", "pubsub", "role", "time", "xinfo"];
    assert_eq!(others.collect::<Vec<_>>(), only_tell);
}

/// On a shared connection everybody would wait behind it, or get its messages.
#[test]
fn what_blocks_or_subscribes_runs_on_a_connection_of_its_own() {
    let rows = rows();
    let mut checked = 0;
    for (name, known) in known_commands() {
        let sends_only = ["publish", "spublish", "pubsub"].contains(&name.as_str());
        let needs_its_own = known.flags.contains("blocking") || known.flags.contains("pubsub") && !sends_only;
        let Some(row) = rows.get(name.as_str()).filter(|_| needs_its_own) else { continue };
        assert!(matches!(row.route, Route::Pin(_) | Route::PinIfBlocking), "{name}: {:?}", row.route);
        checked += 1;
    }
    assert!(checked >= 16, "{checked} commands checked");
    // It waits for replicas, which the server does not call blocking.
    assert_eq!(rows["wait"].route, Route::Pin(PinReason::Blocking));
}

/// What concerns a connection, by the group the server puts it in.
#[test]
fn what_changes_its_connection_is_never_forwarded() {
    let rows = rows();
    let stateful = ["asking", "auth", "client", "hello", "monitor", "multi", "quit", "readonly", "readwrite", "reset"];
    for name in stateful.into_iter().chain(["select", "watch", "subscribe", "psync", "sync", "replconf"]) {
        let route = rows[name].route;
        assert!(matches!(route, Route::Here(_) | Route::Pin(_) | Route::Refuse), "{name}: {route:?}");
    }
    assert_eq!(rows["select"].route, Route::Here(Local::Select));
    assert_eq!(rows["multi"].route, Route::Pin(PinReason::Transaction));
}

fn rows() -> BTreeMap<&'static str, &'static Row> {
    Commands::rows().iter().map(|row| (row.name, row)).collect()
}

fn known_commands() -> BTreeMap<String, Known> {
    commands_of(&ServerProgram::system())
}
