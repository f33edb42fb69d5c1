//! Who is told of what: `CLIENT TRACKING`, and the other subcommands of `CLIENT`.
//!
//! ```text
//! a command ─ runs ─▶ keys it changed ─ settle ─▶ those in the table are told, and forgotten
//!                └──▶ keys it read ─ remember ─▶ the table
//! ```
//!
//! Whoever runs a command is told of its changes behind the reply, others at once.

use std::collections::{BTreeMap, BTreeSet};

use super::{Id, Redis};
use crate::keys::Millis;
use crate::resp::{Reply, integer};

/// What a connection wants to be told of: keys it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracking {
    Off,
    All,
    /// Where it says so beforehand; whether it has.
    OptIn(bool),
}

/// Whether the subcommand is there, and its arguments with both names, at least so many where negative.
const SUBCOMMANDS: &[(&str, i64)] =
    &[("id", 2), ("setname", 3), ("kill", -3), ("tracking", -3), ("caching", 3), ("trackinginfo", 2)];

/// Those that are remembered, and whether all arguments are keys, or the first.
const READS: &[(&str, bool)] = &[
    ("get", false),
    ("mget", true),
    ("exists", true),
    ("touch", true),
    ("strlen", false),
    ("ttl", false),
    ("pttl", false),
    ("lrange", false),
    ("hmget", false),
];

/// Who has read what, whatever the database.
#[derive(Debug, Default)]
pub(super) struct Table {
    readers: BTreeMap<Vec<u8>, BTreeSet<Id>>,
    /// What is told to whoever runs a command, once he has the reply. No key: all of them.
    owed: Vec<Option<Vec<u8>>>,
}

impl Redis {
    /// Why there is no such subcommand of `CLIENT`.
    pub(super) fn subcommand_refusal(args: &[Vec<u8>]) -> Option<String> {
        let name = String::from_utf8_lossy(&args[1]).to_ascii_lowercase();
        let count = args.len() as i64;
        match SUBCOMMANDS.iter().find(|row| row.0 == name) {
            None => Some(format!("ERR unknown subcommand '{}'. Try CLIENT HELP.", args[1].escape_ascii())),
            Some((_, arity)) if if *arity < 0 { count < -arity } else { count != *arity } => {
                Some(format!("ERR wrong number of arguments for 'client|{name}' command"))
            }
            Some(_) => None,
        }
    }

    pub(super) fn client(&mut self, id: Id, args: &[Vec<u8>]) -> Reply {
        let words: Vec<_> = args.iter().map(|arg| arg.to_ascii_lowercase()).collect();
        match words.iter().map(Vec::as_slice).collect::<Vec<_>>().as_slice() {
            [b"id"] => Reply::Integer(self.connection(id).client),
            [b"setname", _] => Reply::OK,
            [b"kill", b"id", number] => match integer(number).filter(|number| *number > 0) {
                Some(number) => self.kill(id, number),
                None => Reply::error("ERR client-id should be greater than 0"),
            },
            [b"tracking", b"on"] => self.track(id, Tracking::All),
            [b"tracking", b"on", b"optin"] => self.track(id, Tracking::OptIn(false)),
            [b"tracking", b"off"] => {
                self.connection(id).tracking = Tracking::Off;
                Reply::OK
            }
            [b"caching", answer @ (b"yes" | b"no")] => self.ask_for_next(id, *answer == b"yes"),
            [b"trackinginfo"] => self.tracking_info(id),
            _ => Reply::error("ERR syntax error"),
        }
    }

    fn kill(&mut self, id: Id, number: i64) -> Reply {
        let found = self.connections.iter().find(|(_, connection)| connection.client == number).map(|(id, _)| *id);
        match found {
            None => return Reply::Integer(0),
            Some(other) if other == id => self.close_behind(id),
            Some(other) => self.close(other),
        }
        Reply::Integer(1)
    }

    fn track(&mut self, id: Id, wish: Tracking) -> Reply {
        let tracking = &mut self.connection(id).tracking;
        *tracking = match (*tracking, wish) {
            // What it has asked for stays asked for.
            (Tracking::OptIn(is_asked), Tracking::OptIn(_)) => Tracking::OptIn(is_asked),
            (_, wish) => wish,
        };
        Reply::OK
    }

    fn ask_for_next(&mut self, id: Id, is_wanted: bool) -> Reply {
        match (&mut self.connection(id).tracking, is_wanted) {
            (Tracking::Off, _) => Reply::error(
                "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
                 enabled",
            ),
            (Tracking::OptIn(is_asked), true) => {
                *is_asked = true;
                Reply::OK
            }
            (_, true) => Reply::error("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."),
            (_, false) => Reply::error("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."),
        }
    }

    fn tracking_info(&mut self, id: Id) -> Reply {
        let flags: &[&str] = match self.connection(id).tracking {
            Tracking::Off => &["off"],
            Tracking::All => &["on"],
            Tracking::OptIn(false) => &["on", "optin"],
            Tracking::OptIn(true) => &["on", "optin", "caching-yes"],
        };
        let redirect = if flags[0] == "on" { 0 } else { -1 };
        Reply::Map(vec![
            (Reply::text("flags"), Reply::Set(flags.iter().map(|flag| Reply::text(flag)).collect())),
            (Reply::text("redirect"), Reply::Integer(redirect)),
            (Reply::text("prefixes"), Reply::Array(Vec::new())),
        ])
    }

