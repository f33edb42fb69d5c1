//! What clients asked, when, and what they were told, as small as it can be: there are millions of reads.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the schedule began.
pub(crate) type Moment = u32;

/// Later than everything.
pub(crate) const NEVER: Moment = Moment::MAX;

/// What tells one written value from all others. `NIL` is none, `ANY` some value whichever.
pub(crate) type Token = u32;
pub(crate) const NIL: Token = 0;
pub(crate) const ANY: Token = Token::MAX;

/// Keys that are judged, in each of the databases.
pub(crate) const KEYS: usize = 6;
pub(crate) const DATABASES: usize = 2;

/// The number of a key: those of database 0, then those of database 1.
pub(crate) type Key = usize;

/// The process whose clients it is, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    Proxy(usize),
    Direct,
}

/// A clock that knows what time the server thinks it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
    /// The same, since 1970.
    began_at: Duration,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), began_at: SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::try_from(self.began.elapsed().as_micros()).expect("a schedule takes less than an hour")
    }

    /// Of milliseconds since 1970, as `PEXPIREAT` has them.
    pub(crate) fn moment_of(&self, millis: u64) -> Moment {
        let since = Duration::from_millis(millis).saturating_sub(self.began_at);
        Moment::try_from(since.as_micros()).unwrap_or(NEVER)
    }
}

/// Reads of a key that were sent together and got the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) key: u8,
    pub(crate) count: u16,
    pub(crate) token: Token,
    pub(crate) invoked: Moment,
    pub(crate) told_at: Moment,
}

/// By what the server's log shows that a write is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It is in the value, or in the name of another key of the same command.
    Token(Token),
    /// How the entry begins, with its database where that matters: `0 DEL s:1`.
    Command(String),
}

/// A write that may have done something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) mark: Mark,
    pub(crate) invoked: Moment,
    /// `NEVER` where nobody was told.
    pub(crate) acknowledged: Moment,
}

/// What a connection has seen, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is another connection.
    Connected,
    Read(Read),
    /// It wrote this to a key: what it reads from here on was asked behind that.
    Wrote(u8, Token),
}

/// All that one client saw.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) through: Through,
    pub(crate) events: Vec<Event>,
    pub(crate) writes: Vec<Write>,
    /// What no client should have been told.
    pub(crate) violations: Vec<String>,
    /// Reads that were answered, and those that were not.
    pub(crate) answers: usize,
    pub(crate) errors: usize,
}

impl History {
    pub(crate) fn new(through: Through) -> Self {
        Self { through, events: Vec::new(), writes: Vec::new(), violations: Vec::new(), answers: 0, errors: 0 }
    }

    /// Together with what was sent at the same moment for the same key, if that was told the same.
    pub(crate) fn read(&mut self, read: Read) {
        for event in self.events.iter_mut().rev().take(KEYS) {
            match event {
                Event::Read(before) if before.invoked == read.invoked => {
                    if before.key == read.key && before.count < u16::MAX {
                        if before.token == read.token {
                            before.count += read.count;
                            before.told_at = read.told_at;
                            return;
                        }
                        break;
                    }
                }
                _ => break,
            }
        }
        self.events.push(Event::Read(read));
    }
}

/// The name of a key in its database.
pub(crate) fn name(key: Key) -> String {
    format!("s:{}", key % KEYS)
}

/// A value of at least so many bytes.
pub(crate) fn value(token: Token, padding: usize) -> String {
    format!("{:p<padding$}t{token};", "")
}

/// The token at the end of a value or a name.
pub(crate) fn token_of(value: &[u8]) -> Option<Token> {
    let value = value.strip_suffix(b";")?;
    let start = value.iter().rposition(|byte| *byte == b't')? + 1;
    std::str::from_utf8(&value[start..]).ok()?.parse().ok()
}
