//! A client cannot tell the proxy from Redis (G1): the same bytes go to a server and, through the proxy, to
//! the same server again; what comes back is compared byte for byte.
//!
//! ```text
//!              ┌──────────▶ RedisServer      first, and remembered
//! bytes ───────┤                ▲ emptied in between
//!              └─▶ Proxy ───────┘            then, and compared
//! ```
//!
//! One server and not two: each server process orders its sets and hashes by a seed of its own. What does
//! differ by design, or by the clock, is masked where it stands (`compare`), and nothing else is.
//!
//! A failure shows the case, the request and both answers. For the random commands it shows the seed: set
//! `CLOAKROOM_SEED` to it to see the same again, and `CLOAKROOM_COMMANDS` for more than the usual number.

#![allow(unreachable_pub, reason = "`pub` marks what the tests here use")]

mod support;

#[path = "plain_redis/broken.rs"]
mod broken;
#[path = "plain_redis/collections.rs"]
mod collections;
#[allow(dead_code, reason = "`versions` uses more of it")]
#[path = "plain_redis/compare.rs"]
mod compare;
#[path = "plain_redis/connections.rs"]
mod connections;
#[path = "plain_redis/corners.rs"]
mod corners;
#[path = "plain_redis/differences.rs"]
mod differences;
#[path = "plain_redis/huge.rs"]
mod huge;
#[path = "plain_redis/large.rs"]
mod large;
#[path = "plain_redis/listed.rs"]
mod listed;
#[path = "plain_redis/ordered.rs"]
mod ordered;
#[path = "plain_redis/random.rs"]
mod random;
#[allow(dead_code, reason = "`versions` uses more of it")]
#[path = "plain_redis/report.rs"]
mod report;
#[path = "plain_redis/serving.rs"]
mod serving;
#[path = "plain_redis/states.rs"]
mod states;
#[path = "plain_redis/strings.rs"]
mod strings;
#[path = "plain_redis/subscriptions.rs"]
mod subscriptions;
#[path = "plain_redis/transactions.rs"]
mod transactions;
#[path = "plain_redis/troubled.rs"]
mod troubled;

use std::collections::BTreeSet;

use cloakroom::command::Commands;
use compare::{Both, Case, Pieces, steps};
use support::{ServerProgram, Wire, words};

#[test]
fn strings_are_answered_as_redis_does() {
    Both::plain().compare_all(strings::CASES);
}

#[test]
fn hashes_lists_and_sets_are_answered_as_redis_does() {
    Both::plain().compare_all(collections::CASES);
}

#[test]
fn sorted_sets_geo_streams_and_bits_are_answered_as_redis_does() {
    Both::plain().compare_all(ordered::CASES);
}

#[test]
fn keyspace_scripts_and_errors_are_answered_as_redis_does() {
    Both::plain().compare_all(serving::CASES);
}

#[test]
fn what_concerns_the_connection_is_answered_as_redis_does() {
    Both::plain().compare_all(connections::CASES);
}

#[test]
fn subscriptions_watches_and_tracking_are_answered_as_redis_does() {
    Both::plain().compare_all(subscriptions::CASES);
}

#[test]
fn where_rules_meet_the_answer_is_as_in_redis() {
    Both::plain().compare_all(corners::CASES);
}

#[test]
fn transactions_are_answered_as_redis_does() {
    Both::plain().compare_all(transactions::CASES);
}

#[test]
fn passwords_are_asked_for_as_redis_does() {
    Both::with_password(&ServerProgram::system(), "secret").compare_all(connections::WITH_PASSWORD);
}

#[test]
fn inline_requests_are_understood_as_redis_does() {
    Both::plain().compare_streams(broken::inline(), &[Pieces::Whole, Pieces::OneByOne]);
}

#[test]
fn what_is_no_request_ends_the_connection_as_in_redis() {
    Both::plain().compare_streams(broken::broken(), &[Pieces::Whole, Pieces::OneByOne]);
}

#[test]
fn what_is_no_request_is_not_answered_where_replies_are_off() {
    Both::plain().compare_streams(broken::silent(), &[Pieces::Whole]);
}

#[test]
fn a_line_that_never_ends_is_not_read_for_ever() {
    Both::plain().compare_streams(broken::endless(), &[Pieces::Whole]);
}

#[test]
fn much_is_answered_as_redis_does() {
    Both::plain().compare_streams(large::streams(), &[Pieces::Whole]);
}

#[test]
fn random_commands_are_answered_as_redis_does_in_resp2() {
    random::compare(&Both::plain(), "", random::COMMANDS);
}

#[test]
fn random_commands_are_answered_as_redis_does_in_resp3() {
    random::compare(&Both::plain(), "HELLO 3", random::COMMANDS);
}

#[test]
fn clients_are_listed_as_in_redis() {
    listed::compare(&Both::plain());
}

/// What it sent behind is not run.
#[test]
fn who_kills_itself_is_answered_and_served_no_more() {
    let both = Both::plain();
    for filter in ["ID {id} SKIPME no", "ADDR {address} SKIPME no", "{address}"] {
        let [expected, got] = [both.server.port(), both.proxy.port()].map(|port| {
            both.clear();
            let mut client = Wire::connect(port);
            let id = client.ask("CLIENT ID").trim_start_matches(':').to_owned();
            let filter = filter.replace("{id}", &id).replace("{address}", &client.address());
            client.say(&[&format!("CLIENT KILL {filter}"), "SET a 1", "PING"]);
            let said = client.rest().expect("a close");
            (String::from_utf8_lossy(&said).into_owned(), both.server.cli(&["EXISTS", "a"]))
        });
        assert_eq!(got, expected, "{filter}");
        assert_eq!(got.1, "0", "{filter}");
    }
}

#[test]
fn random_states_of_a_connection_are_as_in_redis() {
    states::compare(&Both::plain());
}

#[test]
fn the_documented_differences_are_as_they_are_documented() {
    differences::expect(&Both::plain(), differences::DIFFERENCES);
    differences::expect(&Both::with_password(&ServerProgram::system(), "secret"), differences::BEFORE_AUTH);
}

/// A command that nobody tries here would not be missed if it were answered wrongly.
#[test]
fn every_command_of_the_table_is_tried() {
    let tried: BTreeSet<String> = [
        strings::CASES,
        collections::CASES,
        ordered::CASES,
        serving::CASES,
        connections::CASES,
        corners::CASES,
        subscriptions::CASES,
        transactions::CASES,
    ]
    .into_iter()
    .flatten()
    .flat_map(|Case { requests, .. }| steps(requests))
    .map(|step| String::from_utf8_lossy(&words(step.line)[0]).to_lowercase())
    .collect();
    let untried = Commands::rows().iter().map(|row| row.name).filter(|name| !tried.contains(*name));
    // They end the server, stop it, or are another server's.
    let not_for_clients =
        ["bgrewriteaof", "bgsave", "failover", "migrate", "pfselftest", "psync", "replconf", "replicaof"];
    let not_for_clients: BTreeSet<_> =
        not_for_clients.into_iter().chain(["save", "shutdown", "slaveof", "sync"]).collect();
    assert_eq!(untried.collect::<BTreeSet<_>>(), not_for_clients);
}
