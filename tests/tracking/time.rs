//! What goes by itself: a key whose time has come, and what the server forgets for want of room.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::servers;
use crate::support::{ServerProgram, wait_until};
use crate::tracked::Tracked;

const LIFE: Duration = Duration::from_millis(200);

#[test]
fn every_server_tells_of_a_key_that_it_found_expired() {
    for (program, server) in servers() {
        let mut tracked = Tracked::connect(server.port());
        live(&mut tracked, &["SET k 1 PX 200"], "GET k");
        assert_eq!(tracked.wait(), "inv(k)", "{program}");
    }
}

/// Why the proxy keeps time itself: until somebody looks, and that may be for ever, nothing is said.
#[test]
fn no_server_tells_of_a_key_that_it_has_not_found_expired() {
    for (program, server) in servers() {
        server.cli(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
        let mut tracked = Tracked::connect(server.port());
        let born = live(&mut tracked, &["SET k 1 PX 200"], "GET k");
        wait_until("its time has come", || born.elapsed() > LIFE * 2);
        assert_eq!(tracked.told(), [""; 0], "{program}");
        assert_eq!(server.cli(&["GET", "k"]), "", "{program}");
        assert_eq!(tracked.told(), ["inv(k)"], "{program}");
    }
}

/// What it reads has been removed by the reading. That nothing is there is remembered all the same.
#[test]
fn every_server_tells_whoever_reads_a_key_that_it_had_expired() {
    for (program, server) in servers() {
        server.cli(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
        let mut tracked = Tracked::connect(server.port());
        let born = live(&mut tracked, &["SET k 1 PX 200"], "GET k");
        wait_until("its time has come", || born.elapsed() > LIFE * 2);
        assert_eq!(tracked.heard(&["CLIENT CACHING YES", "GET k"]), ["+OK", "_", "inv(k)"], "{program}");
        server.cli(&["SET", "k", "2"]);
        assert_eq!(tracked.told(), ["inv(k)"], "{program}");
    }
}

/// Why hashes are not cached: a field goes in silence, and the key's time to live does not show it.
#[test]
fn no_server_tells_of_a_field_that_it_has_not_found_expired() {
    let has_fields = |program: &ServerProgram| program.version >= if program.is_valkey { [9, 0, 0] } else { [7, 4, 0] };
    for (program, server) in servers().filter(|(program, _)| has_fields(program)) {
        server.cli(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
        let mut tracked = Tracked::connect(server.port());
        let born = live(&mut tracked, &["HSET k f 1 g 1", "HPEXPIRE k 200 FIELDS 1 f"], "HGET k f");
        wait_until("its time has come", || born.elapsed() > LIFE * 2);
        assert_eq!(tracked.heard(&["PTTL k"]), [":-1"], "{program}");
        assert_eq!(server.cli(&["HGET", "k", "f"]), "", "{program}");
        // Redis removes what was asked for in vain; Valkey leaves that to its rounds.
        let told = if program.is_valkey { vec![] } else { vec!["inv(k)"] };
        assert_eq!(tracked.told(), told, "{program}");
    }
}

/// What it has no room to remember, it tells of as if it had changed.
#[test]
fn every_server_tells_of_the_keys_it_can_remember_no_longer() {
    for (program, server) in servers() {
        server.cli(&["CONFIG", "SET", "tracking-table-max-keys", "10"]);
        let mut tracked = Tracked::connect(server.port());
        let keys = (0..100).map(|number| format!("k{number}"));
        let mut told = BTreeSet::new();
        for key in keys.clone() {
            let lines = ["CLIENT CACHING YES", &format!("GET {key}")];
            told.extend(tracked.heard(&lines).into_iter().filter(|heard| heard.starts_with("inv(")));
        }
        assert!((85..=90).contains(&told.len()), "{program}: told of {}", told.len());
        for key in keys.clone() {
            server.cli(&["SET", &key, "1"]);
        }
        told.extend(tracked.told());
        assert_eq!(told, keys.map(|key| format!("inv({key})")).collect(), "{program}");
    }
}

/// Makes something of a short life and reads it in time. When it was made.
fn live(tracked: &mut Tracked, given: &[&str], read: &str) -> Instant {
    loop {
        given.iter().for_each(|line| drop(tracked.0.ask(line)));
        let born = Instant::now();
        if tracked.read(read) == "1" {
            return born;
        }
        // It came too late on a busy machine; it may be told of that.
        tracked.told();
    }
}
