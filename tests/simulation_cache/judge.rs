//! Whether what was read is as new as promised (G4).
//!
//! Of each key all that was ever held is known, and when. A read is of one of these spans, and may be if
//! - it had begun when the client was told,
//! - nobody had changed it longer before the read was asked than the staleness allows; with none, nobody at all,
//! - its time was not over when the read was asked,
//! - it does not come before what the same connection has read or written, nor before a write acknowledged through the
//!   same proxy before the read was asked.
//!
//! Where several spans would do, the first is taken: what comes later has the most freedom then.

use std::collections::HashMap;

use super::answer::Answer;
use super::deed::{Aspect, Deed, Life, Op};
use super::keys::Millis;
use super::past::{Executed, Past, Place, Stamp};
use super::spans::Span;
use super::tally::Tally;

const READS: [&str; 6] = ["get", "mget", "strlen", "exists", "ttl", "pttl"];

/// The one that has to be found out, for each place; and for all of them.
#[derive(Debug, Default)]
struct Floor {
    places: HashMap<Place, Stamp>,
    all: Option<Stamp>,
}

impl Floor {
    fn at(&self, place: &Place) -> Stamp {
        self.places.get(place).copied().max(self.all).unwrap_or(Stamp::BEGINNING)
    }

    fn raise(&mut self, touched: &Touched, to: Stamp) {
        match touched {
            Touched::All => self.all = self.all.max(Some(to)),
            Touched::Places(places) => places.iter().for_each(|place| self.raise_one(place, to)),
        }
    }

    fn raise_one(&mut self, place: &Place, to: Stamp) {
        let floor = self.places.entry(place.clone()).or_insert(to);
        *floor = to.max(*floor);
    }
}

/// What a write may have changed.
enum Touched {
    All,
    Places(Vec<Place>),
}

/// A write that was acknowledged, and when it was executed.
struct Acknowledged<'a> {
    deed: &'a Deed,
    touched: Touched,
    at: Stamp,
}

/// What is promised by a proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// `cache.staleness`
    pub(crate) staleness: Millis,
    /// `reconnect = "eager"`: what is sent again lives for less time.
    pub(crate) sends_again: bool,
}

struct Judge<'a> {
    past: &'a Past,
    proxies: &'a [Rules],
    spans: HashMap<Place, Vec<Span>>,
    /// When each place was read at the server.
    read_at: HashMap<Place, Vec<Stamp>>,
    floors: Vec<Floor>,
    own: HashMap<Life, Floor>,
    wrong: Vec<String>,
    tally: Tally,
}

/// Everything that is wrong with what clients were told, and what they were told.
pub(crate) fn judge(deeds: &[Deed], past: &Past, proxies: &[Rules]) -> (Vec<String>, Tally) {
    let spans = past.changes.iter().map(|(place, changes)| (place.clone(), Span::all(changes))).collect();
    let mut read_at = HashMap::<_, Vec<_>>::new();
    for executed in past.executed.iter().filter(|executed| READS.contains(&executed.name.as_str())) {
        for key in &executed.args {
            read_at.entry((executed.db, key.clone())).or_default().push(executed.at);
        }
    }
    let floors = proxies.iter().map(|_| Floor::default()).collect();
    let (own, wrong, tally) = (HashMap::new(), Vec::new(), Tally { count: 1, ..Tally::default() });
    Judge { past, proxies, spans, read_at, floors, own, wrong, tally }.all(deeds)
}

impl<'a> Judge<'a> {
    fn all(mut self, deeds: &'a [Deed]) -> (Vec<String>, Tally) {
        let mut asked: Vec<_> = deeds.iter().collect();
        asked.sort_by_key(|deed| deed.invoked);
        let mut acknowledged: Vec<_> = deeds.iter().filter_map(|deed| self.acknowledged(deed)).collect();
        acknowledged.sort_by_key(|write| write.deed.told_at);
        let own_writes: HashMap<_, _> =
            acknowledged.iter().map(|write| (write.deed.invoked, (&write.touched, write.at))).collect();
        let mut told = acknowledged.iter().peekable();
        for deed in asked {
            while let Some(write) = told.next_if(|write| write.deed.told_at < deed.invoked) {
                if let Some(proxy) = write.deed.proxy {
                    self.floors[proxy].raise(&write.touched, write.at);
                }
            }
            match &deed.op {
                Op::Read { aspect, is_direct, .. } => self.read(deed, *aspect, *is_direct || deed.proxy.is_none()),
                Op::Write { .. } => {
                    if let Some((touched, at)) = own_writes.get(&deed.invoked) {
                        self.own.entry(deed.life).or_default().raise(touched, *at);
                    }
                }
            }
        }
        (self.wrong, self.tally)
    }

