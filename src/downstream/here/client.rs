//! `CLIENT`: what a client may know and say of connections. It sees the proxy's clients, not the server's.

use std::sync::Arc;

use super::{BAD_NAME, is_valid_name, quoting, wrong_arity};
use crate::command::{Command, arity_fits};
use crate::downstream::CloseReason;
use crate::downstream::client::{Client, Outcome, Replies};
use crate::downstream::register::Entry;
use crate::resp::request::Request;
use crate::resp::{decimal, encode};

const SYNTAX: &str = "ERR syntax error";

/// Subcommands answered here, and how many arguments each takes: exactly that many, or at least as many if negative.
const SUBCOMMANDS: [(&str, i8); 11] = [
    ("getname", 2),
    ("id", 2),
    ("info", 2),
    ("kill", -3),
    ("list", -2),
    ("no-evict", 3),
    ("no-touch", 3),
    ("reply", 3),
    ("setinfo", 4),
    ("setname", 3),
    ("unblock", -3),
];

fn arity(subcommand: &[u8]) -> Option<i8> {
    let row = SUBCOMMANDS.iter().find(|(name, _)| subcommand.eq_ignore_ascii_case(name.as_bytes()));
    row.map(|(_, arity)| *arity)
}

/// Whether a subcommand is answered here.
pub(in crate::downstream) fn knows(subcommand: &[u8]) -> bool {
    arity(subcommand).is_some()
}

/// Whether a request has as many arguments as its subcommand takes.
pub(in crate::downstream) fn fits(request: &Request<'_>) -> bool {
    arity(request.arg(1).unwrap_or_default()).is_some_and(|arity| arity_fits(arity, request.len()))
}

pub(super) fn answer(client: &mut Client, command: &Command<'_>) -> Outcome {
    let request = &command.request;
    let subcommand = request.arg(1).unwrap_or_default().to_ascii_lowercase();
    // It is in the list it asks for, with what it asks.
    client.shows(command);
    if !fits(request) {
        let subcommand = String::from_utf8_lossy(&subcommand);
        client.error(wrong_arity(&format!("client|{subcommand}")));
        return Outcome::Done;
    }
    match subcommand.as_slice() {
        b"id" => {
            let id = i64::try_from(client.entry.id).unwrap_or(i64::MAX);
            client.say(|out, _| encode::integer(out, id));
        }
        b"getname" => {
            let name = client.entry.about().name.clone();
            client.say(|out, protocol| match name.as_slice() {
                [] => encode::null(out, protocol),
                name => encode::bulk(out, name),
            });
        }
        b"setname" => set_name(client, request),
        b"setinfo" => set_info(client, request),
        b"info" => {
            let mut line = Vec::new();
            client.worker.shared.register.line(&client.entry, &mut line);
            client.say(|out, protocol| encode::verbatim(out, protocol, &line));
        }
        b"list" => list(client, request),
        b"kill" => return kill(client, request),
        b"no-evict" | b"no-touch" => match request.is(2, "on") || request.is(2, "off") {
            // Ours are not the server's connections: nothing is to be evicted here.
            true => client.say(|out, _| encode::simple(out, "OK")),
            false => client.error(SYNTAX),
        },
        b"reply" => reply(client, request),
        b"unblock" if request.len() <= 4 => return unblock(client, request),
        b"unblock" => client.error(quoting(
            "ERR unknown subcommand or wrong number of arguments for '",
            request.arg(1).unwrap_or_default(),
            "'. Try CLIENT HELP.",
        )),
        _ => unreachable!("what is not in the list of subcommands does not fit"),
    }
    Outcome::Done
}

fn set_name(client: &mut Client, request: &Request<'_>) {
    let name = request.arg(2).unwrap_or_default();
    if !is_valid_name(name) {
        return client.error(BAD_NAME);
    }
    client.entry.about().name = name.to_vec();
    client.say(|out, _| encode::simple(out, "OK"));
}

fn set_info(client: &mut Client, request: &Request<'_>) {
    let (option, value) = (request.arg(2).unwrap_or_default(), request.arg(3).unwrap_or_default());
    if !is_valid_name(value) {
        return client.error(quoting("ERR ", option, " cannot contain spaces, newlines or special characters."));
    }
    if request.is(2, "lib-name") {
        client.entry.about().library = value.to_vec();
    } else if request.is(2, "lib-ver") {
        client.entry.about().library_version = value.to_vec();
    } else {
        return client.error(quoting("ERR Unrecognized option '", option, "'"));
    }
    client.say(|out, _| encode::simple(out, "OK"));
}

fn list(client: &mut Client, request: &Request<'_>) {
    let all = client.worker.shared.register.all();
    let shown: Vec<_> = if request.len() == 2 {
        all
    } else if request.is(2, "type") && request.len() == 4 {
        let kind = request.arg(3).unwrap_or_default();
        match Kind::named(kind) {
            Some(kind) => all.into_iter().filter(|entry| kind.is_of(entry)).collect(),
            None => return client.error(quoting("ERR Unknown client type '", kind, "'")),
        }
    } else if request.is(2, "id") && request.len() > 3 {
        let ids: Option<Vec<i64>> = request.args_from(3).map(decimal).collect();
        match ids {
            Some(ids) => ids.into_iter().filter_map(|id| client.worker.shared.register.find(id)).collect(),
            None => return client.error("ERR Invalid client ID"),
        }
    } else {
        return client.error(SYNTAX);
    };
    let mut lines = Vec::new();
    shown.iter().for_each(|entry| client.worker.shared.register.line(entry, &mut lines));
    client.say(|out, protocol| encode::verbatim(out, protocol, &lines));
}

