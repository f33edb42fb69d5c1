//! A table of cases for each rule: what a request becomes, by what its connection has seen.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::deed::{Deed, HARMLESS, deed};
use super::*;
use crate::command::{Commands, Effect, Keys};
use crate::config::Config;
use crate::resp::request::Parser;
use crate::resp::{Protocol, encode};

/// One client's connection, and the rules.
struct Bench {
    rules: Rules,
    sightings: Rc<Sightings>,
    may_try: bool,
    is_alone: bool,
    now: Instant,
}

impl Bench {
    /// With a rule of these lines, and the defaults.
    fn new(lines: &str) -> Self {
        Self::with(&format!("[[session]]\nkeys = [\"s:*\"]\n{lines}"))
    }

    fn with(text: &str) -> Self {
        let config: Config = toml::from_str(text).expect("a configuration");
        Self {
            rules: Rules::new(&config.sessions, &config.commands).expect("there are rules"),
            sightings: Sightings::new(Rc::default(), Versions::new()),
            may_try: true,
            is_alone: false,
            now: Instant::now(),
        }
    }

    fn decide(&self, line: &str) -> Decision {
        with_command(line, |command| {
            let asking = Asking {
                db: 0,
                protocol: Protocol::Resp2,
                sightings: &self.sightings,
                may_try: self.may_try,
                is_alone: self.is_alone,
                now: self.now,
            };
            self.rules.decide(&command, &asking)
        })
    }

    /// Sends it and hears that reply: what the client is told.
    fn ask(&self, line: &str, reply: &str) -> String {
        let mut aftermath = match self.decide(line) {
            Decision::AsIs(aftermath) => aftermath,
            Decision::Rewritten(Rewritten { aftermath, .. }) | Decision::Repaired(Rewritten { aftermath, .. }) => {
                Some(aftermath)
            }
        };
        let Some(aftermath) = &mut aftermath else { return reply.to_owned() };
        aftermath.begins();
        String::from_utf8_lossy(&aftermath.hear(reply.as_bytes(), self.now)).into_owned()
    }

    /// What is sent for it: a script by its name, its keys, `|` and its other words.
    fn sends(&self, line: &str) -> String {
        match self.decide(line) {
            Decision::AsIs(_) => line.to_owned(),
            Decision::Rewritten(Rewritten { request, .. }) => shown(&request),
            Decision::Repaired(Rewritten { request, .. }) => format!("{line} + {}", shown(&request)),
        }
    }

    fn refuses(&self, line: &str) -> Option<String> {
        with_command(line, |command| self.rules.refusal(&command, 0).map(|text| text.into_owned()))
    }

    fn passes(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }
}

