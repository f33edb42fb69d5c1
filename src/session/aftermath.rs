//! What a reply tells the rules, and what its client is told in its place.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::deed::Tells;
use super::script::{Scripts, Seen, Which};
use super::sightings::{Mark, Sighting, Sightings};
use crate::config::OnStaleWrite;
use crate::resp::request::Parser;
use crate::resp::{decimal, peek};

/// What the reply to a request is awaited with. Dropped without one, it notes nothing: nobody knows what happened.
pub struct Aftermath {
    sightings: Rc<Sightings>,
    awaits: Awaits,
    has_begun: bool,
    /// What its connection may create no session for any more, if this writes one.
    used_up: RefCell<Vec<Sighting>>,
    teaches: Option<Which>,
}

/// What is awaited.
pub(super) enum Awaits {
    /// Whether these are there; `None` for a key that is no session.
    Reading(Box<[Option<Mark>]>, Tells),
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
    /// It does so, if it does anything.
    pub(super) is_new: bool,
    /// The reply tells how many it has brought into being.
    pub(super) is_reported: bool,
    /// How many of them somebody else has written since this connection read them.
    pub(super) overwritten: u64,
    /// An expiry stands in the request itself.
    pub(super) is_given: bool,
    /// It ends the sessions, if it does anything.
    pub(super) ends: bool,
    /// How its reply tells that there is no session, if it counts as a read.
    pub(super) tells: Option<Tells>,
    /// It is answered with an integer: one that a script cannot tell exactly comes as a text.
    pub(super) is_number: bool,
    /// The client is told `0`, whatever was done.
    pub(super) is_hidden: bool,
    /// What is sent where the first try could not do it.
    pub(super) second: Option<Second>,
}

/// A request that does nothing in some case, and is then sent again in another form.
pub(super) struct Second {
    pub(super) scripts: Arc<Scripts>,
    pub(super) form: Form,
}

