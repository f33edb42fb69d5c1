//! What a key held, one state after another, and when at the earliest and at the latest each began.
//!
//! The server's own log of what it has executed (its append-only file) knows the order, whoever wrote, and also what
//! expired and was evicted. When, is known from who asked: a write began after it was asked for, and before it was
//! acknowledged. What no client asked for lies between two *ticks*, writes that somebody makes all the time.

use std::collections::HashMap;

use super::history::{Clock, DATABASES, History, KEYS, Key, Mark, Moment, NEVER, NIL, Through, Token, Write, token_of};

/// The key that ticks write to.
pub(crate) const TICK: &str = "tick";

/// How exactly an expiry is known: the server counts in whole milliseconds of the system's clock.
pub(crate) const BLUR: Moment = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) token: Token,
    /// No read asked later may find the token.
    pub(crate) expires: Moment,
    pub(crate) earliest: Moment,
    pub(crate) latest: Moment,
    /// The proxy it was written through, and when that said so.
    pub(crate) acknowledged: Option<(usize, Moment)>,
    /// By the end of the state before, which nobody has to be told of.
    pub(crate) is_expiry: bool,
}

/// A value in the server.
#[derive(Debug, Clone, Copy)]
struct Value {
    token: Token,
    expires: Moment,
}

/// Between which moments an entry of the log was executed, and who asked for it.
#[derive(Debug, Clone, Copy)]
struct Span {
    earliest: Moment,
    latest: Moment,
    acknowledged: Option<(usize, Moment)>,
}

/// The states of every key, from an empty server on.
pub(crate) fn timelines(log: &[Vec<String>], histories: &[History], ticks: &[Write], clock: &Clock) -> Vec<Vec<State>> {
    let entries = located(log);
    let spans = spans(&entries, histories, ticks);
    let mut server = Server { databases: vec![HashMap::new(); DATABASES], changed: Vec::new(), clock: *clock };
    let first = State { token: NIL, expires: NEVER, earliest: 0, latest: 0, acknowledged: None, is_expiry: false };
    let mut timelines = vec![vec![first]; KEYS * DATABASES];
    let mut is_transaction = false;
    for ((database, words), span) in entries.iter().zip(&spans) {
        match words[0].as_str() {
            "MULTI" => is_transaction = true,
            "EXEC" => is_transaction = false,
            _ => server.execute(*database, words),
        }
        // What is in between nobody sees.
        if !is_transaction {
            for key in std::mem::take(&mut server.changed) {
                let Value { token, expires } = server.of(key);
                let Span { earliest, latest, acknowledged } = *span;
                timelines[key].push(State { token, expires, earliest, latest, acknowledged, is_expiry: false });
            }
        }
    }
    timelines.into_iter().map(settled).collect()
}

/// Each state begins no earlier than those before it, and no later than those behind it; and values end.
pub(crate) fn settled(mut states: Vec<State>) -> Vec<State> {
    let mut earliest = 0;
    for state in &mut states {
        earliest = earliest.max(state.earliest);
        state.earliest = earliest;
    }
    settle_latest(&mut states);
    let mut whole = Vec::with_capacity(states.len());
    for (at, state) in states.iter().enumerate() {
        whole.push(*state);
        let next = states.get(at + 1);
        let end = state.expires;
        if end == NEVER || next.is_some_and(|next| next.latest.saturating_add(BLUR) < end) {
            continue;
        }
        let is_sure = next.is_none_or(|next| next.earliest > end.saturating_add(BLUR));
        let before = next.map_or(NEVER, |next| next.earliest);
        whole.push(State {
            token: NIL,
            expires: NEVER,
            earliest: end.saturating_sub(BLUR).min(before).max(state.earliest),
            // It may be over when it comes: out of the other database.
            latest: match is_sure {
                true => end.saturating_add(BLUR).max(state.latest),
                false => next.map_or(NEVER, |next| next.latest),
            },
            acknowledged: None,
            is_expiry: true,
        });
    }
    settle_latest(&mut whole);
    whole
}

/// What was there at the latest when a later state was.
pub(crate) fn settle_latest(states: &mut [State]) {
    let mut latest = NEVER;
    for state in states.iter_mut().rev() {
        latest = latest.min(state.latest);
        state.latest = latest;
    }
}

