//! What each rule does, one fact after the other.

use std::fs;
use std::time::{Duration, Instant};

use super::support::{DEADLINE, Proxy, RedisServer, Wire, request, wait_until};

const STALE: &str = "-NOPERM session was destroyed";
const TOO_LARGE: &str = "-NOPERM session value too large";

/// A server, and a proxy in front of it with these rules.
struct Ruled {
    // Ends first, for it would complain of a server that ended before.
    proxy: Proxy,
    server: RedisServer,
}

impl Ruled {
    /// A rule for `session:*` that also says this.
    fn with(lines: &[&str]) -> Self {
        Self::by(&[&["[[session]]", "keys = [\"session:*\"]"], lines].concat())
    }

    fn by(lines: &[&str]) -> Self {
        let server = RedisServer::plain();
        Self { proxy: Proxy::with(&server, lines), server }
    }

    fn client(&self) -> Wire {
        Wire::connect(self.proxy.port())
    }

    /// What is left of a key's time, in milliseconds, as the server says.
    fn left(&self, key: &str) -> i64 {
        self.server.cli(&["PTTL", key]).parse().expect("a number")
    }

    fn lives_for(&self, key: &str, seconds: i64) -> bool {
        let left = self.left(key);
        left <= seconds * 1000 && left > seconds * 1000 - DEADLINE.as_millis() as i64
    }

    fn value(&self, key: &str) -> String {
        self.server.cli(&["GET", key])
    }

