//! What the reply to a fence proves: that all the server had to tell has been heard, and that it is still the one
//! that writes go to.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{RedisServer, ServerProgram, Wire, wait_until};
use crate::tracked::{FENCE, Tracked};
use crate::{options, servers};

const TRIALS: usize = 300;

/// The writer's reply and the invalidation leave on two sockets, and perhaps by two threads: the invalidation may come
/// later. The reply to a fence sent after the writer has his may not.
#[test]
fn a_fence_sent_after_a_write_is_answered_behind_its_invalidation() {
    for program in programs() {
        let server = options(&program).config("io-threads 4").start();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut busy = Wire::connect(server.port());
                while !is_over.load(Relaxed) {
                    busy.say(&["PING"; 50]);
                    (0..50).for_each(|_| drop(busy.frame()));
                }
            });
            let mut tracked = Tracked::connect(server.port());
            let mut other = Wire::connect(server.port());
            let missed = (0..TRIALS).filter(|_| {
                tracked.read("GET k");
                other.ask("INCR k");
                tracked.told() != ["inv(k)"]
            });
            let missed = missed.count();
            is_over.store(true, Relaxed);
            assert_eq!(missed, 0, "{program}: of {TRIALS}");
        });
    }
}

/// A `PING` would be answered by all of them.
#[test]
fn a_fence_fails_on_a_server_that_takes_no_writes() {
    for (program, server) in servers() {
        let mut wire = Wire::connect_resp3(server.port());
        server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
        let heard = [wire.ask("PING"), wire.ask(FENCE)];
        assert_eq!(heard, ["+PONG", "-NOREPLICAS Not enough good replicas to write."], "{program}");
        server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
        server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
        server.cli(&["CONFIG", "SET", "replica-serve-stale-data", "yes"]);
        let heard = [wire.ask("PING"), wire.ask(FENCE)];
        assert_eq!(heard, ["+PONG", r"-READONLY You can\'t write against a read only replica."], "{program}");
        server.cli(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(wire.ask(FENCE), ":0", "{program}");
    }
}

/// As a failover does, until the new primary takes over.
#[test]
fn a_fence_waits_while_writes_are_paused() {
    const PAUSE: Duration = Duration::from_millis(200);
    for (program, server) in servers().filter(|(program, _)| program.version >= [6, 2, 0]) {
        let mut wire = Wire::connect(server.port());
        let began = Instant::now();
        server.cli(&["CLIENT", "PAUSE", "200", "WRITE"]);
        assert_eq!([wire.ask("PING"), wire.ask(FENCE)], ["+PONG", ":0"], "{program}");
        assert!(began.elapsed() >= PAUSE, "{program}: after {:?}", began.elapsed());
    }
}

#[test]
fn a_fence_changes_nothing() {
    for (program, server) in servers() {
        let mut wire = Wire::connect(server.port());
        wire.ask("SET k 1");
        let changes = || {
            let info = server.cli(&["INFO", "persistence"]);
            let line = info.lines().find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
            line.expect("a number").to_owned()
        };
        let before = changes();
        assert_eq!(wire.ask(FENCE), ":0");
        assert_eq!(changes(), before, "{program}");
        wire.ask("SET k 2");
        assert_ne!(changes(), before, "{program}");
    }
}

/// Nothing else says that the connection has lost its right to be believed.
#[test]
fn a_change_of_role_is_not_told_but_what_it_overwrites_is() {
    for (program, server) in servers() {
        let primary = options(&program).config("repl-diskless-sync-delay 0").start();
        primary.cli(&["SET", "k", "of the primary"]);
        let mut tracked = Tracked::connect(server.port());
        tracked.0.ask("SET k 1");
        assert_eq!(tracked.read("GET k"), "1");
        // The address leads nowhere: it is a replica that hears from nobody.
        server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
        assert!(tracked.0.ask(FENCE).starts_with("-READONLY"), "{program}");
        server.cli(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(tracked.told(), [""; 0], "{program}: promoted");
        server.cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
        assert_eq!(tracked.wait(), "inv(all)", "{program}: demoted, and given another's data");
        wait_until("it has the data", || server.cli(&["GET", "k"]) == "of the primary");
        // From now on, what the primary writes is told here, too.
        assert_eq!(tracked.read("GET k"), "of the primary", "{program}");
        primary.cli(&["SET", "k", "2"]);
        assert_eq!(tracked.wait(), "inv(k)", "{program}: replicated");
    }
}

#[test]
fn a_key_that_moves_to_another_server_is_told() {
    for (program, server) in servers() {
        let receiver = RedisServer::with().program(&program).start();
        let mut tracked = Tracked::connect(server.port());
        tracked.0.ask("SET k 1");
        assert_eq!(tracked.read("GET k"), "1");
        let port = receiver.port().to_string();
        assert_eq!(server.cli(&["MIGRATE", "127.0.0.1", &port, "k", "0", "1000"]), "OK", "{program}");
        assert_eq!(tracked.told(), ["inv(k)"], "{program}");
    }
}

fn programs() -> Vec<ServerProgram> {
    ServerProgram::all().into_iter().filter(crate::can_track).collect()
}
