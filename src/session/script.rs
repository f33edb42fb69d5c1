//! The scripts: what the rules have the server do in one step.

use std::time::Duration;

use super::rule::{BIRTH, Rule, TOMBSTONE, beside};
use crate::command::Command;
use crate::config::OnStaleWrite;
use crate::resp::request::Request;
use crate::resp::{decimal, encode};

/// Words of a command a script can pass on: the server's Lua has no room for more than 8000 at a time.
pub(super) const MOST_WORDS: usize = 7000;

/// Words of `write.lua` before those of the sessions, and of each session.
const HEAD: usize = 5;
const WORDS: usize = 6;

/// A script, as it is sent: without its comments.
#[derive(Debug)]
struct Script {
    text: Box<[u8]>,
    /// The server's name for it, in hexadecimal.
    digest: String,
}

/// The scripts there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `write.lua`
    Write,
    /// The same, for commands whose replies differ in RESP3.
    WriteResp3,
    /// `create.lua`
    Create,
    /// `destroy.lua`
    Destroy,
    /// `repair.lua`
    Repair,
}

impl Which {
    /// Every script, by its number.
    pub const ALL: [Self; 5] = [Self::Write, Self::WriteResp3, Self::Create, Self::Destroy, Self::Repair];
}

/// All of them, in the order of [`Which::ALL`].
#[derive(Debug)]
pub struct Scripts([Script; Which::ALL.len()]);

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
    /// The command may destroy it.
    pub(super) loses: bool,
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

/// What the writer knows of a session that may not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It may be created: the command says so, or no rule is against it.
    Free,
    /// It was gone so long ago: whoever has destroyed it since makes the writer stale.
    Ago(Duration),
    /// Nothing: any tombstone makes the writer stale.
    Nothing,
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

impl Script {
    fn new(text: &str) -> Self {
        let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with("--"));
        let text = lines.collect::<Vec<_>>().join("\n");
        Self { digest: sha1_smol::Sha1::from(&text).digest().to_string(), text: text.into_bytes().into() }
    }
}

impl Default for Scripts {
    fn default() -> Self {
        Self(Which::ALL.map(|which| match which {
            Which::Write => Script::new(concat!(include_str!("lifetime.lua"), include_str!("write.lua"))),
            Which::WriteResp3 => {
                Script::new(concat!("redis.setresp(3)\n", include_str!("lifetime.lua"), include_str!("write.lua")))
            }
            Which::Create => Script::new(include_str!("create.lua")),
            Which::Destroy => Script::new(include_str!("destroy.lua")),
            Which::Repair => Script::new(concat!(include_str!("lifetime.lua"), include_str!("repair.lua"))),
        }))
    }
}

impl Scripts {
    fn script(&self, which: Which) -> &Script {
        &self.0[which as usize]
    }

    /// The script a request of ours calls, by name or by its text.
    pub(super) fn of(&self, request: &Request<'_>) -> Option<Which> {
        let called = request.arg(1)?;
        Which::ALL.into_iter().find(|which| {
            let Script { text, digest } = self.script(*which);
            request.is(0, "evalsha") && called == digest.as_bytes() || request.is(0, "eval") && called == &**text
        })
    }

    /// The same request with the script's text, for a server that does not know it by name.
    pub(super) fn spelled_out(&self, request: &Request<'_>) -> Option<Vec<u8>> {
        let which = self.of(request)?;
        let words: Vec<_> = [b"EVAL", &*self.script(which).text].into_iter().chain(request.args_from(2)).collect();
        let mut spelled = Vec::new();
        encode::request(&mut spelled, &words);
        Some(spelled)
    }

    /// A `SET`, `SETEX` or `PSETEX` of a session that may not be there.
    pub(super) fn create(&self, key: &[u8], seen: Seen, on_stale_write: OnStaleWrite, command: &[&[u8]]) -> Vec<u8> {
        let mut words = Words::new(self.script(Which::Create), 2);
        words.bytes(key);
        words.bytes(&beside(TOMBSTONE, key));
        words.bytes(answered(on_stale_write));
        words.seen(seen);
        command.iter().for_each(|word| words.bytes(word));
        words.request()
    }

    /// A write of sessions, by their rules.
    pub(super) fn write(&self, parts: &[Part<'_>], terms: Terms, command: &[&[u8]]) -> Vec<u8> {
        let Terms { on_stale_write, identical, room, is_resp3 } = terms;
        let Identical { word, length, slack } =
            identical.unwrap_or(Identical { word: 0, length: Duration::ZERO, slack: Duration::ZERO });
        let which = if is_resp3 { Which::WriteResp3 } else { Which::Write };
        let mut words = Words::new(self.script(which), 3 * parts.len());
        for part in parts {
            let is_watched = part.window.is_some() || part.seen != Seen::Free;
            words.bytes(&part.key);
            words.beside(TOMBSTONE, &part.key, is_watched);
            words.beside(BIRTH, &part.key, part.lifetime.is_some());
        }
        words.bytes(answered(on_stale_write));
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
            words.seen(part.seen);
            words.bytes(match part.birth {
                Birth::Stays => b"",
                Birth::New => b"new",
                Birth::Moves => b"moves",
            });
            words.bytes(if part.loses { b"1" } else { b"0" });
        }
        command.iter().for_each(|word| words.bytes(word));
        words.request()
    }

