//! Real session clients while the way to their server, or the server, fails in every way there is.
//!
//! ```text
//! Talker ── tests/clients/talk NAME ──▶ Proxy ──▶ Relay ──▶ RedisServer
//!   write, read                                     │          └ killed, ended, stopped, full, loading, locked
//!   busy, or idle until a fault is over             └ cut, a blackhole, slow, byte by byte
//! ```
//!
//! Of each client there are two: one writes and reads its session all the time, one does nothing from before a
//! fault until after it. Whatever happens, no process of theirs ends, none is closed by the proxy, a read never
//! finds a login gone, and as soon as the proxy is ready again the next request of each is served.

mod support;

#[path = "clients_faults/faults.rs"]
mod faults;
#[path = "clients_faults/off.rs"]
mod off;
#[path = "clients_faults/secret.rs"]
mod secret;
#[path = "clients_faults/session.rs"]
mod session;
#[path = "clients_faults/talker.rs"]
mod talker;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use faults::{Fault, Scene};
use secret::Secret;
use session::Session;
use support::{Certificates, RedisServer};
use talker::{Said, Talker};

/// From the end of a fault until a client has been served, the proxy's longest wait between attempts included.
const RECOVERY: Duration = Duration::from_secs(6);

/// Between two requests of a busy client.
const PACE: Duration = Duration::from_millis(40);

/// As `tests/clients/talk` calls them, and a setting of theirs.
const CLIENTS: [(&str, Option<(&str, &str)>); 14] = [
    ("redis-pm", NEVER_RECONNECTS),
    ("redis-pm", Some(("REDIS_RECONNECT", "5"))),
    ("catalyst", NEVER_RECONNECTS),
    ("catalyst", Some(("REDIS_RECONNECT", "1"))),
    ("phpredis", None),
    ("php-session", None),
    ("php-session-persistent", None),
    ("redis-py", None),
    ("redis-py", HASTY),
    ("flask-session", None),
    ("ioredis", None),
    ("connect-redis", None),
    ("redis-rb", None),
    ("redis-rack", None),
];

const NEVER_RECONNECTS: Option<(&str, &str)> = Some(("REDIS_RECONNECT", "0"));

/// Gives up, and asks again on a new connection, while the proxy still waits for the server.
const HASTY: Option<(&str, &str)> = Some(("REDIS_TIMEOUT", "0.3"));

/// Those that say no more than that something failed. The others show the proxy's own words.
const TACITURN: [&str; 4] = ["catalyst", "php-session", "php-session-persistent", "flask-session"];

#[test]
fn every_client_outlives_every_fault() {
    let server =
        faults::LOADS_SLOWLY.iter().fold(RedisServer::with().persistent(), |server, line| server.config(*line));
    outlive(Scene::new(server.start(), &[]), &Fault::OF_ANY_SERVER);
}

#[test]
fn every_client_outlives_faults_behind_tls_and_a_password() {
    let certificates = Certificates::new();
    let secret = Secret::new();
    let server = RedisServer::with()
        .tls(&certificates)
        .password("the-administrators")
        .config(secret.user())
        .persistent()
        .start();
    let lines = [
        "upstream.tls.enabled = true",
        &format!("upstream.tls.ca_file = \"{}\"", certificates.ca.display()),
        "upstream.username = \"web\"",
        &format!("upstream.password_file = \"{}\"", secret.file().display()),
    ];
    outlive(Scene::new(server, &lines).with(secret), &Fault::OF_A_LOCKED_SERVER);
}

/// A client, and what it knows of its session.
struct Client {
    talker: Talker,
    busy_with: Session,
    /// Whether its errors are the proxy's, word for word.
    is_frank: bool,
    /// Requests that failed.
    failures: usize,
}

impl Client {
    /// Writes its session and reads it back; whatever is wrong about that goes to `complaints`.
    fn go_on(&mut self, complaints: &Mutex<Vec<String>>) {
        let write = self.busy_with.next_write();
        let said = self.talker.ask(&write);
        self.failures += usize::from(matches!(said, Said::Error(_)));
        let written = self.busy_with.was_written(&said);
        let said = self.talker.ask(&self.busy_with.read());
        self.failures += usize::from(matches!(said, Said::Error(_)));
        let read = self.busy_with.was_read(&said);
        for problem in [written, read].into_iter().filter_map(Result::err) {
            complain(complaints, &self.talker, &problem);
        }
        for error in self.busy_with.take_errors() {
            let is_ours = error.contains("command not executed") || error.contains("outcome unknown");
            if (self.is_frank && !is_ours) || is_about_passwords(&error) {
                complain(complaints, &self.talker, &format!("was told: {error}"));
            }
        }
    }

