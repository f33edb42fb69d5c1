//! What a request is.
//!
//! A row of the table says what a command does to data (its *effect*), to which keys, to the connection it runs on
//! (its *route*), and whether its reply reads the same in both protocols. A command without a row may do anything
//! to its connection, so it runs on a pinned one: no client can touch another's state through a command we
//! have never heard of (G1).

mod blocking;
mod catalogue;
mod keys;
mod table;

pub use catalogue::{Catalogue, Learned};
pub use keys::{KeyArgs, Keys, Touches};

use crate::resp::request::Request;

/// What a command does to data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing: running it twice is harmless.
    Read,
    /// Changes a value or its expiry, or may do so: never sent twice (G3).
    Write,
}

/// Where a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// On a connection shared with other clients.
    Forward,
    /// Answered here: it concerns the client's own connection.
    Here(Local),
    /// On a connection of the client's own.
    Pin(PinReason),
    /// On a connection of the client's own if it says `BLOCK`.
    PinIfBlocking,
    /// `SCRIPT`: shared, but for `SCRIPT DEBUG YES`, which would put its connection under a debugger.
    Script,
    /// It would turn the connection into a replica's stream, which is no series of replies.
    Refuse,
}

/// A command answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the commands'")]
pub enum Local {
    Auth,
    Client,
    Echo,
    Hello,
    Ping,
    Quit,
    Reset,
    Select,
}

/// Why a client holds an upstream connection of its own: a log field and a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinReason {
    /// From `MULTI` to `EXEC` or `DISCARD`.
    Transaction,
    /// From `WATCH` to `EXEC`, `DISCARD` or `UNWATCH`.
    Watch,
    /// From the first channel to the last.
    Subscription,
    /// Until the client goes.
    Monitor,
    /// Until its reply: nobody else may wait behind it.
    Blocking,
    /// From `CLIENT TRACKING ON` to `OFF`: its invalidations come on the connection that reads.
    Tracking,
    /// A `SELECT` of a database no client has used yet: the server must say that it exists.
    Database,
    /// Until its reply: nobody else's request may wait behind a request so large.
    Large,
    /// Until its reply: what else it does is not known.
    Unknown,
}

impl PinReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 9] = [
        Self::Transaction,
        Self::Watch,
        Self::Subscription,
        Self::Monitor,
        Self::Blocking,
        Self::Tracking,
        Self::Database,
        Self::Large,
        Self::Unknown,
    ];

    /// The reason as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Watch => "watch",
            Self::Subscription => "subscription",
            Self::Monitor => "monitor",
            Self::Blocking => "blocking",
            Self::Tracking => "tracking",
            Self::Database => "database",
            Self::Large => "large_request",
            Self::Unknown => "unknown_command",
        }
    }
}

/// How the RESP2 reply of a command follows from its RESP3 reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyForm {
    /// The same bytes, or [`resp::convert::to_resp2`](crate::resp::convert::to_resp2) of them.
    Same,
    /// Different in structure, or not known: a RESP2 client must be answered by a RESP2 connection.
    Differs,
}

/// What a command's reply can begin with, an error apart. Another beginning means that replies have come out of
/// step, and the connection is thrown away before a client sees somebody else's (G2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Not known, or anything.
    Any,
    /// `+`
    Status,
    /// `:`
    Integer,
    /// A string or a null.
    Text,
    /// A status, a string or a null: `SET`.
    StatusOrText,
    /// An array, a set or a map.
    Collection,
    /// Anything a script says, also an error in the server's own words.
    Script,
}

impl Shape {
    /// Whether a reply may begin so.
    pub fn fits(self, first: u8) -> bool {
        let is_text = matches!(first, b'$' | b'_' | b'=');
        first == b'-'
            || match self {
                Self::Any | Self::Script => true,
                Self::Status => first == b'+',
                Self::Integer => first == b':',
                Self::Text => is_text,
                Self::StatusOrText => is_text || first == b'+',
                Self::Collection => matches!(first, b'*' | b'~' | b'%'),
            }
    }
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The command's name, in lower case.
    pub name: &'static str,
    /// Arguments with the name: exactly that many, or at least as many if negative. As in `COMMAND`.
    pub arity: i8,
    #[allow(missing_docs)]
    pub keys: Keys,
    #[allow(missing_docs)]
    pub effect: Effect,
    #[allow(missing_docs)]
    pub route: Route,
    #[allow(missing_docs)]
    pub reply: ReplyForm,
    #[allow(missing_docs)]
    pub shape: Shape,
}

