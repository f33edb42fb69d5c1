//! What the server held, from when to when.

use super::answer::{Answer, brief};
use super::deed::Aspect;
use super::keys::{Held, Millis};
use super::past::Stamp;

/// A time in which a key held the same, for all who ask.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) begin: Stamp,
    /// Somebody changed it, or its time was over.
    pub(crate) end: Stamp,
    /// Somebody changed it, its time over or not.
    pub(crate) overwritten: Stamp,
    pub(crate) held: Option<Held>,
}

impl Span {
    /// All there were of a key, in their order.
    pub(crate) fn all(changes: &[(Stamp, Option<Held>)]) -> Vec<Self> {
        let beginning = [(Stamp::BEGINNING, None)];
        let held: Vec<_> = beginning.iter().chain(changes).collect();
        let mut spans = Vec::new();
        for (place, (begin, held_then)) in held.iter().enumerate() {
            let overwritten = held.get(place + 1).map_or(Stamp::END, |(at, _)| *at);
            let over = held_then.as_ref().and_then(|held| held.expires).map(Stamp::at);
            let end = over.map_or(overwritten, |over| over.min(overwritten));
            spans.push(Self { begin: *begin, end, overwritten, held: held_then.clone() });
            if end < overwritten {
                spans.push(Self { begin: end, end: overwritten, overwritten, held: None });
            }
        }
        spans
    }

    pub(crate) fn expires(&self) -> Option<Millis> {
        self.held.as_ref().and_then(|held| held.expires)
    }

    /// Whether this is what whoever asked would have been told, at any time between.
    pub(crate) fn explains(&self, aspect: Aspect, answer: &Answer, from: Millis, to: Millis) -> bool {
        match (aspect, answer, &self.held) {
            (Aspect::Value, Answer::Nothing, held) => held.is_none(),
            (Aspect::Value, Answer::Text(text), Some(held)) => *text == held.text,
            (Aspect::Length, Answer::Integer(len), held) => {
                *len == held.as_ref().map_or(0, |held| held.text.len() as i64)
            }
            (Aspect::Existence, Answer::Integer(count), held) => *count == i64::from(held.is_some()),
            (Aspect::Seconds | Aspect::Milliseconds, Answer::Integer(left), held) => match held {
                None => *left == -2,
                Some(Held { expires: None, .. }) => *left == -1,
                Some(Held { expires: Some(at), .. }) => {
                    let [most, least] = [from, to].map(|now| {
                        let left = at - now;
                        if aspect == Aspect::Seconds { (left + 500) / 1000 } else { left }
                    });
                    (least.max(0)..=most).contains(left)
                }
            },
            _ => false,
        }
    }

    pub(crate) fn shown(&self) -> String {
        let held = self.held.as_ref().map_or("nothing".to_owned(), |held| {
            let expires = held.expires.map(|at| format!(", until {}", at % 10_000_000)).unwrap_or_default();
            format!("{}{expires}", brief(&held.text))
        });
        format!("{:?} - {:?}: {held}", self.begin, self.end)
    }
}