    /// A new session, as of a user who logs in before `fault`.
    fn log_in(&mut self, fault: Fault) -> Result<(), String> {
        let login = self.login(fault);
        match self.talker.ask(&format!("write {login} {}", text(&login))) {
            Said::Done => Ok(()),
            other => Err(format!("cannot log in before {fault:?}: {other:?}")),
        }
    }

    /// The session of [`Self::log_in`] is there, at the first attempt.
    fn is_logged_in(&mut self, fault: Fault) -> Result<(), String> {
        let login = self.login(fault);
        match self.talker.ask(&format!("read {login}")) {
            Said::Value(value) if value == text(&login) => Ok(()),
            other => Err(format!("the login from before {fault:?} is {other:.80?}")),
        }
    }

    fn login(&self, fault: Fault) -> String {
        format!("{}-{fault:?}", self.talker.name)
    }
}

/// Long enough to be cut in the middle.
fn text(login: &str) -> String {
    format!("{login}={}", "x".repeat(2000))
}

fn complain(complaints: &Mutex<Vec<String>>, talker: &Talker, problem: &str) {
    let mut complaints = complaints.lock().expect("no thread panics while it holds this lock");
    if complaints.len() < 50 {
        complaints.push(format!("{}: {problem}", talker.name));
    }
}

fn is_about_passwords(text: &str) -> bool {
    ["NOAUTH", "WRONGPASS", "Authentication", "password"].iter().any(|word| text.contains(word))
}

fn outlive(mut scene: Scene, faults: &[Fault]) {
    let clients: Vec<_> = (0..2 * CLIENTS.len()).map(|number| Mutex::new(client(&scene, number))).collect();
    let (busy, _) = clients.split_at(CLIENTS.len());
    let complaints = Mutex::default();
    let is_over = AtomicBool::new(false);

    thread::scope(|scope| {
        let _end = SetWhenDropped(&is_over);
        at_once(&clients, |client| client.log_in(Fault::None));
        for client in busy {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    lock(client).go_on(&complaints);
                    thread::sleep(PACE);
                }
            });
        }
        let mut before = vec![Fault::None];
        for fault in faults {
            at_once(&clients, |client| client.log_in(*fault));
            before.push(*fault);
            let failures = |client: &Mutex<Client>| lock(client).failures;
            let failed: usize = busy.iter().map(failures).sum();

            let started = Instant::now();
            scene.undergo(*fault);
            let back = Instant::now();
            scene.proxy.wait_ready();
            let ready = back.elapsed();
            at_once(&clients, |client| before.iter().try_for_each(|fault| client.is_logged_in(*fault)));
            let served = back.elapsed();
            let failed = busy.iter().map(failures).sum::<usize>() - failed;
            eprintln!(
                "{fault:?}: lasted {:.1?}, ready after {ready:.1?}, all served after {served:.1?}, {failed} failures",
                back - started,
            );
            assert!(served < RECOVERY, "after {fault:?} all were served only after {served:?}");
            assert!(fault.is_noticed() || failed == 0, "{failed} requests failed because of {fault:?}");
        }
    });

    for client in &clients {
        let mut client = lock(client);
        client.talker.finish();
        let said = client.talker.said_aside();
        if let Some(line) = said.iter().find(|line| is_about_passwords(line)) {
            complain(&complaints, &client.talker, &format!("said: {line}"));
        }
    }
    let complaints = complaints.into_inner().expect("no thread panicked");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    scene.assert_nobody_was_closed();
}

fn client(scene: &Scene, number: usize) -> Client {
    let (program, setting) = CLIENTS[number % CLIENTS.len()];
    let talker = Talker::start(program, number, setting, scene.proxy.port());
    let busy_with = Session::new(&format!("{}-busy", talker.name), setting == HASTY);
    let is_frank = !TACITURN.contains(&program) && setting != HASTY;
    Client { talker, busy_with, is_frank, failures: 0 }
}

/// Does something with each client, all at the same time; it must succeed with each.
fn at_once(clients: &[Mutex<Client>], deed: impl Fn(&mut Client) -> Result<(), String> + Sync) {
    let done = |client| {
        let mut client = lock(client);
        deed(&mut client)
            .map_err(|problem| format!("{}: {problem}\n{}", client.talker.name, client.talker.last_words()))
    };
    let problems: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = clients.iter().map(|client| scope.spawn(|| done(client))).collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("a client that goes on").err()).collect()
    });
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn lock(client: &Mutex<Client>) -> std::sync::MutexGuard<'_, Client> {
    client.lock().expect("no client has ended, and none has been silent for too long")
}

/// Ends the threads also when something fails.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