/// Whether a filter of `CLIENT KILL` chooses a client.
type Filter<'a> = Box<dyn Fn(&Arc<Entry>) -> bool + 'a>;

/// `CLIENT KILL address`, or filters `ID`, `ADDR`, `LADDR`, `USER`, `TYPE`, `SKIPME`.
fn kill(client: &mut Client, request: &Request<'_>) -> Outcome {
    let all = client.worker.shared.register.all();
    if request.len() == 3 {
        let address = request.arg(2).unwrap_or_default();
        let Some(found) = all.into_iter().find(|entry| entry.peer.as_bytes() == address) else {
            client.error("ERR No such client");
            return Outcome::Done;
        };
        client.say(|out, _| encode::simple(out, "OK"));
        return close(client, &[found]);
    }
    match chosen(client, request, all) {
        Ok(chosen) => {
            let count = i64::try_from(chosen.len()).unwrap_or(i64::MAX);
            client.say(|out, _| encode::integer(out, count));
            close(client, &chosen)
        }
        Err(text) => {
            client.error(text);
            Outcome::Done
        }
    }
}

/// Closes clients; the one that asks, once it has its answer.
fn close(client: &Client, chosen: &[Arc<Entry>]) -> Outcome {
    let (own, others): (Vec<_>, Vec<_>) = chosen.iter().partition(|entry| entry.id == client.entry.id);
    others.iter().for_each(|entry| client.worker.shared.close(entry));
    if own.is_empty() { Outcome::Done } else { Outcome::Close(CloseReason::Killed) }
}

/// The clients all filters choose. They are read from left to right; the first that is wrong is told.
fn chosen(client: &Client, request: &Request<'_>, mut chosen: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Vec<u8>> {
    let mut skip_me = true;
    for index in (2..request.len()).step_by(2) {
        let value = request.arg(index + 1).ok_or(SYNTAX)?;
        let keep: Filter<'_> = if request.is(index, "id") {
            let id = id_of(value).ok_or("ERR client-id should be greater than 0")?;
            Box::new(move |entry| entry.id == id)
        } else if request.is(index, "addr") {
            Box::new(move |entry| entry.peer.as_bytes() == value)
        } else if request.is(index, "laddr") {
            Box::new(move |entry| entry.local.as_bytes() == value)
        } else if request.is(index, "user") && !client.worker.shared.users().knows(value) {
            return Err(quoting("ERR No such user '", value, "'"));
        } else if request.is(index, "user") {
            Box::new(move |entry| entry.about().user.as_bytes() == value)
        } else if request.is(index, "type") {
            let kind = Kind::named(value).ok_or_else(|| quoting("ERR Unknown client type '", value, "'"))?;
            Box::new(move |entry| kind.is_of(entry))
        } else if request.is(index, "skipme") && (request.is(index + 1, "yes") || request.is(index + 1, "no")) {
            skip_me = request.is(index + 1, "yes");
            continue;
        } else {
            return Err(SYNTAX.into());
        };
        chosen.retain(|entry| keep(entry));
    }
    chosen.retain(|entry| !(skip_me && entry.id == client.entry.id));
    Ok(chosen)
}

/// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`: the server is asked the same of the connection that client holds.
fn unblock(client: &mut Client, request: &Request<'_>) -> Outcome {
    let how = request.arg(3).unwrap_or(b"timeout");
    if !(how.eq_ignore_ascii_case(b"timeout") || how.eq_ignore_ascii_case(b"error")) {
        client.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        return Outcome::Done;
    }
    let Some(id) = request.arg(2).and_then(decimal) else {
        client.error("ERR value is not an integer or out of range");
        return Outcome::Done;
    };
    let blocked = client.worker.shared.register.find(id);
    let Some(connection) = blocked.and_then(|entry| entry.name_connection()) else {
        client.say(|out, _| encode::integer(out, 0));
        return Outcome::Done;
    };
    client.ask_server(&[b"CLIENT", b"UNBLOCK", connection.to_string().as_bytes(), how], None)
}

fn reply(client: &mut Client, request: &Request<'_>) {
    if request.is(2, "on") {
        client.replies = Replies::On;
        client.outbox.mute(false);
        client.say(|out, _| encode::simple(out, "OK"));
    } else if request.is(2, "off") {
        client.replies = Replies::Off;
    } else if request.is(2, "skip") {
        // While replies are off there is nothing to skip.
        if client.replies != Replies::Off {
            client.replies = Replies::SkipNext;
        }
    } else {
        client.error(SYNTAX);
    }
}

/// A type of clients.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Normal,
    Subscriber,
    /// Replicas and masters do not connect here.
    Replication,
}

impl Kind {
    fn named(text: &[u8]) -> Option<Self> {
        match text.to_ascii_lowercase().as_slice() {
            b"normal" => Some(Self::Normal),
            b"pubsub" => Some(Self::Subscriber),
            b"replica" | b"slave" | b"master" => Some(Self::Replication),
            _ => None,
        }
    }

    fn is_of(self, entry: &Entry) -> bool {
        let is_subscribed = entry.about().view.is_subscribed();
        match self {
            Self::Normal => !is_subscribed,
            Self::Subscriber => is_subscribed,
            Self::Replication => false,
        }
    }
}

fn id_of(text: &[u8]) -> Option<u64> {
    decimal(text).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0)
}