fn with_command<T>(line: &str, then: impl FnOnce(crate::command::Command<'_>) -> T) -> T {
    let (mut bytes, mut parser) = (Vec::new(), Parser::default());
    encode::request(&mut bytes, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    then(Commands::default().understand(parser.known(&bytes).expect("a request")))
}

fn shown(request: &[u8]) -> String {
    let mut parser = Parser::default();
    let request = parser.known(request).expect("a request");
    let words: Vec<_> = request.args_from(0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    if words[0] != "EVALSHA" {
        return words.join(" ");
    }
    let name = match script::Scripts::default().of(&request).expect("one of ours") {
        Which::Write => "write",
        Which::WriteResp3 => "write in RESP3",
        Which::Create => "create",
        Which::Destroy => "destroy",
        Which::Repair => "repair",
    };
    let keys: usize = words[2].parse().expect("a number");
    let dash = |words: &[String]| {
        words.iter().map(|word| if word.is_empty() { "-" } else { word }).collect::<Vec<_>>().join(" ")
    };
    format!("{name} {} | {}", dash(&words[3..3 + keys]), dash(&words[3 + keys..]))
}

/// What has no opinion on a destroyed session.
const FREE: &str = "stay_destroyed = \"off\"\n";

#[test]
fn every_write_leaves_a_session_with_an_end() {
    let bench = Bench::new(&format!("{FREE}expiry = \"10s\""));
    for (line, sent) in [
        ("SET s:1 v", "SET s:1 v PX 10000"),
        ("set s:1 v nx", "set s:1 v nx PX 10000"),
        ("SET s:1 v XX GET", "SET s:1 v XX GET PX 10000"),
        ("SET s:1 v KEEPTTL", "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 - 0 SET s:1 v KEEPTTL"),
        ("SETNX s:1 v", "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 new 0 SETNX s:1 v"),
        ("HSET s:1 a b", "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 - 0 HSET s:1 a b"),
        ("HINCRBY s:1 lock 1", "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 - 0 HINCRBY s:1 lock 1"),
        ("RENAME x s:1", "write s:1 s:1 s:1 | refuse 0 0 0 - 10000 0 0 0 - 0 RENAME x s:1"),
        ("COPY x s:1", "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 - 0 COPY x s:1"),
        ("COPY x s:1 DB 1 DB 0", "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 - 0 COPY x s:1 DB 1 DB 0"),
        ("COPY x s:1 DB 3", "COPY x s:1 DB 3 + repair s:1 s:1 | 3 10000 0 0"),
        ("MOVE s:1 3", "MOVE s:1 3 + repair s:1 s:1 | 3 10000 0 0"),
        (
            "SORT l GET store STORE s:1",
            "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 - 0 SORT l GET store STORE s:1",
        ),
        ("SORT s:1", "SORT s:1"),
        ("RESTORE s:1 0 x", "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 - 0 RESTORE s:1 0 x"),
        ("RESTORE s:1 5 x", "RESTORE s:1 5 x"),
        ("MSET s:1 a x b", "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 - 0 MSET s:1 a x b"),
        ("PERSIST s:1", "repair s:1 s:1 | - 10000 0 0"),
        ("GETEX s:1 PERSIST", "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 - 0 GETEX s:1"),
        ("EVAL script 2 s:1 x", "EVAL script 2 s:1 x + repair s:1 s:1 | - 10000 0 0"),
        ("BLMOVE x s:1 LEFT LEFT 0", "BLMOVE x s:1 LEFT LEFT 0 + repair s:1 s:1 | - 10000 0 0"),
        ("BITFIELD s:1 SET u8 0 1", "write s:1 s:1 s:1 | discard 0 0 0 - 10000 0 0 0 - 0 BITFIELD s:1 SET u8 0 1"),
        ("BITFIELD s:1 SET i64 0 1", "BITFIELD s:1 SET i64 0 1 + repair s:1 s:1 | - 10000 0 0"),
        // What says when it ends, what cannot begin one, what is no session, what nobody could run.
        ("SET s:1 v EX 5", "SET s:1 v EX 5"),
        ("SETEX s:1 5 v", "SETEX s:1 5 v"),
        ("EXPIRE s:1 5", "EXPIRE s:1 5"),
        ("HDEL s:1 a", "HDEL s:1 a"),
        ("SET x v", "SET x v"),
        ("SET s:1_LOCK token NX", "SET s:1_LOCK token NX"),
        ("SET s:1", "SET s:1"),
    ] {
        assert_eq!(bench.sends(line), sent, "{line}");
    }
    assert_eq!(bench.ask("PERSIST s:1", "*7\r\n+CLOAKROOM\r\n:0\r\n:0\r\n:0\r\n:0\r\n:1\r\n:0\r\n"), ":0\r\n");
}

#[test]
fn where_sessions_may_be_endless_nothing_is_changed() {
    let bench = Bench::new(&format!("{FREE}expiry = \"off\""));
    for line in ["SET s:1 v", "HSET s:1 a b", "PERSIST s:1", "GETEX s:1 PERSIST", "EVAL script 1 s:1", "RENAME a s:1"] {
        assert_eq!(bench.sends(line), line);
    }
}

#[test]
fn a_stale_writer_is_not_let_past_a_tombstone() {
    const GONE: &str = "cloakroom:gone:{s:1}";
    let nothing = "9000000000000000";
    /// What was asked and answered before, what is asked, what is sent.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, String);
    let cases: &[Case<'_>] = &[
        // It has read nothing: any tombstone.
        (&[], "SET s:1 v EX 5", format!("create s:1 {GONE} | discard {nothing} SET s:1 v EX 5")),
        (&[], "SET s:1 v", format!("create s:1 {GONE} | discard {nothing} SET s:1 v PX 86400000")),
        (
            &[],
            "HSET s:1 a b",
            format!("write s:1 {GONE} s:1 | discard 0 0 0 - 86400000 0 0 {nothing} - 0 HSET s:1 a b"),
        ),
        // It has read it: it is there, nearly always.
        (&[("GET s:1", "$1\r\nv\r\n")], "SET s:1 v EX 5", "SET s:1 v EX 5 XX".to_owned()),
        (&[("GET s:1", "$1\r\nv\r\n")], "SETEX s:1 5 v", "SET s:1 v EX 5 XX".to_owned()),
        (&[("GET s:1", "$1\r\nv\r\n")], "PSETEX s:1 5 v", "SET s:1 v PX 5 XX".to_owned()),
        (&[("GET s:1", "$1\r\nv\r\n")], "SET s:1 v", "SET s:1 v PX 86400000 XX".to_owned()),
        (
            &[("GET s:1", "$1\r\nv\r\n")],
            "SETEX s:1 0 v",
            format!("write s:1 {GONE} s:1 | discard 0 0 0 - 0 0 0 {nothing} - 0 SETEX s:1 0 v"),
        ),
        // It has read that it is gone: a tombstone younger than that, less what the clocks may be wrong.
        (&[("GET s:1", "$-1\r\n")], "SET s:1 v EX 5", format!("create s:1 {GONE} | discard 996 SET s:1 v EX 5")),
        (&[("EXISTS s:1", ":0\r\n")], "SET s:1 v EX 5", format!("create s:1 {GONE} | discard 996 SET s:1 v EX 5")),
        (
            &[("MGET x s:1", "*2\r\n$1\r\nx\r\n_\r\n")],
            "SET s:1 v EX 5",
            format!("create s:1 {GONE} | discard 996 SET s:1 v EX 5"),
        ),
        (&[("HGETALL s:1", "*0\r\n")], "SET s:1 v EX 5", format!("create s:1 {GONE} | discard 996 SET s:1 v EX 5")),
        // The permission is used up by what it has created, not by what was there, and not by what failed.
        (
            &[("GET s:1", "$-1\r\n"), ("SET s:2 v EX 5", "*7\r\n+CLOAKROOM\r\n+OK\r\n:1\r\n:0\r\n:0\r\n:0\r\n:0\r\n")],
            "SET s:1 v EX 5",
            format!("create s:1 {GONE} | discard {nothing} SET s:1 v EX 5"),
        ),
        (
            &[("GET s:1", "$-1\r\n"), ("SET s:2 v EX 5", "+OK\r\n"), ("HSET s:3 a b", "-WRONGTYPE x\r\n")],
            "SET s:1 v EX 5",
            format!("create s:1 {GONE} | discard 996 SET s:1 v EX 5"),
        ),
        // An answer to a touch, or to another logout, is no reading.
        (
            &[("EXPIRE s:1 5", ":0\r\n"), ("DEL s:1", ":0\r\n")],
            "SET s:1 v EX 5",
            format!("create s:1 {GONE} | discard {nothing} SET s:1 v EX 5"),
        ),
        // What says that it is new, passes.
        (&[], "SET s:1 v NX EX 5", "SET s:1 v NX EX 5".to_owned()),
        (&[], "SET s:1 v XX EX 5", "SET s:1 v XX EX 5".to_owned()),
        (
            &[],
            "HINCRBY s:1 lock 1",
            "write s:1 s:1 s:1 | discard 0 0 0 - 86400000 0 0 0 - 0 HINCRBY s:1 lock 1".to_owned(),
        ),
    ];
    for (history, line, sent) in cases {
        let mut bench = Bench::new("");
        for (asked, reply) in *history {
            bench.ask(asked, reply);
        }
        bench.passes(1000);
        assert_eq!(bench.sends(line), *sent, "{history:?} {line}");
    }
}

#[test]
fn nobody_reopens_what_stays_destroyed_for_all() {
    let mut bench = Bench::new("reopen = \"never\"\non_stale_write = \"refuse\"");
    bench.ask("GET s:1", "$-1\r\n");
    bench.passes(1000);
    assert_eq!(
        bench.sends("SET s:1 v EX 5"),
        "create s:1 cloakroom:gone:{s:1} | refuse 9000000000000000 SET s:1 v EX 5"
    );
}

#[test]
fn what_is_destroyed_leaves_a_tombstone() {
    let bench = Bench::new("");
    for (line, sent) in [
        ("DEL s:1", "destroy s:1 cloakroom:gone:{s:1} s:1 | DEL 60000"),
        ("unlink s:1 x", "destroy s:1 cloakroom:gone:{s:1} s:1 x x x | unlink 60000 0"),
        ("DEL x", "DEL x"),
        ("GETDEL s:1", "write s:1 cloakroom:gone:{s:1} s:1 | discard 0 0 0 - 0 0 60000 0 - 1 GETDEL s:1"),
        ("EXPIRE s:1 0", "write s:1 cloakroom:gone:{s:1} s:1 | discard 0 0 0 - 0 0 60000 0 - 1 EXPIRE s:1 0"),
        ("PEXPIREAT s:1 1", "write s:1 cloakroom:gone:{s:1} s:1 | discard 0 0 0 - 0 0 60000 0 - 1 PEXPIREAT s:1 1"),
        ("EXPIRE s:1 1", "EXPIRE s:1 1"),
        ("DEL s:{a}b", "destroy s:{a}b cloakroom:gone:s:{a}b s:{a}b | DEL 60000"),
    ] {
        assert_eq!(bench.sends(line), sent, "{line}");
    }
}

/// A session that is rewritten as a whole.
#[test]
fn what_is_written_behind_its_own_destruction_is_new() {
    let bench = Bench::new("");
    let Decision::Rewritten(Rewritten { mut aftermath, .. }) = bench.decide("DEL s:1") else { panic!("a script") };
    aftermath.begins();
    assert_eq!(bench.sends("SET s:1 v EX 5"), "SET s:1 v EX 5");
    drop(aftermath);
    assert!(bench.sends("SET s:1 v EX 5").starts_with("create"), "it is answered, and not read since");
    // What may leave it there is no destruction.
    let Decision::Rewritten(Rewritten { mut aftermath, .. }) = bench.decide("PEXPIREAT s:1 9") else {
        panic!("a script")
    };
    aftermath.begins();
    assert!(bench.sends("SET s:1 v EX 5").starts_with("create"));
}

/// The destruction may be another request's, where many share a connection.
#[test]
fn where_nobody_may_reopen_only_a_transaction_rewrites() {
    let mut bench = Bench::new("reopen = \"never\"");
    let Decision::Rewritten(Rewritten { mut aftermath, .. }) = bench.decide("DEL s:1") else { panic!("a script") };
    aftermath.begins();
    assert!(bench.sends("SET s:1 v EX 5").starts_with("create"));
    bench.is_alone = true;
    assert_eq!(bench.sends("SET s:1 v EX 5"), "SET s:1 v EX 5");
}

/// It may be there without what was asked: that is no expiry, and no harm, for a tombstone tells the rest.
#[test]
fn a_missing_part_of_a_session_is_not_its_end() {
    let mut bench = Bench::new("");
    bench.ask("HGETALL s:1", "*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    bench.ask("HGET s:1 g", "$-1\r\n");
    bench.passes(1000);
    assert_eq!(bench.sightings.ledger.take().0.expired, 0);
    assert!(bench.sends("SET s:1 v EX 5").contains(" 996 "));
    bench.ask("HGETALL s:1", "*0\r\n");
    assert_eq!(bench.sightings.ledger.take().0.expired, 1);
}

#[test]
fn a_session_somebody_else_has_written_is_overwritten() {
    let bench = Bench::new("");
    let other = Sightings::new(Rc::default(), bench.sightings.versions.clone());
    let there = Bench { sightings: other, ..Bench::new("") };
    for (line, overwrites) in [("EXPIRE s:1 5", 0), ("HSET s:1 f w", 1), ("SET s:1 w NX", 0)] {
        bench.ask("GET s:1", "$1\r\nv\r\n");
        there.ask(line, if line.contains("NX") { "$-1\r\n" } else { ":0\r\n" });
        bench.ask("SET s:1 x", "+OK\r\n");
        assert_eq!(bench.sightings.ledger.take().0.overwritten, overwrites, "{line}");
    }
}

#[test]
fn in_a_transaction_nothing_is_tried() {
    let mut bench = Bench::new("");
    bench.ask("GET s:1", "$1\r\nv\r\n");
    bench.may_try = false;
    assert!(bench.sends("SET s:1 v EX 5").starts_with("create"));
}

#[test]
fn a_connection_remembers_what_it_has_seen_last() {
    let mut bench = Bench::new("");
    bench.ask("GET s:old", "$-1\r\n");
    bench.ask("GET s:1", "$-1\r\n");
    for number in 0..126 {
        bench.ask(&format!("GET s:{number}:x"), "$1\r\nv\r\n");
    }
    bench.ask("GET s:old", "$-1\r\n");
    bench.ask("GET s:new", "$-1\r\n");
    bench.passes(1000);
    assert!(bench.sends("SET s:old v EX 5").contains(" 996 "), "read again, it is new");
    assert!(bench.sends("SET s:1 v EX 5").contains(" 9000000000000000 "), "the one seen longest ago is forgotten");
}

#[test]
fn the_birth_of_a_session_bounds_its_life() {
    let bench = Bench::new("max_lifetime = \"1h\"\nstay_destroyed = \"off\"");
    for (line, sent) in [
        ("SET s:1 v EX 5", "write s:1 s:1 cloakroom:born:{s:1} | discard 0 0 0 - 0 3600000 0 0 - 0 SET s:1 v EX 5"),
        ("EXPIRE s:1 5", "write s:1 s:1 cloakroom:born:{s:1} | discard 0 0 0 - 0 3600000 0 0 - 0 EXPIRE s:1 5"),
        (
            "RENAME s:1 s:2",
            "write s:1 s:1 cloakroom:born:{s:1} s:2 s:2 cloakroom:born:{s:2} | refuse 0 0 0 - 0 3600000 0 0 - 1 \
             86400000 3600000 0 0 moves 0 RENAME s:1 s:2",
        ),
    ] {
        assert_eq!(bench.sends(line), sent, "{line}");
    }
    bench.ask("GET s:1", "$-1\r\n");
    assert!(bench.sends("SET s:1 v EX 5").contains(" new "), "who has read that it is gone begins another");
}

#[test]
fn a_value_that_may_be_there_is_compared() {
    let bench = Bench::new("touch_identical = true\ntouch = \"1s\"\nstay_destroyed = \"off\"");
    for (line, head) in [
        ("SET s:1 v EX 100", "discard 2 100000 1000 - "),
        ("SETEX s:1 10 v", "discard 3 10000 500 - "),
        ("SET s:1 v", "discard 2 86400000 1000 - "),
    ] {
        assert!(bench.sends(line).contains(head), "{line}: {}", bench.sends(line));
    }
    for line in ["SET s:1 v XX GET", "SET s:1 v NX GET", "SET s:1 v NX XX"] {
        assert!(!bench.sends(line).contains("write"), "{line}");
    }
}

#[test]
fn a_companion_ends_no_sooner() {
    let bench = Bench::with("[[session]]\nprofile = \"catalyst\"\nstay_destroyed = \"off\"");
    let follows = "write expires:1 expires:1 expires:1 session:1 session:1 session:1 | discard 0 0 0 - 0 0 0 0 - 0 \
                   follow 0 0 0 - 0 EXPIRE expires:1 5";
    assert_eq!(bench.sends("EXPIRE expires:1 5"), follows);
    assert_eq!(bench.sends("EXPIRE session:1 5"), "EXPIRE session:1 5");
    // Our own expiry is no touch.
    assert_eq!(bench.sends("SET expires:1 v"), "SET expires:1 v PX 86400000");
}

#[test]
fn a_touch_may_be_as_early_as_it_says() {
    let bench = Bench::new("touch = \"30s\"");
    let slack =
        |line| with_command(line, |command| bench.rules.touch(&command, 0).map(|touch| touch.slack.as_millis()));
    assert_eq!(slack("EXPIRE s:1 3600"), Some(30_000));
    assert_eq!(slack("PEXPIRE s:1 60000"), Some(3000), "a twentieth at most");
    for line in ["EXPIRE s:1 60 NX", "EXPIRE x 60", "EXPIRE s:1 0", "EXPIRE s:1 -1", "EXPIREAT s:1 60", "GET s:1"] {
        assert_eq!(slack(line), None, "{line}");
    }
}

#[test]
fn what_is_forbidden_is_refused_in_the_servers_words() {
    let bench = Bench::with(
        "[commands]\ndeny = [\"KEYS\", \"config|set\"]\nconfine = true\n\
         [[session]]\nkeys = [\"s:*\"]\nmax_value_size = \"10B\"\ndatabases = [0]",
    );
    let runs = |name: &str| Some(format!("NOPERM this user has no permissions to run the '{name}' command"));
    let keys = Some("NOPERM this user has no permissions to access one of the keys used as arguments".to_owned());
    let large = Some("NOPERM session value too large".to_owned());
    for (line, text) in [
        ("KEYS *", runs("keys")),
        ("config SET a b", runs("config|set")),
        ("CONFIG GET a", None),
        ("GET x", keys.clone()),
        ("MGET s:1 x", keys.clone()),
        ("GET s:1_LOCK", None),
        ("SCAN 0", None),
        ("FLUSHALL", runs("flushall")),
        ("EXEC", None),
        ("PING", None),
        ("SET s:1 12345678901", large.clone()),
        ("SET s:1 1234567890", None),
        ("SETRANGE s:1 8 abc", large.clone()),
        ("SETBIT s:1 80 1", large.clone()),
        ("BITFIELD s:1 SET u8 #10 1", large.clone()),
        ("BITFIELD s:1 SET u8 #9 1", None),
    ] {
        assert_eq!(bench.refuses(line), text, "{line}");
    }
    assert!(bench.refuses("SWAPDB 0 1").is_some());
    let open = Bench::new("");
    assert_eq!(open.refuses("DEL cloakroom:gone:{s:1}"), keys, "tombstones are nobody's");
    assert_eq!(open.refuses("GET cloakroom:gone:{s:1}"), None);
    assert_eq!(open.refuses("SWAPDB 0 1"), None);
}

#[test]
fn the_first_rule_that_takes_a_key_holds() {
    let bench = Bench::with(
        "[[session]]\nkeys = [\"s:free:*\"]\nexpiry = \"off\"\nstay_destroyed = \"off\"\n\
         [[session]]\nkeys = [\"s:*\"]\nexpiry = \"1s\"\nstay_destroyed = \"off\"\n\
         [[session]]\nkeys = [\"*\"]\ndatabases = [7]",
    );
    assert_eq!(bench.sends("SET s:free:1 v"), "SET s:free:1 v");
    assert_eq!(bench.sends("SET s:1 v"), "SET s:1 v PX 1000");
    assert_eq!(bench.sends("SET x v"), "SET x v", "another database");
}

/// A new command must be thought about here.
#[test]
fn every_command_that_writes_keys_has_been_thought_about() {
    let mut thought_about = 0;
    for row in Commands::rows() {
        if row.effect == Effect::Read || matches!(row.keys, Keys::None) {
            continue;
        }
        // Enough words of the kinds that matter, for any of them to do something.
        let words = ["s:1", "1", "1", "STORE", "s:1", "1", "1", "1"];
        let fits = (1..=words.len()).rev().filter(|count| row.fits(count + 1));
        let lines = fits.map(|count| format!("{} {}", row.name, words[..count].join(" ")));
        let special = [
            "georadius g 1 1 1 m STORE s:1",
            "georadiusbymember g a 1 m STORE s:1",
            "copy a s:1",
            "xgroup CREATE s:1 g $ MKSTREAM",
            "sort a STORE s:1",
            "getex s:1 EX 5",
        ];
        let lines = lines
            .chain(special.into_iter().filter(|line| line.starts_with(&format!("{} ", row.name))).map(str::to_owned));
        let does = lines
            .collect::<Vec<_>>()
            .iter()
            .any(|line| with_command(line, |command| deed(&command, 0) != Deed::Nothing));
        assert_ne!(does, HARMLESS.contains(&row.name), "{}", row.name);
        thought_about += 1;
    }
    assert!(thought_about > 100, "{thought_about}");
}

#[test]
fn what_the_scripts_report_is_counted_and_taken_off() {
    let bench = Bench::new("");
    let report = |reply: &str| format!("*7\r\n+CLOAKROOM\r\n{reply}:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n");
    assert_eq!(bench.ask("HSET s:1 a b", &report(":9\r\n")), ":9\r\n");
    assert_eq!(bench.ask("GETSET s:1 a", &report("$-1\r\n")), "$-1\r\n");
    assert_eq!(bench.ask("SET s:1 v NX EX 5", "+OK\r\n"), "+OK\r\n");
    assert_eq!(bench.ask("INCR s:1", "*7\r\n+CLOAKROOM\r\n$2\r\n12\r\n:0\r\n:0\r\n:0\r\n:0\r\n:0\r\n"), ":12\r\n");
    let (totals, sizes) = bench.sightings.ledger.take();
    assert_eq!((totals.created, totals.destroyed, totals.late, totals.given, totals.touched), (3, 4, 6, 8, 10));
    assert_eq!(sizes.len(), 2, "what is not kept is not weighed");
}

#[test]
fn a_lost_script_tells_what_it_was_asked() {
    let mut bench = Bench::new("");
    let again = |bench: &Bench, line: &str| match bench.decide(line) {
        Decision::Rewritten(Rewritten { request, .. }) => {
            let mut parser = Parser::default();
            bench.rules.scripts.command_of(&parser.known(&request).expect("a request")).map(|command| shown(&command))
        }
        Decision::AsIs(_) | Decision::Repaired(_) => panic!("no script"),
    };
    for line in ["DEL s:1 x", "SET s:1 v EX 5", "HSET s:1 a b", "GETDEL s:1"] {
        assert_eq!(again(&bench, line).as_deref(), Some(line));
    }
    bench.ask("GET s:1", "$1\r\nv\r\n");
    bench.passes(1);
    assert_eq!(again(&bench, "SET s:1 v EX 5"), None, "it is none");
}
