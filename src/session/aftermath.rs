//! What a reply tells the rules, and what its client is told in its place.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::deed::Tells;
use super::graves::Graves;
use super::sightings::{Mark, Sightings};
use crate::resp::{decimal, peek};

/// What the reply to a request is awaited with. Dropped without one, it notes nothing: nobody knows what happened.
pub struct Aftermath {
    sightings: Rc<Sightings>,
    awaits: Awaits,
    /// When it was sent.
    sent: Option<Instant>,
    /// While it is awaited, its connection is destroying sessions.
    destroying: Option<Rc<()>>,
}

/// What is awaited.
pub(super) enum Awaits {
    /// Whether these are there.
    Reading(Box<[Mark]>, Tells),
    /// How a write went.
    Writing(Writing),
}

/// A write of sessions.
#[derive(Default)]
pub(super) struct Writing {
    pub(super) marks: Box<[Mark]>,
    /// Bytes of what it writes, if it is a value.
    pub(super) value: Option<usize>,
    /// It may bring one of them into being.
    pub(super) creates: bool,
    /// How many of them somebody else has written since this connection read them.
    pub(super) overwritten: u64,
    /// An expiry stands in the request itself.
    pub(super) is_given: bool,
    /// It ends the sessions, if it does anything.
    pub(super) ends: bool,
    /// It tells of the session as a read does.
    pub(super) is_read: bool,
    /// Tombstones that are set here; of no use if there was nothing to destroy.
    pub(super) graves: Option<(Arc<Graves>, Vec<(Mark, Duration)>)>,
    /// The client is told `0`, whatever was done.
    pub(super) is_hidden: bool,
}

/// Counts only (G8).
impl fmt::Debug for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.awaits {
            Awaits::Reading(marks, _) => write!(f, "a read of {} sessions", marks.len()),
            Awaits::Writing(writing) => write!(f, "a write of {} sessions", writing.marks.len()),
        }
    }
}

/// What a script of ours has to tell.
struct Report<'a> {
    /// What the command itself says.
    reply: &'a [u8],
    counts: [u64; 5],
}

/// How such an array begins.
const MARK: &[u8] = b"*7\r\n+CLOAKROOM\r\n";

impl Aftermath {
    pub(super) fn new(sightings: &Rc<Sightings>, awaits: Awaits) -> Self {
        Self { sightings: Rc::clone(sightings), awaits, sent: None, destroying: None }
    }

    /// The request is about to be sent: what that changes, is changed before its first byte leaves.
    pub fn begins(&mut self, now: Instant) {
        let Awaits::Writing(writing) = &self.awaits else { return };
        self.sent = Some(now);
        if writing.creates {
            self.sightings.use_up();
        }
        if let Some(size) = writing.value {
            self.sightings.ledger.weigh(size);
        }
        if writing.overwritten > 0 {
            self.sightings.ledger.add(|totals| totals.overwritten += writing.overwritten);
        }
        if let Some((graves, windows)) = &writing.graves {
            windows.iter().for_each(|(mark, window)| graves.set(*mark, *window, now));
        }
        if writing.ends {
            self.destroying = Some(self.sightings.destroys(writing.marks.iter().copied()));
        }
    }

    /// Whether a frame that begins so may be the reply, besides those of the command itself.
    pub fn fits(&self, first: u8) -> bool {
        first == b'*' && matches!(self.awaits, Awaits::Writing(_))
    }

    /// The reply has come: what the client is told.
    pub fn hear<'f>(&self, frame: &'f [u8], now: Instant) -> Cow<'f, [u8]> {
        match &self.awaits {
            Awaits::Reading(marks, tells) => {
                self.read(marks, *tells, frame, now);
                Cow::Borrowed(frame)
            }
            Awaits::Writing(writing) => self.wrote(writing, frame, now),
        }
    }

    /// A long string has come as the reply: whatever was asked is there.
    pub fn hear_text(&self, now: Instant) {
        match &self.awaits {
            Awaits::Reading(marks, Tells::Null) => marks.iter().for_each(|mark| self.sightings.read(*mark, true, now)),
            Awaits::Reading(..) => {}
            Awaits::Writing(writing) => {
                self.wrote(writing, b"$1\r\n1\r\n", now);
            }
        }
    }

    fn read(&self, marks: &[Mark], tells: Tells, frame: &[u8], now: Instant) {
        if frame.starts_with(b"-") {
            return;
        }
        if tells == Tells::EachNull {
            let elements = peek::elements(frame).into_iter().flatten();
            for (mark, element) in marks.iter().zip(elements) {
                self.sightings.read(*mark, !is_null(element), now);
            }
            return;
        }
        let is_gone = match tells {
            Tells::Null => is_null(frame),
            Tells::Zero => frame == b":0\r\n",
            Tells::MinusTwo => frame == b":-2\r\n",
            Tells::Empty => matches!(frame, b"*0\r\n" | b"%0\r\n" | b"~0\r\n"),
            Tells::None => frame == b"+none\r\n",
            Tells::EachNull => return,
        };
        marks.iter().for_each(|mark| self.sightings.read(*mark, !is_gone, now));
    }

    fn wrote<'f>(&self, writing: &Writing, frame: &'f [u8], now: Instant) -> Cow<'f, [u8]> {
        let ledger = &self.sightings.ledger;
        if frame.starts_with(b"-") {
            if frame.starts_with(b"-NOPERM session was destroyed") {
                ledger.add(|totals| totals.late += 1);
            } else if frame.starts_with(b"-NOPERM session value too large") {
                ledger.add(|totals| totals.oversized += 1);
            }
            self.forget_graves(writing);
            return Cow::Borrowed(frame);
        }
        let Report { reply, counts } = Report::read(frame).unwrap_or(Report { reply: frame, counts: [0; 5] });
        let [created, destroyed, late, given, touched] = counts;
        let did_nothing = reply == b":0\r\n" || is_null(reply);
        let destroyed = match &writing.graves {
            Some(_) if did_nothing => 0,
            Some(_) => writing.marks.len() as u64,
            None => destroyed,
        };
        if did_nothing {
            self.forget_graves(writing);
        }
        if writing.is_read {
            writing.marks.iter().for_each(|mark| self.sightings.read(*mark, !did_nothing, now));
        }
        ledger.add(|totals| {
            totals.created += created;
            totals.destroyed += destroyed;
            totals.late += late;
            totals.given += given + u64::from(writing.is_given && !did_nothing);
            totals.touched += touched;
        });
        if late == 0 && !did_nothing {
            writing.marks.iter().for_each(|mark| self.sightings.wrote(*mark, !writing.ends));
        }
        match writing.is_hidden {
            true => Cow::Borrowed(b":0\r\n"),
            false => Cow::Borrowed(reply),
        }
    }

    fn forget_graves(&self, writing: &Writing) {
        if let (Some((graves, windows)), Some(sent)) = (&writing.graves, self.sent) {
            windows.iter().for_each(|(mark, _)| graves.lift(*mark, sent));
        }
    }
}

impl<'a> Report<'a> {
    fn read(frame: &'a [u8]) -> Option<Self> {
        frame.strip_prefix(MARK)?;
        let mut elements = peek::elements(frame)?.skip(1);
        let reply = elements.next()?;
        let mut counts = [0; 5];
        for count in &mut counts {
            let text = elements.next()?.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
            *count = decimal(text).and_then(|count| u64::try_from(count).ok())?;
        }
        Some(Self { reply, counts })
    }
}

fn is_null(frame: &[u8]) -> bool {
    matches!(frame, b"_\r\n" | b"$-1\r\n" | b"*-1\r\n")
}
