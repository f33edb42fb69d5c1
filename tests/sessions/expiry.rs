//! No session is without an end, whatever is written, and whatever is lost (G5).
//!
//! Clients write sessions and other keys by every command there is; then a connection to the server looks at each key of
//! each database. Other keys may well be without an end: had none been, nothing would have been tried.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::commands::{Choice, DATABASES, Generator, Prepared, Words, bytes, line};
use super::support::{Cut, Direction, Proxy, RedisServer, Relay, Wire, request, shown, wait_until, words};
use super::{report, run_all};

/// Clients that write at the same time.
const CLIENTS: usize = 4;

/// What each asks for, where nothing goes wrong.
const BLOCKS: usize = 60;

/// How long connections are lost now and then.
const TROUBLE: Duration = Duration::from_millis(900);

const EXPIRY: Duration = Duration::from_secs(3600);
const WINDOW: Duration = Duration::from_secs(60);

/// How long it may take until all that is owed to sessions has been done.
const SETTLED: Duration = Duration::from_secs(10);

/// As many as there are configurations.
const ALL: u64 = 18;

#[test]
fn whatever_is_written_every_session_ends() {
    let test = "whatever_is_written_every_session_ends";
    let found = run_all(test, ALL, 1, |seed| run(seed, false));
    judge(test, &found);
}

#[test]
fn whatever_is_lost_every_session_ends() {
    let test = "whatever_is_lost_every_session_ends";
    let found = run_all(test, 2 * ALL, 4, |seed| run(seed, true));
    judge(test, &found);
    let cuts: usize = found.iter().map(|found| found.cuts).sum();
    assert!(cuts > found.len(), "only {cuts} connections were cut");
}

/// Each of these leaves sessions behind, and none without an end.
#[test]
fn however_it_is_asked_for_every_session_ends() {
    let server = RedisServer::plain();
    let mut operator = Wire::connect(server.port());
    let lines = ["[[session]]", "keys = [\"session:*\"]", "max_value_size = \"off\"", "expiry = \"3600s\""];
    let proxy = Proxy::with(&server, &lines);
    let large = "x".repeat(3 << 20);
    let script = "EVAL \"return redis.call('SET', KEYS[1], 1)\" 1";
    let cases = [
        ("a line", "SET session:1 v\r\nSET session:2 v EX 70\r\n".to_owned().into_bytes()),
        ("a large value", request(&["SET", "session:1", &large])),
        (
            "large ones",
            [request(&["HSET", "session:1", "f", &large]), request(&["APPEND", "session:2", &large])].concat(),
        ),
        ("a large one in a transaction", said(&["MULTI", &format!("SET session:1 {large}"), "EXEC"])),
        ("a large one for a script", said(&[&format!("{script} session:1 {large}")])),
        (
            "no replies",
            said(&["CLIENT REPLY OFF", "SET session:1 v", &format!("{script} session:2"), "HSET session:3 f v"]),
        ),
        (
            "no replies to a transaction",
            said(&["CLIENT REPLY OFF", "MULTI", "SET session:1 v", &format!("{script} session:2"), "EXEC"]),
        ),
        (
            "a reply left out",
            said(&["CLIENT REPLY SKIP", &format!("{script} session:1"), "CLIENT REPLY SKIP", "RPUSH session:2 v"]),
        ),
        (
            "another protocol",
            said(&[
                "HELLO 3",
                &format!("{script} session:1"),
                "HELLO 2",
                &format!("{script} session:2"),
                "HELLO 3",
                "SADD session:3 v",
            ]),
        ),
        ("while watching", said(&["WATCH session:1", &format!("{script} session:1"), "SET session:2 v", "UNWATCH"])),
        (
            "while tracking",
            said(&[
                "HELLO 3",
                "CLIENT TRACKING ON",
                &format!("{script} session:1"),
                "SET session:2 v",
                "MSET session:3 v session:4 v",
            ]),
        ),
        (
            "in another database",
            said(&[
                "MULTI",
                "SELECT 2",
                &format!("{script} session:1"),
                "COPY session:1 session:2 DB 1",
                "SELECT 1",
                "EXEC",
                &format!("{script} session:3"),
            ]),
        ),
        (
            "what blocks",
            said(&[
                "RPUSH list a b c",
                "BLMOVE list session:1 LEFT LEFT 1",
                "MULTI",
                "BRPOPLPUSH list session:2 1",
                "EXEC",
            ]),
        ),
        (
            "many words",
            said(&[
                &format!("SADD session:1 {}", "a b c ".repeat(2000)),
                &format!("MSET session:2 a {}", "session:3 b ".repeat(3400)),
            ]),
        ),
        (
            "long keys",
            said(&[
                &format!("SET session:{} v", "k".repeat(100_000)),
                &format!("{script} session:{}", "k".repeat(70_000)),
            ]),
        ),
        (
            "strange keys",
            said(&[
                "SET \"session:\\r\\n\\x00{}\" v",
                "HSET \"session:{a}{b} c\" f v",
                "SET session:} v",
                &format!("{script} session:{{"),
            ]),
        ),
    ];
    for (name, bytes) in &cases {
        assert_eq!(operator.ask("FLUSHALL"), "+OK");
        let mut wire = Wire::connect(proxy.port());
        wire.send(&[&bytes[..], &request(&["QUIT"])].concat());
        wire.rest().unwrap_or_else(|silence| panic!("{name}: {silence}"));
        let configured =
            Configured { reconnect: "", stay_destroyed: true, max_lifetime: None, looks_at_lifetimes: false };
        let mut found = Found::default();
        wait_until(&format!("there are sessions, and none is without an end: {name}"), || {
            look(&mut operator, &configured, &mut found).is_empty() && found.sessions > 0
        });
    }
}