    /// How often the server has executed a command.
    fn calls(&self, command: &str) -> u64 {
        let stats = self.server.cli(&["INFO", "commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        calls.map_or(0, |calls| calls.split(',').next().and_then(|calls| calls.parse().ok()).expect("a number"))
    }

    /// How often `deed` lets the server execute a command.
    fn calls_of(&self, command: &str, deed: impl FnOnce()) -> u64 {
        let before = self.calls(command);
        deed();
        self.calls(command) - before
    }

    /// Reads a key until it is answered from memory.
    fn heat(&self, client: &mut Wire, key: &str) {
        wait_until("a read is a hit", || self.calls_of("get", || drop(client.ask(&format!("GET {key}")))) == 0);
    }

    fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.proxy.get("/metrics");
        let values = text.lines().filter_map(|line| line.rsplit_once(' '));
        let values = values.filter(|(key, _)| key.split('{').next() == Some(name));
        let values: Vec<f64> = values.map(|(_, value)| value.parse().expect("a number")).collect();
        assert!(!values.is_empty(), "no metric {name}");
        values.iter().sum::<f64>() as u64
    }
}

#[test]
fn the_first_rule_that_takes_a_key_holds_for_it() {
    let rules = ["[[session]]", "keys = [\"session:admin:*\", \"x?\"]", "expiry = \"100s\""];
    let ruled = Ruled::by(&[&rules[..], &["[[session]]", "keys = [\"session:*\"]", "expiry = \"1000s\""]].concat());
    let mut client = ruled.client();
    for key in ["session:admin:1", "session:1", "xy", "other"] {
        assert_eq!(client.ask(&format!("SET {key} v")), "+OK");
    }
    assert!(ruled.lives_for("session:admin:1", 100), "{}", ruled.left("session:admin:1"));
    assert!(ruled.lives_for("session:1", 1000), "{}", ruled.left("session:1"));
    assert!(ruled.lives_for("xy", 100), "{}", ruled.left("xy"));
    assert_eq!(ruled.left("other"), -1);
}

#[test]
fn a_rule_holds_in_its_databases_only() {
    let ruled = Ruled::with(&["databases = [1, 2]", "expiry = \"100s\""]);
    let mut client = ruled.client();
    for (database, expected) in [(0, ":-1"), (1, ":100"), (2, ":100"), (3, ":-1")] {
        client.ask(&format!("SELECT {database}"));
        client.ask("SET session:1 v");
        assert_eq!(client.ask("TTL session:1"), expected, "database {database}");
        client.say(&["MULTI", "SET session:2 v", "TTL session:2", "EXEC"]);
        let replies: Vec<_> = (0..4).map(|_| client.hear()).collect();
        assert_eq!(replies[3], format!("*2 +OK {expected}"), "database {database}");
    }
    assert!(client.ask("SWAPDB 0 1").starts_with("-NOPERM"), "it would put sessions under no rule");
}

#[test]
fn in_a_transaction_the_database_that_is_chosen_there_counts() {
    let ruled = Ruled::with(&["expiry = \"100s\"", "databases = [1]"]);
    let mut client = ruled.client();
    client.say(&["MULTI", "SELECT 1", "SET session:1 v", "HSET session:2 f v", "EXEC"]);
    (0..5).for_each(|_| drop(client.hear()));
    client.say(&["TTL session:1", "TTL session:2"]);
    assert_eq!([client.hear(), client.hear()], [":100", ":100"]);
}

#[test]
fn locks_are_no_sessions() {
    let ruled = Ruled::with(&["max_value_size = \"8\"", "max_lifetime = \"1h\"", "on_stale_write = \"refuse\""]);
    let (mut one, mut two) = (ruled.client(), ruled.client());
    assert_eq!(one.ask("SET session:1_LOCK much_too_long"), "+OK");
    assert_eq!(ruled.left("session:1_LOCK"), -1);
    assert_eq!(one.ask("EXPIRE session:1_LOCK 90000"), ":1");
    assert_eq!(one.ask("PERSIST session:1_LOCK"), ":1");
    assert_eq!(one.ask("DEL session:1_LOCK"), ":1");
    assert_eq!(two.ask("SET session:1_LOCK token"), "+OK");
    assert_eq!(two.ask("SET session:1_LOCK token NX PX 100000"), "$-1");
    let unlock = "EVAL \"if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end\" 1";
    assert_eq!(one.ask(&format!("{unlock} session:1_LOCK token")), ":1");
    assert_eq!(ruled.server.cli(&["KEYS", "*"]), "", "nothing is left of it");
}

/// Magento takes the lock before it reads, and whoever is logged out must not fail at that.
#[test]
fn a_lock_in_a_session_is_taken_also_where_it_is_destroyed() {
    let ruled = Ruled::with(&["on_stale_write = \"refuse\"", "expiry = \"100s\""]);
    let (mut one, mut two) = (ruled.client(), ruled.client());
    for (lock, expected) in [
        ("HINCRBY session:1 lock 1", ":1"),
        ("HSETNX session:1 lock 1", ":1"),
        ("HSET session:1 lock 1", ":1"),
        ("HMSET session:1 lock 1", "+OK"),
        ("HINCRBYFLOAT session:1 lock 1", "1"),
    ] {
        one.ask("HSET session:1 data v");
        assert_eq!(two.ask("HGETALL session:1"), "*2 $4 data $1 v");
        assert_eq!(one.ask("DEL session:1"), ":1");
        assert_eq!(two.ask("HSET session:1 data v"), STALE);
        assert_eq!(two.ask(lock), expected, "{lock}");
        assert!(ruled.lives_for("session:1", 100), "{lock}: {}", ruled.left("session:1"));
        assert_eq!(one.ask("DEL session:1"), ":1");
        assert_eq!(one.ask("EXISTS session:1"), ":0");
    }
}

/// It may be mistyped, and then forbids nothing.
#[test]
fn a_denied_command_that_redis_does_not_have_is_warned_of() {
    let ruled = Ruled::by(&["commands.deny = [\"flushal\", \"config|set\"]"]);
    ruled.proxy.allow("commands.deny names a command");
    let warnings = || ruled.proxy.logs().iter().filter(|line| line.contains("commands.deny")).count();
    wait_until("it is said", || warnings() == 1);
}

/// As the server's own access rules say it, which is asked the same.
#[test]
fn what_is_denied_is_refused_in_the_words_of_redis() {
    let ruled = Ruled::by(&["commands.deny = [\"flushall\", \"config|set\", \"EVAL\"]"]);
    let acl = RedisServer::with().config("user default on nopass ~* &* +@all -flushall -config|set -eval").start();
    let mut clients = [Wire::connect(acl.port()), ruled.client()];
    let mut count = 0;
    for line in [
        "FLUSHALL",
        "flushall ASYNC",
        "CONFIG SET maxmemory 0",
        "config set a b",
        "CONFIG GET maxmemory",
        "EVAL \"return 1\" 0",
        "SET a 1",
        "MULTI",
        "SET a 2",
        "FLUSHALL",
        "SET a 3",
        "EXEC",
        "GET a",
        "MULTI",
        "CONFIG SET a b",
        "DISCARD",
        "FLUSHDB",
        "WATCH a",
        "FLUSHALL",
        "MULTI",
        "SET a 4",
        "EXEC",
        "GET a",
    ] {
        let [redis, cloakroom] = clients.each_mut().map(|client| client.ask(line));
        assert_eq!(cloakroom, redis, "{line}");
        count += usize::from(redis.starts_with("-NOPERM"));
    }
    assert_eq!(count, 8);
    wait_until("each is counted", || ruled.metric("cloakroom_forbidden_requests_total") == 8);
}

#[test]
fn who_is_confined_reaches_sessions_only() {
    let ruled = Ruled::with(&["[commands]", "confine = true"]);
    let acl = RedisServer::with().config("user default on nopass ~session:* &* +@all -flushdb").start();
    let mut clients = [Wire::connect(acl.port()), ruled.client()];
    let mut count = 0;
    for line in [
        "GET other",
        "SET session:1 v",
        "GET session:1",
        "MGET session:1 other",
        "DEL other",
        "SET session:1_LOCK v NX",
        "EVAL \"return 1\" 1 other",
        "EVAL \"return 1\" 1 session:1",
        "RENAME session:1 other",
        "MULTI",
        "GET other",
        "EXEC",
        "MULTI",
        "GET session:1",
        "EXEC",
        "PING",
        "COPY session:1 other",
        "SORT session:1 STORE other",
        "GET",
        "FLUSHDB",
    ] {
        let [redis, cloakroom] = clients.each_mut().map(|client| client.ask(line));
        assert_eq!(cloakroom, redis, "{line}");
        count += usize::from(redis.starts_with("-NOPERM"));
    }
    assert!(count > 8, "only {count} were refused");
}

#[test]
fn what_is_too_large_is_not_stored() {
    let ruled = Ruled::with(&["max_value_size = \"100\""]);
    let (fits, long) = ("v".repeat(100), "v".repeat(101));
    let mut client = ruled.client();
    let mut refused = 0;
    for write in [
        "SET session:1",
        "SETEX session:1 100",
        "GETSET session:1",
        "MSET session:2 a session:1",
        "HSET session:h f",
        "RPUSH session:l",
        "SADD session:s",
        "SETNX session:n",
        "SET other",
        "SET session:1_LOCK",
    ] {
        let is_session = !write.contains("other") && !write.contains("LOCK");
        assert!(!client.ask(&format!("{write} {fits}")).starts_with('-'), "{write}");
        let said = client.ask(&format!("{write} {long}"));
        assert_eq!(said == TOO_LARGE, is_session, "{write}: {said}");
        refused += u64::from(is_session);
    }
    assert_eq!(ruled.value("session:1"), fits);
    assert_eq!(client.ask("APPEND session:1 v"), TOO_LARGE);
    client.ask("SET session:1 v");
    assert_eq!(client.ask(&format!("APPEND session:1 {}", "v".repeat(99))), ":100");
    assert_eq!(client.ask("SETRANGE session:1 100 v"), TOO_LARGE);
    assert_eq!(client.ask("SETRANGE session:1 99 x"), ":100");
    client.say(&["MULTI", &format!("SET session:1 {long}"), "SET session:1 v", "EXEC"]);
    let said: Vec<_> = (0..4).map(|_| client.hear()).collect();
    assert_eq!(said[..3], ["+OK", TOO_LARGE, "+QUEUED"]);
    assert!(said[3].starts_with("-EXECABORT"), "{}", said[3]);
    wait_until("each is counted", || ruled.metric("cloakroom_session_oversized_total") == refused + 3);
}

#[test]
fn a_touch_that_changes_little_is_answered_here() {
    let ruled = Ruled::with(&["touch = \"30s\"", "[cache]", "staleness = \"10s\""]);
    let (mut client, mut other) = (ruled.client(), ruled.client());
    client.ask("SET session:1 v EX 985");
    ruled.heat(&mut client, "session:1");
    let asked =
        ruled.calls_of("expire", || (0..50).for_each(|_| assert_eq!(client.ask("EXPIRE session:1 1000"), ":1")));
    assert_eq!(asked, 0);
    // It lives for as long as was promised, but for the slack.
    assert!(ruled.left("session:1") >= 970_000, "{}", ruled.left("session:1"));
    wait_until("each is counted", || ruled.metric("cloakroom_session_touches_saved_total") == 50);
    for (length, unit) in [(2000, "EXPIRE"), (100, "EXPIRE"), (900_000, "PEXPIRE")] {
        ruled.heat(&mut client, "session:1");
        assert_eq!(client.ask(&format!("{unit} session:1 {length}")), ":1");
        let millis = if unit == "EXPIRE" { length * 1000 } else { length };
        assert!((millis - 10_000..=millis).contains(&ruled.left("session:1")), "{length}: {}", ruled.left("session:1"));
    }
    // What is gone is not touched, whoever has ended it.
    ruled.heat(&mut client, "session:1");
    assert_eq!(other.ask("DEL session:1"), ":1");
    assert_eq!(client.ask("EXPIRE session:1 900"), ":0");
}

/// A session is as good as gone when it is destroyed by an expiry, in a script, or by others than this proxy.
#[test]
fn what_is_gone_is_not_touched() {
    let ruled = Ruled::with(&["touch = \"30s\"", "[cache]", "staleness = \"0\""]);
    let (mut client, mut other) = (ruled.client(), Wire::connect(ruled.server.port()));
    let mut count = 0;
    for end in ["DEL session:1", "EXPIRE session:1 -1", "FLUSHALL", "RENAME session:1 away", "GETDEL session:1"] {
        for by_other in [false, true] {
            other.ask("SET session:1 v EX 985");
            ruled.heat(&mut client, "session:1");
            assert_eq!(client.ask("EXPIRE session:1 1000"), ":1");
            let mut through = ruled.client();
            let by = if by_other { &mut other } else { &mut through };
            assert!(!by.ask(end).starts_with('-'), "{end}");
            assert_eq!(client.ask("EXPIRE session:1 1000"), ":0", "{end}, past the proxy: {by_other}");
            count += 1;
        }
    }
    assert_eq!(count, 10);
}

#[test]
fn the_value_that_is_there_already_only_moves_the_end() {
    let ruled = Ruled::with(&["touch_identical = true", "touch = \"30s\"", "expiry = \"1000s\""]);
    let mut client = ruled.client();
    let mut count = 0;
    for write in [
        "SET session:1 v EX 1000",
        "SETEX session:1 1000 v",
        "PSETEX session:1 1000000 v",
        "SET session:1 v",
        "SET session:1 v PX 1000000",
    ] {
        for (left, is_moved) in [(990_000, false), (975_000, false), (960_000, true), (2_000_000, true), (10_000, true)]
        {
            ruled.server.cli(&["SET", "session:1", "v", "PX", &left.to_string()]);
            let reply = client.ask(write);
            assert_eq!(reply, "+OK", "{write}");
            let now = ruled.left("session:1");
            let is_at = |millis: i64| (millis - 9_000..=millis).contains(&now);
            assert!(is_at(if is_moved { 1_000_000 } else { left }), "{write} at {left}: {now}");
            assert_eq!(ruled.value("session:1"), "v");
            count += 1;
        }
        let other = write.replace(" v", " w");
        assert_eq!(client.ask(&other), "+OK");
        assert_eq!(ruled.value("session:1"), "w");
        assert!(ruled.lives_for("session:1", 1000), "{}", ruled.left("session:1"));
    }
    ruled.server.cli(&["SET", "session:1", "v"]);
    assert_eq!(client.ask("SET session:1 v EX 1000"), "+OK");
    assert!(ruled.lives_for("session:1", 1000), "one without an end gets one: {}", ruled.left("session:1"));
    wait_until("each is counted", || ruled.metric("cloakroom_session_touches_saved_total") == count + 1);
}

/// Catalyst touches `expires:` only, and logs out who only reads.
#[test]
fn a_touch_is_one_of_the_companion_too() {
    let ruled = Ruled::by(&["[[session]]", "profile = \"catalyst\"", "expiry = \"5000s\""]);
    let mut client = ruled.client();
    let mut touches = 0;
    for touch in
        ["EXPIRE expires:1 1000", "SET expires:1 v EX 1000", "SETEX expires:1 1000 v", "PEXPIRE expires:1 1000000"]
    {
        ruled.server.cli(&["SET", "session:1", "v", "EX", "50"]);
        ruled.server.cli(&["SET", "expires:1", "v", "EX", "50"]);
        assert!(!client.ask(touch).starts_with('-'), "{touch}");
        assert!(ruled.lives_for("session:1", 1000), "{touch}: {}", ruled.left("session:1"));
        assert!(ruled.lives_for("expires:1", 1000), "{touch}: {}", ruled.left("expires:1"));
        touches += 1;
    }
    assert_eq!(touches, 4);
    // It ends no sooner than it would have, and is not brought into being.
    ruled.server.cli(&["EXPIRE", "session:1", "3000"]);
    client.ask("EXPIRE expires:1 1000");
    assert!(ruled.lives_for("session:1", 3000), "{}", ruled.left("session:1"));
    client.ask("SET expires:2 v EX 1000");
    assert_eq!(ruled.left("session:2"), -2);
}

#[test]
fn a_session_lives_no_longer_than_its_lifetime() {
    let ruled = Ruled::with(&["max_lifetime = \"2s\"", "stay_destroyed = \"off\""]);
    let (mut client, mut other) = (ruled.client(), ruled.client());
    let born = Instant::now();
    client.ask("SET session:1 v");
    let end = |ruled: &Ruled| Instant::now() + Duration::from_millis(ruled.left("session:1").max(0) as u64);
    let latest = end(&ruled);
    for longer in [
        "EXPIRE session:1 1000",
        "PERSIST session:1",
        "SET session:1 w EX 1000",
        "SET session:1 v KEEPTTL",
        "GETEX session:1 PERSIST",
        "GETEX session:1 EX 1000",
        "EXPIREAT session:1 99999999999",
        "APPEND session:1 x",
        "GETSET session:1 v",
        "SETEX session:1 1000 v",
    ] {
        client.ask(longer);
        assert!(end(&ruled) <= latest + Duration::from_millis(20) || ruled.left("session:1") < 0, "{longer}");
    }
    wait_until("it has ended", || other.ask("GET session:1") == "$-1");
    let age = born.elapsed();
    assert!(age >= Duration::from_millis(1900) && age < Duration::from_secs(4), "{age:?}");
    assert_eq!(client.ask("GET session:1"), "$-1");
    assert_eq!(client.ask("SET session:1 new"), "+OK");
    assert!((1500..=2000).contains(&ruled.left("session:1")), "a new one: {}", ruled.left("session:1"));
}

/// Its end is a logout: who had read it before does not write it back.
#[test]
fn what_has_outlived_its_lifetime_stays_destroyed() {
    let ruled = Ruled::with(&["max_lifetime = \"1s\"", "on_stale_write = \"refuse\""]);
    let (mut late, mut new) = (ruled.client(), ruled.client());
    late.ask("SET session:1 v");
    assert_eq!(late.ask("GET session:1"), "v");
    wait_until("it has ended", || ruled.left("session:1") == -2);
    assert_eq!(late.ask("SET session:1 v"), STALE);
    assert_eq!(new.ask("GET session:1"), "$-1");
    assert_eq!(new.ask("SET session:1 v"), "+OK");
    assert!((500..=1000).contains(&ruled.left("session:1")), "{}", ruled.left("session:1"));
}

#[test]
fn a_session_of_another_name_is_no_younger() {
    let ruled = Ruled::with(&["max_lifetime = \"1000s\"", "stay_destroyed = \"60s\""]);
    let mut client = ruled.client();
    client.ask("SET session:1 v");
    // As if it had been born long ago.
    ruled.server.cli(&["PEXPIRE", "cloakroom:born:{session:1}", "160000"]);
    assert_eq!(client.ask("RENAME session:1 session:2"), "+OK");
    assert!(ruled.lives_for("session:2", 100), "{}", ruled.left("session:2"));
    client.ask("EXPIRE session:2 900");
    assert!(ruled.lives_for("session:2", 100), "{}", ruled.left("session:2"));
    assert!(ruled.lives_for("cloakroom:born:{session:2}", 160));
    assert_eq!(ruled.left("cloakroom:born:{session:1}"), -2);
}

#[test]
fn a_session_is_not_left_without_an_end() {
    let ruled = Ruled::with(&["expiry = \"100s\""]);
    let mut client = ruled.client();
    client.ask("SET session:1 v");
    assert_eq!(client.ask("PERSIST session:1"), ":0");
    assert_eq!(client.ask("GETEX session:1 PERSIST"), "v");
    assert!(ruled.lives_for("session:1", 100));
    ruled.server.cli(&["PERSIST", "session:1"]);
    assert_eq!(client.ask("PERSIST session:1"), ":0");
    assert!(ruled.lives_for("session:1", 100), "one that was left so by others gets one");
    // What the client says itself counts.
    client.ask("EXPIRE session:1 9000");
    assert!(ruled.lives_for("session:1", 9000));
    client.ask("SET session:1 v KEEPTTL");
    assert!(ruled.lives_for("session:1", 9000));
    client.ask("SET session:1 v");
    assert!(ruled.lives_for("session:1", 100));
}

#[test]
fn where_expiry_is_off_sessions_are_left_alone() {
    let ruled = Ruled::with(&["expiry = \"off\""]);
    let mut client = ruled.client();
    client.ask("SET session:1 v EX 100");
    assert_eq!(client.ask("PERSIST session:1"), ":1");
    assert_eq!(client.ask("HSET session:2 f v"), ":1");
    assert_eq!([ruled.left("session:1"), ruled.left("session:2")], [-1, -1]);
}

/// A second destruction that finds nothing takes nothing away from the first.
#[test]
fn what_is_destroyed_twice_stays_destroyed() {
    let ruled = Ruled::with(&["on_stale_write = \"refuse\""]);
    let (mut late, mut one, mut two) = (ruled.client(), ruled.client(), ruled.client());
    for again in ["DEL session:1", "UNLINK session:1", "GETDEL session:1", "EXPIRE session:1 0"] {
        one.ask("EXISTS session:1");
        one.ask("SET session:1 v");
        assert_eq!(late.ask("GET session:1"), "v");
        assert_eq!(one.ask("DEL session:1"), ":1");
        two.ask(again);
        assert_eq!(late.ask("SET session:1 v"), STALE, "{again}");
    }
}

/// It is not destroyed: who had read it writes it as ever.
#[test]
fn a_session_that_has_merely_expired_is_written_as_ever() {
    write_expired(&[
        &["SET session:1 w"],
        &["SETEX session:1 100 w"],
        &["SET session:1 w EX 50"],
        &["HSET session:1 f w"],
        &["SET session:1 v", "MULTI", "GET session:1", "EXEC"],
        &["MULTI", "SET session:1 v", "GET session:1", "EXEC"],
        &["GET other", "SET session:1 v", "GET other"],
    ]);
}

/// Some clients send an `EXPIRE` behind it; others send what others want.
#[test]
fn a_session_that_has_merely_expired_is_written_as_ever_in_a_pipeline() {
    write_expired(&[
        &["SET session:1 w", "EXPIRE session:1 100"],
        &["SET session:1 w", "GET session:1"],
        &["SETEX session:1 100 w", "DEL session:1"],
        &["SET session:1 v EX 50", "APPEND session:1 w", "TTL session:1"],
        &["SET session:1 1", "INCR session:1", "SET session:1 5 EX 10", "INCR session:1"],
        &["SET session:1 v", "SET session:1 w", "GET session:1"],
        &["SET session:1 v", "MGET session:1 other", "PING", "RENAME session:1 session:2"],
    ]);
}

/// What the server answers, the proxy answers.
fn write_expired(pipelines: &[&[&str]]) {
    let ruled = Ruled::with(&[]);
    let mut client = ruled.client();
    for lines in pipelines {
        let [expected, got] = [false, true].map(|through_proxy| {
            // What an earlier pipeline has destroyed is another matter.
            ruled.server.cli(&["DEL", "cloakroom:gone:{session:1}"]);
            ruled.server.cli(&["SET", "session:1", "v", "EX", "100"]);
            assert_eq!(client.ask("GET session:1"), "v");
            // As the server itself does in time.
            ruled.server.cli(&["DEL", "session:1"]);
            let mut other = Wire::connect(ruled.server.port());
            let wire = if through_proxy { &mut client } else { &mut other };
            wire.say(lines);
            lines.iter().map(|_| wire.hear()).collect::<Vec<_>>()
        });
        assert_eq!(got, expected, "{lines:?}");
    }
    assert!(!pipelines.is_empty());
}

/// A request that ends its session and saves it behind, as session middlewares do, has not begun a new one.
#[test]
fn who_has_destroyed_a_session_does_not_write_it_back_either() {
    let ruled = Ruled::with(&["on_stale_write = \"refuse\""]);
    let mut client = ruled.client();
    client.ask("SET session:1 v");
    assert_eq!(client.ask("GET session:1"), "v");
    assert_eq!(client.ask("DEL session:1"), ":1");
    assert_eq!(client.ask("SET session:1 v"), STALE);
    assert_eq!(client.ask("GET session:1"), "$-1");
    assert_eq!(client.ask("SET session:1 v"), "+OK");
}

/// Scripts know no other numbers than floating point.
#[test]
fn large_numbers_are_answered_as_redis_does() {
    let ruled = Ruled::with(&[]);
    let mut clients = [Wire::connect(ruled.server.port()), ruled.client()];
    for (first, line) in [
        ("SET session:1 9007199254740992 EX 100", "INCR session:1"),
        ("SET session:1 9007199254740992 EX 100", "INCRBY session:1 9007199254740993"),
        ("HSET session:1 f 9007199254740992", "HINCRBY session:1 f 1"),
        ("SET session:1 0 EX 100", "BITFIELD session:1 SET i64 0 9007199254740993 GET i64 0"),
    ] {
        let [redis, cloakroom] = clients.each_mut().map(|client| {
            ruled.server.cli(&["FLUSHALL"]);
            client.ask(first);
            client.ask(line)
        });
        assert_eq!(cloakroom, redis, "{line}");
    }
}

#[test]
fn what_the_rules_do_is_counted() {
    let ruled = Ruled::with(&["expiry = \"100s\"", "[commands]", "deny = [\"keys\"]"]);
    let (mut one, mut two) = (ruled.client(), ruled.client());
    one.ask("SET session:1 v");
    one.ask("SET session:2 v EX 50");
    one.ask("HSET session:3 f v");
    two.ask("GET session:1");
    two.ask("GET session:2");
    // One has written what two had read.
    one.ask("SET session:2 w EX 50");
    two.ask("SET session:2 x EX 50");
    one.ask("DEL session:1 session:3 none");
    two.ask("SET session:1 v");
    one.ask("KEYS *");
    for (name, count) in [
        ("cloakroom_sessions_created_total", 3),
        ("cloakroom_sessions_destroyed_total", 2),
        ("cloakroom_session_late_writes_total", 1),
        ("cloakroom_session_lost_updates_total", 1),
        ("cloakroom_forbidden_requests_total", 1),
    ] {
        wait_until(&format!("{name} is {count}"), || ruled.metric(name) == count);
    }
    let added = ruled.metric("cloakroom_session_expiries_added_total");
    assert_eq!(added, 2, "what is late is given none");
    one.ask("SET session:4 v PX 30");
    two.ask("SET session:4 v PX 30");
    wait_until("it has ended", || two.ask("GET session:4") == "$-1");
    wait_until("its end is counted", || ruled.metric("cloakroom_sessions_expired_total") == 1);
}

#[test]
fn no_session_is_named_in_the_log_or_the_metrics() {
    let secret = "f3a9c1";
    let ruled = Ruled::by(&[
        "log.commands = true",
        "log.level = \"trace\"",
        "[[session]]",
        "keys = [\"session:*\"]",
        "max_value_size = \"200\"",
        "max_lifetime = \"1h\"",
        "on_stale_write = \"refuse\"",
        "[commands]",
        "deny = [\"keys\"]",
        "confine = true",
    ]);
    let (mut one, mut two) = (ruled.client(), ruled.client());
    for line in [
        "SET session:$ $",
        "GET session:$",
        "HSET session:h$ f$ $",
        "EVAL \"return redis.call('SET', KEYS[1], ARGV[1])\" 1 session:$ $",
        "DEL session:$",
        "GET other:$",
        "KEYS $",
        "EXPIRE session:$ x$",
        "APPEND session:h$ $",
        "RENAME session:h$ session:$",
        "FOO $ $",
    ] {
        one.ask(&line.replace('$', secret));
    }
    two.ask(&format!("SET session:{secret} {secret}"));
    two.ask(&format!("SET session:{secret} {}", secret.repeat(100)));
    one.say(&["MULTI", &format!("SET session:{secret} {secret}"), &format!("GET other:{secret}"), "EXEC"]);
    (0..4).for_each(|_| drop(one.hear()));
    wait_until("it is counted", || ruled.metric("cloakroom_session_oversized_total") == 1);
    let (logs, (_, metrics)) = (ruled.proxy.logs(), ruled.proxy.get("/metrics"));
    assert!(logs.len() > 10, "hardly anything is logged");
    assert!(!metrics.contains(secret));
    assert_eq!(logs.iter().find(|line| line.contains(secret)), None);
}

#[test]
fn other_rules_are_in_force_without_losing_a_client() {
    let ruled = Ruled::with(&["expiry = \"100s\""]);
    let mut client = ruled.client();
    client.ask("SET session:1 v");
    assert!(ruled.lives_for("session:1", 100));
    let path = ruled.proxy.config_path();
    let config = fs::read_to_string(&path).expect("a configuration");
    fs::write(&path, config.replace("100s", "5000s") + "[commands]\ndeny = [\"keys\"]\n")
        .expect("a writable directory");
    ruled.proxy.signal("HUP");
    wait_until("the new rules hold", || {
        client.ask("SET session:1 v");
        ruled.lives_for("session:1", 5000)
    });
    wait_until("the new rules hold", || client.ask("KEYS *").starts_with("-NOPERM"));
    // A client in the middle of something is held to what holds now.
    client.send(&request(&["MULTI"]));
    assert_eq!(client.hear(), "+OK");
    assert_eq!(client.ask("SET session:2 v"), "+QUEUED");
    assert_eq!(client.ask("EXEC"), "*1 +OK");
    assert!(ruled.lives_for("session:2", 5000));
}
