//! What holds in front of the system's Redis holds in front of other versions, and of Valkey.
//!
//! The cases of `plain_redis`, told to each server that `tests/servers/setup` has fetched and to a proxy in front of
//! it; and what servers have learnt since. Where the two differ by design is listed in `known`.

#![allow(unreachable_pub, reason = "`pub` marks what the tests here use")]
#![allow(dead_code, reason = "some of what is shared is for `plain_redis` only")]

mod support;

#[path = "plain_redis/broken.rs"]
mod broken;
#[path = "plain_redis/collections.rs"]
mod collections;
#[path = "command_table/known.rs"]
mod commands;
#[path = "plain_redis/compare.rs"]
mod compare;
#[path = "plain_redis/connections.rs"]
mod connections;
#[path = "versions/known.rs"]
mod known;
#[path = "versions/newer.rs"]
mod newer;
#[path = "plain_redis/ordered.rs"]
mod ordered;
#[path = "plain_redis/random.rs"]
mod random;
#[path = "plain_redis/report.rs"]
mod report;
#[path = "plain_redis/serving.rs"]
mod serving;
#[path = "plain_redis/strings.rs"]
mod strings;
#[path = "plain_redis/subscriptions.rs"]
mod subscriptions;
#[path = "plain_redis/transactions.rs"]
mod transactions;

use std::thread;
use std::time::Duration;

use cloakroom::command::{Commands, Effect, Route};
use commands::{Known, commands_of};
use compare::{Both, Case, Pieces};
use known::{Needed, is_untold, unsaid};
use report::Differences;
use support::{Cut, Proxy, RedisServer, Relay, ServerProgram, Wire, stays_so, wait_until};

/// Of each protocol, to each server.
const RANDOM_COMMANDS: usize = 10_000;

/// Servers run side by side: most of the time one of them waits.
const AT_ONCE: usize = 3;