fn said(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| request(&words(line))).collect()
}

fn judge(test: &str, found: &[Found]) {
    let sum = |count: fn(&Found) -> usize| found.iter().map(count).sum::<usize>();
    let (sessions, endless) = (sum(|found| found.sessions), sum(|found| found.endless_others));
    report(test, (found.len(), "schedules", sessions, "sessions", endless, "other keys without an end"));
    report(
        test,
        (sum(|found| found.asked), "requests", sum(|found| found.cuts), "cuts", sum(|found| found.waited), "waited"),
    );
    assert!(sessions > 8 * found.len(), "only {sessions} sessions were found");
    assert!(endless > found.len(), "only {endless} other keys have no end");
}

/// What a seed has the proxy do.
#[derive(Debug, Clone, Copy)]
struct Configured {
    reconnect: &'static str,
    stay_destroyed: bool,
    max_lifetime: Option<Duration>,
    /// Whether lifetimes are looked at: what is run past the rules is left out then, for they only give it an end.
    looks_at_lifetimes: bool,
}

impl Configured {
    /// Each of them in [`ALL`] seeds that follow each other.
    fn of(seed: u64) -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            reconnect: ["off", "conservative", "eager"][seed as usize % 3],
            stay_destroyed: (seed / 3).is_multiple_of(2),
            max_lifetime: [None, Some(hour / 2), Some(2 * hour)][seed as usize / 6 % 3],
            looks_at_lifetimes: seed / 6 % 3 == 1,
        }
    }

    fn text(&self, upstream: &str) -> String {
        let Self { reconnect, stay_destroyed, max_lifetime, .. } = self;
        let lifetime = max_lifetime.map_or("off".to_owned(), |lifetime| format!("{}s", lifetime.as_secs()));
        let window = if *stay_destroyed { format!("{}s", WINDOW.as_secs()) } else { "off".to_owned() };
        format!(
            "listen.address = \"127.0.0.1:0\"\nlisten.workers = 2\nmetrics.address = \"127.0.0.1:0\"\n\
             log.format = \"json\"\nupstream.server = \"{upstream}\"\nupstream.reconnect = \"{reconnect}\"\n\
             upstream.queue_timeout = \"700ms\"\nupstream.reply_timeout = \"1200ms\"\n\
             upstream.connect_timeout = \"500ms\"\n\
             [[session]]\nkeys = [\"session:*\"]\nexpiry = \"{}s\"\nstay_destroyed = \"{window}\"\n\
             max_lifetime = \"{lifetime}\"\n",
            EXPIRY.as_secs(),
        )
    }

    /// How much longer a birth mark stands than the session may live.
    fn window(&self) -> Duration {
        if self.stay_destroyed { WINDOW } else { Duration::ZERO }
    }
}

/// What was seen of the server.
#[derive(Debug, Default)]
struct Found {
    sessions: usize,
    endless_others: usize,
    asked: usize,
    cuts: usize,
    /// Whether anything was still to be done when the last client had its answer.
    waited: usize,
}

