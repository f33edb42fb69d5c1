//! Clients that want the proxy's memory, its connections or its time (G7): each runs into a limit, is told so or
//! closed, and costs nobody else anything.
//!
//! ```text
//! crowd ─┐  floods, trickles, never reads
//!        ├─▶ Proxy ───▶ RedisServer
//! honest ┘     └ /proc/PID/status: what it costs
//! ```
//!
//! Where each limit is run into; a test sees that the table is whole.
//!
//! | key | run into by |
//! |---|---|
//! | `listen.max_clients` | `clients_that_say_nothing_take_no_more_places_than_there_are` |
//! | `listen.unix_mode` | `a_unix_socket_has_its_mode_from_the_first_moment` |
//! | `listen.password_file` | `who_does_not_know_the_password_learns_nothing_and_costs_little` |
//! | `listen.drain_timeout` | `who_hangs_on_does_not_delay_the_end` |
//! | `listen.tls.cert_file`, `key_file` | `handshakes_that_never_end_are_given_up` |
//! | `listen.tls.client_ca_file` | `who_shows_no_certificate_is_closed` |
//! | `limits.request` | `a_length_that_is_only_announced_costs_nothing` |
//! | `limits.arguments` | `a_million_empty_arguments_are_paid_for_once` |
//! | `limits.in_flight` | `requests_behind_a_stopped_server_are_not_read_ahead` |
//! | `limits.unread_replies` | `replies_nobody_reads_stay_at_the_server` |
//! | `limits.read_ahead` | `who_writes_and_never_reads_is_not_read_for_ever` |
//! | `limits.unread_timeout` | `who_takes_no_reply_is_closed` |
//! | `limits.request_timeout` | `a_request_that_never_ends_is_given_up` |
//! | `limits.auth_timeout` | `who_never_authenticates_is_closed` |
//! | `limits.auth_delay` | `a_wrong_password_is_answered_late_and_delays_nobody_else` |
//! | `limits.memory` | `two_hundred_halves_of_requests_stay_within_the_budget` |
//! | `limits.queue` | `a_stopped_server_does_not_fill_the_proxy` |
//! | `limits.pinned` | `a_crowd_that_wants_connections_of_its_own_gets_what_there_are` |
//! | `upstream.connect_timeout` | `a_server_that_does_not_answer_a_handshake_is_given_up` |
//! | `upstream.queue_timeout` | `a_crowd_that_waits_for_a_server_is_told_in_time` |
//! | `upstream.reply_timeout` | `a_stopped_server_does_not_fill_the_proxy` |

#![allow(unreachable_pub, reason = "`pub` marks what the tests here use")]

mod support;

#[path = "hostile/aftermath.rs"]
mod aftermath;
#[path = "hostile/budget.rs"]
mod budget;
#[path = "hostile/door.rs"]
mod door;
#[path = "hostile/idle.rs"]
mod idle;
#[path = "hostile/passwords.rs"]
mod passwords;
#[path = "hostile/protocols.rs"]
mod protocols;
#[path = "hostile/readers.rs"]
mod readers;
#[path = "hostile/server.rs"]
mod server;
#[path = "hostile/siege.rs"]
mod siege;
#[path = "hostile/socket_file.rs"]
mod socket_file;
#[path = "hostile/strangers.rs"]
mod strangers;
#[path = "hostile/tls.rs"]
mod tls;
#[path = "hostile/writers.rs"]
mod writers;

use std::fs;
use std::path::Path;

/// What has no bound to run into.
const NO_LIMITS: [&str; 2] = ["listen.address", "listen.workers"];

#[test]
fn every_limit_is_run_into() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = fs::read_to_string(root.join("config.toml")).expect("config.toml");
    let rows: Vec<_> = include_str!("hostile.rs").lines().filter_map(|line| line.strip_prefix("//! | `")).collect();
    let tests: String = fs::read_dir(root.join("tests/hostile"))
        .expect("a directory")
        .map(|file| fs::read_to_string(file.expect("an entry").path()).expect("a source"))
        .collect();
    let (mut section, mut seen) = ("", 0);
    for line in config.lines() {
        section = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')).unwrap_or(section);
        let Some((key, _)) = line.split_once(" = ") else { continue };
        let (name, is_limit) = (format!("{section}.{key}"), key.ends_with("_timeout"));
        if !(is_limit || section == "limits" || section.starts_with("listen")) || NO_LIMITS.contains(&name.as_str()) {
            continue;
        }
        seen += 1;
        let row = rows.iter().find(|row| row.starts_with(section) && row.contains(&format!("{key}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
        let test = row.rsplit('`').nth(1).expect("the name of a test");
        assert!(tests.contains(&format!("fn {test}()")), "{name}: there is no test {test}");
    }
    assert!(seen >= 17, "only {seen} keys found");
}
