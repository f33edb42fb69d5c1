//! Clients that wait for others: who may wake them, and for what they wait.

use super::House;
use crate::support::{Wire, wait_until};

fn id(wire: &mut Wire) -> String {
    wire.ask("CLIENT ID").trim_start_matches(':').to_owned()
}

/// A reply in full.
fn text(wire: &mut Wire, line: &str) -> String {
    String::from_utf8_lossy(&wire.frame_of(line)).into_owned()
}

#[test]
fn a_blocked_client_is_unblocked_by_another() {
    let house = House::with(&["listen.workers = 2"]);
    // On either worker.
    let (mut blocked, mut other, mut third) = (house.enter(), house.enter(), house.enter_resp3());
    let number = id(&mut blocked);
    assert_eq!(other.ask(&format!("CLIENT UNBLOCK {number}")), ":0");
    for (how, answer) in [
        ("", "*-1"),
        (" TIMEOUT", "*-1"),
        (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        (" error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
    ] {
        for asker in [&mut other, &mut third] {
            blocked.say(&["BLPOP none 0"]);
            house.wait_blocked(1);
            assert_eq!(asker.ask(&format!("CLIENT UNBLOCK {number}{how}")), ":1");
            assert_eq!(blocked.hear(), answer);
            assert_eq!(asker.ask(&format!("CLIENT UNBLOCK {number}{how}")), ":0");
        }
    }
    assert_eq!(blocked.ask("SET k v"), "+OK");
    assert_eq!(other.ask("CLIENT UNBLOCK 12345"), ":0");
}

/// It holds a connection of its own meanwhile, as does the one it wakes.
#[test]
fn a_pinned_client_unblocks_another() {
    let house = House::open();
    let (mut blocked, mut subscriber) = (house.enter(), house.enter_resp3());
    let number = id(&mut blocked);
    assert!(subscriber.ask("SUBSCRIBE c").starts_with(">3"));
    blocked.say(&["XREAD BLOCK 0 STREAMS s $"]);
    house.wait_blocked(1);
    assert_eq!(subscriber.ask(&format!("CLIENT UNBLOCK {number}")), ":1");
    assert_eq!(blocked.hear(), "*-1");
}

/// The number of the connection it held must not be its fate when somebody else waits on it.
#[test]
fn who_blocks_next_is_not_unblocked_in_anothers_place() {
    let house = House::open();
    let (mut one, mut two, mut other) = (house.enter(), house.enter(), house.enter());
    let number = id(&mut one);
    for n in 1..=50 {
        one.say(&["BLPOP l 0"]);
        house.wait_blocked(1);
        // Both at once: the push ends the wait, and the word to end it may come when it is over.
        other.say(&[&format!("RPUSH l {n}"), &format!("CLIENT UNBLOCK {number}")]);
        assert_eq!(one.hear(), format!("*2 $1 l ${} {n}", n.to_string().len()));
        two.say(&["BLPOP m 0"]);
        assert_eq!(other.hear(), ":1");
        assert!([":0", ":1"].contains(&other.hear().as_str()));
        house.wait_blocked(1);
        assert_eq!(other.ask(&format!("RPUSH m {n}")), ":1");
        assert_eq!(two.hear(), format!("*2 $1 m ${} {n}", n.to_string().len()));
    }
}

/// What a client wrote on a shared connection must have reached the replicas when its `WAIT` says so.
#[test]
fn wait_waits_for_what_the_client_has_written() {
    let house = House::open();
    let mut client = house.enter();
    // A connection of its own has been used before, and has waited for nothing since.
    assert_eq!(client.ask("WAIT 0 1"), ":0");
    house.wait_clean();
    let replica = house.replica();
    wait_until("a replica follows", || house.server_says("INFO replication").contains("state=online"));
    assert_eq!(client.ask("SET k 1"), "+OK");
    assert_eq!(client.ask("WAIT 1 10000"), ":1");
    wait_until("the replica has acknowledged all there is", || {
        let info = house.server_says("INFO replication");
        let field =
            |name| info.split_once(name).and_then(|(_, rest)| rest.split(['\r', ',']).next()).map(str::to_owned);
        field(",offset=") == field("master_repl_offset:")
    });
    replica.pause();
    assert_eq!(client.ask("SET k 2"), "+OK");
    assert_eq!(client.ask("WAIT 1 300"), ":0");
    client.say(&["SET k 3", "WAIT 1 300", "ECHO after"]);
    assert_eq!((client.hear(), client.hear(), client.hear()), ("+OK".into(), ":0".into(), "after".into()));
    replica.resume();
    assert_eq!(client.ask("WAIT 1 10000"), ":1");
}

#[test]
fn the_list_of_clients_tells_what_they_do() {
    let house = House::open();
    let mut names = Vec::new();
    let mut clients: Vec<Wire> = [
        ("queueing", "MULTI", "flags=x db=0 sub=0 psub=0 ssub=0 multi=0"),
        ("subscribed", "SUBSCRIBE c", "flags=P db=0 sub=1 psub=0 ssub=0 multi=-1"),
        ("listening", "PSUBSCRIBE p*", "flags=P db=0 sub=0 psub=1 ssub=0 multi=-1"),
        ("monitoring", "MONITOR", "flags=O db=0 sub=0 psub=0 ssub=0 multi=-1"),
        ("selected", "SELECT 3", "flags=N db=3 sub=0 psub=0 ssub=0 multi=-1"),
    ]
    .into_iter()
    .map(|(name, line, shown)| {
        let mut client = house.enter();
        assert_eq!(client.ask(&format!("CLIENT SETNAME {name}")), "+OK");
        client.ask(line);
        names.push((name, shown));
        client
    })
    .collect();
    let mut blocked = house.enter();
    assert_eq!(blocked.ask("CLIENT SETNAME blocked"), "+OK");
    blocked.say(&["BLPOP none 0"]);
    house.wait_blocked(1);
    names.push(("blocked", "flags=b db=0 sub=0 psub=0 ssub=0 multi=-1"));
    let mut other = house.enter();
    let list = text(&mut other, "CLIENT LIST");
    for (name, shown) in names {
        let line = list.lines().find(|line| line.contains(&format!(" name={name} ")));
        assert!(line.is_some_and(|line| line.contains(shown)), "{name}: {list}");
    }
    assert!(list.contains(" cmd=client|list "), "{list}");
    let subscribers = text(&mut other, "CLIENT LIST TYPE pubsub");
    assert_eq!(subscribers.matches("flags=P").count(), 2, "{subscribers}");
    assert!(!subscribers.contains("flags=N"), "{subscribers}");
    assert_eq!(other.ask("CLIENT KILL TYPE pubsub"), ":2");
    assert!(clients[1].try_frame().is_err() && clients[2].try_frame().is_err());
    assert!(text(&mut clients[4], "CLIENT INFO").contains(" db=3 "));
}

/// What is sent in a request's place may be as long as the request: the client's task ended at the eleventh word.
#[test]
fn a_long_request_is_sent_in_another_ones_place() {
    let house = House::open();
    let (mut listener, mut client) = (house.enter(), house.enter());
    let number = id(&mut listener);
    assert!(listener.ask("SUBSCRIBE __redis__:invalidate").starts_with("*3"));
    let prefixes = (1..20).map(|n| format!("PREFIX p{n}:")).collect::<Vec<_>>().join(" ");
    assert_eq!(client.ask(&format!("CLIENT TRACKING ON REDIRECT {number} BCAST {prefixes}")), "+OK");
    assert_eq!(house.enter().ask("SET p7:x 1"), "+OK");
    assert!(listener.hear().contains("p7:x"));
    let refusal = listener.ask("HELLO 3 AUTH a b SETNAME c AUTH d e AUTH f g AUTH h i");
    assert!(refusal.starts_with("-ERR Can"), "{refusal}");
    assert_eq!(listener.ask("PING"), "*2 $4 pong $0");
}
