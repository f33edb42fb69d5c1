//! Web sessions as real applications keep them, by the rules of their profiles and without any.
//!
//! ```text
//! Browser ── HTTP ──▶ Application ────────▶ Proxy ──▶ RedisServer
//!    └────── HTTP ──▶ another Application ─▶ the same, another one, or none
//!
//! GET /slow-name    reads the session ▶ asks a service, and waits ▶ is answered ▶ writes what its client writes
//! POST /slow-visit                            │
//!                                  meanwhile the user logs out
//! ```
//!
//! What a client does without the proxy is shown beside what it does through it: where it would not bring a login
//! back, or lose one, nothing is proven about the proxy.

mod support;

#[path = "session_clients/application.rs"]
mod application;
#[path = "session_clients/browser.rs"]
mod browser;
#[path = "session_clients/slow_page.rs"]
mod slow_page;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use application::Application;
use browser::Browser;
use slow_page::SlowPage;
use support::{Proxy, RedisServer, wait_until};

/// A session client, and how it is.
struct Client {
    /// As `tests/clients/serve` calls its application.
    name: &'static str,
    profile: &'static str,
    /// What a page leaves that counts a visit, of a session that was destroyed meanwhile, without the proxy.
    leaves_after_change: Left,
    /// The same of a page that changes nothing.
    leaves_after_read: Left,
    /// The same of both, through the proxy.
    leaves_through_proxy: Left,
    /// Whether a process has several requests under way, on connections they share.
    is_concurrent: bool,
    /// Whether it takes the id of a cookie for a new session though there is none of that name.
    takes_any_id: bool,
}

/// What there is of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Who has its cookie is logged in.
    Login,
    /// When it would have ended, and nothing that has an end.
    Expiry,
    Nothing,
}

/// It asks for `expires:` once more before it writes it: it knows that it is gone, and may create it.
const CATALYST: Client = Client {
    name: "catalyst",
    profile: "catalyst",
    leaves_after_change: Left::Login,
    leaves_after_read: Left::Expiry,
    leaves_through_proxy: Left::Expiry,
    is_concurrent: false,
    takes_any_id: false,
};
const CONNECT_REDIS: Client = Client {
    name: "connect-redis",
    profile: "express",
    leaves_after_change: Left::Login,
    leaves_after_read: Left::Nothing,
    leaves_through_proxy: Left::Nothing,
    is_concurrent: true,
    takes_any_id: false,
};
const FLASK_SESSION: Client = Client {
    name: "flask-session",
    profile: "flask",
    leaves_after_change: Left::Login,
    leaves_after_read: Left::Login,
    leaves_through_proxy: Left::Nothing,
    is_concurrent: true,
    takes_any_id: false,
};
const PHPREDIS: Client = Client {
    name: "php-session",
    profile: "php",
    leaves_after_change: Left::Login,
    leaves_after_read: Left::Nothing,
    leaves_through_proxy: Left::Nothing,
    is_concurrent: false,
    takes_any_id: true,
};
/// As it comes, it waits for a lock for a fiftieth of a second: who logs out goes on without.
const PHPREDIS_WITH_LOCKS: Client = Client { name: "php-session-locked", ..PHPREDIS };
const REDIS_RACK: Client = Client {
    name: "redis-rack",
    profile: "rails",
    leaves_after_change: Left::Login,
    leaves_after_read: Left::Login,
    leaves_through_proxy: Left::Nothing,
    is_concurrent: true,
    takes_any_id: false,
};

const CHANGES: &str = "POST /slow-visit";
const READS: &str = "GET /slow-name";

#[test]
fn a_session_logged_out_stays_so_through_catalyst() {
    stays_logged_out(&CATALYST);
}

#[test]
fn a_session_logged_out_stays_so_through_connect_redis() {
    stays_logged_out(&CONNECT_REDIS);
}

#[test]
fn a_session_logged_out_stays_so_through_flask_session() {
    stays_logged_out(&FLASK_SESSION);
}

#[test]
fn a_session_logged_out_stays_so_through_phpredis() {
    stays_logged_out(&PHPREDIS);
}

#[test]
fn a_session_logged_out_stays_so_through_phpredis_with_locks() {
    stays_logged_out(&PHPREDIS_WITH_LOCKS);
}

#[test]
fn a_session_logged_out_stays_so_through_redis_rack() {
    stays_logged_out(&REDIS_RACK);
}

