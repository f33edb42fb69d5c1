//! What to do with a request.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::aftermath::{Aftermath, Awaits, Writing};
use super::deed::{Creates, Deed, Ends, Target, deed};
use super::graves::Graves;
use super::rule::{Rule, Rules, Touch};
use super::script::{Birth, Expiry, Identical, MOST_WORDS, Part, Seen, Terms, differs_in_resp3};
use super::sightings::{Mark, Sightings};
use crate::command::{Command, Touches};
use crate::config::Reopen;
use crate::resp::{Protocol, decimal, encode};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The database it is in.
    pub db: u32,
    #[allow(missing_docs)]
    pub protocol: Protocol,
    /// What its connection has seen.
    pub sightings: &'a Rc<Sightings>,
    /// Tombstones of this proxy, where a rule keeps them here.
    pub graves: Option<&'a Arc<Graves>>,
    #[allow(missing_docs)]
    pub now: Instant,
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

/// What a value is refused with that is larger than `max_value_size`.
pub(super) const TOO_LARGE: &str = "NOPERM session value too large";

/// A target, and the rule it falls under.
type Ruled<'a, 'r> = (Target<'a>, Option<&'r Rule>);

impl Rules {
    /// Why a request is not carried out, in the server's own words where it has some.
    pub fn refusal(&self, command: &Command<'_>, db: u32) -> Option<Cow<'static, str>> {
        self.forbids(command, db).or_else(|| self.is_oversized(command, db).then_some(TOO_LARGE.into()))
    }

    fn forbids(&self, command: &Command<'_>, db: u32) -> Option<Cow<'static, str>> {
        let request = &command.request;
        let denied = self.deny.iter().find(|denied| match denied.split_once('|') {
            None => request.is(0, denied),
            Some((name, subcommand)) => request.is(0, name) && request.is(1, subcommand),
        });
        if let Some(denied) = denied {
            return Some(no_permission(denied));
        }
        if command.is("swapdb") && self.tell_databases_apart() {
            return Some("NOPERM databases cannot be swapped where sessions have other rules in another".into());
        }
        if !self.confine || command.is("exec") || !command.has_its_arity() {
            return None;
        }
        match command.keys() {
            Touches::None => None,
            Touches::These(mut keys) => keys
                .any(|key| !self.take(key, db))
                .then(|| "NOPERM this user has no permissions to access one of the keys used as arguments".into()),
            // Whatever it touches, other keys than sessions may be among it.
            Touches::Any => Some(no_permission(command.row().map_or("given", |row| row.name))),
        }
    }

    fn is_oversized(&self, command: &Command<'_>, db: u32) -> bool {
        let Deed::Writes(targets) = deed(command) else { return false };
        let most = targets.iter().filter(|target| !matches!(target.creates, Creates::Lock));
        let most = most.filter_map(|target| self.of(target.key, db)?.max_value_size).min();
        most.is_some_and(|most| written(command) > most)
    }

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
        match deed(command) {
            Deed::Nothing => Decision::AsIs(None),
            Deed::Reads(tells) => {
                let marks = self.marks(command, asking);
                Decision::AsIs((!marks.is_empty()).then(|| {
                    Aftermath::new(asking.sightings, Awaits::Reading(marks.into(), tells))
                }))
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

    /// The sessions a command names; all its keys must be some, or its reply tells of others.
    fn marks(&self, command: &Command<'_>, asking: &Asking<'_>) -> Vec<Mark> {
        let Touches::These(keys) = command.keys() else { return Vec::new() };
        let mark = |key| self.of(key, asking.db).map(|_| asking.mark(key));
        keys.map(mark).collect::<Option<_>>().unwrap_or_default()
    }

    /// The request is sent as it came; its sessions, of another database perhaps, get an expiry behind it.
    fn repair<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
        asking: &Asking<'_>,
        other: Option<u32>,
    ) -> Decision {
        let db = other.unwrap_or(asking.db);
        let sessions: Vec<_> = keys.filter_map(|key| Some((key, self.of(key, db)?.endless()?))).collect();
        if sessions.is_empty() {
            return Decision::AsIs(None);
        }
        Decision::Repaired(Rewritten {
            request: self.scripts.repair(&sessions, other),
            aftermath: Aftermath::new(asking.sightings, Awaits::Writing(Writing::default())),
            also: None,
        })
    }

    /// `PERSIST` does nothing: at most it finds that there is an expiry to be added.
    fn persist(&self, key: &[u8], asking: &Asking<'_>) -> Decision {
        let Some(expiry) = self.of(key, asking.db).and_then(Rule::endless) else {
            return Decision::AsIs(None);
        };
        let writing = Writing { marks: Box::new([asking.mark(key)]), is_hidden: true, ..Writing::default() };
        Decision::Rewritten(Rewritten {
            request: self.scripts.repair(&[(key, expiry)], None),
            aftermath: Aftermath::new(asking.sightings, Awaits::Writing(writing)),
            also: None,
        })
    }

    fn destroy(&self, command: &Command<'_>, asking: &Asking<'_>) -> Decision {
        let Touches::These(keys) = command.keys() else { return Decision::AsIs(None) };
        let keys: Vec<_> = keys.map(|key| (key, self.of(key, asking.db))).collect();
        let sessions = keys.iter().filter_map(|(key, rule)| Some((asking.mark(key), (*rule)?)));
        let marks: Box<[_]> = sessions.clone().map(|(mark, _)| mark).collect();
        if marks.is_empty() {
            return Decision::AsIs(None);
        }
        let here = sessions.filter_map(|(mark, rule)| Some((mark, rule.window_here()?)));
        let graves = asking.graves.map(|graves| (Arc::clone(graves), here.collect()));
        let is_for_script = |rule: &Rule| rule.window().is_some() || rule.max_lifetime.is_some();
        let is_told = keys.iter().any(|(_, rule)| rule.is_some_and(is_for_script));
        let writing = Writing { marks, graves, ends: true, ..Writing::default() };
        let aftermath = Aftermath::new(asking.sightings, Awaits::Writing(writing));
        match is_told {
            true => Decision::Rewritten(Rewritten {
                request: self.scripts.destroy(command.request.name(), &keys),
                aftermath,
                also: None,
            }),
            false => Decision::AsIs(Some(aftermath)),
        }
    }

    fn write(&self, command: &Command<'_>, targets: &[Target<'_>], asking: &Asking<'_>) -> Decision {
        let ruled: Vec<Ruled<'_, '_>> =
            targets.iter().map(|target| (*target, self.of(target.key, asking.db))).collect();
        let Some(first) = ruled.iter().find_map(|(_, rule)| *rule) else { return Decision::AsIs(None) };
        let request = &command.request;
        let marks: Box<[_]> =
            ruled.iter().filter(|(_, rule)| rule.is_some()).map(|(target, _)| asking.mark(target.key)).collect();
        let words: Vec<&[u8]> = match (command.is("getex"), command.is("set")) {
            // What `PERSIST` would do, it does not.
            (true, _) if request.is(2, "persist") => request.args_from(0).take(2).collect(),
            _ => request.args_from(0).collect(),
        };
        let millis = first.expiry.map(|expiry| expiry.as_millis().to_string());
        let (words, is_given) = match (&millis, &ruled[..]) {
            (Some(millis), [(Target { ends: Ends::Unsaid, .. }, Some(_))]) if takes_expiry(command) => {
                ([&words[..], &[b"PX", millis.as_bytes()]].concat(), true)
            }
            _ => (words, false),
        };
        let identical = identical(command, &ruled, is_given, millis.as_deref());
        let parts = self.parts(&ruled, is_given, asking);
        let creates = ruled.iter().any(|(target, _)| target.creates != Creates::No);
        let room = first.max_value_size.filter(|_| command.is("append"));
        let room = room.map(|most| most.saturating_sub(written(command)));
        let is_plain = parts.iter().all(Part::is_plain) && identical.is_none() && room.is_none();
        if words.len() > MOST_WORDS {
            return self.repair(ruled.iter().map(|(target, _)| target.key), asking, None);
        }
        let writing = Writing {
            value: (creates && !command.is("rename")).then(|| written(command)),
            creates,
            overwritten: overwritten(&ruled, asking),
            is_given,
            ends: ruled.iter().any(|(target, _)| target.loses) && !creates,
            is_read: command.is("getex"),
            graves: graves(&ruled, asking),
            marks,
            is_hidden: false,
        };
        let aftermath = Aftermath::new(asking.sightings, Awaits::Writing(writing));
        let companion = parts.iter().find(|part| part.expiry == Expiry::Follows).map(|part| part.key.to_vec());
        if is_plain && words.len() == request.len() {
            return Decision::AsIs(Some(aftermath));
        }
        let request = match is_plain {
            true => {
                let mut request = Vec::new();
                encode::request(&mut request, &words);
                request
            }
            false => {
                let is_resp3 = asking.protocol == Protocol::Resp3 && differs_in_resp3(command);
                let terms = Terms { on_stale_write: first.on_stale_write, identical, room, is_resp3 };
                self.scripts.write(&parts, terms, &words)
            }
        };
        Decision::Rewritten(Rewritten { request, aftermath, also: companion })
    }

    /// What the script is told of each session.
    fn parts<'a>(&self, ruled: &[Ruled<'a, '_>], is_given: bool, asking: &Asking<'_>) -> Vec<Part<'a>> {
        let is_rename = ruled.len() == 2 && ruled[0].0.loses;
        let both = is_rename && ruled.iter().all(|(_, rule)| rule.is_some_and(|rule| rule.max_lifetime.is_some()));
        let mut parts = Vec::new();
        for (target, rule) in ruled {
            let Some(rule) = rule else { continue };
            let can_be_endless = target.creates != Creates::No || target.ends == Ends::Unsaid && !target.loses;
            let expiry = rule.expiry.filter(|_| can_be_endless && target.ends == Ends::Unsaid && !is_given);
            let seen = rule.seen(target, asking);
            parts.push(Part {
                key: target.key.into(),
                expiry: expiry.map_or(Expiry::LeftAlone, Expiry::Set),
                lifetime: rule.max_lifetime,
                window: rule.window().filter(|_| target.loses || rule.max_lifetime.is_some()),
                seen,
                birth: match (both && !target.loses, seen) {
                    (true, _) => Birth::Moves,
                    (false, Seen::GoneFor(_)) => Birth::New,
                    (false, _) if target.creates == Creates::New => Birth::New,
                    (false, Seen::Free | Seen::Nothing | Seen::Destroyed) => Birth::Stays,
                },
            });
            if let Some(companion) = rule.companion(target.key).filter(|_| target.ends != Ends::Unsaid) {
                let lifetime = self.of(&companion, asking.db).and_then(|rule| rule.max_lifetime);
                let window = self.of(&companion, asking.db).and_then(Rule::window).filter(|_| lifetime.is_some());
                parts.push(Part {
                    key: companion.into(),
                    expiry: Expiry::Follows,
                    lifetime,
                    window,
                    seen: Seen::Free,
                    birth: Birth::Stays,
                });
            }
        }
        parts
    }
}

