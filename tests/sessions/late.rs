//! What was destroyed is not written back by who had read it before, and whoever begins anew does begin (G6).
//!
//! A schedule is a series of steps of some connections to two proxies: reads, writes, logouts, alone or some at once on one
//! connection. Each step is awaited before the next, so that it is known what the server must hold behind each: a model
//! says it, and a connection to the server tells what is true.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::support::{Proxy, RedisServer, Wire, shown};
use super::{report, run_all};

/// Connections of a schedule.
const CONNECTIONS: usize = 5;

/// Steps of a schedule.
const STEPS: usize = 14;

/// Schedules that use the same proxies, one after the other.
const TOGETHER: u64 = 100;

/// By how much a proxy may think that an answer was given later than it was.
const MARGIN: Duration = Duration::from_millis(10);

/// What clocks and a busy machine add to that.
const BLUR: Duration = Duration::from_millis(15);

/// What the rules of a schedule say.
#[derive(Debug, Clone, Copy)]
struct Told {
    reopens: bool,
    refuses: bool,
    lives_for: &'static str,
}

impl Told {
    fn of(number: u64) -> Self {
        Self {
            reopens: !number.is_multiple_of(3),
            refuses: number % 2 == 1,
            lives_for: ["off", "2h"][number as usize / 2 % 2],
        }
    }

    fn lines(self) -> [String; 6] {
        let Self { reopens, refuses, lives_for } = self;
        [
            "listen.workers = 2".to_owned(),
            "[[session]]".to_owned(),
            "keys = [\"session:*\"]".to_owned(),
            format!("reopen = \"{}\"", if reopens { "read" } else { "never" }),
            format!("on_stale_write = \"{}\"", if refuses { "refuse" } else { "discard" }),
            format!("max_lifetime = \"{lives_for}\""),
        ]
    }
}

#[test]
fn what_had_read_a_session_does_not_bring_it_back() {
    run_schedules("what_had_read_a_session_does_not_bring_it_back", 24);
}

fn run_schedules(test: &str, by_default: u64) {
    // Each seed is good for many schedules.
    let counts = run_all(test, by_default, 2, |seed| {
        let told = Told::of(seed);
        let server = RedisServer::plain();
        let lines = told.lines();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let proxies: Vec<_> = (0..2).map(|_| Proxy::with(&server, &lines)).collect();
        let mut wires: Vec<_> = (0..CONNECTIONS).map(|at| connect(proxies[at % proxies.len()].port(), at)).collect();
        let mut random = Rng::with_seed(seed);
        let mut truth = Wire::connect(server.port());
        let mut counts = Counts::default();
        for number in 0..TOGETHER {
            let mut schedule = Schedule::new(told, number, random.fork(), &mut wires, &mut truth);
            schedule.run(&mut counts).unwrap_or_else(|wrong| {
                panic!("CLOAKROOM_SEED={seed} {told:?}, schedule {number}: {wrong}\n  {}", schedule.steps.join("\n  "))
            });
        }
        counts
    });
    let sum = counts.iter().fold(Counts::default(), |sum, counts| sum.plus(counts));
    report(test, (counts.len() as u64 * TOGETHER, "schedules", &sum));
    let runs = counts.len();
    assert!(sum.stale > 20 * runs, "few writes were late");
    assert!(sum.begun > 20 * runs, "few sessions were begun anew");
    assert!(sum.either < sum.stale + sum.begun, "too much that nobody can judge");
}

fn connect(port: u16, at: usize) -> Wire {
    if at.is_multiple_of(2) { Wire::connect(port) } else { Wire::connect_resp3(port) }
}

/// What there was.
#[derive(Debug, Default, Clone)]
struct Counts {
    /// Writes that must not, and did not, create a session.
    stale: usize,
    /// Writes that had to, and did, create one that had been destroyed.
    begun: usize,
    /// Writes that might do either.
    either: usize,
    destroyed: usize,
    overwritten: usize,
}

impl Counts {
    fn plus(&self, other: &Self) -> Self {
        Self {
            stale: self.stale + other.stale,
            begun: self.begun + other.begun,
            either: self.either + other.either,
            destroyed: self.destroyed + other.destroyed,
            overwritten: self.overwritten + other.overwritten,
        }
    }
}