    /// A request has been answered: what was asked for, was for this one, or for the transaction it began.
    pub(super) fn forget_wish(&mut self, id: Id, is_client: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Tracking::OptIn(is_asked) = &mut connection.tracking
            && !is_client
            && connection.transaction.is_none()
        {
            *is_asked = false;
        }
    }

    /// Keys were changed, by this connection or by nobody who could be told later.
    pub(super) fn settle(&mut self, current: Option<Id>, now: Millis) {
        for (db, keys) in &mut self.databases {
            for key in std::mem::take(&mut keys.changed) {
                if let Some(past) = &mut self.past {
                    past.hold((*db, key.clone()), keys.held(&key, now), now);
                }
                for reader in self.table.readers.remove(&key).unwrap_or_default() {
                    let connection = self.connections.get_mut(&reader);
                    let Some(connection) = connection.filter(|reader| reader.tracking != Tracking::Off) else {
                        continue;
                    };
                    if Some(reader) == current {
                        self.table.owed.push(Some(key.clone()));
                    } else {
                        connection.tell(Reply::Array(vec![Reply::Text(key.clone())]));
                        self.news.insert(reader);
                    }
                }
            }
        }
    }

    /// A command has read keys.
    pub(super) fn remember(&mut self, id: Id, name: &str, args: &[Vec<u8>]) {
        let Some((_, reads_all)) = READS.iter().find(|row| row.0 == name) else { return };
        if matches!(self.connection(id).tracking, Tracking::All | Tracking::OptIn(true)) {
            let keys = if *reads_all { args } else { &args[..1] };
            for key in keys {
                self.table.readers.entry(key.clone()).or_default().insert(id);
            }
        }
    }

    /// A request has been answered.
    pub(super) fn pay(&mut self, id: Id) {
        for key in std::mem::take(&mut self.table.owed) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.tell(key.map_or(Reply::Null, |key| Reply::Array(vec![Reply::Text(key)])));
            self.news.insert(id);
        }
    }

    /// `FLUSHALL` or, of one database, `FLUSHDB`.
    pub(super) fn flush(&mut self, id: Id, db: Option<u32>, args: &[Vec<u8>], now: Millis) -> Reply {
        if !matches!(args, [] | [_]) || args.first().is_some_and(|how| !is_one_of(how, &["sync", "async"])) {
            return Reply::error("ERR syntax error");
        }
        for (number, keys) in &mut self.databases {
            if db.is_none_or(|db| db == *number) {
                let names = keys.flush().into_iter();
                let past = self.past.as_mut();
                past.into_iter().for_each(|past| names.clone().for_each(|key| past.hold((*number, key), None, now)));
            }
        }
        self.table.readers.clear();
        for (other, connection) in &mut self.connections {
            if connection.tracking == Tracking::Off {
                continue;
            }
            if *other == id {
                self.table.owed.push(None);
            } else {
                connection.tell(Reply::Null);
                self.news.insert(*other);
            }
        }
        Reply::OK
    }

    /// `SWAPDB`: nobody is told.
    pub(super) fn swap(&mut self, args: &[Vec<u8>], now: Millis) -> Reply {
        let dbs = match [integer(&args[0]), integer(&args[1])] {
            [None, _] => return Reply::error("ERR invalid first DB index"),
            [_, None] => return Reply::error("ERR invalid second DB index"),
            [Some(one @ 0..=15), Some(other @ 0..=15)] => [one, other].map(|db| db as u32),
            _ => return Reply::error("ERR DB index is out of range"),
        };
        let [one, other] = dbs;
        if one == other {
            return Reply::OK;
        }
        let mut keys = self.databases.remove(&one).unwrap_or_default();
        let names = keys.swap(self.keys(other));
        self.databases.insert(one, keys);
        for (db, key) in dbs.into_iter().flat_map(|db| names.iter().map(move |key| (db, key))) {
            let held = self.keys(db).held(key, now);
            self.past.iter_mut().for_each(|past| past.hold((db, key.clone()), held.clone(), now));
        }
        Reply::OK
    }

    /// `EVAL` of the one script the model knows.
    pub(super) fn eval(&mut self, db: u32, args: &[Vec<u8>], now: Millis) -> Reply {
        match args {
            [script, count, key, value] if script == SET_KEY && count == b"1" => {
                self.keys(db).run("set", &[key.clone(), value.clone()], now)
            }
            [script, count, key, value] if script == SET_UNDECLARED && count == b"0" => {
                self.keys(db).run("set", &[key.clone(), value.clone()], now)
            }
            _ => panic!("the model of Redis does not know this script"),
        }
    }
}

pub(crate) const SET_KEY: &[u8] = b"return redis.call('set', KEYS[1], ARGV[1])";

/// It writes a key it does not declare.
pub(crate) const SET_UNDECLARED: &[u8] = b"return redis.call('set', ARGV[1], ARGV[2])";

impl super::Connection {
    /// That these keys have changed, if it can be told. What is owed is told even if it wants to hear no more.
    fn tell(&mut self, keys: Reply) {
        if self.protocol == 3 {
            Reply::Push(vec![Reply::text("invalidate"), keys]).write(3, &mut self.unsent);
        }
    }
}

fn is_one_of(word: &[u8], words: &[&str]) -> bool {
    words.iter().any(|other| word.eq_ignore_ascii_case(other.as_bytes()))
}