impl Row {
    /// Whether a request of `len` arguments has as many as the command takes.
    pub fn fits(&self, len: usize) -> bool {
        arity_fits(self.arity, len)
    }

    /// Whether its first argument says what it is.
    pub fn has_subcommands(&self) -> bool {
        WITH_SUBCOMMANDS.contains(&self.name)
    }
}

/// Whether a request of `len` arguments has as many as `arity` says: exactly that many, or at least as many if it is
/// negative.
pub fn arity_fits(arity: i8, len: usize) -> bool {
    let count = usize::from(arity.unsigned_abs());
    if arity < 0 { len >= count } else { len == count }
}

/// A request from this size on does not share a connection: the requests of others would wait until it is written.
const LARGE: usize = 1 << 20;

/// Commands whose first argument says what they are: `COMMAND` calls them containers.
const WITH_SUBCOMMANDS: [&str; 15] = [
    "acl", "client", "cluster", "command", "config", "function", "latency", "memory", "module", "object", "pubsub",
    "script", "slowlog", "xgroup", "xinfo",
];

/// The longest name of a command we know.
const LONGEST_NAME: usize = 24;

/// Places in the table of names: a power of two, several times the number of commands.
const PLACES: usize = 1024;

/// The commands, by name.
///
/// # Why
/// Every request is looked up. The names are fixed, so no client can fill a place with names of its own
/// choice, and the hash needs no secret: it costs a fifth of a seeded one.
#[derive(Debug)]
pub struct Commands {
    /// The row's number, or [`EMPTY`]; a name whose place is taken stands in the next free one.
    places: Box<[u16; PLACES]>,
}

const EMPTY: u16 = u16::MAX;

impl Default for Commands {
    fn default() -> Self {
        let mut places = Box::new([EMPTY; PLACES]);
        for (number, row) in table::ROWS.iter().enumerate() {
            let mut place = place(row.name.as_bytes()).expect("no row's name is longer than the longest");
            while places[place] != EMPTY {
                place = (place + 1) % PLACES;
            }
            places[place] = u16::try_from(number).expect("there are fewer commands than places");
        }
        Self { places }
    }
}

impl Commands {
    /// Every row, in the order of their numbers.
    pub fn rows() -> &'static [Row] {
        table::ROWS
    }

    /// Finds out which command a request is.
    pub fn understand<'a>(&self, request: Request<'a>) -> Command<'a> {
        Command { number: self.find(request.name()), learned: None, request }
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let mut place = place(name)?;
        loop {
            let number = match self.places[place] {
                EMPTY => return None,
                number => usize::from(number),
            };
            if table::ROWS[number].name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(number);
            }
            place = (place + 1) % PLACES;
        }
    }
}

/// Where to look for a name first, in any case; `None` if it is longer than any.
fn place(name: &[u8]) -> Option<usize> {
    let mut padded = [0; LONGEST_NAME];
    padded.get_mut(..name.len())?.copy_from_slice(name);
    let (words, _) = padded.as_chunks::<8>();
    let hash = words.iter().fold(name.len() as u64, |hash, word| {
        // Upper and lower case differ in this bit; other names may collide over it, harmlessly.
        let folded = u64::from_ne_bytes(*word) | 0x2020_2020_2020_2020;
        (hash ^ folded).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    });
    Some((hash >> 20) as usize % PLACES)
}

/// A request once understood.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// The bytes and arguments.
    pub request: Request<'a>,
    number: Option<usize>,
    /// What the server has said of a command without a row.
    learned: Option<Learned>,
}