/// What a connection was last told of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sighting {
    Nothing,
    /// That it is there, and when.
    There(Instant),
    /// That it is gone, and when.
    Gone(Instant),
    /// The same; it has written a session since: that may or may not have used up what it was told.
    Perhaps(Instant),
}

/// What a session is, and who knows.
struct Session {
    key: String,
    is_there: bool,
    /// When its last destruction was sent.
    destroyed: Option<Instant>,
    seen: [Sighting; CONNECTIONS],
}

/// What must become of a write that would create a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    Create,
    Not,
    Either,
}

struct Schedule<'a> {
    told: Told,
    random: Rng,
    wires: &'a mut [Wire],
    /// To the server itself.
    truth: &'a mut Wire,
    /// Two, written together now and then.
    sessions: [Session; 2],
    /// Of no rule: its value is moved or copied into a session.
    source: String,
    steps: Vec<String>,
}

/// Writes that create what is not there, and replace a string: `K` stands for the session, `V` for the value.
const WRITES: &[&str] = &[
    "SET K V",
    "SET K V",
    "SET K V",
    "SET K V EX 1000",
    "SETEX K 1000 V",
    "PSETEX K 1000000 V",
    "SET K V PXAT 99999999999000",
    "SET K V GET",
    "SET K V KEEPTTL",
    "GETSET K V",
    "APPEND K V",
    "SETRANGE K 0 V",
    "MSET K V other:x V",
    "COPY SOURCE K REPLACE",
    "RENAME SOURCE K",
    "BITOP OR K SOURCE",
];

/// Writes of other types than a string, where nothing is there.
const OTHER_WRITES: &[&str] = &[
    "HSET K f V",
    "HMSET K f V",
    "HSETNX K f V",
    "LPUSH K V",
    "SADD K V",
    "ZADD K 1 V",
    "INCR K",
    "INCRBY K 7",
    "INCRBYFLOAT K 1.5",
    "HINCRBY K f 3",
    "XADD K 1-1 f V",
    "PFADD K V",
    "SETBIT K 7 1",
    "GEOADD K 13.3 38.1 V",
    "RPUSH K V",
    "ZADD K INCR 1 V",
    "BITFIELD K SET u8 0 200",
];

/// Writes of who says that it is a new session.
const NEW: &[&str] = &["SET K V NX", "SETNX K V", "SET K V EX 100 NX", "MSETNX K V K V", "set K V px 100000 nx"];

const DESTROYS: &[&str] = &[
    "DEL K",
    "DEL K",
    "DEL K",
    "UNLINK K",
    "GETDEL K",
    "EXPIRE K 0",
    "PEXPIRE K -1",
    "EXPIREAT K 1",
    "DEL none K",
    "DEL K J",
    "UNLINK J K other:x",
    "RENAME K other:away",
];

const READS: &[&str] = &[
    "GET K",
    "GET K",
    "GET K",
    "EXISTS K",
    "TTL K",
    "PTTL K",
    "TYPE K",
    "MGET K",
    "HGETALL K",
    "DUMP K",
    "EXPIRETIME K",
    "TOUCH K",
];

impl<'a> Schedule<'a> {
    fn new(told: Told, number: u64, random: Rng, wires: &'a mut [Wire], truth: &'a mut Wire) -> Self {
        let session = |name: &str| Session {
            key: format!("session:{number}:{name}"),
            is_there: false,
            destroyed: None,
            seen: [Sighting::Nothing; CONNECTIONS],
        };
        let sessions = [session("a"), session("b")];
        Self { told, random, wires, truth, sessions, source: format!("other:{number}"), steps: Vec::new() }
    }

    fn run(&mut self, counts: &mut Counts) -> Result<(), String> {
        // By somebody else, whom no rule is about.
        for at in 0..2 {
            let value = format!("SET {} first EX 3000", self.sessions[at].key);
            self.truth.ask(&value);
            self.sessions[at].is_there = true;
        }
        for step in 0..STEPS {
            let (by, at) = (self.random.usize(0..CONNECTIONS), usize::from(self.random.u32(0..4) == 0));
            match self.random.u32(0..100) {
                0..30 => self.read(by, at),
                30..56 => self.write(by, at, step, counts)?,
                56..74 => self.destroy(by, at, counts)?,
                74..80 => self.new_one(by, at, step)?,
                80..88 => self.begin_anew(by, at, step, counts)?,
                88..93 => self.race(by, at, step)?,
                93..95 => self.vanish(at),
                95..99 => self.read_and_write(by, at, step, counts)?,
                _ => std::thread::sleep(MARGIN + BLUR),
            }
        }
        Ok(())
    }