#[test]
fn a_session_logged_out_through_one_proxy_stays_so_through_another_with_catalyst() {
    stays_logged_out_by_another_proxy(&CATALYST);
}

#[test]
fn a_session_logged_out_through_one_proxy_stays_so_through_another_with_connect_redis() {
    stays_logged_out_by_another_proxy(&CONNECT_REDIS);
}

#[test]
fn a_session_logged_out_through_one_proxy_stays_so_through_another_with_flask_session() {
    stays_logged_out_by_another_proxy(&FLASK_SESSION);
}

#[test]
fn a_session_logged_out_through_one_proxy_stays_so_through_another_with_phpredis() {
    stays_logged_out_by_another_proxy(&PHPREDIS);
}

#[test]
fn a_session_logged_out_through_one_proxy_stays_so_through_another_with_redis_rack() {
    stays_logged_out_by_another_proxy(&REDIS_RACK);
}

#[test]
fn with_reopen_never_an_old_cookie_shown_meanwhile_brings_no_session_back() {
    for client in [&CONNECT_REDIS, &FLASK_SESSION, &REDIS_RACK] {
        stays_logged_out_when_the_cookie_is_shown(client, &["reopen = \"never\""]);
    }
}

#[test]
fn an_old_cookie_shown_meanwhile_brings_no_session_back_by_the_profiles_alone() {
    for client in [&CONNECT_REDIS, &FLASK_SESSION, &REDIS_RACK] {
        stays_logged_out_when_the_cookie_is_shown(client, &[]);
    }
}

/// The tombstone is in force: what lets this write pass is that its connection has read the session as gone.
#[test]
fn who_has_logged_out_can_log_in_again_at_once_with_the_old_cookie() {
    for client in [&CATALYST, &CONNECT_REDIS, &FLASK_SESSION, &PHPREDIS, &PHPREDIS_WITH_LOCKS, &REDIS_RACK] {
        let server = RedisServer::plain();
        let proxy = proxy(&server, client);
        let [here, there] = Application::start(client.name, &[], [proxy.port(); 2]);
        for elsewhere in [&here, &there] {
            let (alice, session) = log_in(&here, &server);
            assert_eq!(alice.clone().ask(&here, "POST /logout"), "200 bye");
            assert!(is_gone(&session, &server));

            log_in_again(&alice, elsewhere, &here);
            assert_eq!(!is_gone(&session, &server), client.takes_any_id, "{} is not as we know it", client.name);
        }
    }
}

/// The slow page gives the browser its cookie back, and leaves `expires:`, so that a login keeps the id. In any later
/// second than that page's it writes `expires:`, which exists, before `session:`, which it has read as gone.
#[test]
fn who_has_logged_out_of_catalyst_during_a_slow_page_can_log_in_again() {
    let server = RedisServer::plain();
    let proxy = proxy(&server, &CATALYST);
    let [here, there] = Application::start(CATALYST.name, &[], [proxy.port(); 2]);
    let (left, alice) = log_out_during(CHANGES, &here, &there, &server);
    assert_eq!(left, Left::Expiry, "the client is not as we know it");

    let second = || SystemTime::UNIX_EPOCH.elapsed().map(|since| since.as_secs()).expect("a clock that is set");
    let before = second();
    wait_until("a second is over", || second() > before);
    log_in_again(&alice, &here, &there);
}

/// Why phpredis needs that permission: it keeps the id of an old cookie, and is told that its session is written.
#[test]
fn with_reopen_never_the_old_cookie_of_phpredis_cannot_be_logged_in_with() {
    let server = RedisServer::plain();
    let proxy = proxy_with(&server, &PHPREDIS, &["reopen = \"never\""]);
    let [here] = Application::start(PHPREDIS.name, &[], [proxy.port()]);
    let (mut alice, session) = log_in(&here, &server);
    assert_eq!(alice.clone().ask(&here, "POST /logout"), "200 bye");

    assert_eq!(alice.ask(&here, "POST /login?name=carol"), "200 welcome");
    assert_eq!(alice.ask(&here, "GET /name"), "401 nobody");
    assert!(is_gone(&session, &server));
}

