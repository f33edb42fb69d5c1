//! Every connected client, as `CLIENT LIST` shows it.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use dashmap::DashMap;

use crate::command::Commands;
use crate::resp::Protocol;

/// The clients of all workers.
#[derive(Debug)]
pub struct Register {
    entries: DashMap<u64, Arc<Entry>>,
    last_id: AtomicU64,
    started: Instant,
}

/// One client, as others may see it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    /// Its worker, which alone can close it.
    pub(super) worker: usize,
    pub(super) peer: String,
    pub(super) local: String,
    connected: Instant,
    /// Milliseconds from the register's start to its last request.
    last_active: AtomicU64,
    /// The number of its last command.
    last_command: AtomicUsize,
    own: Own,
    about: Mutex<About>,
}

/// The connection a client holds, for others who name it to the server: to unblock it, to send invalidations there.
#[derive(Debug, Default)]
struct Own {
    /// Its number on the server; 0 while the client holds none.
    connection: AtomicI64,
    /// Somebody has named it to the server.
    is_named: AtomicBool,
}

/// What changes seldom. The lock guards these fields for a few lines, never across an `await`.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    pub(super) name: Vec<u8>,
    pub(super) library: Vec<u8>,
    pub(super) library_version: Vec<u8>,
    pub(super) user: String,
    pub(super) db: u32,
    pub(super) protocol: Protocol,
    /// Of the last command, if it has one.
    pub(super) subcommand: String,
    pub(super) view: View,
}

/// What a client's own connection to the server shows of it; nothing while it holds none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct View {
    /// The connection's number on the server.
    pub(super) connection: i64,
    pub(super) is_blocked: bool,
    pub(super) is_monitoring: bool,
    pub(super) is_tracking: bool,
    pub(super) is_broadcast: bool,
    /// Commands since `MULTI`.
    pub(super) queued: Option<usize>,
    pub(super) channels: u64,
    pub(super) patterns: u64,
    pub(super) shards: u64,
}

impl View {
    pub(super) fn is_subscribed(&self) -> bool {
        self.channels + self.patterns + self.shards > 0
    }

    /// As Redis writes them.
    fn flags(&self) -> String {
        let flags = [
            (self.is_monitoring, 'O'),
            (self.is_subscribed(), 'P'),
            (self.queued.is_some(), 'x'),
            (self.is_blocked, 'b'),
            (self.is_tracking, 't'),
            (self.is_broadcast, 'B'),
        ];
        let set: String = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag).collect();
        if set.is_empty() { "N".to_owned() } else { set }
    }
}

impl Default for Register {
    fn default() -> Self {
        Self { entries: DashMap::new(), last_id: AtomicU64::new(0), started: Instant::now() }
    }
}

impl Register {
    /// Clients connected now.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn add(&self, worker: usize, peer: String, local: String, about: About) -> Arc<Entry> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Arc::new(Entry {
            id,
            worker,
            peer,
            local,
            connected: Instant::now(),
            last_active: AtomicU64::new(self.now()),
            last_command: AtomicUsize::new(Commands::rows().len()),
            own: Own::default(),
            about: Mutex::new(about),
        });
        self.entries.insert(id, Arc::clone(&entry));
        entry
    }

    pub(super) fn remove(&self, id: u64) {
        self.entries.remove(&id);
    }

    /// The client of that number, as clients write it.
    pub(super) fn find(&self, id: i64) -> Option<Arc<Entry>> {
        self.entries.get(&u64::try_from(id).ok()?).map(|entry| Arc::clone(&entry))
    }

    /// Every client, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> = self.entries.iter().map(|entry| Arc::clone(&entry)).collect();
        all.sort_by_key(|entry| entry.id);
        all
    }

    /// Notes that a client has just asked something.
    pub(super) fn touch(&self, entry: &Entry, command: usize) {
        entry.last_active.store(self.now(), Ordering::Relaxed);
        entry.last_command.store(command, Ordering::Relaxed);
    }

    /// A client's line in `CLIENT LIST`, in the form of Redis 7.0 and with the fields newer ones add last.
    pub(super) fn line(&self, entry: &Entry, out: &mut Vec<u8>) {
        let about = entry.about().clone();
        let idle = self.now().saturating_sub(entry.last_active.load(Ordering::Relaxed)) / 1000;
        let row = Commands::rows().get(entry.last_command.load(Ordering::Relaxed));
        let command = match row {
            Some(row) if row.has_subcommands() && !about.subcommand.is_empty() => {
                format!("{}|{}", row.name, about.subcommand)
            }
            Some(row) => row.name.to_owned(),
            None => "NULL".to_owned(),
        };
        let View { channels, patterns, shards, queued, .. } = about.view;
        let mut text = String::new();
        let _ = write!(text, "id={} addr={} laddr={} fd=-1 name=", entry.id, entry.peer, entry.local);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(&about.name);
        text.clear();
        let _ = write!(
            text,
            " age={} idle={idle} flags={} db={} sub={channels} psub={patterns} ssub={shards} multi={} qbuf=0 qbuf-free=0 \
             argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={command} user={} redir={} \
             resp={} lib-name=",
            entry.connected.elapsed().as_secs(),
            about.view.flags(),
            about.db,
            queued.map_or("-1".to_owned(), |queued| queued.to_string()),
            about.user,
            if about.view.is_tracking { 0 } else { -1 },
            about.protocol.number(),
        );
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(&about.library);
        out.extend_from_slice(b" lib-ver=");
        out.extend_from_slice(&about.library_version);
        out.push(b'\n');
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Entry {
    pub(super) fn about(&self) -> MutexGuard<'_, About> {
        self.about.lock().expect("no thread panics while it holds this lock")
    }

    /// The client holds the connection the server knows by this number; 0 is none.
    pub(super) fn holds(&self, connection: i64) {
        self.own.connection.store(connection, Ordering::SeqCst);
    }

    /// The client gives its connection up. Tells whether somebody has named it to the server: then it must not go to
    /// another client, who would be meant instead.
    pub(super) fn gives_up(&self) -> bool {
        self.own.connection.store(0, Ordering::SeqCst);
        self.own.is_named.swap(false, Ordering::SeqCst)
    }

    /// The connection the client holds, to name it to the server. That is noted before it is looked up: either the
    /// number is not seen any more, or the client sees that it was.
    pub(super) fn name_connection(&self) -> Option<i64> {
        self.own.is_named.store(true, Ordering::SeqCst);
        let connection = self.own.connection.load(Ordering::SeqCst);
        (connection != 0).then_some(connection)
    }
}