/// How many of these sessions somebody has written since this connection read them.
fn overwritten(ruled: &[Ruled<'_, '_>], asking: &Asking<'_>) -> u64 {
    let is_outdated = |(target, rule): &&Ruled<'_, '_>| {
        rule.is_some() && target.creates == Creates::Yes && asking.sightings.is_outdated(asking.mark(target.key))
    };
    ruled.iter().filter(is_outdated).count() as u64
}

/// The tombstones to be set here, of what may be destroyed.
fn graves(ruled: &[Ruled<'_, '_>], asking: &Asking<'_>) -> Option<(Arc<Graves>, Vec<(Mark, Duration)>)> {
    let graves = asking.graves?;
    let windows = ruled.iter().filter(|(target, _)| target.loses);
    let windows = windows.filter_map(|(target, rule)| Some((asking.mark(target.key), (*rule)?.window_here()?)));
    let windows: Vec<_> = windows.collect();
    (!windows.is_empty()).then(|| (Arc::clone(graves), windows))
}

impl Asking<'_> {
    fn mark(&self, key: &[u8]) -> Mark {
        self.sightings.versions.mark(key, self.db)
    }
}

impl Rule {
    /// How long the server keeps that a session was destroyed.
    pub(super) fn window(&self) -> Option<Duration> {
        self.stay_destroyed.filter(|_| !self.remembers_here())
    }

