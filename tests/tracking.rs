//! What a server says to a connection that caches: the ground the coherent cache (G4) stands on.
//!
//! ```text
//! another ──── SET k 2 ───▶ server ──▶ +OK
//!                             │ remembers who has read what after CLIENT CACHING YES,
//!                             │ and forgets it when it has told them
//! tracked ── GET k ─────────▶ │
//!         ◀─ 1 ────────────── │
//!         ◀─ inv(k) ───────── ◀ in the order in which the server did it
//!         ── DEL absent ────▶
//!         ◀─ :0 ───────────── the fence: what it has to say by now has been heard
//! ```
//!
//! `events` is the table: what may happen to a key, and whether it is told. Every event is made by another connection
//! and by the tracked one itself, on every server there is. The other modules hold what a table cannot say: the order
//! on the wire, what time does, what a fence proves, and how a connection stops being told.
//!
//! Redis before 6.2 puts what it tells into the middle of its replies: it is passed over here, and nothing read from
//! it may be cached.

#![allow(unreachable_pub, reason = "`pub` marks what the tests here use")]

mod support;

#[path = "tracking/endings.rs"]
mod endings;
#[path = "tracking/events.rs"]
mod events;
#[path = "tracking/fences.rs"]
mod fences;
#[path = "tracking/order.rs"]
mod order;
#[path = "tracking/time.rs"]
mod time;
#[path = "tracking/tracked.rs"]
mod tracked;

use events::{EVENTS, Event, READINGS};
use support::{RedisOptions, RedisServer, ServerProgram, Wire};
use tracked::Tracked;

#[test]
fn every_server_tells_others_what_the_table_says() {
    let mut wrong = Vec::new();
    for (program, server) in servers() {
        for event in EVENTS.iter().filter(|event| (event.is_of)(&program)) {
            let mut tracked = given(&server, event);
            let mut other = Wire::connect(server.port());
            event.said.iter().for_each(|line| drop(other.ask(line)));
            compare(&mut wrong, &program, "another says", event.said, &tracked.told(), &invalidations(event));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same, but nobody else does it: the server answers first, and then it tells.
#[test]
fn every_server_tells_of_a_connections_own_writes_behind_their_replies() {
    let mut wrong = Vec::new();
    for (program, server) in servers() {
        for event in EVENTS.iter().filter(|event| (event.is_of)(&program)) {
            let mut tracked = given(&server, event);
            let mut expected = vec!["reply".to_owned(); event.said.len()];
            let behind = expected.len() - usize::from((event.is_told_first_by)(&program));
            expected.splice(behind..behind, invalidations(event));
            let heard = tracked.heard(event.said).into_iter();
            let heard: Vec<_> = heard.map(|it| if it.starts_with("inv(") { it } else { "reply".into() }).collect();
            compare(&mut wrong, &program, "it says itself", event.said, &heard, &expected);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is not remembered must never be cached, be the value in the reply ever so fresh.
#[test]
fn every_server_remembers_the_keys_of_what_the_table_says() {
    let mut wrong = Vec::new();
    for (program, server) in servers() {
        for reading in READINGS.iter().filter(|reading| (reading.is_of)(&program)) {
            server.cli(&["FLUSHALL"]);
            server.cli(&["SET", "k", "1"]);
            let mut tracked = Tracked::connect(server.port());
            tracked.read(reading.said);
            // What it wrote itself was told to nobody, for nobody had read it.
            let before = tracked.told();
            server.cli(&["SET", "k", "2"]);
            let expected = reading.is_remembered.then(|| "inv(k)".to_owned());
            let told = [before, tracked.told()].concat();
            compare(&mut wrong, &program, "it says", &[reading.said], &told, &Vec::from_iter(expected));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whoever has read what the event is about, in an otherwise empty server.
fn given(server: &RedisServer, event: &Event) -> Tracked {
    let mut operator = Wire::connect(server.port());
    let before = ["CONFIG SET maxmemory 0", "FLUSHALL"];
    before.iter().chain(event.given).for_each(|line| {
        let reply = operator.ask(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    });
    let mut tracked = Tracked::connect(server.port());
    event.read.iter().for_each(|line| drop(tracked.read(line)));
    tracked
}

fn invalidations(event: &Event) -> Vec<String> {
    event.told.iter().map(|key| format!("inv({key})")).collect()
}

fn compare(
    wrong: &mut Vec<String>,
    program: &ServerProgram,
    who: &str,
    said: &[&str],
    heard: &[String],
    expected: &[String],
) {
    if heard != expected {
        wrong.push(format!("{program}: {who} {said:?}: {heard:?} is heard, and not {expected:?}"));
    }
}

/// Every server that can be cached from, running.
fn servers() -> impl Iterator<Item = (ServerProgram, RedisServer)> {
    let programs: Vec<_> = ServerProgram::all().into_iter().filter(can_track).collect();
    assert!(!programs.is_empty(), "no server that tracks");
    programs.into_iter().map(|program| {
        let server = options(&program).start();
        (program, server)
    })
}

fn options(program: &ServerProgram) -> RedisOptions {
    let options = RedisServer::with().program(program);
    match program.version >= [7, 0, 0] {
        true => options.config("enable-debug-command yes"),
        false => options,
    }
}

/// Since 6.2.12, and 7.0.10: what was wrong before is listed in their release notes.
fn can_track(program: &ServerProgram) -> bool {
    let [major, minor, patch] = program.version;
    let can = match (major, minor) {
        (..=5, _) | (6, ..=1) => false,
        (6, _) => patch >= 12,
        (7, 0) => patch >= 10,
        _ => true,
    };
    if !can {
        eprintln!("{program}: passed over, too old to track");
    }
    can
}
