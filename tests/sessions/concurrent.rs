//! As `late`, with everybody at once: what nobody has put in an order is put in one by the server.
//!
//! Each request reads a session and writes a value of its own into it, some time later; others destroy it meanwhile. The
//! server's own log (its append-only file) tells in which order all was done, and so whose value it was that has brought a
//! session into being. Who had read it as there when it was not there any more, was late.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::support::{Proxy, RedisServer, Wire, frame_len, shown};
use super::{report, run_all};

/// Connections, half of them to each proxy.
const CONNECTIONS: usize = 12;

/// What each does.
const DEEDS: usize = 250;

/// Sessions that are written at the same time.
const SESSIONS: usize = 8;

/// By how much a proxy may think that an answer was given later than it was, and what a busy machine adds.
const BLUR: Duration = Duration::from_millis(30);

#[test]
fn whoever_comes_first_what_was_destroyed_is_not_written_back() {
    let test = "whoever_comes_first_what_was_destroyed_is_not_written_back";
    let found = run_all(test, 8, 1, run);
    let sum = |count: fn(&Found) -> usize| found.iter().map(count).sum::<usize>();
    report(
        test,
        (
            sum(|found| found.late),
            "late",
            sum(|found| found.begun),
            "begun anew",
            sum(|found| found.created),
            "created",
        ),
    );
    assert!(sum(|found| found.late) > 10 * found.len(), "hardly anybody was late");
    assert!(sum(|found| found.begun) > 10 * found.len(), "hardly anybody has begun anew");
}

/// What there was.
#[derive(Debug, Default)]
struct Found {
    created: usize,
    /// Writes that have left nothing, of who had read what is gone.
    late: usize,
    /// Creations of who had read that nothing is there, while nobody destroyed it.
    begun: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It has read the session first: whether it was there.
    Request {
        was_there: bool,
    },
    /// It says that it is new.
    New,
    /// It destroys, and writes another in its place, in one go.
    Anew,
    Destroy,
}

/// What one connection did.
#[derive(Debug)]
struct Done {
    id: usize,
    keys: Vec<String>,
    kind: Kind,
    /// When it began, and when it knew what it has read.
    began: Instant,
    knew: Instant,
    /// When what it wrote was sent, and answered.
    sent: Instant,
    answered: Instant,
    reply: String,
}

fn run(seed: u64) -> Found {
    let mut random = Rng::with_seed(seed);
    let (reopens, refuses) = (seed % 4 != 3, seed % 2 == 1);
    let server = RedisServer::with().config("appendonly yes").config("auto-aof-rewrite-percentage 0").start();
    let reopen = format!("reopen = \"{}\"", if reopens { "read" } else { "never" });
    let stale = format!("on_stale_write = \"{}\"", if refuses { "refuse" } else { "discard" });
    let lines = ["listen.workers = 2", "[[session]]", "keys = [\"session:*\"]", &reopen, &stale];
    let proxies = [Proxy::with(&server, &lines), Proxy::with(&server, &lines)];
    let done = thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (port, random) = (proxies[number % 2].port(), random.fork());
                scope.spawn(move || Client::new(number, port, random, reopens).run())
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect::<Vec<_>>()
    });
    let log = log(&server);
    judge(&done, &log, reopens).unwrap_or_else(|wrong| panic!("CLOAKROOM_SEED={seed} {lines:?}: {wrong}"))
}

struct Client {
    number: usize,
    wire: Wire,
    random: Rng,
    reopens: bool,
    done: Vec<Done>,
}

impl Client {
    fn new(number: usize, port: u16, random: Rng, reopens: bool) -> Self {
        let wire = if (number / 2).is_multiple_of(2) { Wire::connect(port) } else { Wire::connect_resp3(port) };
        Self { number, wire, random, reopens, done: Vec::new() }
    }

    fn run(mut self) -> Vec<Done> {
        for count in 0..DEEDS {
            let id = self.number * DEEDS + count;
            let at = self.random.usize(0..SESSIONS);
            let done = match self.random.u32(0..100) {
                0..55 => self.request(id, at),
                55..85 => self.destroy(id, at),
                85..93 => self.write_only(id, at / 4 * 4, Kind::New),
                _ => self.write_only(id, at, Kind::Anew),
            };
            self.done.push(done);
        }
        self.done
    }

