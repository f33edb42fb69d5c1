//! Whether reads are as fresh as promised (G4).
//!
//! For each read there is a state of its key that it must have seen, or a later one:
//!
//! - what was acknowledged through the same proxy before it was asked;
//! - what had been there for `staleness` when it was asked, whoever wrote it: acknowledged, or seen by anybody;
//! - what its own connection has written or read before;
//! - for a client of the server itself, everything acknowledged or seen before.
//!
//! From there on, one state has to be what it found, must have begun before the answer came, and must not have
//! expired before the read was asked.

use super::history::{ANY, Event, History, KEYS, Key, Moment, NEVER, NIL, Read, Through, Token};
use super::timeline::{BLUR, State, settle_latest};

/// Violations of one schedule that are shown.
const SHOWN: usize = 12;

#[derive(Debug, Default, Clone)]
pub(crate) struct Verdict {
    /// Reads that were judged.
    pub(crate) reads: usize,
    pub(crate) wrong: usize,
    /// Those of them that are older only than what was asked together with them, and answered before.
    pub(crate) turned: usize,
    /// The first of what was wrong.
    pub(crate) shown: Vec<String>,
}

pub(crate) fn judge(timelines: Vec<Vec<State>>, histories: &[History], staleness: Moment) -> Verdict {
    let mut judge = Judge { keys: timelines.into_iter().map(Course::new).collect(), staleness };
    // What anybody has seen, was there.
    let mut seen = Vec::new();
    for history in histories {
        judge.each_read(history, |key, read, found| {
            seen.extend(found.map(|at| (key, at, read.told_at)));
        });
    }
    for (key, at, told_at) in seen {
        let state = &mut judge.keys[key].states[at];
        state.latest = state.latest.min(told_at);
    }
    judge.keys.iter_mut().for_each(Course::settle);
    let mut verdict = Verdict::default();
    for (client, history) in histories.iter().enumerate() {
        let mut last = vec![None; judge.keys.len()];
        judge.each_read(history, |key, read, found| {
            verdict.reads += usize::from(read.count);
            match found {
                Some(_) => last[key] = Some(*read),
                None => {
                    verdict.wrong += usize::from(read.count);
                    let is_together = last[key].is_some_and(|last: Read| last.invoked == read.invoked);
                    verdict.turned += if is_together { usize::from(read.count) } else { 0 };
                    if verdict.shown.len() < if is_together { 1 } else { SHOWN } {
                        let before = format!("client {client} has read {:?}", last[key]);
                        verdict
                            .shown
                            .push(format!("{before}\n  and then {}", judge.explain(history.through, key, read)));
                    }
                }
            }
        });
    }
    verdict
}

struct Judge {
    keys: Vec<Course>,
    staleness: Moment,
}

/// What a key went through, and who knew.
struct Course {
    states: Vec<State>,
    /// By proxy: when what was acknowledged, growing in both.
    acknowledged: [Vec<(Moment, usize)>; 2],
}

impl Course {
    fn new(states: Vec<State>) -> Self {
        let acknowledged = [0, 1].map(|proxy| {
            let mut list: Vec<(Moment, usize)> = Vec::new();
            for (at, state) in states.iter().enumerate() {
                list.extend(state.acknowledged.filter(|it| it.0 == proxy).map(|(_, moment)| (moment, at)));
            }
            list.sort_unstable();
            let mut highest = 0;
            for (_, at) in &mut list {
                highest = highest.max(*at);
                *at = highest;
            }
            list
        });
        Self { states, acknowledged }
    }

    /// An expiry that is due may have been seen by somebody long ago: it stays what it is.
    fn settle(&mut self) {
        settle_latest(&mut self.states);
    }

    /// The last state that was there at a moment for certain.
    fn surely_at(&self, moment: Moment) -> usize {
        self.states.partition_point(|state| state.latest <= moment).saturating_sub(1)
    }

    fn acknowledged_at(&self, proxy: usize, moment: Moment) -> usize {
        let list = &self.acknowledged[proxy];
        let count = list.partition_point(|(acknowledged, _)| *acknowledged <= moment);
        if count == 0 { 0 } else { list[count - 1].1 }
    }

    /// The state that a read must have seen at least.
    fn floor(&self, through: Through, asked: Moment, staleness: Moment) -> usize {
        match through {
            Through::Direct => self.surely_at(asked),
            Through::Proxy(proxy) => {
                let old = asked.checked_sub(staleness).map_or(0, |moment| self.surely_at(moment));
                old.max(self.acknowledged_at(proxy, asked))
            }
        }
    }

    /// The first state from `floor` on that a read may have seen.
    fn found(&self, floor: usize, read: &Read) -> Option<usize> {
        let begun = self.states[floor..].iter().take_while(|state| state.earliest <= read.told_at);
        let fits = |state: &State| match read.token {
            NIL => state.token == NIL,
            _ if state.token == NIL => false,
            token => (token == ANY || token == state.token) && read.invoked <= state.expires.saturating_add(BLUR),
        };
        begun.enumerate().find(|(_, state)| fits(state)).map(|(at, _)| floor + at)
    }

    /// Where this was written first.
    fn written(&self, token: Token, from: usize) -> Option<usize> {
        self.states[from..].iter().position(|state| state.token == token).map(|at| from + at)
    }
}

impl Judge {
    /// Shows each read, in order, with the state it may have seen.
    fn each_read(&self, history: &History, mut show: impl FnMut(Key, &Read, Option<usize>)) {
        let mut floors = vec![0; self.keys.len()];
        for event in &history.events {
            match event {
                Event::Connected => floors.fill(0),
                Event::Wrote(key, token) => {
                    let key = usize::from(*key);
                    // A state that is not there was overwritten in the same transaction.
                    floors[key] = self.keys[key].written(*token, floors[key]).unwrap_or(floors[key]);
                }
                Event::Read(read) => {
                    let key = usize::from(read.key);
                    let course = &self.keys[key];
                    let floor = course.floor(history.through, read.invoked, self.staleness).max(floors[key]);
                    let found = course.found(floor, read);
                    floors[key] = found.unwrap_or(floor);
                    show(key, read, found);
                }
            }
        }
    }

    fn explain(&self, through: Through, key: Key, read: &Read) -> String {
        let course = &self.keys[key];
        let floor = course.floor(through, read.invoked, self.staleness);
        let own = course.surely_at(read.invoked.saturating_sub(self.staleness));
        let was = course.states.iter().rposition(|state| state.token == read.token && state.earliest <= read.told_at);
        let around = was.unwrap_or(floor).min(floor);
        let states: Vec<String> =
            course.states.iter().enumerate().skip(around.saturating_sub(1)).take(8).map(shown).collect();
        format!(
            "through {through:?}: s:{} of database {}: {read:?}\n  it was last {was:?}; must be at \
             least {floor} (by age alone {own}), or what its connection has seen; there was\n    {}",
            key % KEYS,
            key / KEYS,
            states.join("\n    ")
        )
    }
}

fn shown((at, state): (usize, &State)) -> String {
    let moment = |moment: Moment| if moment == NEVER { "never".to_owned() } else { moment.to_string() };
    let State { token, expires, earliest, latest, acknowledged, is_expiry } = state;
    format!(
        "{at}: {token} from {earliest}..{}, expires {}, acknowledged {acknowledged:?}{}",
        moment(*latest),
        moment(*expires),
        if *is_expiry { ", by its expiry" } else { "" }
    )
}