    /// The time to live of a session that has none.
    fn endless(&self) -> Option<Duration> {
        self.expiry.into_iter().chain(self.max_lifetime).min()
    }

    /// How long this proxy does.
    pub(super) fn window_here(&self) -> Option<Duration> {
        self.stay_destroyed.filter(|_| self.remembers_here())
    }

    fn remembers_here(&self) -> bool {
        self.tombstones == crate::config::Tombstones::Proxy
    }

    /// What the writer knows of a session that may have been destroyed.
    fn seen(&self, target: &Target<'_>, asking: &Asking<'_>) -> Seen {
        let (Some(_), Creates::Yes) = (self.stay_destroyed, target.creates) else { return Seen::Free };
        let (sightings, mark) = (asking.sightings, asking.mark(target.key));
        if sightings.is_destroying(mark) {
            return Seen::Free;
        }
        let may_reopen = self.reopen == Reopen::Read;
        if !self.remembers_here() {
            return if may_reopen { sightings.of(mark, asking.now) } else { Seen::Nothing };
        }
        let gone = sightings.gone(mark).filter(|_| may_reopen);
        let is_destroyed = asking.graves.is_some_and(|graves| graves.is_destroyed_since(mark, gone, asking.now));
        if is_destroyed { Seen::Destroyed } else { Seen::Free }
    }
}

