//! What to do with a request.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::aftermath::{Aftermath, Awaits, Form, Second, Writing};
use super::deed::{Deed, deed};
use super::rule::{Rules, Touch};
use super::script::Which;
use super::sightings::{Mark, Sightings};
use crate::command::{Command, Touches};
use crate::resp::{Protocol, decimal};

/// What a value is refused with that is larger than `max_value_size`.
pub(super) const TOO_LARGE: &str = "NOPERM session value too large";

/// Keys a script is given at most, so that it stays within the million words a server takes.
const MOST_KEYS: usize = 200_000;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The database it is in.
    pub db: u32,
    #[allow(missing_docs)]
    pub protocol: Protocol,
    /// What its connection has seen.
    pub sightings: &'a Rc<Sightings>,
    /// Whether a second request may be sent where the first one has done nothing: not in a transaction, and not if its client
    /// has asked something else meanwhile.
    pub may_try: bool,
    /// Whether it asks on a connection of its own, as in a transaction.
    pub is_alone: bool,
    #[allow(missing_docs)]
    pub now: Instant,
}

impl Asking<'_> {
    pub(super) fn mark(&self, key: &[u8]) -> Mark {
        self.sightings.versions.mark(key, self.db)
    }
}

/// What to do with a request that is not refused.
#[derive(Debug)]
pub enum Decision {
    /// It is sent as it came; what its reply tells is noted.
    AsIs(Option<Aftermath>),
    /// Something else is sent in its place.
    Rewritten(Rewritten),
    /// It is sent as it came, and behind it what adds the expiry it may have left out.
    Repaired(Rewritten),
}

/// A request in place of another, and what becomes of its reply.
#[derive(Debug)]
pub struct Rewritten {
    #[allow(missing_docs)]
    pub request: Vec<u8>,
    #[allow(missing_docs)]
    pub aftermath: Aftermath,
    /// A key it writes besides those of the command.
    pub also: Option<Vec<u8>>,
}

impl Rules {
    /// Whether what a read is answered may be held in memory.
    pub fn may_hold_those_of(&self, command: &Command<'_>, db: u32) -> bool {
        match command.keys() {
            Touches::These(mut keys) => keys.all(|key| self.of(key, db).is_none_or(|rule| rule.cache)),
            Touches::None | Touches::Any => true,
        }
    }

    /// The touch a request is, if it may be answered without the server.
    pub fn touch<'a>(&self, command: &Command<'a>, db: u32) -> Option<Touch<'a>> {
        let unit = match command.row()?.name {
            "expire" => 1000,
            "pexpire" => 1,
            _ => return None,
        };
        let request = &command.request;
        let (key, length) = (request.arg(1)?, request.arg(2).and_then(decimal)?);
        let length = Duration::from_millis(u64::try_from(length).ok()?.checked_mul(unit).filter(|ms| *ms < 1 << 42)?);
        let rule = self.of(key, db).filter(|rule| request.len() == 3 && rule.companion(key).is_none())?;
        let slack = rule.slack(length);
        (!slack.is_zero() && !length.is_zero()).then_some(Touch { key, length, slack })
    }

    /// What to do with a request.
    pub fn decide(&self, command: &Command<'_>, asking: &Asking<'_>) -> Decision {
        match deed(command, asking.db) {
            Deed::Nothing => Decision::AsIs(None),
            Deed::Reads(tells) => {
                let marks = self.marks(command, asking);
                let is_any = marks.iter().any(Option::is_some);
                let aftermath = || Aftermath::new(asking.sightings, Awaits::Reading(marks, tells));
                Decision::AsIs(is_any.then(aftermath))
            }
            Deed::Destroys => self.destroy(command, asking),
            Deed::Persists(key) => self.persist(key, asking),
            Deed::Writes(targets) => self.write(command, &targets, asking),
            Deed::Escapes => match command.keys() {
                Touches::These(keys) => self.repair(keys, asking, None),
                Touches::None | Touches::Any => Decision::AsIs(None),
            },
            Deed::EscapesTo(key, db) => self.repair([key].into_iter(), asking, Some(db)),
        }
    }

    /// The sessions among the keys of a command.
    fn marks(&self, command: &Command<'_>, asking: &Asking<'_>) -> Box<[Option<Mark>]> {
        let mark = |key: &[u8]| self.of(key, asking.db).map(|_| asking.mark(key));
        match command.keys() {
            Touches::These(keys) => keys.map(mark).collect(),
            Touches::None | Touches::Any => Box::default(),
        }
    }

    /// The request is sent as it came; its sessions, of another database perhaps, get an expiry behind it.
    pub(super) fn repair<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
        asking: &Asking<'_>,
        other: Option<u32>,
    ) -> Decision {
        let db = other.unwrap_or(asking.db);
        let sessions = keys.filter_map(|key| Some((key, self.of(key, db).filter(|rule| rule.ends())?)));
        let sessions: Vec<_> = sessions.collect();
        if sessions.is_empty() {
            return Decision::AsIs(None);
        }
        let writing = Writing { second: Some(self.spelled_out(Which::Repair)), ..Writing::default() };
        Decision::Repaired(Rewritten {
            request: self.scripts.repair(&sessions, other),
            aftermath: Aftermath::new(asking.sightings, Awaits::Writing(writing)),
            also: None,
        })
    }

    /// `PERSIST` does nothing: at most it finds that there is an expiry to be added.
    fn persist(&self, key: &[u8], asking: &Asking<'_>) -> Decision {
        let Some(rule) = self.of(key, asking.db).filter(|rule| rule.ends()) else { return Decision::AsIs(None) };
        let writing = Writing {
            marks: Box::new([asking.mark(key)]),
            is_hidden: true,
            second: Some(self.spelled_out(Which::Repair)),
            ..Writing::default()
        };
        Decision::Rewritten(Rewritten {
            request: self.scripts.repair(&[(key, rule)], None),
            aftermath: Aftermath::new(asking.sightings, Awaits::Writing(writing)),
            also: None,
        })
    }

    fn destroy(&self, command: &Command<'_>, asking: &Asking<'_>) -> Decision {
        let Touches::These(keys) = command.keys() else { return Decision::AsIs(None) };
        let keys: Vec<_> = keys.map(|key| (key, self.of(key, asking.db))).collect();
        let sessions = keys.iter().filter(|(_, rule)| rule.is_some());
        let marks: Box<[_]> = sessions.map(|(key, _)| asking.mark(key)).collect();
        if marks.is_empty() || keys.len() > MOST_KEYS {
            return Decision::AsIs(None);
        }
        let second = Some(self.spelled_out(Which::Destroy));
        let writing = Writing { marks, ends: true, second, ..Writing::default() };
        Decision::Rewritten(Rewritten {
            request: self.scripts.destroy(command.request.name(), &keys),
            aftermath: Aftermath::new(asking.sightings, Awaits::Writing(writing)),
            also: None,
        })
    }

    /// A script is called by its name, and by its text where the server does not know it.
    fn spelled_out(&self, which: Which) -> Second {
        Second { scripts: Arc::clone(&self.scripts), form: Form::SpelledOut(which) }
    }
}