#[test]
fn every_server_is_answered_for_as_it_answers_itself() {
    let programs = ServerProgram::all();
    let mut needed = Needed::default();
    let mut unknown = Vec::new();
    for (program, differences) in programs.iter().zip(each(&programs, differences)) {
        for mut differences in differences {
            needed.sort_out(&mut differences, program);
            if !differences.is_empty() {
                unknown.push(format!("{program}: {differences}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n\n"));
    needed.expect_all(&programs);
}

/// Between the server and a proxy in front of it.
fn differences(program: &ServerProgram) -> Vec<Differences> {
    let both = Both::before(program).without(unsaid(program));
    let groups = [
        strings::CASES,
        collections::CASES,
        ordered::CASES,
        serving::CASES,
        connections::CASES,
        subscriptions::CASES,
        transactions::CASES,
        newer::CASES,
    ];
    let mut differences: Vec<_> = groups.map(|cases| both.differences(told(cases, program))).into();
    let streams = broken::inline().chain(broken::broken()).filter(|(name, _)| !is_untold(name, program));
    differences.push(both.stream_differences(streams, &[Pieces::Whole]));
    let both = Both::with_password(program, "secret").without(unsaid(program));
    differences.push(both.differences(told(connections::WITH_PASSWORD, program)));
    differences
}

/// The cases that this server can follow.
fn told(cases: &'static [Case], program: &ServerProgram) -> impl Iterator<Item = &'static Case> {
    cases.iter().filter(|case| !is_untold(case.name, program))
}

#[test]
fn random_commands_are_answered_as_every_server_does() {
    each(&ServerProgram::all(), |program| {
        let both = Both::before(program).without(unsaid(program));
        for hello in ["", "HELLO 3"] {
            eprintln!("{program}:");
            random::compare(&both, hello, RANDOM_COMMANDS);
        }
    });
}

/// What one of them writes must not be taken for a read, nor what blocks for something that does not.
#[test]
fn every_server_says_of_a_command_what_the_table_says() {
    for program in ServerProgram::all() {
        let known = commands_of(&program);
        let mut checked = 0;
        for row in Commands::rows() {
            let Some(Known { arity, flags }) = known.get(row.name) else { continue };
            let name = row.name;
            // Only commands answered here have their arguments counted here.
            if let Route::Here(_) = row.route {
                // Since 6.2 it may be said without a version.
                let is_old_hello = name == "hello" && program.version < [6, 2, 0];
                assert_eq!(row.arity, if is_old_hello { -1 } else { *arity }, "{program}: {name}");
            }
            if flags.contains("write") {
                assert_eq!(row.effect, Effect::Write, "{program}: {name}");
            }
            // Until 7.0 it had one flag for all its subcommands.
            if flags.contains("readonly") && !(name == "memory" && program.version < [7, 0, 0]) {
                assert_eq!(row.effect, Effect::Read, "{program}: {name}");
            }
            let needs_its_own = flags.contains("blocking")
                || flags.contains("pubsub") && !["publish", "spublish", "pubsub"].contains(&name);
            if needs_its_own {
                assert!(
                    matches!(row.route, Route::Pin(_) | Route::PinIfBlocking),
                    "{program}: {name}: {:?}",
                    row.route
                );
            }
            checked += 1;
        }
        assert!(checked > 190, "{program}: {checked} commands checked");
    }
}

/// It cannot be proven clean.
#[test]
fn a_pinned_connection_to_a_server_without_reset_serves_nobody_again() {
    for program in ServerProgram::all() {
        let server = RedisServer::with().program(&program).start();
        let proxy = Proxy::with(&server, &["listen.workers = 1"]);
        proxy.allow("loses invalidations");
        let transact = || {
            let mut wire = Wire::connect(proxy.port());
            assert_eq!([wire.ask("MULTI"), wire.ask("EXEC")], ["+OK", "*0"], "{program}");
        };
        transact();
        let before = connections_received(&server);
        const TIMES: u64 = 20;
        (0..TIMES).for_each(|_| transact());
        // One of these connections is the one that asks.
        let opened = connections_received(&server) - before - 1;
        match program.version < [6, 2, 0] {
            true => assert_eq!(opened, TIMES, "{program}"),
            // It may be back too late for the next, now and then.
            false => assert!(opened < TIMES / 2, "{program}: {opened} opened"),
        }
    }
}

fn connections_received(server: &RedisServer) -> u64 {
    let info = server.cli(&["INFO", "stats"]);
    let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    line.and_then(|number| number.trim().parse().ok()).expect("a number")
}

/// The bytes of a write are still under way when its connection is lost. Did every server not forget that connection
/// when it is told to, they would overwrite a newer write.
#[test]
fn every_server_runs_nothing_more_from_a_lost_connection() {
    each(&ServerProgram::all(), |program| {
        let server = RedisServer::with().program(program).start();
        let relay = Relay::to(&server.address());
        let proxy = Proxy::start(&format!(
            "listen.address = \"127.0.0.1:0\"\nlisten.workers = 1\nmetrics.address = \"127.0.0.1:0\"\n\
             log.format = \"json\"\nupstream.server = \"{}\"\n",
            relay.address()
        ));
        proxy.allow("upstream connection lost");
        proxy.allow("loses invalidations");
        proxy.wait_ready();
        let metrics = || proxy.get("/metrics").1;
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("SET k oldest"), "+OK", "{program}");
        relay.delay();
        client.say(&["SET k old"]);
        wait_until("it is sent", || metrics().contains("cloakroom_requests_total{command=\"set\"} 2"));
        stays_so("it is under way", Duration::from_millis(100), || server.cli(&["GET", "k"]) == "oldest");
        relay.cut(Cut::Reset);
        assert_eq!(client.hear(), "-UNKNOWN upstream connection lost; outcome unknown", "{program}");
        assert_eq!(client.ask("SET k new"), "+OK", "{program}");
        relay.deliver();
        stays_so("the newer value stays", Duration::from_millis(500), || server.cli(&["GET", "k"]) == "new");
        assert!(metrics().contains("cloakroom_severs_total{result=\"killed\"} 1"), "{program}: {}", metrics());
    });
}

/// Asks every server, a few at a time.
fn each<T: Send>(programs: &[ServerProgram], ask: impl Fn(&ServerProgram) -> T + Sync) -> Vec<T> {
    let some_at_once = |some: &[ServerProgram]| {
        thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|program| scope.spawn(|| ask(program))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        })
    };
    programs.chunks(AT_ONCE).flat_map(some_at_once).collect()
}
