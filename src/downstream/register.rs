//! Every connected client, as `CLIENT LIST` shows it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
    about: Mutex<About>,
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
            about: Mutex::new(about),
        });
        self.entries.insert(id, Arc::clone(&entry));
        entry
    }

    pub(super) fn remove(&self, id: u64) {
        self.entries.remove(&id);
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
        let command = Commands::rows().get(entry.last_command.load(Ordering::Relaxed)).map_or("NULL", |row| row.name);
        let mut text = String::new();
        let _ = write!(text, "id={} addr={} laddr={} fd=-1 name=", entry.id, entry.peer, entry.local);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(&about.name);
        text.clear();
        let _ = write!(
            text,
            " age={} idle={idle} flags=N db={} sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 \
             rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={command} user={} redir=-1 resp={} lib-name=",
            entry.connected.elapsed().as_secs(),
            about.db,
            about.user,
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
}
