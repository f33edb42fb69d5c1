//! The rules are seen only where they must be (G1): what they add to a session changes no answer but those that tell of
//! its end.
//!
//! The same random requests go to a server and, through the proxy, to the same server again, emptied: each server process
//! orders its sets and hashes by a seed of its own.

use std::collections::BTreeSet;
use std::io::Write;
use std::thread;

use fastrand::Rng;

use super::commands::{Choice, Generator, Prepared, Words, bytes, line};
use super::support::{Proxy, RedisServer, Wire};
use super::{report, run_all};

/// Requests of one schedule.
const REQUESTS: usize = 4000;

const OFF: &[&str] = &["stay_destroyed = \"off\""];
const ON: &[&str] = &[];
const LIFETIME: &[&str] = &["max_lifetime = \"10h\"", "on_stale_write = \"refuse\""];
const UNTOUCHED: &[&str] = &["stay_destroyed = \"off\"", "max_lifetime = \"10h\"", "max_value_size = \"off\""];

#[test]
fn where_sessions_may_come_back_rules_change_no_answer() {
    compare_all("where_sessions_may_come_back_rules_change_no_answer", &[OFF, UNTOUCHED]);
}

/// Who has destroyed a session looks whether it is gone before writing it again.
#[test]
fn who_reads_before_writing_again_is_answered_as_redis_does() {
    compare_all("who_reads_before_writing_again_is_answered_as_redis_does", &[ON, LIFETIME]);
}

fn compare_all(test: &str, rules: &'static [&[&str]]) {
    let schedules = 2 * rules.len() as u64;
    let compared = run_all(test, schedules, 1, |seed| {
        let rules = rules[seed as usize / 2 % rules.len()];
        let hello = ["HELLO 2", "HELLO 3"][seed as usize % 2];
        compare(seed, rules, hello)
    });
    report(test, (compared.len(), "schedules", compared.iter().sum::<usize>(), "replies"));
}

fn compare(seed: u64, rules: &[&str], hello: &str) -> usize {
    let mut random = Rng::with_seed(seed);
    let server = RedisServer::with()
        // Tables are not rearranged behind our back: what has no order comes in the same order twice.
        .config("activerehashing no")
        .config("hz 500")
        .start();
    let proxy = Proxy::with(&server, &[&["[[session]]", "keys = [\"session:*\"]"], rules].concat());
    let prepared = Prepared::on(server.port());
    let mut generator = Generator::new(random.fork(), Choice::Timeless, &prepared);
    let parts = parts(&mut generator, !rules.iter().any(|rule| rule.starts_with("stay_destroyed = \"off")));
    let expected = tell(server.port(), hello, &parts);
    server.cli(&["FLUSHALL"]);
    let got = tell(proxy.port(), hello, &parts);
    let commands: Vec<&Words> = parts.iter().flatten().collect();
    assert_eq!(expected.len(), commands.len(), "CLOAKROOM_SEED={seed}: the server itself gives up");
    for (at, command) in commands.iter().enumerate() {
        if Some(&expected[at]) != got.get(at) {
            let before: Vec<_> = commands[at.saturating_sub(40)..=at].iter().map(|command| line(command)).collect();
            let shown = |reply: &[u8]| reply[..reply.len().min(600)].escape_ascii().to_string();
            panic!(
                "CLOAKROOM_SEED={seed} {hello} {rules:?}: number {at}, {}, the last of\n  {}\n  \
                 Redis:     {}\n  cloakroom: {}",
                line(command),
                before.join("\n  "),
                shown(&expected[at]),
                got.get(at).map_or("nothing".to_owned(), |reply| shown(reply)),
            );
        }
    }
    assert!(got.len() >= REQUESTS, "only {} replies", got.len());
    got.len()
}

/// What is sent at a time. `is_careful`: what was destroyed is read, and the answer awaited, before it is written.
fn parts(generator: &mut Generator, is_careful: bool) -> Vec<Vec<Words>> {
    let (mut parts, mut count) = (Vec::new(), 0);
    let mut destroyed = BTreeSet::new();
    while count < REQUESTS {
        let mut block = generator.block();
        let is_transaction = block.iter().any(|command| is(command, "multi"));
        if is_careful && is_transaction {
            // What is read in it is known when all of it has run.
            block.retain(|command| !writes_again(command, &destroyed) && !destroys(command));
        }
        let is_whole = is_transaction || !is_careful;
        let size = if is_whole && generator.random.bool() { block.len() } else { 1 };
        for part in block.chunks(size) {
            for command in part.iter().filter(|_| is_careful) {
                let keys = sessions(command).into_iter().filter(|key| destroyed.contains(key));
                parts.extend(keys.map(|key| vec![vec![b"EXISTS".to_vec(), key]]));
                if destroys(command) {
                    destroyed.extend(sessions(command));
                }
            }
            count += part.len();
            parts.push(part.to_vec());
        }
    }
    parts
}

fn is(command: &Words, name: &str) -> bool {
    command[0].eq_ignore_ascii_case(name.as_bytes())
}

/// Sessions that are named.
fn sessions(command: &Words) -> BTreeSet<Vec<u8>> {
    command.iter().filter(|word| word.starts_with(b"session:") && !word.ends_with(b"_LOCK")).cloned().collect()
}

fn destroys(command: &Words) -> bool {
    let names = ["del", "unlink", "getdel", "rename", "renamenx", "expire", "expireat", "pexpire"];
    // What is stored may be nothing.
    let stores = command.iter().any(|word| word.to_ascii_lowercase().ends_with(b"store"));
    stores || names.iter().any(|name| is(command, name))
}

fn writes_again(command: &Words, destroyed: &BTreeSet<Vec<u8>>) -> bool {
    sessions(command).iter().any(|key| destroyed.contains(key))
}

/// The replies: fewer than requests if the connection ended.
fn tell(port: u16, hello: &str, parts: &[Vec<Words>]) -> Vec<Vec<u8>> {
    let mut wire = Wire::connect(port);
    let mut writer = wire.writer();
    wire.ask(hello);
    let mut replies = Vec::new();
    for part in parts {
        let bytes = bytes(part);
        let is_open = thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&bytes));
            part.iter().all(|_| wire.try_frame().map(|reply| replies.push(reply)).is_ok())
        });
        if !is_open {
            return replies;
        }
    }
    replies
}
