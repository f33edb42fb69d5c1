//! The keys of requests: what we find, against the server's `COMMAND GETKEYS`.

use std::collections::BTreeSet;

use cloakroom::command::{Commands, Keys, Touches};
use cloakroom::resp::peek;
use cloakroom::resp::request::Parser;

use crate::support::{RedisServer, Wire, request, words};

/// Requests of the commands whose keys are not simply at certain places.
const EXAMPLES: &[&str] = &[
    r#"BLMPOP 0 2 "k \r\n\xff" "" LEFT COUNT 1"#,
    "BZMPOP 0 1 k MIN",
    "EVAL s 2 a b c",
    "EVAL s 0 a",
    "EVAL s 0",
    "EVAL_RO s 1 a b",
    "EVALSHA s 2 a b",
    "EVALSHA_RO s 2 a b",
    "FCALL f 2 a b c",
    "FCALL_RO f 1 a b",
    "GEORADIUS k 1 2 3 km",
    "GEORADIUS k 1 2 3 km WITHDIST COUNT 1 ANY STORE d",
    "GEORADIUS k 1 2 3 km storedist d DESC",
    "GEORADIUSBYMEMBER k m 3 km",
    "GEORADIUSBYMEMBER k store 3 km STORE d",
    "LMPOP 2 a b LEFT",
    "MEMORY DOCTOR",
    "MEMORY USAGE k SAMPLES 5",
    "OBJECT ENCODING k",
    "OBJECT FREQ k",
    "OBJECT HELP",
    "OBJECT IDLETIME k",
    "OBJECT REFCOUNT k",
    "SINTERCARD 2 a b LIMIT 1",
    "SORT k",
    "SORT k LIMIT 0 5 ALPHA STORE d",
    "SORT_RO k LIMIT 0 5 DESC",
    "XGROUP CREATE k g 0 MKSTREAM",
    "XGROUP CREATECONSUMER k g c",
    "XGROUP DELCONSUMER k g c",
    "XGROUP DESTROY k g",
    "XGROUP HELP",
    "XGROUP SETID k g 0",
    "XINFO CONSUMERS k g",
    "XINFO GROUPS k",
    "XINFO STREAM k FULL",
    "XREAD STREAMS a 0",
    "XREAD COUNT 1 BLOCK 1 STREAMS a streams 0 0",
    "XREADGROUP GROUP streams c STREAMS a b > >",
    "XREADGROUP NOACK BLOCK 0 GROUP g c STREAMS a >",
    "ZDIFF 2 a b WITHSCORES",
    "ZDIFFSTORE d 2 a b",
    "ZINTER 1 a WITHSCORES",
    "ZINTERCARD 2 a b LIMIT 1",
    "ZINTERSTORE d 1 a WEIGHTS 1",
    "ZMPOP 2 a b MAX",
    "ZUNION 2 a a",
    "ZUNIONSTORE a 2 a b AGGREGATE MAX",
];

/// Commands that may touch keys they do not name, or whose keys we do not look for.
const UNKNOWN: [&str; 4] = ["cluster", "debug", "exec", "migrate"];

/// Commands that change every key.
const ALL: [&str; 6] = ["failover", "flushall", "flushdb", "replicaof", "slaveof", "swapdb"];

#[test]
fn the_keys_of_a_request_are_those_the_server_finds() {
    let server = RedisServer::plain();
    let mut wire = Wire::connect(server.port());
    let examples: Vec<_> = EXAMPLES.iter().map(|example| words(example)).collect();
    let requests: Vec<_> = examples.into_iter().chain(simple_requests()).collect();
    assert!(requests.len() > 500, "{} requests", requests.len());
    let differences = requests.iter().filter_map(|words| {
        let (ours, theirs) = (found_here(words), found_there(words, &mut wire));
        (ours != theirs).then(|| format!("{}: {} here, {} there", text(words), text(&ours), text(&theirs)))
    });
    assert_eq!(differences.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn every_command_whose_keys_stand_elsewhere_has_an_example() {
    let needed = Commands::rows().iter().filter(|row| !is_simple(row.name, row.keys) && !is_open(row.keys));
    let needed: BTreeSet<_> = needed.map(|row| row.name.to_owned()).collect();
    let given = EXAMPLES.iter().filter_map(|example| example.split(' ').next()).map(str::to_lowercase);
    assert_eq!(given.collect::<BTreeSet<_>>(), needed);
}

#[test]
fn few_commands_are_said_to_touch_any_key() {
    let named = |keys| Commands::rows().iter().filter(move |row| row.keys == keys).map(|row| row.name);
    assert_eq!(named(Keys::Unknown).collect::<Vec<_>>(), UNKNOWN);
    assert_eq!(named(Keys::All).collect::<Vec<_>>(), ALL);
}

fn is_open(keys: Keys) -> bool {
    matches!(keys, Keys::Unknown | Keys::All)
}

/// Whether its keys are where they are, whatever is asked.
fn is_simple(name: &str, keys: Keys) -> bool {
    let has_keys_of_subcommands = ["memory", "object", "xgroup", "xinfo"].contains(&name);
    matches!(keys, Keys::None | Keys::Range { .. }) && !has_keys_of_subcommands
}

/// Of each simple command, requests from the shortest it takes to three arguments more. The server is not asked about
/// a command alone, nor about `PFMERGE` of one key: it runs that, and finds no key in it.
fn simple_requests() -> impl Iterator<Item = Vec<Vec<u8>>> {
    let rows = Commands::rows().iter().filter(|row| is_simple(row.name, row.keys));
    rows.flat_map(|row| {
        let least = usize::from(row.arity.unsigned_abs());
        let shortest = if row.name == "pfmerge" { 3 } else { least.max(2) };
        let fitting = (shortest..=least + 3).filter(|len| row.fits(*len));
        fitting.map(|len| {
            let args = (1..len).map(|index| format!("argument {index}").into_bytes());
            std::iter::once(row.name.as_bytes().to_vec()).chain(args).collect()
        })
    })
}

/// In order; empty where there is none, a question mark where any may be touched.
fn found_here(words: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (bytes, mut parser) = (request(words), Parser::default());
    match Commands::default().understand(parser.known(&bytes).expect("a request")).keys() {
        Touches::None => Vec::new(),
        Touches::These(keys) => keys.map(<[u8]>::to_vec).collect(),
        Touches::Any => vec![b"?".to_vec()],
    }
}

fn found_there(words: &[Vec<u8>], wire: &mut Wire) -> Vec<Vec<u8>> {
    let words: Vec<_> = [b"COMMAND".to_vec(), b"GETKEYS".to_vec()].iter().chain(words).cloned().collect();
    wire.send(&request(&words));
    let reply = wire.frame();
    // The latter is said of a subcommand that does not exist.
    let none = ["-ERR The command has no key arguments\r\n", "-ERR Invalid command specified\r\n"];
    let has_none = none.iter().any(|text| text.as_bytes() == reply);
    match peek::elements(&reply) {
        Some(keys) => keys.filter_map(peek::word).map(<[u8]>::to_vec).collect(),
        None if has_none => Vec::new(),
        None => vec![reply.clone()],
    }
}

fn text(words: &[Vec<u8>]) -> String {
    words.iter().map(|word| format!("'{}'", word.escape_ascii())).collect::<Vec<_>>().join(" ")
}