    /// Reads, does something else for a while, and writes.
    fn request(&mut self, id: usize, at: usize) -> Done {
        let (key, is_hash) = (key(at), is_hash(at));
        let began = Instant::now();
        let reads = if is_hash { ["HGETALL", "EXISTS", "HLEN"] } else { ["GET", "GET", "EXISTS"] };
        let reply = self.wire.ask(&format!("{} {key}", self.random.choice(reads).expect("not empty")));
        let was_there = !["$-1", "_", ":0", "*0", "%0"].contains(&reply.as_str());
        let knew = Instant::now();
        match self.random.u32(0..4) {
            0 => thread::sleep(Duration::from_micros(self.random.u64(100..3000))),
            1 => drop(self.wire.ask("GET other:1")),
            _ => {}
        }
        let write = if is_hash { format!("HSET {key} f w{id}.") } else { self.write_of(&key, id) };
        if write.starts_with("RENAME") {
            self.wire.ask(&format!("SET other:w{id}. w{id}."));
        }
        let is_transaction = self.random.u32(0..8) == 0;
        let sent = Instant::now();
        let reply = if is_transaction { self.ask(&["MULTI", &write, "EXEC"]) } else { self.ask(&[&write]) };
        let kind = Kind::Request { was_there };
        Done { id, keys: vec![key], kind, began, knew, sent, answered: Instant::now(), reply }
    }

    fn write_of(&mut self, key: &str, id: usize) -> String {
        match self.random.u32(0..8) {
            0 => format!("SET {key} w{id}."),
            1 => format!("SETEX {key} 1000 w{id}."),
            2 => format!("SET {key} w{id}. EX 1000"),
            3 => format!("GETSET {key} w{id}."),
            4 => format!("APPEND {key} w{id}."),
            5 => format!("MSET {key} w{id}. other:2 x"),
            6 => format!("SET {key} w{id}. KEEPTTL"),
            _ => format!("RENAME other:w{id}. {key}"),
        }
    }

    fn destroy(&mut self, id: usize, at: usize) -> Done {
        let mut keys = vec![key(at)];
        let line = match self.random.u32(0..6) {
            0 => format!("UNLINK {}", keys[0]),
            1 if !is_hash(at) => format!("GETDEL {}", keys[0]),
            2 => format!("EXPIRE {} 0", keys[0]),
            3 => {
                keys.push(key((at + 1) % SESSIONS));
                format!("DEL {} {}", keys[0], keys[1])
            }
            _ => format!("DEL {}", keys[0]),
        };
        let sent = Instant::now();
        let reply = self.ask(&[&line]);
        Done { id, keys, kind: Kind::Destroy, began: sent, knew: sent, sent, answered: Instant::now(), reply }
    }

    fn write_only(&mut self, id: usize, at: usize, kind: Kind) -> Done {
        let key = key(at);
        let (delete, write) = match (kind == Kind::Anew, is_hash(at)) {
            (true, false) => (Some(format!("DEL {key}")), format!("SET {key} w{id}. EX 900")),
            (true, true) => (Some(format!("DEL {key}")), format!("HSET {key} f w{id}.")),
            (false, _) => (None, format!("SET {key} w{id}. NX EX 1000")),
        };
        // Where nobody may reopen, only a transaction is told apart from what others ask of the same connection.
        let is_transaction = self.random.bool() || kind == Kind::Anew && !self.reopens;
        let mut lines: Vec<&str> = delete.iter().map(String::as_str).chain([write.as_str()]).collect();
        if is_transaction {
            lines.insert(0, "MULTI");
            lines.push("EXEC");
        }
        let sent = Instant::now();
        let reply = self.ask(&lines);
        Done { id, keys: vec![key], kind, began: sent, knew: sent, sent, answered: Instant::now(), reply }
    }

    /// Asks all at once; the last reply.
    fn ask(&mut self, lines: &[&str]) -> String {
        self.wire.say(lines);
        lines.iter().map(|_| shown(&self.wire.frame())).last().expect("a request")
    }
}

fn key(at: usize) -> String {
    format!("session:{}{at}", if is_hash(at) { "hash" } else { "text" })
}

fn is_hash(at: usize) -> bool {
    at % 4 == 3
}

/// What the server has done, in order: steps nobody could look in between, of words.
fn log(server: &RedisServer) -> Vec<Vec<Vec<String>>> {
    let directory = server.directory().join("appendonlydir");
    let files = fs::read_dir(directory).expect("the directory of the log").map(|file| file.expect("a file").path());
    let file = files.into_iter().find(|path| path.to_string_lossy().ends_with(".incr.aof")).expect("a log");
    let bytes = fs::read(file).expect("a log");
    let (mut rest, mut steps, mut open) = (&bytes[..], Vec::new(), None);
    while let Some(len) = frame_len(rest).filter(|_| !rest.is_empty()) {
        let lines = String::from_utf8_lossy(&rest[..len]).into_owned();
        let words: Vec<_> = lines.split("\r\n").skip(2).step_by(2).map(str::to_owned).collect();
        rest = &rest[len..];
        match (words[0].as_str(), &mut open) {
            ("MULTI", _) => open = Some(Vec::new()),
            ("EXEC", _) => steps.extend(open.take()),
            (_, Some(step)) => step.push(words),
            (_, None) => steps.push(vec![words]),
        }
    }
    steps
}