/// Entries with the database they are about, without those that only say which.
fn located(log: &[Vec<String>]) -> Vec<(usize, &[String])> {
    let mut database = 0;
    let mut entries = Vec::new();
    for words in log {
        match words[0].as_str() {
            "SELECT" => database = words[1].parse().expect("the number of a database"),
            _ => entries.push((database, words.as_slice())),
        }
    }
    entries
}

fn spans(entries: &[(usize, &[String])], histories: &[History], ticks: &[Write]) -> Vec<Span> {
    let mut spans = ticked(entries, ticks);
    let is_tick = |words: &[String]| words.get(1).is_some_and(|key| key == TICK);
    let mut by_token: HashMap<Token, Vec<usize>> = HashMap::new();
    let mut by_beginning: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, (database, words)) in entries.iter().enumerate().filter(|(_, (_, words))| !is_tick(words)) {
        for token in words.iter().filter_map(|word| token_of(word.as_bytes())) {
            by_token.entry(token).or_default().push(at);
        }
        by_beginning.entry(beginning(*database, words)).or_default().push(at);
    }
    let ends = transaction_ends(entries);
    for history in histories {
        for write in &history.writes {
            let found: Vec<usize> = match &write.mark {
                Mark::Token(token) => by_token.get(token).cloned().unwrap_or_default(),
                Mark::Command(beginning) => {
                    let all = by_beginning.get(beginning).map_or(&[][..], Vec::as_slice);
                    let fits =
                        |at: &&usize| spans[**at].earliest <= write.acknowledged && write.invoked <= spans[**at].latest;
                    let fitting: Vec<usize> = all.iter().filter(fits).copied().collect();
                    // One of several: whose it is nobody knows, and the ticks have to do.
                    if fitting.len() == 1 { fitting } else { Vec::new() }
                }
            };
            for at in found {
                let span = &mut spans[ends[at]];
                span.earliest = span.earliest.max(write.invoked);
                if write.acknowledged < NEVER {
                    span.latest = span.latest.min(write.acknowledged);
                    if let Through::Proxy(proxy) = history.through {
                        span.acknowledged = Some((proxy, write.acknowledged));
                    }
                }
            }
        }
    }
    spans
}

/// Between which ticks each entry is.
fn ticked(entries: &[(usize, &[String])], ticks: &[Write]) -> Vec<Span> {
    let times: HashMap<Token, &Write> = ticks
        .iter()
        .filter_map(|tick| if let Mark::Token(token) = tick.mark { Some((token, tick)) } else { None })
        .collect();
    let tick = |words: &[String]| match words {
        [_, key, value, ..] if key == TICK => times.get(&token_of(value.as_bytes())?).copied(),
        _ => None,
    };
    let mut spans = vec![Span { earliest: 0, latest: NEVER, acknowledged: None }; entries.len()];
    let mut earliest = 0;
    for (span, (_, words)) in spans.iter_mut().zip(entries) {
        earliest = tick(words).map_or(earliest, |tick| earliest.max(tick.invoked));
        span.earliest = earliest;
    }
    let mut latest = NEVER;
    for (span, (_, words)) in spans.iter_mut().zip(entries).rev() {
        latest = tick(words).map_or(latest, |tick| latest.min(tick.acknowledged));
        span.latest = latest;
    }
    spans
}

/// The entry with which the effect of each can be seen.
fn transaction_ends(entries: &[(usize, &[String])]) -> Vec<usize> {
    let mut ends: Vec<usize> = (0..entries.len()).collect();
    let mut end = None;
    for at in ends.iter_mut().rev() {
        match entries[*at].1[0].as_str() {
            "EXEC" => end = Some(*at),
            "MULTI" => *at = end.take().unwrap_or(*at),
            _ => *at = end.unwrap_or(*at),
        }
    }
    ends
}

/// As a [`Mark::Command`] says it.
fn beginning(database: usize, words: &[String]) -> String {
    match words {
        [command, ..] if ["FLUSHALL", "SWAPDB"].contains(&command.as_str()) => command.clone(),
        [command] => format!("{database} {command}"),
        [command, key, ..] => {
            let command = if command == "UNLINK" { "DEL" } else { command };
            format!("{database} {command} {key}")
        }
        [] => String::new(),
    }
}

/// As much of a server as the log needs.
struct Server {
    databases: Vec<HashMap<String, Value>>,
    /// Keys since the last look, in order; some more than once.
    changed: Vec<Key>,
    clock: Clock,
}

impl Server {
    fn of(&self, key: Key) -> Value {
        let value = self.databases[key / KEYS].get(&super::history::name(key));
        value.copied().unwrap_or(Value { token: NIL, expires: NEVER })
    }