fn run(seed: u64, is_troubled: bool) -> Found {
    let mut random = Rng::with_seed(seed);
    let configured = Configured::of(seed);
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    let proxy = Proxy::start(&configured.text(&relay.address()));
    if is_troubled {
        proxy.allow("upstream connection lost");
        proxy.allow("upstream unavailable");
    }
    proxy.wait_ready();
    let prepared = Prepared::on(server.port());
    let is_over = AtomicBool::new(false);
    let scene = Scene { port: proxy.port(), is_troubled, is_over: &is_over };
    let log = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let choice = match (configured.looks_at_lifetimes, is_troubled) {
                    (true, _) => Choice::Ruled,
                    (false, true) => Choice::Escaping,
                    (false, false) => Choice::Writes,
                };
                let generator = Generator::new(random.fork(), choice, &prepared);
                scope.spawn(move || Client { number, generator, scene, log: Vec::new() }.run())
            })
            .collect();
        if is_troubled {
            trouble(&relay, &mut random);
            relay.forget_plan();
            // In the middle of it: what is owed now is done later.
            is_over.store(true, Ordering::Relaxed);
            relay.cut(Cut::Reset);
        }
        let mut log: Vec<Said> = clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect();
        log.sort_by_key(|said| said.at);
        log
    });
    let is_settled = look(&mut Wire::connect(server.port()), &configured, &mut Found::default()).is_empty();
    if is_troubled {
        proxy.wait_ready();
        answered_everywhere(&proxy);
    }
    let mut found = settled(&server, &configured, seed, &log);
    found.waited = usize::from(!is_settled);
    found.asked = log.len();
    found.cuts = relay.cuts();
    found
}

/// Connections are lost at any moment.
fn trouble(relay: &Relay, random: &mut Rng) {
    let until = Instant::now() + TROUBLE;
    while Instant::now() < until {
        let how = if random.bool() { Cut::Reset } else { Cut::Finish };
        match random.u32(0..4) {
            0 => relay.cut(how),
            1 if relay.connections() > 0 => relay.cut_one(random.usize(0..relay.connections()), how),
            2 => relay.cut_after(random.usize(1..4000), Direction::Requests, how),
            _ => relay.cut_after(random.usize(1..1000), Direction::Replies, how),
        }
        thread::sleep(Duration::from_millis(random.u64(10..200)));
    }
}

/// Returns when every worker has had an answer of the server.
fn answered_everywhere(proxy: &Proxy) {
    for database in 0..DATABASES {
        // Each is given to the worker that has fewer.
        let mut clients = Vec::new();
        wait_until("every worker is answered by the server", || {
            clients.resize_with(4, || Wire::connect(proxy.port()));
            let mut is_answered = |wire: &mut Wire| {
                wire.say_or_fail(&[&format!("SELECT {database}"), "SET other:probe 1"]);
                [wire.try_frame(), wire.try_frame()].iter().all(|frame| frame.as_deref() == Ok(b"+OK\r\n"))
            };
            let is_answered = clients.iter_mut().all(&mut is_answered);
            if !is_answered {
                clients.clear();
            }
            is_answered
        });
    }
}

/// Waits until every session has an end, and that is right.
fn settled(server: &RedisServer, configured: &Configured, seed: u64, log: &[Said]) -> Found {
    let until = Instant::now() + SETTLED;
    let mut wire = Wire::connect(server.port());
    let mut found = Found::default();
    loop {
        let wrong = look(&mut wire, configured, &mut found);
        if wrong.is_empty() {
            return found;
        }
        assert!(Instant::now() < until, "CLOAKROOM_SEED={seed} {configured:?}\n{}", told(&wrong, log));
        thread::sleep(Duration::from_millis(10));
    }
}

