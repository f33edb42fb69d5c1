//! Servers that cannot tell of changes, or may not be asked to: everything is forwarded, and that is said once.

use super::facts::{cached, calls_of, metric};
use super::support::{Proxy, RedisOptions, RedisServer, ServerProgram, Wire};

#[test]
fn a_server_that_is_too_old_to_track_is_forwarded_to() {
    let programs = ServerProgram::all();
    let old = programs.iter().find(|program| program.version < [6, 2, 0] && !program.is_valkey);
    let server = RedisServer::with().program(old.expect("`tests/servers/setup` fetches one")).start();
    is_forwarded(&server, &[]);
}

#[test]
fn a_user_who_may_not_track_is_forwarded() {
    is_forwarded_as("-client|tracking");
    is_forwarded_as("-client|caching");
}

#[test]
fn a_user_who_may_not_delete_the_own_key_is_forwarded() {
    let server = limited("resetkeys ~session:*");
    is_forwarded(&server, &USER_LINES);
    // Where it may, it is held.
    let proxy =
        cached(&server, &[&USER_LINES[..], &["cache.own_key = \"session:own\"", "listen.workers = 1"]].concat());
    let mut client = Wire::connect(proxy.port());
    let asked = calls_of(&server, "get", || (0..10).for_each(|_| drop(client.ask("GET session:1"))));
    assert_eq!(asked, 2);
}

const SAID: &str = "the server tells of no changes";

const USER_LINES: [&str; 2] = ["upstream.username = \"web\"", "upstream.password = \"right\""];

fn limited(rules: &str) -> RedisServer {
    RedisOptions::default().config(format!("user web on >right ~* &* +@all {rules}")).start()
}

fn is_forwarded_as(rule: &str) {
    is_forwarded(&limited(rule), &USER_LINES);
}

fn is_forwarded(server: &RedisServer, lines: &[&str]) {
    let proxy = Proxy::with(server, &[lines, &["listen.workers = 2", "cache.enabled = true"]].concat());
    proxy.allow(SAID);
    let mut clients = [Wire::connect(proxy.port()), Wire::connect_resp3(proxy.port())];
    for client in &mut clients {
        assert_eq!(client.ask("SET session:1 v"), "+OK");
        assert_eq!(calls_of(server, "get", || (0..10).for_each(|_| assert_eq!(client.ask("GET session:1"), "v"))), 10);
    }
    assert_eq!(metric(&proxy, "hits_total"), 0);
    assert_eq!(metric(&proxy, "entries"), 0);
    assert!(metric(&proxy, "untracked_total") > 0);
    let said = proxy.logs().iter().filter(|line| line.contains(SAID)).count();
    assert_eq!(said, 1, "{}", proxy.logs().join("\n"));
}