impl<'a> Command<'a> {
    /// What the table says of it; `None` for a command without a row.
    pub fn row(&self) -> Option<&'static Row> {
        self.number.map(|number| &table::ROWS[number])
    }

    /// The same command with what the server has said of it, should the table have no row for it.
    pub fn learned_from(self, catalogue: &Catalogue) -> Self {
        Self { learned: catalogue.find(self.request.name()), ..self }
    }

    /// The row's number: an index for counters. The number of rows stands for every command without one.
    pub fn number(&self) -> usize {
        self.number.unwrap_or(table::ROWS.len())
    }

    /// The name for logs and metrics: from a closed list, never a client's bytes (G8).
    pub fn label(&self) -> &'static str {
        self.row().map_or("other", |row| row.name)
    }

    /// What it does to data. What is not known may do anything.
    pub fn effect(&self) -> Effect {
        let learned = self.learned.map_or(Effect::Write, |learned| learned.effect);
        self.row().map_or(learned, |row| row.effect)
    }

    /// The keys it touches. What is not known may touch any.
    pub fn keys(&self) -> Touches<'a> {
        if !self.has_its_arity() {
            return Touches::None;
        }
        let learned = self.learned.map_or(Keys::Unknown, |learned| learned.keys);
        self.row().map_or(learned, |row| row.keys).of(self.request)
    }

    /// Where it runs.
    pub fn route(&self) -> Route {
        match self.own_route() {
            Route::Forward if self.request.frame().len() >= LARGE => Route::Pin(PinReason::Large),
            route => route,
        }
    }

    fn own_route(&self) -> Route {
        match self.row().map(|row| row.route) {
            None => self.learned.map_or(Route::Pin(PinReason::Unknown), |learned| learned.route),
            Some(Route::PinIfBlocking) if self.says("block") => Route::Pin(PinReason::Blocking),
            Some(Route::PinIfBlocking) => Route::Forward,
            Some(Route::Script) if self.starts_debugger() => Route::Refuse,
            Some(Route::Script) => Route::Forward,
            Some(route) => route,
        }
    }

    /// How its RESP2 reply follows from the RESP3 one.
    pub fn reply_form(&self) -> ReplyForm {
        // Not behind the script it is to end, which a RESP2 client runs on the RESP2 connection.
        if (self.is("script") || self.is("function")) && self.request.is(1, "kill") {
            return ReplyForm::Same;
        }
        self.row().map_or(ReplyForm::Differs, |row| row.reply)
    }

    /// What its reply can begin with.
    pub fn shape(&self) -> Shape {
        self.row().map_or(Shape::Any, |row| row.shape)
    }

    /// Whether it has as many arguments as the server takes. What is not known may have any number.
    pub fn has_its_arity(&self) -> bool {
        self.row().is_none_or(|row| row.fits(self.request.len()))
    }

    /// `SCRIPT DEBUG YES` or `SYNC`; with anything else the server only answers.
    fn starts_debugger(&self) -> bool {
        self.request.is(1, "debug") && (self.request.is(2, "yes") || self.request.is(2, "sync"))
    }

    /// Whether it is the command of that name, in lower case.
    pub fn is(&self, name: &str) -> bool {
        self.row().is_some_and(|row| row.name == name)
    }

    /// Whether its first argument says what it is.
    pub fn has_subcommands(&self) -> bool {
        self.row().is_some_and(Row::has_subcommands)
    }

    /// Its subcommand in lower case; empty if that is none anybody has, for it is shown to others.
    pub fn subcommand(&self) -> String {
        let word = self.request.arg(1).unwrap_or_default().to_ascii_lowercase();
        let is_one = word.len() <= LONGEST_NAME && word.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'-');
        String::from_utf8(word).ok().filter(|_| is_one).unwrap_or_default()
    }

    /// Whether any argument is that word. A stream or a group may have that name too: then the client holds a
    /// connection without need, which is harmless.
    fn says(&self, option: &str) -> bool {
        self.request.args_from(1).any(|arg| arg.eq_ignore_ascii_case(option.as_bytes()))
    }
}

#[cfg(test)]
mod tests;
