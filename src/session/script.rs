//! The scripts: what the rules have the server do in one step.

use std::time::Duration;

use super::rule::{BIRTH, TOMBSTONE, Rule, beside};
use crate::command::Command;
use crate::config::OnStaleWrite;
use crate::resp::encode;
use crate::resp::request::Request;

/// Words of a command a script can pass on: the server's Lua has no room for more than 8000 at a time.
pub(super) const MOST_WORDS: usize = 7000;

/// Words of `write.lua` before those of the sessions, and of each session.
const HEAD: usize = 5;
const WORDS: usize = 5;

/// The texts of the scripts, as they are sent: without their comments.
#[derive(Debug)]
pub(super) struct Scripts {
    write: Box<[u8]>,
    /// The same, for commands whose replies differ in RESP3.
    write_resp3: Box<[u8]>,
    destroy: Box<[u8]>,
    repair: Box<[u8]>,
}

/// What `write.lua` is told of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) key: std::borrow::Cow<'a, [u8]>,
    pub(super) expiry: Expiry,
    pub(super) lifetime: Option<Duration>,
    /// How long its tombstone stands.
    pub(super) window: Option<Duration>,
    pub(super) seen: Seen,
    pub(super) birth: Birth,
}

/// What `write.lua` is told of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) on_stale_write: OnStaleWrite,
    pub(super) identical: Option<Identical>,
    /// Bytes the first session's value may have, for something to be appended to it.
    pub(super) room: Option<usize>,
    /// Its reply is to be as in RESP3.
    pub(super) is_resp3: bool,
}

/// What becomes of a session without a time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    LeftAlone,
    Set(Duration),
    /// A companion: it ends no sooner than the first session.
    Follows,
}

/// What the writer knows of a session that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It may be created: the command says so, or no rule is against it.
    Free,
    /// It was gone so long ago: whoever has destroyed it since makes the writer stale.
    GoneFor(Duration),
    /// Nothing: any tombstone makes the writer stale.
    Nothing,
    /// It was destroyed after all the writer has seen.
    Destroyed,
}

/// What becomes of a session's birth mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Birth {
    Stays,
    /// A session that was not there is a new one.
    New,
    /// It is that of the first session, which has been given this key.
    Moves,
}

/// A value that may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identical {
    /// Which word of the command it is.
    pub(super) word: usize,
    pub(super) length: Duration,
    pub(super) slack: Duration,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let write = without_comments(include_str!("write.lua"));
        Self {
            write_resp3: [&b"redis.setresp(3)\n"[..], &write].concat().into(),
            write,
            destroy: without_comments(include_str!("destroy.lua")),
            repair: without_comments(include_str!("repair.lua")),
        }
    }

    /// A write of sessions, by their rules.
    pub(super) fn write(
        &self,
        parts: &[Part<'_>],
        terms: Terms,
        command: &[&[u8]],
    ) -> Vec<u8> {
        let Terms { on_stale_write, identical, room, is_resp3 } = terms;
        let Identical { word, length, slack } =
            identical.unwrap_or(Identical { word: 0, length: Duration::ZERO, slack: Duration::ZERO });
        let mut words = Words::new(if is_resp3 { &self.write_resp3 } else { &self.write }, 3 * parts.len());
        for part in parts {
            let is_watched = part.window.is_some() || !matches!(part.seen, Seen::Free | Seen::Destroyed);
            words.bytes(&part.key);
            words.beside(TOMBSTONE, &part.key, is_watched);
            words.beside(BIRTH, &part.key, part.lifetime.is_some());
        }
        words.bytes(match on_stale_write {
            OnStaleWrite::Discard => b"discard",
            OnStaleWrite::Refuse => b"refuse",
        });
        words.bytes(word.to_string().as_bytes());
        words.millis(length);
        words.millis(slack);
        words.bytes(room.map(|bytes| bytes.to_string()).unwrap_or_default().as_bytes());
        for part in parts {
            match part.expiry {
                Expiry::LeftAlone => words.bytes(b"0"),
                Expiry::Set(length) => words.millis(length),
                Expiry::Follows => words.bytes(b"follow"),
            }
            words.millis(part.lifetime.unwrap_or_default());
            words.millis(part.window.unwrap_or_default());
            match part.seen {
                Seen::Free => words.bytes(b"0"),
                Seen::GoneFor(age) => words.millis(age),
                // Older than any tombstone.
                Seen::Nothing => words.bytes(b"9000000000000000"),
                Seen::Destroyed => words.bytes(b"gone"),
            }
            words.bytes(match part.birth {
                Birth::Stays => b"",
                Birth::New => b"new",
                Birth::Moves => b"moves",
            });
        }
        command.iter().for_each(|word| words.bytes(word));
        words.request()
    }

    /// `DEL` or `UNLINK`; of each key its rule, if it is a session.
    pub(super) fn destroy(&self, name: &[u8], keys: &[(&[u8], Option<&Rule>)]) -> Vec<u8> {
        let mut words = Words::new(&self.destroy, 3 * keys.len());
        for (key, rule) in keys {
            words.bytes(key);
            words.beside(TOMBSTONE, key, rule.is_some());
            words.beside(BIRTH, key, rule.is_some_and(|rule| rule.max_lifetime.is_some()));
        }
        words.bytes(name);
        for (_, rule) in keys {
            words.millis(rule.and_then(Rule::window).unwrap_or_default());
        }
        words.request()
    }

    /// Gives an expiry to those of these sessions that have none. `db`: if they are in another database.
    pub(super) fn repair(&self, sessions: &[(&[u8], Duration)], db: Option<u32>) -> Vec<u8> {
        let mut words = Words::new(&self.repair, sessions.len());
        sessions.iter().for_each(|(key, _)| words.bytes(key));
        words.bytes(db.map(|db| db.to_string()).unwrap_or_default().as_bytes());
        sessions.iter().for_each(|(_, expiry)| words.millis(*expiry));
        words.request()
    }
}

