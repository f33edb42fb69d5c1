//! A model of Redis: what it holds, who is connected, and what each of them is told.
//!
//! ```text
//! receive ─▶ input ─ whole requests, one at a time ─▶ keys
//!                         │
//! take ◀─ sent ◀─ unsent ─┘      what is unsent goes with the process, what is sent is the network's
//! ```
//!
//! No clock and no network of its own: what time it is comes with each call, and bytes are handed in and out.

#[path = "channels.rs"]
mod channels;
#[path = "commands.rs"]
mod commands;
#[path = "tracking.rs"]
pub(crate) mod tracking;
#[path = "whims.rs"]
mod whims;

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{Keys, Millis};
use super::past::Past;
use super::resp::{self, Reply};
use tracking::{Table, Tracking};

/// A connection, of whatever run of the server.
pub(crate) type Id = u64;

/// A server that keeps what it has acknowledged, whatever happens to its process.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) version: String,
    /// `CLIENT ID` of whoever connects next: begins again with each run.
    pub(crate) next_client: i64,
    pub(crate) password: Option<String>,
    run: u64,
    next_id: Id,
    databases: BTreeMap<u32, Keys>,
    connections: BTreeMap<Id, Connection>,
    /// In the order in which they began to wait.
    blocked: Vec<Id>,
    /// What was sent to connections that are closed.
    last_words: BTreeMap<Id, Vec<u8>>,
    is_up: bool,
    is_stopped: bool,
    is_loading: bool,
    is_replica: bool,
    /// The next command takes its time.
    is_slow: bool,
    /// One has begun to take its time.
    is_busy: bool,
    /// Connections that were told something, or closed.
    news: BTreeSet<Id>,
    /// Who is to be told of what.
    table: Table,
    /// What is known of everything that ever happened, if anybody wants to know.
    pub(crate) past: Option<Past>,
}

#[derive(Debug)]
struct Connection {
    client: i64,
    protocol: u8,
    db: u32,
    is_authenticated: bool,
    input: Vec<u8>,
    /// The other side has closed.
    is_ended: bool,
    unsent: Vec<u8>,
    sent: Vec<u8>,
    /// It is closed behind its last reply.
    is_closing: bool,
    transaction: Option<Transaction>,
    watched: Vec<(u32, Vec<u8>, u64)>,
    channels: BTreeSet<Vec<u8>>,
    blocked: Option<Blocked>,
    tracking: Tracking,
}

#[derive(Debug, Default)]
struct Transaction {
    queued: Vec<Vec<Vec<u8>>>,
    is_broken: bool,
}

/// It waits for an element of one of these lists.
#[derive(Debug)]
struct Blocked {
    keys: Vec<Vec<u8>>,
    until: Option<Millis>,
}

impl Redis {
    pub(crate) fn new() -> Self {
        Self {
            version: "7.0.15".to_owned(),
            next_client: 1,
            password: None,
            run: 1,
            next_id: 1,
            databases: BTreeMap::new(),
            connections: BTreeMap::new(),
            blocked: Vec::new(),
            last_words: BTreeMap::new(),
            is_up: true,
            is_stopped: false,
            is_loading: false,
            is_replica: false,
            is_slow: false,
            is_busy: false,
            news: BTreeSet::new(),
            table: Table::default(),
            past: None,
        }
    }

    /// Somebody connects; nobody listens while it is down.
    pub(crate) fn connect(&mut self) -> Option<Id> {
        if !self.is_up {
            return None;
        }
        let (id, client) = (self.next_id, self.next_client);
        self.next_id += 1;
        self.next_client += 1;
        let connection = Connection {
            client,
            protocol: 2,
            db: 0,
            is_authenticated: self.password.is_none(),
            input: Vec::new(),
            is_ended: false,
            unsent: Vec::new(),
            sent: Vec::new(),
            is_closing: false,
            transaction: None,
            watched: Vec::new(),
            channels: BTreeSet::new(),
            blocked: None,
            tracking: Tracking::Off,
        };
        self.connections.insert(id, connection);
        Some(id)
    }

