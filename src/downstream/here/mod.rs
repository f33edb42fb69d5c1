//! Commands answered here: they concern the client's own connection, not the server's data.
//!
//! The texts are Redis' own; `tests/plain_redis.rs` compares them with a server's, byte for byte.

pub(super) mod client;
mod hello;

use tokio::time::Instant;

use super::CloseReason;
use super::client::{Client, Outcome};
use super::mode::Mode;
use crate::command::{Command, Local, PinReason};
use crate::resp::encode;

pub(super) const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. \
                           Are you sure your configuration is correct?";

/// Answers `command`.
pub(super) fn answer(client: &mut Client, local: Local, command: &Command<'_>) -> Outcome {
    let request = &command.request;
    if !command.row().is_some_and(|row| row.fits(request.len())) {
        client.error(wrong_arity(command.label()));
        return Outcome::Done;
    }
    match local {
        Local::Ping if request.len() > 2 => client.error(wrong_arity("ping")),
        Local::Ping => match request.arg(1) {
            None => client.say(|out, _| encode::simple(out, "PONG")),
            Some(text) => client.say(|out, _| encode::bulk(out, text)),
        },
        Local::Echo => client.say(|out, _| encode::bulk(out, request.arg(1).unwrap_or_default())),
        Local::Auth => auth(client, command),
        Local::Hello => hello::answer(client, command),
        Local::Client => return client::answer(client, command),
        Local::Select => return select(client, command),
        Local::Reset => {
            client.reset();
            client.say(|out, _| encode::simple(out, "RESET"));
        }
        Local::Quit => {
            client.say(|out, _| encode::simple(out, "OK"));
            return Outcome::Close(CloseReason::Quit);
        }
    }
    Outcome::Done
}

/// A database nobody has selected yet is for the server to judge, in its own words.
fn select(client: &mut Client, command: &Command<'_>) -> Outcome {
    let Some(db) = client.may_select(command) else {
        return match client.outbox.in_flight() {
            0 => Outcome::CheckOut(PinReason::Database),
            _ => Outcome::Wait,
        };
    };
    client.db = db;
    client.entry.about().db = db;
    client.say(|out, _| encode::simple(out, "OK"));
    Outcome::Done
}

fn auth(client: &mut Client, command: &Command<'_>) {
    let request = &command.request;
    let (user, password) = match (request.arg(1), request.arg(2)) {
        (Some(user), Some(password)) if request.len() == 3 => (user, password),
        (Some(_), None) if !client.worker.shared.users().is_required() => return client.error(NO_PASSWORD),
        (Some(password), None) => (&b"default"[..], password),
        _ => return client.error("ERR syntax error"),
    };
    if log_in(client, user, password) {
        client.say(|out, _| encode::simple(out, "OK"));
    }
}

/// Whether the credentials are right; if so the client is authenticated, and else it is told.
fn log_in(client: &mut Client, user: &[u8], password: &[u8]) -> bool {
    let users = client.worker.shared.users();
    // As a Redis without a password: its default user accepts any.
    let is_right = if users.is_required() { users.accepts(user, password) } else { user == b"default" };
    match is_right {
        true => client.authenticated(user),
        false if users.is_required() => client.refuse_password(Instant::now()),
        false => client.error(WRONGPASS),
    }
    is_right
}

fn wrong_arity(command: &str) -> String {
    format!("ERR wrong number of arguments for '{command}' command")
}

/// Whether a client may be called so.
fn is_valid_name(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// An error around a client's text, as Redis writes it: up to the first NUL, at most 128 bytes.
fn quoting(before: &str, text: &[u8], after: &str) -> Vec<u8> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    [before.as_bytes(), &text[..text.len().min(128)], after.as_bytes()].concat()
}

fn is_authenticated(client: &Client) -> bool {
    !matches!(client.mode, Mode::Unauthenticated)
}