/// The client itself only touches `expires:`, and the data is gone four seconds after they were written.
#[test]
fn a_catalyst_user_who_only_reads_stays_logged_in() {
    let server = RedisServer::plain();
    let proxy = proxy(&server, &CATALYST);
    let [direct, here] = Application::start("catalyst", &[("SESSION_EXPIRES", "4")], [server.port(), proxy.port()]);
    let (mut bob, _) = log_in(&direct, &server);
    let (mut alice, session) = log_in(&here, &server);

    let start = Instant::now();
    let answers = (1..=9).map(|second| {
        thread::sleep((start + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        (bob.ask(&direct, "GET /name"), alice.ask(&here, "GET /name"))
    });
    let (without, through): (Vec<_>, Vec<_>) = answers.unzip();
    assert_eq!((&*without[0], &*without[8]), ("200 alice", "401 nobody"), "the client is not as we know it");
    assert_eq!(through, ["200 alice"; 9]);
    // Not for ever: as long as it says.
    assert!(session.iter().all(|key| (1..=4).contains(&time_to_live(key, &server))), "{session:?}");
}

#[test]
fn a_session_whose_client_sets_no_expiry_has_one_on_the_server() {
    let server = RedisServer::plain();
    let proxy = proxy(&server, &REDIS_RACK);
    let [direct, here] = Application::start("redis-rack", &[], [server.port(), proxy.port()]);

    let (mut alice, session) = log_in(&direct, &server);
    assert_eq!(alice.ask(&direct, "POST /visit"), "200 1");
    assert!(session.iter().all(|key| time_to_live(key, &server) == -1), "the client is not as we know it");

    let (mut alice, session) = log_in(&here, &server);
    for visit in 1..=2 {
        assert_eq!(alice.ask(&here, "POST /visit"), format!("200 {visit}"));
        assert!(session.iter().all(|key| (DAY - 60..=DAY).contains(&time_to_live(key, &server))));
    }
}

/// What Catalyst sends next would set it.
#[test]
fn a_session_whose_writer_dies_before_it_sets_the_expiry_has_one_on_the_server() {
    let server = RedisServer::plain();
    let proxy = proxy(&server, &CATALYST);
    let mortals = Application::start("catalyst-mortal", &[], [server.port(), proxy.port()]);

    let [without, through] = mortals.each_ref().map(|mortal| {
        let before = keys(&server);
        let answer = Browser::default().begin(mortal, "POST /login?name=alice").answer_if_any(&mut Browser::default());
        assert_eq!(answer, None, "the process was to be killed before it answers");
        let now = keys(&server);
        let session = now.difference(&before).find(|key| key.starts_with("session:"));
        time_to_live(session.expect("the session is written"), &server)
    });
    assert_eq!(without, -1, "the client is not as we know it");
    assert!((DAY - 60..=DAY).contains(&through), "{through}");
}

/// How long a session lives whose client does not say, in seconds.
const DAY: i64 = 24 * 3600;

fn stays_logged_out(client: &Client) {
    let server = RedisServer::plain();
    let proxy = proxy(&server, client);
    let (near, far) = (server.port(), proxy.port());
    let [direct, direct_too, here, there] = Application::start(client.name, &[], [near, near, far, far]);

    for (page, leaves) in [(CHANGES, client.leaves_after_change), (READS, client.leaves_after_read)] {
        let (left, _) = log_out_during(page, &direct, &direct_too, &server);
        assert_eq!(left, leaves, "{page}: the client is not as we know it");

        for elsewhere in [Some(&there), Some(&here).filter(|_| client.is_concurrent)].into_iter().flatten() {
            let (left, alice) = log_out_during(page, &here, elsewhere, &server);
            assert_eq!(left, client.leaves_through_proxy, "{page}");
            if left == Left::Nothing {
                log_in_again(&alice, elsewhere, &here);
            }
        }
    }
}

/// The page that follows a logout comes with the old cookie, for Express leaves it with the browser. It may come on the
/// connection on which the slow page still has to write; only the application knows which of them has seen what.
fn stays_logged_out_when_the_cookie_is_shown(client: &Client, lines: &[&str]) {
    let server = RedisServer::plain();
    let proxy = proxy_with(&server, client, lines);
    let [here] = Application::start(client.name, &[], [proxy.port()]);
    for page in [CHANGES, READS] {
        let (alice, session) = log_in(&here, &server);
        let slow = SlowPage::begin(&alice, &here, page);
        assert_eq!(alice.clone().ask(&here, "POST /logout"), "200 bye");
        assert_eq!(alice.clone().ask(&here, "GET /name"), "401 nobody");
        assert!(slow.finish().starts_with("200 "));
        let left = what_is_left_of(&session, &alice, [&here], &server);
        assert_eq!(left, Left::Nothing, "{page}, {}", client.name);
        log_in_again(&alice, &here, &here);
    }
}

fn stays_logged_out_by_another_proxy(client: &Client) {
    let server = RedisServer::plain();
    let proxies = [proxy(&server, client), proxy(&server, client)];
    let [here, there] = Application::start(client.name, &[], proxies.each_ref().map(Proxy::port));

    for page in [CHANGES, READS] {
        for (writer, elsewhere) in [(&here, &there), (&there, &here)] {
            let (left, alice) = log_out_during(page, writer, elsewhere, &server);
            assert_eq!(left, client.leaves_through_proxy, "{page}");
            if left == Left::Nothing {
                log_in_again(&alice, elsewhere, writer);
            }
        }
    }
}

/// What is left of a session when a page is `here` still at work on it while its user logs out `there`; and who has its
/// cookie.
fn log_out_during(page: &str, here: &Application, there: &Application, server: &RedisServer) -> (Left, Browser) {
    let (alice, session) = log_in(here, server);
    let slow = SlowPage::begin(&alice, here, page);
    assert_eq!(alice.clone().ask(there, "POST /logout"), "200 bye");
    assert!(is_gone(&session, server), "who logs out destroys the session");
    let answer = slow.finish();
    assert!(answer.starts_with("200 "), "the page is made, whatever becomes of the session: {answer}");
    (what_is_left_of(&session, &alice, [here, there], server), alice)
}

fn what_is_left_of<const N: usize>(
    session: &BTreeSet<String>,
    alice: &Browser,
    applications: [&Application; N],
    server: &RedisServer,
) -> Left {
    // Before the cookie is shown: some clients would keep an empty session of that name.
    let keys = keys(server);
    let keys: Vec<_> = keys.intersection(session).map(String::as_str).collect();
    let answers = applications.map(|application| alice.clone().ask(application, "GET /name"));
    if answers.iter().all(|answer| answer == "200 alice") && !keys.is_empty() {
        return Left::Login;
    }
    assert!(answers.iter().all(|answer| answer == "401 nobody"), "{answers:?}, of the session there are {keys:?}");
    match keys[..] {
        [] => Left::Nothing,
        [key] if key.starts_with("expires:") => Left::Expiry,
        _ => panic!("nobody is logged in, but of the session there are {keys:?}"),
    }
}

/// As another user, with a cookie of old; `elsewhere` hears of it.
fn log_in_again(old: &Browser, here: &Application, elsewhere: &Application) {
    let mut carol = old.clone();
    assert_eq!(carol.ask(here, "POST /login?name=carol"), "200 welcome");
    for application in [here, elsewhere] {
        assert_eq!(carol.ask(application, "GET /name"), "200 carol");
    }
}

/// A browser that is logged in, and the keys of its session.
fn log_in(application: &Application, server: &RedisServer) -> (Browser, BTreeSet<String>) {
    let before = keys(server);
    let mut alice = Browser::default();
    assert_eq!(alice.ask(application, "POST /login?name=alice"), "200 welcome");
    assert_eq!(alice.ask(application, "GET /name"), "200 alice");
    let session: BTreeSet<_> = keys(server).difference(&before).cloned().collect();
    assert!(!session.is_empty(), "a session is kept on the server");
    (alice, session)
}

fn is_gone(session: &BTreeSet<String>, server: &RedisServer) -> bool {
    keys(server).is_disjoint(session)
}

fn keys(server: &RedisServer) -> BTreeSet<String> {
    server.cli(&["KEYS", "*"]).lines().filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// In seconds; -1 is without an end, -2 says that it is gone.
fn time_to_live(key: &str, server: &RedisServer) -> i64 {
    let reply = server.cli(&["TTL", key]);
    reply.parse().unwrap_or_else(|_| panic!("{reply} is no time to live"))
}

fn proxy(server: &RedisServer, client: &Client) -> Proxy {
    proxy_with(server, client, &[])
}

/// With more lines for the rule.
fn proxy_with(server: &RedisServer, client: &Client, lines: &[&str]) -> Proxy {
    let profile = format!("profile = \"{}\"", client.profile);
    Proxy::with(server, &[&["[[session]]", &profile], lines].concat())
}
