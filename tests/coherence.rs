//! How a cache in front of a server stays coherent (G4): the protocol, tried in every order of events.
//!
//! ```text
//!  clients                  a proxy                                  the server
//!
//!  read ───────▶ entry of the key ── miss ─▶ │        │ ── GET, PTTL ─▶ remembers the connection
//!        ◀─ hit ── Valid? proven? not held?  │tracked │ ◀─ value, TTL ─
//!                     ▲    ▲         ▲       │  (in   │
//!                  fills  fence    holds     │ order) │ ◀─ invalidation ── a write, by anybody:
//!                     └────┴─ reader ◀────── │        │                    told once, then forgotten
//!  write ──────▶ hold ─────────────────────▶ │        │ ── SET ────────▶
//!        ◀────── release ◀─ reader ◀──────── │        │ ◀─ OK ─────────
//! ```
//!
//! A write somewhere else is acknowledged on one connection while its invalidation is still under way on another, and
//! may be for as long as the network likes. So a cached value is never given out because nothing was heard against it,
//! but because of something that was heard: the reply to a *fence*. The server answers in the order in which it
//! executes: had somebody overwritten the value before the fence, the invalidation would have come first. How late a
//! fence must have been sent is the `staleness`: with 0, after the read was asked for, and reads are linearizable;
//! else not longer ago than that.
//!
//! All the rest keeps that argument true. What is filled has to be in the order of the invalidations, so only the
//! reader of the tracked connection fills, and only with what it has fetched itself while its *lease* is good. Our own
//! writes may travel on other connections, so a key is *held* from before the first byte leaves until the reply is
//! there. A connection that is lost or replaced takes with it what it filled and what it proved: its *generation*. The
//! server does not tell of an expiry in time, so time is kept here. And a demoted server goes on to answer, so a fence
//! is a write.
//!
//! `proxy` is the protocol, `server` is the server with its tracking table, `scene` lets everything happen whenever it
//! may: the server executes, a proxy reads, the clock goes on, a connection is lost and what was sent over it is
//! executed later or never. `judge` knows what was executed when, and says whether a promise is broken; where `history`
//! is asked as well, it must agree. `broken` leaves out one rule at a time, and shows how that breaks a promise:
//! `cargo test --test coherence broken -- --nocapture` tells the shortest way.
//!
//! There is one key, for no rule of the protocol is about two. Not in here: space (whatever the cache forgets, it may
//! forget at any time), and that a first read is not yet worth a fetch. A worker has a tracked connection and
//! entries of its own, and shares the holds with the others: to what one of them has filled, the connections of the
//! others are what the pinned connections are here.

#![allow(unreachable_pub, reason = "`pub` marks what the tests here use")]

#[path = "coherence/broken.rs"]
mod broken;
#[path = "coherence/history.rs"]
mod history;
#[path = "coherence/judge.rs"]
mod judge;
#[path = "coherence/proxy.rs"]
mod proxy;
#[path = "coherence/rules.rs"]
mod rules;
#[path = "coherence/scene.rs"]
mod scene;
#[path = "coherence/server.rs"]
mod server;

use rules::Rule;
use scene::Deed::{Read, ReadPinned, Script, Write, WriteDirectly, WritePinned};
use scene::Scene;

#[test]
fn reads_of_one_proxy_are_linearizable_whoever_writes() {
    Scene::of([&[Read(0), Read(0)], &[Read(0)], &[WriteDirectly(1), WriteDirectly(2)]]).keeps_every_promise();
}

#[test]
fn reads_of_two_proxies_are_linearizable_with_writes_through_one() {
    Scene::of([&[Read(0), Read(0)], &[Read(1), Read(1)], &[Write(0, 1)]]).keeps_every_promise();
}

#[test]
fn who_knows_nothing_of_the_server_finds_the_reads_linearizable_too() {
    Scene::of([&[Read(0), Read(0)], &[Read(1)], &[Write(0, 1)]]).judged_twice().keeps_every_promise();
    Scene::of([&[Read(0), Read(0)], &[WritePinned(0, 1), Read(0)]]).losses(1).judged_twice().keeps_every_promise();
}