    /// `None`: it is no write, or was not acknowledged.
    fn acknowledged(&mut self, deed: &'a Deed) -> Option<Acknowledged<'a>> {
        let Op::Write { db, words } = &deed.op else { return None };
        if matches!(deed.answer, None | Some(Answer::Error(_))) {
            self.tally.not_written += 1;
            return None;
        }
        self.tally.writes += 1;
        let name = words[0].to_ascii_lowercase();
        let sends_again = deed.proxy.is_some_and(|proxy| self.proxies[proxy].sends_again);
        let is_same = |executed: &[u8], asked: &str| {
            executed == asked.as_bytes() || sends_again && [executed, asked.as_bytes()].iter().all(|word| is_time(word))
        };
        let is_it = |executed: &Executed| {
            executed.db == *db
                && executed.name == name
                && executed.args.len() == words.len() - 1
                && executed.args.iter().zip(&words[1..]).all(|(executed, asked)| is_same(executed, asked))
        };
        let first = self.past.executed.partition_point(|executed| executed.at < deed.invoked);
        let mut meanwhile = self.past.executed[first..].iter().take_while(|executed| executed.at < deed.told_at);
        // That a key is gone is answered if it is, be the connection lost before the request came to the server.
        let is_look = |executed: &Executed| {
            matches!(name.as_str(), "del" | "unlink")
                && (executed.db, executed.name.as_str()) == (*db, "exists")
                && executed.args[0] == words[1].as_bytes()
        };
        let executed = meanwhile.clone().find(|executed| is_it(executed)).or_else(|| meanwhile.find(|it| is_look(it)));
        let Some(executed) = executed else {
            let on_key = |executed: &&Executed| executed.args.first().is_some_and(|key| key == words[1].as_bytes());
            let meanwhile = self.past.executed[first..].iter().take_while(|executed| executed.at < deed.told_at);
            let meanwhile: Vec<_> = meanwhile.filter(on_key).map(Executed::shown).collect();
            self.wrong.push(format!("acknowledged, and not executed: {deed:?}, but {}", meanwhile.join(", ")));
            return None;
        };
        let one = |key: &str| Touched::Places(vec![(*db, key.as_bytes().to_vec())]);
        let touched = match name.as_str() {
            "flushdb" | "flushall" | "swapdb" => Touched::All,
            // Of the script: which key it writes.
            "eval" => one(&words[3]),
            "mset" => Touched::Places(words[1..].chunks(2).map(|pair| (*db, pair[0].as_bytes().to_vec())).collect()),
            _ => one(&words[1]),
        };
        Some(Acknowledged { deed, touched, at: executed.at })
    }

    fn read(&mut self, deed: &Deed, aspect: Aspect, is_direct: bool) {
        let places = deed.op.places();
        let answers = match &deed.answer {
            None | Some(Answer::Error(_)) => return self.tally.not_read += 1,
            Some(Answer::List(answers)) => answers.as_slice(),
            Some(answer) => std::slice::from_ref(answer),
        };
        if answers.len() != places.len() {
            return self.wrong.push(format!("not as many as asked for: {deed:?}"));
        }
        let is_hit = !is_direct && !places.iter().any(|place| self.is_read_meanwhile(place, deed));
        *if deed.proxy.is_none() { &mut self.tally.direct } else { &mut self.tally.reads } += 1;
        let staleness = deed.proxy.filter(|_| !is_direct).map_or(0, |proxy| self.proxies[proxy].staleness);
        let is_strict = !is_direct && staleness == 0;
        self.tally.hits += usize::from(is_hit);
        self.tally.strict_reads += usize::from(is_strict);
        self.tally.confirmed_hits += usize::from(is_strict && is_hit);
        if is_hit && let Some(silence) = self.silence(deed, staleness) {
            self.wrong.push(format!("a hit, though the server proved nothing {silence}: {deed:?}"));
        }
        let mut possible = Vec::new();
        for (place, answer) in places.iter().zip(answers) {
            let own = self.own.entry(deed.life).or_default().at(place);
            let proxys = deed.proxy.map_or(Stamp::BEGINNING, |proxy| self.floors[proxy].at(place));
            let nothing = Span::all(&[]);
            let spans = self.spans.get(place).unwrap_or(&nothing);
            let (from, to) = (deed.invoked, deed.told_at);
            let fits = |span: &&Span| span.begin < to && span.explains(aspect, answer, from.millis, to.millis);
            let problem = |span: &Span| match span {
                span if span.expires().is_some_and(|at| at <= from.millis) => Some("its time was over"),
                span if span.end <= own => Some("the same connection knew better"),
                span if span.end <= proxys => Some("its proxy had acknowledged better"),
                span if staleness == 0 && span.overwritten <= from => Some("it was no longer so"),
                span if span.overwritten.millis.saturating_add(staleness) < from.millis => Some("it is too old"),
                _ => None,
            };
            // What was overwritten longer ago comes first.
            let oldest = spans.partition_point(|span| span.overwritten.millis.saturating_add(staleness) < from.millis);
            let recent = spans[oldest..].iter().take_while(|span| span.begin < to);
            let good: Vec<_> = recent.filter(fits).filter(|span| problem(span).is_none()).collect();
            if let Some(first) = good.first() {
                self.own.entry(deed.life).or_default().raise_one(place, first.begin);
                possible.push(good.iter().map(|span| (span.begin, span.end)).collect::<Vec<_>>());
                continue;
            }
            let why = spans.iter().filter(fits).filter_map(problem).next_back().unwrap_or("it was never so");
            let before = spans.iter().filter(|span| span.begin < to).rev().take(6);
            let before: Vec<_> = before.map(Span::shown).collect();
            let what = if is_hit { "a hit" } else { "a read" };
            self.wrong.push(format!(
                "{what}, but {why}: {deed:?}\n  {}, not before {own:?} and {proxys:?}; the newest first:\n  {}",
                place.1.escape_ascii(),
                before.join("\n  ")
            ));
        }
        if possible.len() == places.len() && !have_common(&possible) {
            self.wrong.push(format!("never so all at once: {deed:?}"));
        }
    }

    /// Whether anybody has read it at the server meanwhile.
    fn is_read_meanwhile(&self, place: &Place, deed: &Deed) -> bool {
        let Some(stamps) = self.read_at.get(place) else { return false };
        let next = stamps.partition_point(|stamp| *stamp < deed.invoked);
        stamps.get(next).is_some_and(|stamp| *stamp < deed.told_at)
    }

    /// When the server proved nothing, if that was so for too long when this was asked, and until it was told.
    fn silence(&self, deed: &Deed, staleness: Millis) -> Option<String> {
        let is_too_long = |(begin, end): &&(Stamp, Option<Stamp>)| {
            *begin < deed.invoked
                && begin.millis + staleness < deed.invoked.millis + i64::from(staleness == 0)
                && end.is_none_or(|end| deed.told_at < end)
        };
        let (begin, end) = self.past.silences.iter().find(is_too_long)?;
        Some(format!("from {begin:?} to {end:?}"))
    }
}

/// A length of time, or its unit.
fn is_time(word: &[u8]) -> bool {
    word.iter().all(u8::is_ascii_digit) || [&b"EX"[..], b"PX"].contains(&word)
}

/// Whether there is a time that is in a span of each.
fn have_common(keys: &[Vec<(Stamp, Stamp)>]) -> bool {
    let is_in = |at: Stamp| move |(begin, end): &(Stamp, Stamp)| *begin <= at && at < *end;
    keys.iter().flatten().any(|(at, _)| keys.iter().all(|spans| spans.iter().any(is_in(*at))))
}