fn judge(done: &[Done], log: &[Vec<Vec<String>>], reopens: bool) -> Result<Found, String> {
    let by_id: BTreeMap<usize, &Done> = done.iter().map(|done| (done.id, done)).collect();
    let mut there: BTreeSet<String> = BTreeSet::new();
    let mut ever_destroyed: BTreeSet<String> = BTreeSet::new();
    // Whose values were there, once a step was over.
    let mut lasting: BTreeSet<usize> = BTreeSet::new();
    let mut found = Found::default();
    for step in log {
        let mut writers: HashMap<String, usize> = HashMap::new();
        let mut is_there: BTreeSet<String> = there.clone();
        for words in step {
            apply(words, &mut is_there, &mut writers);
        }
        for (key, id) in &writers {
            let writer = by_id[id];
            if !is_there.contains(key) {
                continue;
            }
            lasting.insert(*id);
            let is_new = !there.contains(key) && !step.iter().any(|words| destroys(words, key));
            if is_new {
                found.created += 1;
                check(writer, key, done, reopens, ever_destroyed.contains(key))?;
            }
        }
        ever_destroyed.extend(there.difference(&is_there).cloned());
        ever_destroyed.extend(there.iter().filter(|key| step.iter().any(|words| destroys(words, key))).cloned());
        there = is_there;
    }
    for writer in done {
        let is_refused = writer.reply.contains("NOPERM session was destroyed");
        let was_undone = !lasting.contains(&writer.id);
        match writer.kind {
            Kind::Request { was_there: true } if was_undone => found.late += 1,
            Kind::Request { was_there: false } if reopens && is_undisturbed(writer, done) => {
                if was_undone || is_refused {
                    return Err(format!("begun anew, and lost: {writer:?}"));
                }
                found.begun += 1;
            }
            Kind::New if writer.reply.contains("+OK") && was_undone => {
                return Err(format!("new, and lost: {writer:?}"));
            }
            Kind::Anew if was_undone || is_refused => return Err(format!("in place of another, and lost: {writer:?}")),
            Kind::Request { .. } | Kind::New | Kind::Anew | Kind::Destroy => {}
        }
    }
    Ok(found)
}

/// A write has brought a session into being: whether it may have.
fn check(writer: &Done, key: &str, done: &[Done], reopens: bool, was_destroyed: bool) -> Result<(), String> {
    let Kind::Request { was_there } = writer.kind else { return Ok(()) };
    if was_there {
        return Err(format!("{key} is brought back by who had read it: {writer:?}"));
    }
    if !reopens && was_destroyed {
        return Err(format!("{key} is opened again: {writer:?}"));
    }
    // Somebody has destroyed it between the read and the write, long enough for all clocks.
    let is_between = |other: &&Done| {
        other.kind == Kind::Destroy
            && other.reply != ":0"
            && other.keys == [key]
            && other.sent > writer.knew + BLUR
            && other.answered < writer.sent
    };
    match done.iter().find(is_between) {
        None => Ok(()),
        Some(other) => Err(format!("{key} is written by {writer:?}, who has not seen {other:?}")),
    }
}

/// Whether nobody destroyed what it wrote from when it read on.
fn is_undisturbed(writer: &Done, done: &[Done]) -> bool {
    !done.iter().any(|other| {
        matches!(other.kind, Kind::Destroy | Kind::Anew)
            && other.keys.iter().any(|key| writer.keys.contains(key))
            && other.sent < writer.answered
            && other.answered > writer.began
    })
}

fn destroys(words: &[String], key: &str) -> bool {
    ["DEL", "UNLINK"].contains(&words[0].as_str()) && words[1..].iter().any(|word| word == key)
}

fn apply(words: &[String], there: &mut BTreeSet<String>, writers: &mut HashMap<String, usize>) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut write = |key: &str, value: &str| {
        if key.starts_with("session:") {
            there.insert(key.to_owned());
            // What is appended stands at the end.
            let id = value.rsplit('w').next().and_then(|id| id.strip_suffix('.')).and_then(|id| id.parse().ok());
            writers.insert(key.to_owned(), id.expect("a value of ours"));
        }
    };
    match words.as_slice() {
        ["SET" | "APPEND" | "GETSET", key, value, ..] | ["HSET", key, _, value] => write(key, value),
        ["MSET", pairs @ ..] => pairs.chunks(2).for_each(|pair| write(pair[0], pair[1])),
        ["RENAME", from, to] => write(to, from),
        ["DEL" | "UNLINK", keys @ ..] => keys.iter().for_each(|key| {
            there.remove(*key);
        }),
        ["PEXPIREAT" | "SELECT", ..] => {}
        other => panic!("the server's log has {other:?}"),
    }
}
