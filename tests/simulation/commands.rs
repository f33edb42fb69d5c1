//! The commands of connections, and which are refused when.

use super::tracking::Tracking;
use super::{Blocked, Id, Redis, Transaction};
use crate::keys::Millis;
use crate::resp::{Reply, integer};

const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
const LOADING: &str = "LOADING Redis is loading the dataset in memory";
const NO_AUTH: &str = "NOAUTH Authentication required.";
const WRONG_PASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// Who may run a command when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Not while loading.
    Read,
    /// Nor on a replica.
    Write,
    /// Always: it concerns the connection.
    Session,
}

/// Name, arguments with the name, at least so many where negative.
const COMMANDS: &[(&str, i64, Kind)] = &[
    ("get", 2, Kind::Read),
    ("mget", -2, Kind::Read),
    ("exists", -2, Kind::Read),
    ("touch", -2, Kind::Read),
    ("strlen", 2, Kind::Read),
    ("ttl", 2, Kind::Read),
    ("pttl", 2, Kind::Read),
    ("lrange", 4, Kind::Read),
    ("hmget", -3, Kind::Read),
    ("set", -3, Kind::Write),
    ("setex", 4, Kind::Write),
    ("psetex", 4, Kind::Write),
    ("getset", 3, Kind::Write),
    ("mset", -3, Kind::Write),
    ("del", -2, Kind::Write),
    ("unlink", -2, Kind::Write),
    ("expire", -3, Kind::Write),
    ("pexpire", -3, Kind::Write),
    ("expireat", -3, Kind::Write),
    ("pexpireat", -3, Kind::Write),
    ("persist", 2, Kind::Write),
    ("incr", 2, Kind::Write),
    ("append", 3, Kind::Write),
    ("rpush", -3, Kind::Write),
    ("lpop", -2, Kind::Write),
    ("blpop", -3, Kind::Write),
    ("hset", -4, Kind::Write),
    ("hmset", -4, Kind::Write),
    ("flushdb", -1, Kind::Write),
    ("flushall", -1, Kind::Write),
    ("swapdb", 3, Kind::Write),
    ("eval", -3, Kind::Write),
    ("ping", -1, Kind::Read),
    ("echo", 2, Kind::Read),
    ("command", -1, Kind::Session),
    ("hello", -1, Kind::Session),
    ("auth", -2, Kind::Session),
    ("reset", 1, Kind::Session),
    ("select", 2, Kind::Session),
    ("client", -2, Kind::Session),
    ("info", -1, Kind::Session),
    ("multi", 1, Kind::Session),
    ("exec", 1, Kind::Session),
    ("discard", 1, Kind::Session),
    ("watch", -2, Kind::Session),
    ("unwatch", 1, Kind::Session),
    ("subscribe", -2, Kind::Session),
    ("unsubscribe", -1, Kind::Session),
    ("publish", 3, Kind::Session),
];

impl Redis {
    /// Runs, queues or refuses a request, and says what there is to say behind its reply.
    pub(super) fn execute(&mut self, id: Id, args: Vec<Vec<u8>>, now: Millis) {
        let is_client = args[0].eq_ignore_ascii_case(b"client") && Self::subcommand_refusal(&args).is_none();
        self.obey(id, args, now);
        self.pay(id);
        self.forget_wish(id, is_client);
    }

    fn obey(&mut self, id: Id, args: Vec<Vec<u8>>, now: Millis) {
        let name = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
        if let Some(refusal) = self.refusal(id, &name, &args) {
            if name == "exec" {
                self.forget_transaction(id);
                self.say(id, &Reply::Error(format!("EXECABORT Transaction discarded because of: {refusal}")));
                return;
            }
            if let Some(transaction) = &mut self.connection(id).transaction {
                transaction.is_broken = true;
            }
            self.say(id, &Reply::Error(refusal));
            return;
        }
        let runs_at_once = matches!(name.as_str(), "exec" | "discard" | "multi" | "watch" | "reset");
        if let Some(transaction) = self.connection(id).transaction.as_mut().filter(|_| !runs_at_once) {
            transaction.queued.push(args);
            self.say(id, &Reply::Status("QUEUED"));
            return;
        }
        if let Some(reply) = self.run(id, &name, &args[1..], now) {
            self.say(id, &reply);
        }
    }

