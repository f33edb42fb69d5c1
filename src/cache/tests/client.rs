//! A client, and what it may be told.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::{Answer, FenceNumber, Hold};
use super::server::{KEYS, Kind, Place, Request, Said, Version, value};
use super::world::World;
use crate::resp::encode;

/// A read, and what it must have seen at least.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) time: Duration,
    pub(super) places: [Place; KEYS],
}

/// What a request has come to.
#[derive(Debug)]
pub(super) enum Outcome {
    Saw(Said),
    Wrote(Said),
    /// And when.
    Remembered(Answer, Duration),
    /// Nobody knows.
    Failed,
}

impl Outcome {
    pub(super) fn said(request: &Request, said: Said) -> Self {
        if let Request::Write(_) = request { Self::Wrote(said) } else { Self::Saw(said) }
    }
}

#[derive(Default)]
pub(super) struct Client {
    pub(super) floor: FenceNumber,
    pub(super) was_pinned: bool,
    /// Its last write.
    pub(super) write: Option<u64>,
    /// What it has asked on a connection of its own, and the answer.
    pub(super) pinned: Option<(u64, Request, Option<Hold>, Option<Said>)>,
    /// Requests that are not answered; the number of the first.
    slots: VecDeque<(Option<Asked>, Option<Outcome>)>,
    first: u64,
    /// What it has seen and written.
    seen: [Place; KEYS],
}

impl Client {
    pub(super) fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_open(&self, slot: Option<u64>) -> bool {
        slot.is_some_and(|slot| slot >= self.first)
    }

    pub(super) fn reserve(&mut self, asked: Option<Asked>) -> u64 {
        self.slots.push_back((asked, None));
        self.first + self.slots.len() as u64 - 1
    }

    pub(super) fn fill(&mut self, slot: u64, outcome: Outcome) {
        let place = usize::try_from(slot - self.first).expect("it is not answered");
        self.slots[place].1 = Some(outcome);
    }
}

impl World {
    /// What is answered leaves in the order it was asked in, and is judged.
    pub(super) fn release(&mut self, index: usize) {
        while let Some((asked, Some(outcome))) =
            self.clients[index].slots.pop_front_if(|(_, outcome)| outcome.is_some())
        {
            self.clients[index].first += 1;
            match (asked, outcome) {
                (_, Outcome::Failed) => {}
                (_, Outcome::Wrote(said)) => {
                    for (key, place) in said.places {
                        let seen = self.clients[index].seen[key];
                        assert!(seen < place, "{key}: client {index} has seen {seen} before it wrote {place}");
                        self.seen[key] = self.seen[key].max(place);
                        self.clients[index].saw(key, place);
                    }
                }
                (_, Outcome::Saw(said)) => said.places.iter().for_each(|(key, place)| self.saw(index, *key, *place)),
                (Some(asked), Outcome::Remembered(answer, time)) => {
                    for (key, place) in self.judged(index, &asked, &answer, time) {
                        self.saw(index, key, place);
                    }
                }
                (None, Outcome::Remembered(..)) => unreachable!("a write is not remembered"),
            }
        }
    }

    /// A client has been told something: what nobody may be told any more.
    fn saw(&mut self, client: usize, key: usize, place: Place) {
        let seen = self.clients[client].seen[key];
        assert!(seen <= place, "{key}: client {client} sees {place} after {seen}");
        self.clients[client].saw(key, place);
        let history = &self.server.history[key];
        let settled = match self.staleness.is_zero() {
            true => place,
            // Others may not yet see what was written elsewhere.
            false => 2 * history[..=place / 2].iter().rposition(|version| version.is_ours).unwrap_or(0),
        };
        self.seen[key] = self.seen[key].max(settled);
    }

    /// What was seen of each key, at the least, by whoever was told this.
    fn judged(&self, client: usize, asked: &Asked, answer: &Answer, told: Duration) -> Vec<(usize, Place)> {
        let Request::Read(kind, keys) = &asked.request else { unreachable!("only reads are remembered") };
        let texts: Vec<_> = match answer {
            Answer::Values(texts) => texts.clone(),
            Answer::Value(text) => vec![text.clone()],
            Answer::Integer(_) => vec![None],
        };
        assert_eq!(texts.len(), keys.len());
        let judged = keys.iter().zip(texts).map(|(key, text)| {
            let least = asked.places[*key].max(self.clients[client].seen[*key]);
            let says = |number: usize, version: &Version| match (kind, answer) {
                (Kind::Get | Kind::MGet, _) => text.as_ref().map_or(!version.is_there, |text| {
                    let mut expected = Vec::new();
                    encode::bulk(&mut expected, &value(number));
                    version.is_there && text[..] == expected[..]
                }),
                (Kind::StrLen, Answer::Integer(n)) => {
                    *n == if version.is_there { value(number).len() as i64 } else { 0 }
                }
                (Kind::Exists, Answer::Integer(n)) => *n == i64::from(version.is_there),
                (Kind::PTtl, Answer::Integer(n)) => *n == version.left(asked.time),
                (Kind::Ttl, Answer::Integer(n)) => {
                    let rounded = |time| (version.left(time) + 500).div_euclid(1000);
                    match version.left(asked.time) {
                        left @ ..0 => left == *n,
                        _ => (rounded(told)..=rounded(asked.time)).contains(n),
                    }
                }
                (Kind::StrLen | Kind::Exists | Kind::PTtl | Kind::Ttl, _) => false,
            };
            let gone = Version { is_there: false, ends: None, ..self.server.history[*key][0] };
            let mut places = self.server.history[*key].iter().enumerate().flat_map(|(number, version)| {
                let is_alive = says(number, version) && !version.is_over(asked.time);
                let is_over = version.is_over(told) && says(number, &gone);
                [(2 * number, is_alive), (2 * number + 1, is_over)]
            });
            let place = places.find(|(place, says_so)| *place >= least && *says_so);
            let (place, _) = place.unwrap_or_else(|| {
                let history = &self.server.history[*key];
                panic!(
                    "{asked:?} was told {text:?} ({answer:?}) at {told:?}: it is not {least} or newer of {history:?}"
                )
            });
            (*key, place)
        });
        judged.collect()
    }
}

impl Client {
    fn saw(&mut self, key: usize, place: Place) {
        self.seen[key] = self.seen[key].max(place);
    }
}
