//! Where, among the replies of its connection, an invalidation stands: exactly where the server did what it tells of.

use crate::servers;
use crate::support::Wire;
use crate::tracked::Tracked;
use Step::{Other, Own};

enum Step {
    /// The tracked connection says this all at once, and hears this before a fence behind it is answered.
    Own(&'static [&'static str], &'static [&'static str]),
    /// Another connection says this, and has been answered.
    Other(&'static [&'static str]),
}

/// Each begins with `k` as `1`, never read before.
const SCRIPTS: &[&[Step]] = &[
    // The old value, that it is old, the new value: never the old value behind the word that it is old.
    &[
        Own(&["CLIENT CACHING YES", "GET k"], &["+OK", "1"]),
        Other(&["SET k 2"]),
        Own(&["CLIENT CACHING YES", "GET k"], &["inv(k)", "+OK", "2"]),
        Other(&["SET k 3"]),
        Own(&["CLIENT CACHING YES", "GET k"], &["inv(k)", "+OK", "3"]),
    ],
    // The same with a write of its own.
    &[Own(
        &["CLIENT CACHING YES", "GET k", "SET k 2", "CLIENT CACHING YES", "GET k", "SET k 3", "PING"],
        &["+OK", "1", "+OK", "inv(k)", "+OK", "2", "+OK", "inv(k)", "+PONG"],
    )],
    // A fill is torn by a write: it is known before the second half has come.
    &[
        Own(&["CLIENT CACHING YES", "GET k"], &["+OK", "1"]),
        Other(&["SET k 2 EX 1000"]),
        Own(&["PERSIST k", "PTTL k"], &["inv(k)", ":1", ":-1"]),
    ],
    // Who has been told is told no more, until he reads again.
    &[
        Own(&["CLIENT CACHING YES", "GET k"], &["+OK", "1"]),
        Other(&["SET k 2", "SET k 3"]),
        Own(&[], &["inv(k)"]),
        Other(&["SET k 4"]),
        Own(&["GET k"], &["4"]),
        Other(&["SET k 5"]),
        Own(&[], &[]),
    ],
    &[Own(
        &["CLIENT CACHING YES", "GET k", "SET k 2", "SET k 3", "PING"],
        &["+OK", "1", "+OK", "inv(k)", "+OK", "+PONG"],
    )],
    // A write to the same name in another database is told, and then the true one is not.
    &[
        Own(&["CLIENT CACHING YES", "GET k"], &["+OK", "1"]),
        Other(&["SELECT 1", "SET k 2"]),
        Own(&[], &["inv(k)"]),
        Other(&["SELECT 0", "SET k 2"]),
        Own(&[], &[]),
    ],
    // Asking for it is good for one command, or for one transaction.
    &[
        Own(&["CLIENT CACHING YES", "GET j", "GET k"], &["+OK", "_", "1"]),
        Other(&["SET k 2", "SET j 2"]),
        Own(&[], &["inv(j)"]),
    ],
    &[
        Own(
            &["CLIENT CACHING YES", "MULTI", "GET j", "GET k", "EXEC"],
            &["+OK", "+OK", "+QUEUED", "+QUEUED", "*2 _ $1 1"],
        ),
        Other(&["SET k 2", "SET j 2"]),
        Own(&[], &["inv(k)", "inv(j)"]),
    ],
    // A transaction that reads and then writes tells behind its one reply.
    &[Own(
        &["CLIENT CACHING YES", "MULTI", "GET k", "SET k 2", "GET k", "EXEC", "PING"],
        &["+OK", "+OK", "+QUEUED", "+QUEUED", "+QUEUED", "*3 $1 1 +OK $1 2", "inv(k)", "+PONG"],
    )],
];

#[test]
fn every_server_tells_where_it_happened_among_the_replies() {
    for (program, server) in servers() {
        for script in SCRIPTS {
            let mut operator = Wire::connect(server.port());
            ["FLUSHALL", "SET k 1"].iter().for_each(|line| assert_eq!(operator.ask(line), "+OK"));
            let mut tracked = Tracked::connect(server.port());
            let mut other = Wire::connect(server.port());
            for (number, step) in script.iter().enumerate() {
                match step {
                    Own(said, heard) => assert_eq!(tracked.heard(said), *heard, "{program}: {said:?}, step {number}"),
                    Other(said) => said.iter().for_each(|line| drop(other.ask(line))),
                }
            }
        }
    }
}

/// Why the proxy never asks for it: what its own writes, and the room made for them, take away is not told, and is
/// forgotten all the same.
#[test]
fn with_noloop_every_server_forgets_to_tell_of_the_next_write() {
    for (program, server) in servers() {
        let mut tracked = Tracked::connect_with(server.port(), "OPTIN NOLOOP");
        tracked.0.ask("SET k 1");
        assert_eq!(tracked.read("GET k"), "1");
        assert_eq!(tracked.heard(&["SET k 2"]), ["+OK"], "{program}");
        server.cli(&["SET", "k", "3"]);
        assert_eq!(tracked.told(), [""; 0], "{program}: it still reads 2 in its cache");
    }
}