    fn touched(&mut self, database: usize, name: &str) {
        if let Some(number) = name.strip_prefix("s:").and_then(|number| number.parse::<usize>().ok()) {
            let key = database * KEYS + number;
            if !self.changed.contains(&key) {
                self.changed.push(key);
            }
        }
    }

    fn put(&mut self, database: usize, name: &str, value: Option<Value>) {
        match value {
            Some(value) => drop(self.databases[database].insert(name.to_owned(), value)),
            None => drop(self.databases[database].remove(name)),
        }
        self.touched(database, name);
    }

    fn execute(&mut self, database: usize, words: &[String]) {
        let of = |server: &Self, name: &str| server.databases[database].get(name).copied();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let token = |value: &str| token_of(value.as_bytes()).unwrap_or(NIL);
        match words.as_slice() {
            ["SET", key, value, options @ ..] => {
                let at = |name: &str| options.iter().position(|option| option.eq_ignore_ascii_case(name));
                let expires = match (at("PXAT"), at("KEEPTTL")) {
                    (Some(at), _) => self.clock.moment_of(options[at + 1].parse().expect("milliseconds")),
                    (None, Some(_)) => of(self, key).map_or(NEVER, |before| before.expires),
                    (None, None) => NEVER,
                };
                self.put(database, key, Some(Value { token: token(value), expires }));
            }
            ["GETSET", key, value] => {
                self.put(database, key, Some(Value { token: token(value), expires: NEVER }));
            }
            ["MSET", pairs @ ..] => {
                for pair in pairs.chunks(2) {
                    self.put(database, pair[0], Some(Value { token: token(pair[1]), expires: NEVER }));
                }
            }
            ["APPEND", key, value] => {
                let expires = of(self, key).map_or(NEVER, |before| before.expires);
                self.put(database, key, Some(Value { token: token(value), expires }));
            }
            ["DEL" | "UNLINK", keys @ ..] => keys.iter().for_each(|key| self.put(database, key, None)),
            ["PEXPIREAT", key, millis, ..] => {
                let expires = self.clock.moment_of(millis.parse().expect("milliseconds"));
                let value = of(self, key).map(|before| Value { expires, ..before });
                self.put(database, key, value);
            }
            ["PERSIST", key] => {
                let value = of(self, key).map(|before| Value { expires: NEVER, ..before });
                self.put(database, key, value);
            }
            ["RENAME", from, to] => {
                let value = of(self, from);
                self.put(database, from, None);
                self.put(database, to, value);
            }
            ["COPY", from, to, "REPLACE"] => {
                let value = of(self, from);
                self.put(database, to, value);
            }
            ["MOVE", key, other] => {
                let value = of(self, key);
                self.put(database, key, None);
                self.put(other.parse().expect("the number of a database"), key, value);
            }
            ["SWAPDB", ..] => {
                self.databases.swap(0, 1);
                self.all_changed(0..DATABASES);
            }
            ["FLUSHALL", ..] => {
                self.databases.iter_mut().for_each(HashMap::clear);
                self.all_changed(0..DATABASES);
            }
            ["FLUSHDB", ..] => {
                self.databases[database].clear();
                self.all_changed(database..database + 1);
            }
            // Of keys that nobody judges.
            ["SETRANGE", ..] => {}
            other => panic!("the server's log has {other:?}"),
        }
    }

    fn all_changed(&mut self, databases: std::ops::Range<usize>) {
        self.changed = (databases.start * KEYS..databases.end * KEYS).collect();
    }
}

/// The entries of the server's append-only file.
pub(crate) fn entries(mut bytes: &[u8]) -> Vec<Vec<String>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let count = header(&mut bytes, b'*');
        let words = (0..count).map(|_| {
            let len = header(&mut bytes, b'$');
            let word = String::from_utf8_lossy(&bytes[..len]).into_owned();
            bytes = &bytes[len + 2..];
            word
        });
        entries.push(words.collect());
    }
    entries
}

fn header(bytes: &mut &[u8], kind: u8) -> usize {
    let end = bytes.iter().position(|byte| *byte == b'\n').expect("a whole line");
    let line = std::str::from_utf8(&bytes[..end - 1]).expect("digits");
    assert_eq!(line.as_bytes()[0], kind, "{line}");
    *bytes = &bytes[end + 1..];
    line[1..].parse().expect("a count")
}