    /// `DEL` or `UNLINK`; of each key its rule, if it is a session.
    pub(super) fn destroy(&self, name: &[u8], keys: &[(&[u8], Option<&Rule>)]) -> Vec<u8> {
        let mut words = Words::new(self.script(Which::Destroy), 3 * keys.len());
        for (key, rule) in keys {
            words.bytes(key);
            words.beside(TOMBSTONE, key, rule.is_some());
            words.beside(BIRTH, key, rule.is_some_and(|rule| rule.max_lifetime.is_some()));
        }
        words.bytes(name);
        for (_, rule) in keys {
            words.millis(rule.and_then(|rule| rule.stay_destroyed).unwrap_or_default());
        }
        words.request()
    }

    /// Gives an end to those of these sessions that have none, or too late a one. `db`: if they are in another database.
    pub(super) fn repair(&self, sessions: &[(&[u8], &Rule)], db: Option<u32>) -> Vec<u8> {
        let mut words = Words::new(self.script(Which::Repair), 2 * sessions.len());
        for (key, rule) in sessions {
            words.bytes(key);
            words.beside(BIRTH, key, rule.max_lifetime.is_some());
        }
        words.bytes(db.map(|db| db.to_string()).unwrap_or_default().as_bytes());
        for (_, rule) in sessions {
            words.millis(rule.expiry.unwrap_or_default());
            words.millis(rule.max_lifetime.unwrap_or_default());
            words.millis(rule.stay_destroyed.unwrap_or_default());
        }
        words.request()
    }

    fn call(&self, request: &Request<'_>) -> Option<Call> {
        let which = self.of(request)?;
        let keys = request.arg(2).and_then(decimal).and_then(|keys| usize::try_from(keys).ok())?;
        let head = match which {
            Which::Write | Which::WriteResp3 => HEAD + WORDS * (keys / 3),
            Which::Create => 2,
            Which::Destroy | Which::Repair => 0,
        };
        Some(Call { which, keys, command: 3 + keys + head })
    }

    /// The command a script of ours runs, as its client has asked it; `None` if the request is none of ours.
    ///
    /// For whoever looks what became of a lost write: what the rules add does not change what to look for.
    pub fn command_of(&self, request: &Request<'_>) -> Option<Vec<u8>> {
        let Call { which, keys, command } = self.call(request)?;
        let words: Vec<&[u8]> = match which {
            Which::Write | Which::WriteResp3 | Which::Create => request.args_from(command).collect(),
            Which::Destroy => {
                request.arg(command).into_iter().chain(request.args_from(3).take(keys).step_by(3)).collect()
            }
            Which::Repair => return None,
        };
        let mut command = Vec::new();
        encode::request(&mut command, &words);
        Some(command)
    }

    /// The same request of ours with another command, for whoever sends a lost one again.
    pub fn with_command(&self, request: &Request<'_>, command: &Request<'_>) -> Option<Vec<u8>> {
        let Call { which, command: place, .. } = self.call(request)?;
        let words: Vec<&[u8]> = match which {
            Which::Write | Which::WriteResp3 | Which::Create => {
                request.args_from(0).take(place).chain(command.args_from(0)).collect()
            }
            Which::Destroy | Which::Repair => request.args_from(0).collect(),
        };
        let mut again = Vec::new();
        encode::request(&mut again, &words);
        Some(again)
    }
}

fn answered(on_stale_write: OnStaleWrite) -> &'static [u8] {
    match on_stale_write {
        OnStaleWrite::Discard => b"discard",
        OnStaleWrite::Refuse => b"refuse",
    }
}

/// The words of an `EVALSHA`.
struct Words {
    count: usize,
    bytes: Vec<u8>,
}

impl Words {
    fn new(script: &Script, keys: usize) -> Self {
        let mut words = Self { count: 0, bytes: Vec::new() };
        words.bytes(b"EVALSHA");
        words.bytes(script.digest.as_bytes());
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

    fn seen(&mut self, seen: Seen) {
        match seen {
            Seen::Free => self.bytes(b"0"),
            Seen::Ago(age) => self.millis(age),
            // Older than any tombstone.
            Seen::Nothing => self.bytes(b"9000000000000000"),
        }
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

/// A request of ours, taken apart.
struct Call {
    which: Which,
    keys: usize,
    /// Where the command begins it passes on.
    command: usize,
}

/// Whether a command's reply differs between the protocols where it comes out of a script.
pub(super) fn differs_in_resp3(command: &Command<'_>) -> bool {
    command.is("zadd") || command.is("zincrby")
}
