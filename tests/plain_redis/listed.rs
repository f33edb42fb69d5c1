//! How `CLIENT LIST` shows a client, by what it has done.

use super::compare::Both;
use crate::support::{Wire, wait_until};

/// What clients have said before they are looked at.
const HISTORIES: &[&[&str]] = &[
    &[],
    &["GET a"],
    &["PING"],
    &["SELECT 3", "CLIENT SETNAME me"],
    &["CONFIG GET none"],
    &["CLIENT GETNAME"],
    &["EVAL \"return 1\" 0"],
    &["FOO a"],
    &["GET"],
    &["MULTI"],
    &["MULTI", "SET a 1", "GET a"],
    &["WATCH a", "MULTI", "PING"],
    &["MULTI", "SET a 1", "EXEC"],
    &["MULTI", "DISCARD"],
    &["WATCH a"],
    &["SUBSCRIBE a", "SUBSCRIBE b"],
    &["PSUBSCRIBE a*"],
    &["SSUBSCRIBE a"],
    &["HELLO 3", "SUBSCRIBE a", "PSUBSCRIBE a*", "GET a"],
    &["SUBSCRIBE a", "UNSUBSCRIBE a"],
    &["HELLO 3 SETNAME me"],
    &["CLIENT TRACKING ON"],
    &["CLIENT TRACKING ON BCAST"],
    &["CLIENT TRACKING ON", "CLIENT TRACKING OFF"],
    &["MONITOR"],
    &["BLPOP l 0"],
    &["XREAD BLOCK 0 STREAMS s $"],
    &["SELECT 3", "CLIENT SETNAME me", "CLIENT TRACKING ON", "RESET"],
];

/// What is not compared: numbers of the connection, of the clock and of the memory.
const MASKED: [&str; 16] = [
    "id",
    "addr",
    "laddr",
    "fd",
    "age",
    "idle",
    "qbuf",
    "qbuf-free",
    "argv-mem",
    "multi-mem",
    "rbs",
    "rbp",
    "obl",
    "oll",
    "omem",
    "tot-mem",
];

/// Everything else of a client's line is as the server would show it, and the line found by the same types.
pub fn compare(both: &Both) {
    let mut differences = Vec::new();
    for history in HISTORIES {
        both.clear();
        let [expected, got] = [both.server.port(), both.proxy.port()].map(|port| look(both, port, history));
        if expected != got {
            differences.push(format!("{}\n  Redis:     {expected}\n  cloakroom: {got}", history.join(", ")));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

fn look(both: &Both, port: u16, history: &[&str]) -> String {
    let (mut client, mut observer) = (Wire::connect(port), Wire::connect(port));
    let id = client.ask("CLIENT ID").trim_start_matches(':').to_owned();
    for line in history {
        client.say(&[line]);
        if line.starts_with("BLPOP") || line.starts_with("XREAD") {
            let mut operator = Wire::connect(both.server.port());
            let mut info = || String::from_utf8_lossy(&operator.frame_of("INFO clients")).into_owned();
            wait_until("it blocks", || info().contains("blocked_clients:1"));
        } else {
            client.frame();
        }
    }
    let mut list =
        |filter: &str| String::from_utf8_lossy(&observer.frame_of(&format!("CLIENT LIST {filter}"))).into_owned();
    let listed = list(&format!("ID {id}"));
    let line = listed.lines().find(|line| line.starts_with("id=")).expect("the client's line");
    let fields = line.split(' ').filter(|field| !field.starts_with("lib-")).map(|field| match field.split_once('=') {
        Some((name, _)) if MASKED.contains(&name) => name.to_owned(),
        _ => field.to_owned(),
    });
    let is_of = |listed: String| listed.contains(&format!("id={id} "));
    let types = ["normal", "pubsub", "replica", "master"].map(|kind| is_of(list(&format!("TYPE {kind}"))));
    format!("{} {types:?}", fields.collect::<Vec<_>>().join(" "))
}
