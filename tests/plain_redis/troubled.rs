//! A server that is not well says so in its own words: no memory, no disk, too few replicas, a script that does not
//! end, a user who may not.

use std::fs;

use super::compare::{Both, Case};
use crate::support::{RedisServer, Wire, wait_until};

/// What most commands are answered in most kinds of trouble. `PING` is answered by the proxy itself.
const ALL_SORTS: &[Case] = &[
    Case {
        name: "reads and writes",
        requests: "GET a\nSET a 1\nHSET h a 1\nHGETALL h\nZRANGE z 0 -1 WITHSCORES\nDEL a\nEXPIRE a 10\nLPUSH l x\nPUBLISH c x",
    },
    Case {
        name: "a transaction",
        requests: "MULTI\nSET a 1\nGET a\nEXEC\nMULTI\nGET a\nEXEC\nMULTI\nSET a 1\nDISCARD",
    },
    Case {
        name: "what takes a connection of its own",
        requests: "BLPOP l 0.01\nWATCH a\nUNWATCH\nSUBSCRIBE c\nUNSUBSCRIBE c\nGET a",
    },
    Case {
        name: "scripts",
        requests: "EVAL \"return redis.call('SET', KEYS[1], 1)\" 1 a\nEVAL \"return redis.pcall('GET', KEYS[1])\" 1 a\nEVAL \"return 1\" 0",
    },
    Case { name: "another database", requests: "SELECT 5\nGET a\nSET a 1\nSELECT 0" },
];

fn compare(both: &Both, change: &str, back: &str) {
    both.change(change);
    both.compare_all(ALL_SORTS);
    both.change(back);
}

/// The server refuses even to be emptied: both are asked in turn, and find the same.
fn compare_in_step(both: &Both) {
    for (protocol, connect) in [("RESP2", Wire::connect as fn(u16) -> Wire), ("RESP3", Wire::connect_resp3)] {
        let (mut direct, mut through) = (connect(both.server.port()), connect(both.proxy.port()));
        for Case { name, requests } in ALL_SORTS {
            for line in requests.lines() {
                let (expected, got) = (direct.ask(line), through.ask(line));
                assert_eq!(got, expected, "{protocol} {name}: {line}");
            }
        }
    }
}

#[test]
fn a_server_without_memory_says_so_itself() {
    // What the test empties it with needs none.
    compare(&Both::plain(), "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0");
}

#[test]
fn a_server_without_its_replicas_says_so_itself() {
    let both = Both::plain();
    both.change("CONFIG SET min-replicas-to-write 1");
    compare_in_step(&both);
    both.change("CONFIG SET min-replicas-to-write 0");
}

#[test]
fn a_user_who_may_not_is_told_so_by_the_server() {
    let denied = "ACL SETUSER default -set -lpush -subscribe -eval -select|5 resetkeys ~a ~h ~l";
    let both = Both::plain();
    // The proxy selects databases itself: which ones are its own affair.
    both.change(&denied.replace(" -select|5", ""));
    both.compare_all(&ALL_SORTS[..4]);
    both.change("ACL SETUSER default +@all allkeys");
}

/// Every read still works, also on connections that are made only now.
#[test]
fn a_server_that_cannot_save_is_read_from() {
    let server = RedisServer::with().config("save 3600 100000").config("enable-protected-configs yes");
    let both = Both::with(server);
    // A directory stands where the file is to be.
    let directory = both.server.directory().join("in-the-way.rdb");
    fs::create_dir(&directory).and_then(|()| fs::write(directory.join("x"), "")).expect("a writable directory");
    both.change("CONFIG SET dbfilename in-the-way.rdb");
    both.change("SET a before");
    let mut operator = Wire::connect(both.server.port());
    assert_eq!(operator.ask("BGSAVE"), "+Background saving started");
    wait_until("saving has failed", || {
        String::from_utf8_lossy(&operator.frame_of("INFO persistence")).contains("rdb_last_bgsave_status:err")
    });
    let before = operator.frame_of("PING");
    assert!(before.starts_with(b"-MISCONF"), "{}", before.escape_ascii());
    compare_in_step(&both);
    both.change("CONFIG SET stop-writes-on-bgsave-error no");
}

/// Whether it is asked on a connection that is open, or on one it will not make now.
#[test]
fn a_server_busy_with_a_script_says_so_itself() {
    let both = Both::with(RedisServer::with().config("busy-reply-threshold 50"));
    for line in ["GET a", "SET a 1", "ZRANGE z 0 -1", "BLPOP l 0.1", "SUBSCRIBE c", "SELECT 5", "EVAL \"return 1\" 0"] {
        let said = [both.server.port(), both.proxy.port()].map(|port| while_busy(&both, port, line));
        assert_eq!(said[1], said[0], "{line}");
    }
}

/// What is answered while a script of somebody else's runs.
fn while_busy(both: &Both, port: u16, line: &str) -> String {
    let (mut client, mut busy) = (Wire::connect(port), Wire::connect(both.server.port()));
    assert_eq!(client.ask("GET none"), "$-1");
    busy.say(&["EVAL \"while true do end\" 0"]);
    let mut operator = Wire::connect(both.server.port());
    wait_until("it is busy", || operator.ask("PING").starts_with("-BUSY"));
    let said = client.ask(line);
    assert_eq!(operator.ask("SCRIPT KILL"), "+OK");
    assert!(busy.hear().starts_with("-ERR Script killed"));
    said
}