    /// Bytes arrive. Those for a connection that is no more are lost.
    pub(crate) fn receive(&mut self, id: Id, bytes: &[u8], now: Millis) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.input.extend_from_slice(bytes);
        self.work(id, now);
    }

    /// The other side has closed.
    pub(crate) fn disconnect(&mut self, id: Id) {
        match self.connections.get_mut(&id) {
            Some(connection) if self.is_stopped => connection.is_ended = true,
            Some(_) => self.close(id),
            None => {}
        }
    }

    /// What has been sent to a connection, and whether it is closed.
    pub(crate) fn take(&mut self, id: Id) -> (Vec<u8>, bool) {
        match self.connections.get_mut(&id) {
            Some(connection) => (std::mem::take(&mut connection.sent), false),
            None => (self.last_words.remove(&id).unwrap_or_default(), true),
        }
    }

    /// The connections for which there is something to take.
    pub(crate) fn take_news(&mut self) -> BTreeSet<Id> {
        std::mem::take(&mut self.news)
    }

    /// Whether a command has begun to take its time.
    pub(crate) fn take_busy(&mut self) -> bool {
        std::mem::take(&mut self.is_busy)
    }

    /// Executes nothing until [`Self::resume`].
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
    }

    pub(crate) fn resume(&mut self, now: Millis) {
        self.is_stopped = false;
        self.news.extend(self.connections.keys());
        self.send();
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.work(id, now);
            if self.connections.get(&id).is_some_and(|connection| connection.is_ended) && !self.is_stopped {
                self.close(id);
            }
        }
        self.end_waits(now);
    }

    /// The next command is executed, and answered only at [`Self::resume`].
    pub(crate) fn be_slow(&mut self, is_slow: bool) {
        self.is_slow = is_slow;
    }

    /// The process ends. What it holds is on the disk.
    pub(crate) fn crash(&mut self) {
        (self.is_up, self.is_stopped, self.is_slow) = (false, false, false);
        self.close_all();
        self.table = Table::default();
    }

    /// Another run begins, unless one is under way: crashes may overlap, and no run keeps the connections of the one before.
    pub(crate) fn start(&mut self, is_loading: bool) {
        if self.is_up {
            return;
        }
        self.run += 1;
        self.next_client = 1;
        (self.is_up, self.is_loading) = (true, is_loading);
    }

    pub(crate) fn loaded(&mut self) {
        self.is_loading = false;
    }

    /// Another server is the primary now.
    pub(crate) fn demote(&mut self) {
        self.is_replica = true;
        let text = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
        for id in std::mem::take(&mut self.blocked) {
            self.say(id, &Reply::error(text));
            self.connection(id).blocked = None;
            self.close_behind(id);
        }
        self.send();
    }

    pub(crate) fn promote(&mut self) {
        self.is_replica = false;
    }

    /// As an operator's `CLIENT KILL` would.
    pub(crate) fn close_all(&mut self) {
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.close(id);
        }
    }

    /// When the next of those who wait gives up; it is told so by [`Self::end_waits`].
    pub(crate) fn next_wait(&self) -> Option<Millis> {
        let until = |id| self.connections.get(id).and_then(|connection| connection.blocked.as_ref()?.until);
        self.blocked.iter().filter_map(until).min().filter(|_| !self.is_stopped)
    }

    /// Tells those whose wait is over.
    pub(crate) fn end_waits(&mut self, now: Millis) {
        if self.is_stopped {
            return;
        }
        let is_over = |connection: &Connection| {
            connection.blocked.as_ref().and_then(|blocked| blocked.until).is_some_and(|until| until <= now)
        };
        let over: Vec<_> = self.blocked.extract_if(.., |id| is_over(&self.connections[id])).collect();
        for id in over {
            self.connection(id).blocked = None;
            self.say(id, &Reply::NullArray);
            self.work(id, now);
        }
        self.send();
    }

    /// Whether it proves to nobody that what he keeps is fresh.
    pub(crate) fn is_deaf(&self) -> bool {
        !self.is_up || self.is_stopped || self.is_loading || self.is_replica
    }

    fn keys(&mut self, db: u32) -> &mut Keys {
        let keys = self.databases.entry(db).or_default();
        keys.is_replica = self.is_replica;
        keys
    }

    fn connection(&mut self, id: Id) -> &mut Connection {
        self.connections.get_mut(&id).expect("nobody has closed it meanwhile")
    }

    /// Executes what has arrived on a connection, as far as requests are whole.
    fn work(&mut self, id: Id, now: Millis) {
        let mut done = 0;
        while !self.is_stopped
            && let Some(connection) = self.connections.get_mut(&id)
        {
            if connection.blocked.is_some() || connection.is_closing {
                break;
            }
            let Some((args, len)) = resp::request(&connection.input[done..]) else { break };
            done += len;
            self.execute(id, args, now);
            self.serve_blocked(now);
            if std::mem::take(&mut self.is_slow) {
                (self.is_stopped, self.is_busy) = (true, true);
            }
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.input.drain(..done);
        }
        self.send();
    }

    /// Gives elements to those who wait for them, in the order in which they began to.
    fn serve_blocked(&mut self, now: Millis) {
        for db in self.databases.keys().copied().collect::<Vec<_>>() {
            for key in std::mem::take(&mut self.keys(db).pushed) {
                for id in self.blocked.clone() {
                    let connection = &self.connections[&id];
                    let blocked = connection.blocked.as_ref().expect("it waits");
                    if connection.db != db || !blocked.keys.contains(&key) {
                        continue;
                    }
                    let Ok(Some(element)) = self.keys(db).pop(&key, now) else { break };
                    self.settle(None, now);
                    self.blocked.retain(|other| *other != id);
                    self.connection(id).blocked = None;
                    self.say(id, &Reply::Array(vec![Reply::Text(key.clone()), Reply::Text(element)]));
                    self.work(id, now);
                }
            }
        }
    }

    fn say(&mut self, id: Id, reply: &Reply) {
        let connection = self.connection(id);
        reply.write(connection.protocol, &mut connection.unsent);
        self.news.insert(id);
    }

    fn close_behind(&mut self, id: Id) {
        self.connection(id).is_closing = true;
    }

    /// Whatever has been said leaves the process, unless it hangs.
    fn send(&mut self) {
        if self.is_stopped {
            return;
        }
        for id in self.news.iter().copied().collect::<Vec<_>>() {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.sent.append(&mut connection.unsent);
            if connection.is_closing {
                self.close(id);
            }
        }
    }

    fn close(&mut self, id: Id) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.blocked.retain(|other| *other != id);
        self.last_words.insert(id, connection.sent);
        self.news.insert(id);
    }
}