impl Part<'_> {
    /// Whether the command alone does all there is to do for it.
    fn is_plain(&self) -> bool {
        let Self { expiry, lifetime, window, seen, .. } = self;
        *expiry == Expiry::LeftAlone && lifetime.is_none() && window.is_none() && *seen == Seen::Free
    }
}

/// The value of a request, or the longest of its values; of `SETRANGE`, where it would end.
fn written(command: &Command<'_>) -> usize {
    let request = &command.request;
    let longest = request.args_from(2).map(<[u8]>::len).max().unwrap_or_default();
    match (command.is("setrange"), request.arg(2).and_then(decimal).and_then(|at| usize::try_from(at).ok())) {
        (true, Some(at)) => request.arg(3).map_or(0, |value| value.len().saturating_add(at)),
        _ => longest,
    }
}

/// Whether it is a `SET` that can be given a time to live in so many words.
fn takes_expiry(command: &Command<'_>) -> bool {
    let known: [&[u8]; 3] = [b"nx", b"xx", b"get"];
    command.is("set")
        && command.request.args_from(3).all(|word| known.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// A value that may be there already, so that writing it only moves its end.
fn identical(
    command: &Command<'_>,
    ruled: &[Ruled<'_, '_>],
    is_given: bool,
    expiry: Option<&str>,
) -> Option<Identical> {
    let [(target, Some(rule))] = ruled else { return None };
    let len = command.request.len();
    let is_whole = command.is("set") && (len == 5 || len == 3) || command.is("setex") || command.is("psetex");
    if !rule.touch_identical || !is_whole {
        return None;
    }
    let word = if command.is("set") { 2 } else { 3 };
    let length = match (target.ends, expiry.filter(|_| is_given).and_then(|millis| millis.parse().ok())) {
        (Ends::After(length), _) => length,
        (Ends::Unsaid, Some(millis)) => Duration::from_millis(millis),
        (Ends::Unsaid | Ends::Set, _) => return None,
    };
    (!length.is_zero()).then(|| Identical { word, length, slack: rule.slack(length) })
}

/// As the server's own ACL says it.
fn no_permission(name: &str) -> Cow<'static, str> {
    format!("NOPERM this user has no permissions to run the '{name}' command").into()
}

