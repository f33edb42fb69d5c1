//! What a server says of the commands our table has no row for.
//!
//! Newer servers and modules have commands of their own. The server's `COMMAND` tells enough of most of them: one
//! that reads or writes keys and does nothing else may share a connection; one that blocks waits on its own;
//! about any other nothing is assumed, and it runs pinned.

use std::collections::HashMap;

use super::{Commands, Effect, Keys, PinReason, Route};
use crate::resp::{decimal, peek};

/// More names than this are not remembered (G7): a server with every module has some hundreds.
const MOST: usize = 4096;

/// The longest name that is remembered.
const LONGEST_NAME: usize = 64;

/// Flags of what concerns more than keys: the connection, or the server. Such a command is not let on a connection
/// others use.
const NOT_SHARED: [&[u8]; 5] = [b"noscript", b"no_multi", b"pubsub", b"admin", b"no_auth"];

/// What a server has told of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    pub(super) effect: Effect,
    pub(super) route: Route,
    pub(super) keys: Keys,
}

/// The commands a server has and our table has not.
#[derive(Debug, Default)]
pub struct Catalogue {
    learned: HashMap<Vec<u8>, Learned>,
}

impl Catalogue {
    /// Reads the reply to `COMMAND`, RESP2 or RESP3. What cannot be read of it is left out.
    pub fn read(reply: &[u8]) -> Self {
        let known = Commands::default();
        let rows = peek::elements(reply).into_iter().flatten().filter_map(row);
        let unknown = rows.filter(|(name, _)| known.find(name).is_none());
        Self { learned: unknown.take(MOST).collect() }
    }

    /// What is known of a command, its name in any case.
    pub fn find(&self, name: &[u8]) -> Option<Learned> {
        if name.len() > LONGEST_NAME {
            return None;
        }
        self.learned.get(&name.to_ascii_lowercase()).copied()
    }

    /// How many commands it knows.
    pub fn len(&self) -> usize {
        self.learned.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.learned.is_empty()
    }
}

/// One command of the reply: `[name, arity, [flags], first key, last key, step, ...]`.
fn row(element: &[u8]) -> Option<(Vec<u8>, Learned)> {
    let name = peek::first_word(element)?;
    let mut fields = peek::elements(element)?.skip(2);
    let flags: Vec<&[u8]> = peek::elements(fields.next()?)?.filter_map(peek::word).collect();
    let has = |flag: &[u8]| flags.contains(&flag);
    let mut number = || decimal(fields.next()?.strip_prefix(b":")?.strip_suffix(b"\r\n")?);
    let (first_key, last_key, step) = (number()?, number()?, number()?);
    let is_about_keys = first_key > 0 || has(b"movablekeys");
    let is_shared = is_about_keys && (has(b"readonly") != has(b"write")) && !NOT_SHARED.iter().any(|flag| has(flag));
    let route = if has(b"blocking") {
        Route::Pin(PinReason::Blocking)
    } else if is_shared {
        Route::Forward
    } else {
        Route::Pin(PinReason::Unknown)
    };
    let effect = if has(b"readonly") && !has(b"write") { Effect::Read } else { Effect::Write };
    // Of those with more keys than a range tells, any may be touched.
    let keys = if has(b"movablekeys") { Keys::Unknown } else { Keys::told(first_key, last_key, step) };
    (name.len() <= LONGEST_NAME).then(|| (name.to_ascii_lowercase(), Learned { effect, route, keys }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from Redis 8.0, shortened to what is read; `mystery` is composed.
    const REPLY: &str = "*6\r\n\
        *10\r\n$7\r\nhexpire\r\n:-6\r\n~3\r\n+write\r\n+denyoom\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~0\r\n*0\r\n*0\r\n*0\r\n\
        *10\r\n$4\r\nhttl\r\n:-5\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*0\r\n*0\r\n\
        *10\r\n$7\r\nwaitaof\r\n:4\r\n*1\r\n+blocking\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*0\r\n*0\r\n\
        *10\r\n$10\r\ncommandlog\r\n:-2\r\n*1\r\n+admin\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*0\r\n*0\r\n\
        *10\r\n$3\r\nget\r\n:2\r\n*1\r\n+blocking\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*0\r\n*0\r\n\
        *3\r\n$7\r\nmystery\r\n:1\r\n:7\r\n";

    #[test]
    fn what_only_touches_keys_may_share_a_connection() {
        let catalogue = Catalogue::read(REPLY.as_bytes());
        let first = Keys::Range { first: 1, last: 1, step: 1 };
        let cases = [
            ("HEXPIRE", Effect::Write, Route::Forward, first),
            ("httl", Effect::Read, Route::Forward, first),
            ("waitaof", Effect::Write, Route::Pin(PinReason::Blocking), Keys::Unknown),
            ("commandlog", Effect::Write, Route::Pin(PinReason::Unknown), Keys::Unknown),
        ];
        for (name, effect, route, keys) in cases {
            assert_eq!(catalogue.find(name.as_bytes()), Some(Learned { effect, route, keys }), "{name}");
        }
        assert_eq!(catalogue.len(), cases.len(), "our own table is not overruled, and nonsense is left out");
    }

    #[test]
    fn a_reply_that_is_none_teaches_nothing() {
        for reply in ["-NOPERM no\r\n", "*-1\r\n", "*1\r\n*0\r\n", "+OK\r\n"] {
            assert!(Catalogue::read(reply.as_bytes()).is_empty(), "{reply}");
        }
    }
}