/// What is found wrong, and in what key.
fn look(wire: &mut Wire, configured: &Configured, found: &mut Found) -> Vec<(String, String)> {
    // A server reads how long the mark stands, and then says how long the session lives: it may have been put aside
    // in between.
    const PUT_ASIDE: Duration = Duration::from_millis(200);
    // In one step: an end comes closer all the time.
    const SCRIPT: &str = r#"
        local lines, sessions, others = {}, 0, 0
        local longest, window, put_aside = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
        for _, key in ipairs(redis.call('KEYS', '*')) do
          local left = redis.call('PTTL', key)
          if key:sub(1, 8) ~= 'session:' or key:sub(-5) == '_LOCK' then
            if left == -1 then others = others + 1 end
          elseif left ~= -2 then
            sessions = sessions + 1
            local born = redis.call('PTTL', 'cloakroom:born:{' .. key .. '}')
            if left == -1 then table.insert(lines, key .. ' has no end') end
            if ARGV[3] == 'true' and left > longest then table.insert(lines, key .. ' lives for ' .. left) end
            if ARGV[3] == 'true' and born >= 0 and left > math.max(born - window, 0) + put_aside then
              table.insert(lines, key .. ' lives for ' .. left .. ', and its birth is known for ' .. born)
            end
          end
        end
        table.insert(lines, 1, sessions .. ' ' .. others)
        return table.concat(lines, '\n')"#;
    (found.sessions, found.endless_others) = (0, 0);
    let mut wrong = Vec::new();
    for database in 0..DATABASES {
        wire.ask(&format!("SELECT {database}"));
        let longest = configured.max_lifetime.unwrap_or_default().as_millis().to_string();
        let window = configured.window().as_millis().to_string();
        let looks_at_lifetimes = configured.looks_at_lifetimes.to_string();
        let put_aside = PUT_ASIDE.as_millis().to_string();
        wire.send(&request(&["EVAL", SCRIPT, "0", &longest, &window, &looks_at_lifetimes, &put_aside]));
        let text = String::from_utf8(wire.frame()).expect("keys are ASCII");
        let mut lines = text.trim_end().lines().skip(1);
        let counts = lines.next().expect("counts");
        let (sessions, others) = counts.split_once(' ').expect("two of them");
        found.sessions += sessions.parse::<usize>().expect("a number");
        found.endless_others += others.parse::<usize>().expect("a number");
        wrong.extend(lines.map(|line| {
            let key = line.split(' ').next().expect("a key").to_owned();
            (key, format!("database {database}: {line}"))
        }));
    }
    wrong
}

/// What is wrong, and what was asked of these keys.
fn told(wrong: &[(String, String)], log: &[Said]) -> String {
    let mut text = String::new();
    for (key, what) in wrong {
        let _ = writeln!(text, "{what}; asked, the last at the end:");
        let concerns = |said: &&Said| {
            said.request.contains(key)
                || ["MULTI", "EXEC", "DISCARD", "SELECT"].iter().any(|name| said.request.starts_with(name))
        };
        let lines: Vec<_> = log.iter().filter(concerns).collect();
        for Said { client, request, reply, .. } in &lines[lines.len().saturating_sub(80)..] {
            let _ = writeln!(text, "  client {client}: {request} -> {reply}");
        }
    }
    text
}

/// Where clients are.
#[derive(Clone, Copy)]
struct Scene<'a> {
    port: u16,
    is_troubled: bool,
    is_over: &'a AtomicBool,
}

/// A request and its reply.
struct Said {
    at: Instant,
    client: usize,
    request: String,
    reply: String,
}

struct Client<'a> {
    number: usize,
    generator: Generator,
    scene: Scene<'a>,
    log: Vec<Said>,
}

impl Client<'_> {
    fn run(mut self) -> Vec<Said> {
        let mut wire = self.connect();
        let mut count = 0;
        while if self.scene.is_troubled { !self.scene.is_over.load(Ordering::Relaxed) } else { count < BLOCKS } {
            count += 1;
            let block = self.generator.block();
            if self.generator.random.u32(0..20) == 0 {
                // It does not wait for an answer.
                let _ = wire.try_send(&bytes(&block));
                let request = format!("{}, and a close", block.iter().map(line).collect::<Vec<_>>().join(" | "));
                self.log.push(Said { at: Instant::now(), client: self.number, request, reply: String::new() });
                wire = self.connect();
                continue;
            }
            if self.ask(&mut wire, &block).is_err() {
                assert!(self.scene.is_troubled, "a connection was closed, behind {}", line(&block[0]));
                wire = self.connect();
            }
        }
        self.log
    }

    fn connect(&self) -> Wire {
        match self.number % 2 {
            0 => Wire::connect(self.scene.port),
            _ => {
                let mut wire = Wire::connect(self.scene.port);
                wire.say_or_fail(&["HELLO 3"]);
                let _ = wire.try_frame();
                wire
            }
        }
    }

    /// Asks one by one, or all at once.
    fn ask(&mut self, wire: &mut Wire, block: &[Words]) -> Result<(), String> {
        let size = if self.generator.random.bool() { 1 } else { block.len() };
        for part in block.chunks(size) {
            let at = Instant::now();
            let _ = wire.try_send(&bytes(part));
            for command in part {
                let reply = wire.try_frame();
                let shown = reply.as_ref().map_or_else(Clone::clone, |frame| shown(&frame[..frame.len().min(300)]));
                self.log.push(Said { at, client: self.number, request: line(command), reply: shown });
                reply?;
            }
        }
        Ok(())
    }
}