/// The words of an `EVAL`.
struct Words {
    count: usize,
    bytes: Vec<u8>,
}

impl Words {
    fn new(script: &[u8], keys: usize) -> Self {
        let mut words = Self { count: 0, bytes: Vec::new() };
        words.bytes(b"EVAL");
        words.bytes(script);
        words.bytes(keys.to_string().as_bytes());
        words
    }

    fn bytes(&mut self, word: &[u8]) {
        self.count += 1;
        encode::bulk(&mut self.bytes, word);
    }

    /// In milliseconds: what is not nothing is at least one.
    fn millis(&mut self, length: Duration) {
        let millis = if length.is_zero() { 0 } else { length.as_millis().max(1) };
        self.bytes(millis.to_string().as_bytes());
    }

    /// A key of ours beside a session's; the session's, where it is not needed.
    fn beside(&mut self, what: &[u8], key: &[u8], is_needed: bool) {
        match is_needed {
            true => self.bytes(&beside(what, key)),
            false => self.bytes(key),
        }
    }

    fn request(self) -> Vec<u8> {
        let mut request = Vec::with_capacity(self.bytes.len() + 16);
        encode::array_header(&mut request, self.count);
        request.extend_from_slice(&self.bytes);
        request
    }
}

fn without_comments(text: &str) -> Box<[u8]> {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with("--"));
    lines.collect::<Vec<_>>().join("\n").into_bytes().into()
}

/// The command a script of ours runs, as its client has asked it; `None` if the request is none of ours.
///
/// For whoever looks what became of a lost write: what the rules add does not change what to look for.
pub fn command_of(request: &Request<'_>) -> Option<Vec<u8>> {
    let is_ours = |text: &str| request.arg(1) == Some(&*without_comments(text));
    if !request.is(0, "eval") {
        return None;
    }
    let keys: usize = str::from_utf8(request.arg(2)?).ok()?.parse().ok()?;
    let words: Vec<&[u8]> = if is_ours(include_str!("write.lua")) {
        request.args_from(3 + keys + HEAD + WORDS * (keys / 3)).collect()
    } else if is_ours(include_str!("destroy.lua")) {
        let keys = request.args_from(3).take(keys).step_by(3);
        request.arg(3 + keys.len() * 3).into_iter().chain(keys).collect()
    } else {
        return None;
    };
    let mut command = Vec::new();
    encode::request(&mut command, &words);
    Some(command)
}

/// Whether a command's reply differs between the protocols where it comes out of a script.
pub(super) fn differs_in_resp3(command: &Command<'_>) -> bool {
    command.is("zadd") || command.is("zincrby")
}