/// What form, and in which case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// With the text of its script, where the server does not know it by name.
    SpelledOut(Which),
    /// By `create.lua`, without the `XX` at its end, where the session is not there any more.
    Guarded(OnStaleWrite),
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
        let (sightings, used_up) = (Rc::clone(sightings), RefCell::default());
        Self { sightings, awaits, has_begun: false, used_up, teaches: None }
    }

    fn writing(&self) -> Option<&Writing> {
        if let Awaits::Writing(writing) = &self.awaits { Some(writing) } else { None }
    }

    fn form(&self) -> Option<Form> {
        self.writing()?.second.as_ref().map(|second| second.form)
    }

    /// The request is about to be sent: what that changes, is changed before its first byte leaves.
    pub fn begins(&mut self) {
        let Awaits::Writing(writing) = &self.awaits else { return };
        self.has_begun = true;
        if writing.creates {
            *self.used_up.borrow_mut() = self.sightings.use_up();
        }
        if writing.ends {
            self.sightings.destroys(&writing.marks, true);
        }
    }

    /// Whether a frame that begins so may be the reply, besides those of the command itself.
    pub fn fits(&self, first: u8) -> bool {
        match (self.writing(), self.form()) {
            (None, _) => false,
            (Some(_), Some(Form::Guarded(_))) => matches!(first, b'_' | b'$'),
            (Some(_), Some(Form::SpelledOut(_)) | None) => first == b'*',
        }
    }

    /// Whether its request may do nothing, so that another one must come before anything else of its client.
    pub fn is_try(&self) -> bool {
        matches!(self.form(), Some(Form::Guarded(_)))
    }

    /// The script it calls by name.
    pub fn calls(&self) -> Option<Which> {
        if let Form::SpelledOut(which) = self.form()? { Some(which) } else { None }
    }

    /// The script its request has the text of: the server knows that by name from now on.
    pub fn teaches(&self) -> Option<Which> {
        self.teaches
    }

    /// The request with the text of the script it calls, for a server that does not know it by name.
    pub fn spelled_out(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.calls()?;
        self.second(request)
    }

    /// Whether this reply says that nothing was done, and another request is to be sent in place of the first.
    pub fn asks_again(&self, frame: &[u8]) -> bool {
        match self.form() {
            Some(Form::SpelledOut(_)) => frame.starts_with(b"-NOSCRIPT"),
            Some(Form::Guarded(_)) => is_null(frame),
            None => false,
        }
    }

    /// What is sent in place of the first request; there is no third.
    pub fn second(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let Awaits::Writing(writing) = &mut self.awaits else { return None };
        let Second { scripts, form } = writing.second.take()?;
        let mut parser = Parser::default();
        let request = parser.known(request)?;
        match form {
            Form::SpelledOut(which) => {
                self.teaches = Some(which);
                scripts.spelled_out(&request)
            }
            Form::Guarded(on_stale_write) => {
                let words: Vec<_> = request.args_from(0).take(request.len() - 1).collect();
                let guarded = scripts.create(words.get(1)?, Seen::Nothing, on_stale_write, &words);
                let mut parser = Parser::default();
                scripts.spelled_out(&parser.known(&guarded)?)
            }
        }
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
            Awaits::Reading(marks, tells @ (Tells::Null | Tells::NullOfPart)) => {
                self.read(marks, *tells, b"$1\r\n1\r\n", now);
            }
            Awaits::Reading(..) => {}
            Awaits::Writing(writing) => drop(self.wrote(writing, b"$1\r\n1\r\n", now)),
        }
    }

    fn read(&self, marks: &[Option<Mark>], tells: Tells, frame: &[u8], now: Instant) {
        if frame.starts_with(b"-") {
            return;
        }
        if tells == Tells::EachNull {
            let elements = peek::elements(frame).into_iter().flatten();
            for (mark, element) in marks.iter().zip(elements) {
                mark.iter().for_each(|mark| self.sightings.read(*mark, !is_null(element), tells.is_sure(), now));
            }
            return;
        }
        let is_there = !tells.is_gone(frame);
        // Of several that are counted, it is not known which there are.
        if is_there && marks.len() > 1 {
            return;
        }
        marks.iter().flatten().for_each(|mark| self.sightings.read(*mark, is_there, tells.is_sure(), now));
    }

    fn wrote<'f>(&self, writing: &Writing, frame: &'f [u8], now: Instant) -> Cow<'f, [u8]> {
        let (ledger, marks) = (&self.sightings.ledger, &writing.marks);
        if frame.starts_with(b"-") {
            if frame.starts_with(b"-NOPERM session was destroyed") {
                ledger.add(|totals| totals.late += 1);
            } else if frame.starts_with(b"-NOPERM session value too large") {
                ledger.add(|totals| totals.oversized += 1);
            }
            return Cow::Borrowed(frame);
        }
        let Report { reply, counts } = Report::read(frame).unwrap_or(Report { reply: frame, counts: [0; 5] });
        let [created, destroyed, late, given, touched] = counts;
        let did_nothing = reply == b":0\r\n" || is_null(reply);
        ledger.add(|totals| {
            totals.created += created + u64::from(writing.is_new && created == 0 && !did_nothing);
            totals.destroyed += destroyed;
            totals.late += late;
            totals.given += given + u64::from(writing.is_given && !did_nothing && late + touched == 0);
            totals.overwritten += if late == 0 { writing.overwritten } else { 0 };
            totals.touched += touched;
        });
        if let Some(tells) = writing.tells {
            marks.iter().for_each(|mark| self.sightings.read(*mark, !tells.is_gone(reply), tells.is_sure(), now));
        }
        // What was there already needed no permission.
        if created > 0 || !writing.is_reported && !did_nothing {
            self.used_up.borrow_mut().clear();
        }
        let is_written = writing.value.is_some() && !(writing.is_new && did_nothing);
        if let Some(size) = writing.value.filter(|_| late == 0 && is_written) {
            ledger.weigh(size);
        }
        if late == 0 && (is_written || writing.ends && !did_nothing) {
            marks.iter().for_each(|mark| self.sightings.wrote(*mark, !writing.ends));
        }
        match peek::word(reply).filter(|_| writing.is_number) {
            _ if writing.is_hidden => Cow::Borrowed(b":0\r\n"),
            Some(number) => Cow::Owned([b":", number, b"\r\n"].concat()),
            None => Cow::Borrowed(reply),
        }
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        let used_up = self.used_up.take();
        if !used_up.is_empty() {
            self.sightings.give_back(used_up);
        }
        if let Awaits::Writing(Writing { ends: true, marks, .. }) = &self.awaits
            && self.has_begun
        {
            self.sightings.destroys(marks, false);
        }
    }
}

impl Tells {
    /// Whether what tells so tells it for sure.
    fn is_sure(self) -> bool {
        match self {
            Self::Null | Self::Zero | Self::MinusTwo | Self::Empty | Self::None => true,
            Self::NullOfPart | Self::ZeroOfPart | Self::EmptyOfPart | Self::EachNull | Self::AllNull => false,
        }
    }

    fn is_gone(self, frame: &[u8]) -> bool {
        match self {
            Self::Null | Self::NullOfPart => is_null(frame),
            Self::Zero | Self::ZeroOfPart => frame == b":0\r\n",
            Self::MinusTwo => frame == b":-2\r\n",
            Self::Empty | Self::EmptyOfPart => matches!(frame, b"*0\r\n" | b"%0\r\n" | b"~0\r\n"),
            Self::None => frame == b"+none\r\n",
            Self::EachNull | Self::AllNull => peek::elements(frame).is_some_and(|mut elements| elements.all(is_null)),
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