    /// Why a request is not even queued.
    fn refusal(&mut self, id: Id, name: &str, args: &[Vec<u8>]) -> Option<String> {
        let (is_replica, is_loading) = (self.is_replica, self.is_loading);
        let connection = self.connection(id);
        let Some((_, arity, kind)) = COMMANDS.iter().find(|row| row.0 == name) else {
            let shown = |arg: &Vec<u8>| format!("'{}' ", String::from_utf8_lossy(arg));
            let name = String::from_utf8_lossy(&args[0]);
            let rest: String = args[1..].iter().map(shown).collect();
            return Some(format!("ERR unknown command '{name}', with args beginning with: {rest}"));
        };
        let count = args.len() as i64;
        if if *arity < 0 { count < -arity } else { count != *arity } {
            return Some(format!("ERR wrong number of arguments for '{name}' command"));
        }
        if let Some(refusal) = Some(args).filter(|_| name == "client").and_then(Self::subcommand_refusal) {
            return Some(refusal);
        }
        if !connection.is_authenticated && !matches!(name, "hello" | "auth" | "reset") {
            return Some(NO_AUTH.to_owned());
        }
        let queued = connection.transaction.as_ref().filter(|_| name == "exec");
        let writes = |request: &Vec<Vec<u8>>| {
            let name = String::from_utf8_lossy(&request[0]).to_ascii_lowercase();
            COMMANDS.iter().any(|row| row.0 == name && row.2 == Kind::Write)
        };
        if is_replica && (*kind == Kind::Write || queued.is_some_and(|queued| queued.queued.iter().any(writes))) {
            return Some(READ_ONLY.to_owned());
        }
        let is_subscriber = connection.protocol == 2 && !connection.channels.is_empty();
        if is_subscriber && !matches!(name, "subscribe" | "unsubscribe" | "ping" | "reset") {
            return Some(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
                 in this context"
            ));
        }
        (is_loading && *kind != Kind::Session).then(|| LOADING.to_owned())
    }

    /// Runs a command; `None` if it has been answered, or will be.
    fn run(&mut self, id: Id, name: &str, args: &[Vec<u8>], now: Millis) -> Option<Reply> {
        let db = self.connection(id).db;
        if let Some(past) = &mut self.past {
            past.execute(id, db, name, args, now);
        }
        let reply = self.answer(id, name, args, now);
        self.settle(Some(id), now);
        self.remember(id, name, args);
        reply
    }

    fn answer(&mut self, id: Id, name: &str, args: &[Vec<u8>], now: Millis) -> Option<Reply> {
        let db = self.connection(id).db;
        Some(match name {
            "ping" => self.pong(id, args),
            "echo" => Reply::Text(args[0].clone()),
            "command" => Reply::Array(Vec::new()),
            "hello" => self.hello(id, args),
            "auth" => self.authenticate(id, args),
            "reset" => self.reset(id),
            "select" => self.select(id, &args[0]),
            "client" => self.client(id, args),
            "info" => {
                Reply::Verbatim(format!("# Server\r\nredis_version:{}\r\nrun_id:{:040x}\r\n", self.version, self.run))
            }
            "multi" if self.connection(id).transaction.is_some() => Reply::error("ERR MULTI calls can not be nested"),
            "multi" => {
                self.connection(id).transaction = Some(Transaction::default());
                Reply::OK
            }
            "exec" => return self.exec(id, now),
            "discard" if self.connection(id).transaction.is_none() => Reply::error("ERR DISCARD without MULTI"),
            "discard" => {
                self.forget_transaction(id);
                Reply::OK
            }
            "watch" => self.watch(id, args, now),
            "unwatch" => {
                self.connection(id).watched.clear();
                Reply::OK
            }
            "subscribe" => return self.subscribe(id, args),
            "unsubscribe" => return self.unsubscribe(id, args),
            "publish" => self.publish(&args[0], &args[1]),
            "blpop" => return self.wait_for_element(id, args, now),
            "flushdb" => self.flush(id, Some(db), args, now),
            "flushall" => self.flush(id, None, args, now),
            "swapdb" => self.swap(args, now),
            "eval" => self.eval(db, args, now),
            _ => self.keys(db).run(name, args, now),
        })
    }

    fn pong(&mut self, id: Id, args: &[Vec<u8>]) -> Reply {
        let connection = self.connection(id);
        let text = args.first().cloned();
        if connection.protocol == 2 && !connection.channels.is_empty() {
            return Reply::Array(vec![Reply::text("pong"), Reply::Text(text.unwrap_or_default())]);
        }
        text.map_or(Reply::Status("PONG"), Reply::Text)
    }

    fn hello(&mut self, id: Id, args: &[Vec<u8>]) -> Reply {
        let protocol = match args.first().map(|version| integer(version)) {
            None => self.connection(id).protocol,
            Some(Some(version @ 2..=3)) => version as u8,
            Some(_) => return Reply::error("NOPROTO unsupported protocol version"),
        };
        let mut rest = args.get(1..).unwrap_or_default();
        while let [option, values @ ..] = rest {
            rest = match (option.to_ascii_lowercase().as_slice(), values) {
                (b"auth", [_, password, rest @ ..]) => {
                    if !self.accepts(password) {
                        return Reply::error(WRONG_PASS);
                    }
                    self.connection(id).is_authenticated = true;
                    rest
                }
                (b"setname", [_, rest @ ..]) => rest,
                _ => return Reply::Error(format!("ERR Syntax error in HELLO option '{}'", option.escape_ascii())),
            };
        }
        let (version, role) = (self.version.clone(), if self.is_replica { "replica" } else { "master" });
        let connection = self.connection(id);
        if !connection.is_authenticated {
            return Reply::error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
                 <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
                 the same time",
            );
        }
        connection.protocol = protocol;
        Reply::Map(vec![
            (Reply::text("server"), Reply::text("redis")),
            (Reply::text("version"), Reply::text(&version)),
            (Reply::text("proto"), Reply::Integer(protocol.into())),
            (Reply::text("id"), Reply::Integer(connection.client)),
            (Reply::text("mode"), Reply::text("standalone")),
            (Reply::text("role"), Reply::text(role)),
            (Reply::text("modules"), Reply::Array(Vec::new())),
        ])
    }

    fn accepts(&self, password: &[u8]) -> bool {
        self.password.as_ref().is_none_or(|right| right.as_bytes() == password)
    }

    fn authenticate(&mut self, id: Id, args: &[Vec<u8>]) -> Reply {
        if !self.accepts(args.last().expect("it has an argument")) {
            return Reply::error(WRONG_PASS);
        }
        self.connection(id).is_authenticated = true;
        Reply::OK
    }

    fn reset(&mut self, id: Id) -> Reply {
        let is_open = self.password.is_none();
        let connection = self.connection(id);
        (connection.protocol, connection.db, connection.is_authenticated) = (2, 0, is_open);
        connection.channels.clear();
        connection.tracking = Tracking::Off;
        self.forget_transaction(id);
        Reply::Status("RESET")
    }

    fn select(&mut self, id: Id, db: &[u8]) -> Reply {
        match integer(db) {
            None => Reply::error("ERR value is not an integer or out of range"),
            Some(db @ 0..=15) => {
                self.connection(id).db = db as u32;
                Reply::OK
            }
            Some(_) => Reply::error("ERR DB index is out of range"),
        }
    }

    fn forget_transaction(&mut self, id: Id) {
        let connection = self.connection(id);
        connection.transaction = None;
        connection.watched.clear();
    }

    fn exec(&mut self, id: Id, now: Millis) -> Option<Reply> {
        let connection = self.connection(id);
        let Some(transaction) = connection.transaction.take() else {
            return Some(Reply::error("ERR EXEC without MULTI"));
        };
        let watched = std::mem::take(&mut connection.watched);
        if transaction.is_broken {
            return Some(Reply::error("EXECABORT Transaction discarded because of previous errors."));
        }
        if watched.iter().any(|(db, key, version)| self.keys(*db).version(key, now) != *version) {
            return Some(Reply::NullArray);
        }
        self.say(id, &Reply::Elements(transaction.queued.len()));
        for args in transaction.queued {
            let name = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
            let reply = match name.as_str() {
                // Nobody waits in a transaction.
                "blpop" => Some(self.element_now(id, &args[1..], now).unwrap_or(Reply::NullArray)),
                _ => self.run(id, &name, &args[1..], now),
            };
            // As it comes: a `HELLO` is for what stands behind it.
            reply.into_iter().for_each(|reply| self.say(id, &reply));
        }
        None
    }

    fn watch(&mut self, id: Id, keys: &[Vec<u8>], now: Millis) -> Reply {
        if self.connection(id).transaction.is_some() {
            return Reply::error("ERR WATCH inside MULTI is not allowed");
        }
        let db = self.connection(id).db;
        for key in keys {
            let version = self.keys(db).version(key, now);
            let watched = &mut self.connection(id).watched;
            // Watched again, it is watched since the first time.
            if !watched.iter().any(|(other_db, other, _)| *other_db == db && other == key) {
                watched.push((db, key.clone(), version));
            }
        }
        Reply::OK
    }

    fn wait_for_element(&mut self, id: Id, args: &[Vec<u8>], now: Millis) -> Option<Reply> {
        let reply = self.element_now(id, args, now);
        if reply.is_none() {
            let (timeout, keys) = args.split_last().expect("it has a timeout");
            let seconds = seconds(timeout).expect("it has been checked");
            let until = (seconds > 0.0).then(|| now + (seconds * 1000.0).ceil() as Millis);
            self.connection(id).blocked = Some(Blocked { keys: keys.to_vec(), until });
            self.blocked.push(id);
        }
        reply
    }

    /// What `BLPOP` can be answered without waiting.
    fn element_now(&mut self, id: Id, args: &[Vec<u8>], now: Millis) -> Option<Reply> {
        let (timeout, keys) = args.split_last().expect("it has a timeout");
        match seconds(timeout) {
            None => Some(Reply::error("ERR timeout is not a float or out of range")),
            Some(seconds) if seconds < 0.0 => Some(Reply::error("ERR timeout is negative")),
            Some(_) => self.first_element(id, keys, now),
        }
    }

    fn first_element(&mut self, id: Id, keys: &[Vec<u8>], now: Millis) -> Option<Reply> {
        let db = self.connection(id).db;
        keys.iter().find_map(|key| match self.keys(db).pop(key, now) {
            Ok(element) => Some(Reply::Array(vec![Reply::Text(key.clone()), Reply::Text(element?)])),
            Err(error) => Some(error),
        })
    }
}

fn seconds(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