#[test]
fn a_reader_may_go_from_proxy_to_proxy() {
    Scene::of([&[Read(0), Read(1), Read(0)], &[Read(1)], &[Write(0, 1)]]).keeps_every_promise();
}

#[test]
fn a_write_over_another_connection_is_as_good() {
    Scene::of([&[Read(0), Read(0)], &[Read(0)], &[WritePinned(0, 1), Write(0, 2)]]).keeps_every_promise();
}

#[test]
fn a_read_over_another_connection_is_not_ahead_of_the_cache() {
    Scene::of([&[Read(0), Read(0)], &[ReadPinned(0), Read(0)], &[Write(0, 1), WriteDirectly(2)]])
        .losses(1)
        .keeps_every_promise();
}

#[test]
fn two_writers_at_once_are_ordered_by_the_server() {
    Scene::of([&[Read(0), Read(0)], &[WritePinned(0, 1), Read(0)], &[Write(0, 2), Read(0)]]).keeps_every_promise();
}

#[test]
fn one_proxy_alone_needs_no_fence() {
    Scene::of([&[Read(0), Read(0)], &[Read(0), Read(0)], &[WritePinned(0, 1), Write(0, 2)]])
        .without(Rule::ProveHits)
        .losses(1)
        .keeps_every_promise();
}

/// What was sent over it is executed later, or never, and nobody knows.
#[test]
fn a_lost_connection_takes_with_it_what_it_filled() {
    Scene::of([&[Read(0), Read(0)], &[Write(0, 1), WritePinned(0, 3)], &[Read(0), WriteDirectly(2)]])
        .losses(1)
        .keeps_every_promise();
}

#[test]
fn a_connection_that_has_been_replaced_fills_no_more() {
    Scene::of([&[Read(0), Read(0)], &[Write(0, 1)], &[Read(0), WriteDirectly(2)]]).renewals(1).keeps_every_promise();
}

#[test]
fn two_proxies_agree_though_their_connections_are_lost_and_replaced() {
    Scene::of([&[Read(0), Read(0)], &[Write(1, 1), Read(1)]]).losses(2).renewals(1).keeps_every_promise();
}

#[test]
fn a_hit_is_not_older_than_it_may_be() {
    Scene::of([&[Read(0), Read(0), Read(0)], &[WriteDirectly(1), WriteDirectly(2)]]).staleness(1).keeps_every_promise();
}

#[test]
fn a_hit_is_not_older_than_what_its_proxy_has_acknowledged() {
    Scene::of([&[Read(0), Read(0)], &[WritePinned(0, 1), Read(0)], &[WriteDirectly(2)]])
        .staleness(1)
        .keeps_every_promise();
}

#[test]
fn a_hit_is_not_older_than_what_a_script_has_written() {
    Scene::of([&[Read(0), Read(0), Read(0)], &[Script(0, 1), Read(0)]]).staleness(1).losses(1).keeps_every_promise();
    Scene::of([&[Read(0), Read(0)], &[Script(0, 1), Read(0)], &[WriteDirectly(2)]]).keeps_every_promise();
}

#[test]
fn a_hit_is_not_older_than_what_its_client_has_got_elsewhere() {
    Scene::of([&[Read(0), ReadPinned(0), Read(0)], &[WriteDirectly(1)]]).staleness(1).keeps_every_promise();
}

#[test]
fn a_demoted_server_ends_hits_in_time() {
    Scene::of([&[Read(0), Read(0), Read(0)], &[WriteDirectly(1), WriteDirectly(2)]])
        .staleness(1)
        .failover()
        .keeps_every_promise();
}

#[test]
fn losses_and_renewals_do_not_make_a_hit_too_old() {
    Scene::of([&[Read(0), Read(0)], &[Write(0, 1), WriteDirectly(2)]])
        .staleness(1)
        .losses(1)
        .renewals(1)
        .keeps_every_promise();
}

#[test]
fn a_hit_is_alive_though_the_server_does_not_tell_of_its_end() {
    Scene::of([&[Read(0), Read(0), Read(0)], &[Read(0), WriteDirectly(1)]])
        .staleness(1)
        .expires(2)
        .keeps_every_promise();
}