    fn filled(&self, template: &str, at: usize, step: usize) -> String {
        let words = template.split(' ').map(|word| match word {
            "K" => self.sessions[at].key.clone(),
            "J" => self.sessions[1 - at].key.clone(),
            "V" => format!("v{step}"),
            "SOURCE" => self.source.clone(),
            other => other.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    fn choose(&mut self, templates: &[&'static str]) -> &'static str {
        self.random.choice(templates).expect("not empty")
    }

    /// Asks all at once.
    fn ask(&mut self, by: usize, lines: &[String]) -> Vec<String> {
        let requests: Vec<&str> = lines.iter().map(String::as_str).collect();
        self.wires[by].say(&requests);
        let replies: Vec<_> = lines.iter().map(|_| shown(&self.wires[by].frame())).collect();
        self.steps.push(format!("{by}: {} -> {}", lines.join(" | "), replies.join(" | ")));
        replies
    }

    /// Whether the server holds it.
    fn is_there(&mut self, at: usize) -> bool {
        self.truth.ask(&format!("EXISTS {}", self.sessions[at].key)) == ":1"
    }

    fn is_string(&mut self, at: usize) -> bool {
        self.truth.ask(&format!("TYPE {}", self.sessions[at].key)) == "+string"
    }

    fn read(&mut self, by: usize, at: usize) {
        let template = self.choose(READS);
        let reply = self.ask(by, &[self.filled(template, at, 0)]).remove(0);
        self.note(by, at, &reply);
    }

    /// The reply to a read: what its connection knows now.
    fn note(&mut self, by: usize, at: usize, reply: &str) {
        let is_gone = ["$-1", "_", ":0", ":-2", "+none", "*1 $-1", "*1 _", "*0", "%0"].contains(&reply);
        // What is of another type is an error, and tells nothing.
        if !reply.starts_with('-') {
            let now = Instant::now();
            self.sessions[at].seen[by] = if is_gone { Sighting::Gone(now) } else { Sighting::There(now) };
        }
    }

    /// What must become of a write that is no creation for sure.
    fn must(&self, by: usize, at: usize) -> Must {
        let Session { is_there, destroyed, seen, .. } = &self.sessions[at];
        match (is_there, destroyed, seen[by]) {
            (true, ..) | (_, None, _) => Must::Create,
            _ if !self.told.reopens => Must::Not,
            (_, Some(destroyed), Sighting::Gone(gone)) if gone > *destroyed => Must::Create,
            (_, Some(destroyed), Sighting::Perhaps(gone)) if gone > *destroyed => Must::Either,
            // Within the margin of clocks it is as if it had been seen behind it: what it had read was gone, too.
            (_, Some(destroyed), Sighting::Gone(gone) | Sighting::Perhaps(gone))
                if destroyed.saturating_duration_since(gone) < MARGIN + BLUR =>
            {
                Must::Either
            }
            _ => Must::Not,
        }
    }

    /// A session may have been written: what was seen before allows no other.
    fn use_up(&mut self, by: usize, is_for_sure: bool) {
        for session in &mut self.sessions {
            session.seen[by] = match session.seen[by] {
                Sighting::Gone(_) | Sighting::Perhaps(_) if is_for_sure => Sighting::Nothing,
                Sighting::Gone(at) => Sighting::Perhaps(at),
                other => other,
            };
        }
    }

    /// It has destroyed a session itself: for as long as clocks may be wrong, it may write it again.
    fn destroyed_itself(&mut self, by: usize, at: usize) {
        if let Sighting::There(seen) = self.sessions[at].seen[by] {
            self.sessions[at].seen[by] = Sighting::Perhaps(seen);
        }
    }

    /// Asks something that writes a session, and looks what has become of it.
    fn written(
        &mut self,
        by: usize,
        at: usize,
        lines: &[String],
        must: Must,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let was_there = self.sessions[at].is_there;
        let replies = self.ask(by, lines);
        let is_there = self.is_there(at);
        let last = replies.last().expect("a reply");
        // What answers nothing may have done nothing; what was there already needs no permission, but that its reply does
        // not tell so where it has just been told that it is gone.
        let says_much = !["$-1", "_", ":0"].iter().any(|nothing| last.ends_with(nothing));
        let is_told_apart = !matches!(
            self.sessions[at].seen[by],
            Sighting::Gone(since) | Sighting::Perhaps(since) if since.elapsed() < MARGIN + BLUR
        );
        if is_there && !(was_there && is_told_apart) {
            self.use_up(by, says_much && !was_there);
        }
        match (must, is_there) {
            (Must::Create, false) => return Err("what was to be created is not there".to_owned()),
            (Must::Not, true) => return Err("what was destroyed is there again".to_owned()),
            _ if was_there => counts.overwritten += 1,
            (Must::Either, _) => counts.either += 1,
            (Must::Not, _) => counts.stale += 1,
            (Must::Create, _) if self.sessions[at].destroyed.is_some() => counts.begun += 1,
            (Must::Create, _) => {}
        }
        self.sessions[at].is_there = is_there;
        let is_refused = last.contains("NOPERM session was destroyed");
        // Of what would be moved, no success is pretended.
        let refuses = self.told.refuses || lines.iter().any(|line| line.starts_with("RENAME"));
        if is_refused != (refuses && !is_there) {
            return Err(format!("that is not to be answered {last}"));
        }
        if !is_refused && (last.starts_with('-') || last.contains(" -")) {
            return Err(format!("there is no reason to answer {last}"));
        }
        Ok(())
    }

    fn write(&mut self, by: usize, at: usize, step: usize, counts: &mut Counts) -> Result<(), String> {
        // What is of another type is replaced, not changed.
        let templates = match self.random.u32(0..3) {
            0 if !self.sessions[at].is_there => OTHER_WRITES,
            _ => WRITES,
        };
        let mut template = self.choose(templates);
        let of_strings = ["APPEND", "SETRANGE", "GETSET", "SET K V GET"];
        if self.sessions[at].is_there && !self.is_string(at) && of_strings.iter().any(|name| template.starts_with(name))
        {
            template = "SET K V";
        }
        self.truth.ask(&format!("SET {} source", self.source));
        let write = self.filled(template, at, step);
        let lines = match self.random.u32(0..6) {
            0 => vec!["MULTI".to_owned(), write, "EXEC".to_owned()],
            _ => vec![write],
        };
        let must = self.must(by, at);
        self.written(by, at, &lines, must, counts)
    }

    /// `NX`: it is new, whatever was there.
    fn new_one(&mut self, by: usize, at: usize, step: usize) -> Result<(), String> {
        let template = self.choose(NEW);
        let line = self.filled(template, at, step);
        let was_there = self.sessions[at].is_there;
        let reply = self.ask(by, &[line]).remove(0);
        self.use_up(by, false);
        let is_done = [":1", "+OK"].contains(&reply.as_str());
        if is_done == was_there || !self.is_there(at) {
            return Err(format!("a new session is answered {reply}"));
        }
        self.sessions[at].is_there = true;
        let seen = &mut self.sessions[at].seen[by];
        if let (true, Sighting::Gone(since) | Sighting::Perhaps(since)) = (is_done, *seen) {
            *seen = Sighting::There(since);
        }
        Ok(())
    }

    /// Another session in place of the old one, in one go.
    fn begin_anew(&mut self, by: usize, at: usize, step: usize, counts: &mut Counts) -> Result<(), String> {
        let (destroy, write) =
            (self.choose(&["DEL K", "UNLINK K", "GETDEL K", "EXPIRE K 0"]), self.choose(&WRITES[..13]));
        // What is of another type cannot be read as a string.
        let destroy = if destroy == "GETDEL K" { "DEL K" } else { destroy };
        let mut lines = vec![self.filled(destroy, at, step), self.filled(write, at, step)];
        // Where nobody may reopen, what others ask of the same connection is not told apart from that but in a transaction.
        let is_transaction = self.random.bool() || !self.told.reopens;
        if is_transaction {
            lines.insert(0, "MULTI".to_owned());
            lines.push("EXEC".to_owned());
        }
        let was_there = std::mem::replace(&mut self.sessions[at].is_there, false);
        if was_there {
            self.sessions[at].destroyed = Some(Instant::now());
        }
        let seen = self.sessions[at].seen[by];
        self.written(by, at, &lines, Must::Create, counts)?;
        if let Sighting::There(since) = seen {
            // What answers nothing may have done nothing.
            self.sessions[at].seen[by] = if write.contains("GET") { Sighting::Perhaps(since) } else { seen };
        }
        counts.destroyed += usize::from(was_there);
        Ok(())
    }

    fn destroy(&mut self, by: usize, at: usize, counts: &mut Counts) -> Result<(), String> {
        let mut template = self.choose(DESTROYS);
        let is_not_for_it = match template {
            "GETDEL K" => self.sessions[at].is_there && !self.is_string(at),
            _ => template.starts_with("RENAME") && !self.sessions[at].is_there,
        };
        if is_not_for_it {
            template = "DEL K";
        }
        let mut lines = vec![self.filled(template, at, 0)];
        if self.random.u32(0..5) == 0 {
            lines.insert(0, "MULTI".to_owned());
            lines.push("EXEC".to_owned());
        }
        let sent = Instant::now();
        self.ask(by, &lines);
        for (index, session) in self.sessions.iter_mut().enumerate() {
            if index != at && !template.contains('J') {
                continue;
            }
            counts.destroyed += usize::from(session.is_there);
            if std::mem::replace(&mut session.is_there, false) {
                session.destroyed = Some(sent);
            }
        }
        self.destroyed_itself(by, at);
        if template.contains('J') {
            self.destroyed_itself(by, 1 - at);
        }
        if self.is_there(at) {
            return Err("what was destroyed is there".to_owned());
        }
        Ok(())
    }

    /// It ends without being destroyed, as by its expiry.
    fn vanish(&mut self, at: usize) {
        let reply = self.truth.ask(&format!("DEL {}", self.sessions[at].key));
        self.steps.push(format!("it expires -> {reply}"));
        self.sessions[at].is_there = false;
    }

    /// One writes what it has read while another destroys it.
    fn race(&mut self, by: usize, at: usize, step: usize) -> Result<(), String> {
        let read = self.filled("EXISTS K", at, step);
        let reply = self.ask(by, &[read]).remove(0);
        self.note(by, at, &reply);
        if !self.sessions[at].is_there {
            return Ok(());
        }
        let other = (by + self.random.usize(1..CONNECTIONS)) % CONNECTIONS;
        let (write, destroy) = (self.filled("SET K V EX 500", at, step), self.filled("DEL K", at, step));
        let destroyed = Instant::now();
        match self.random.bool() {
            true => {
                self.wires[by].say(&[&write]);
                self.wires[other].say(&[&destroy]);
            }
            false => {
                self.wires[other].say(&[&destroy]);
                self.wires[by].say(&[&write]);
            }
        }
        let (wrote, ended) = (self.wires[by].hear(), self.wires[other].hear());
        self.steps.push(format!("{by}: {write} -> {wrote}, while {other}: {destroy} -> {ended}"));
        self.use_up(by, false);
        let session = &mut self.sessions[at];
        (session.is_there, session.destroyed) = (false, Some(destroyed));
        self.destroyed_itself(other, at);
        if ended != ":1" || self.is_there(at) {
            return Err("whoever came first, it is to be gone".to_owned());
        }
        Ok(())
    }

    /// A write that does not wait for the read before it: it may pass only where that finds nothing.
    fn read_and_write(&mut self, by: usize, at: usize, step: usize, counts: &mut Counts) -> Result<(), String> {
        let lines = ["EXISTS K", "SET K V"].map(|template| self.filled(template, at, step));
        let must = match (self.must(by, at), self.sessions[at].is_there) {
            (Must::Not, false) if self.told.reopens => Must::Either,
            (must, _) => must,
        };
        self.written(by, at, &lines, must, counts)?;
        match self.sessions[at].is_there {
            true => self.sessions[at].seen[by] = Sighting::There(Instant::now()),
            // Whether what was read came before the write, or behind it, nobody knows: it looks once more.
            false => self.read(by, at),
        }
        Ok(())
    }
}
