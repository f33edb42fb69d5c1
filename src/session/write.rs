//! How a write of sessions is carried out.
//!
//! | | |
//! |---|---|
//! | as it came, or with an expiry | nothing has to be decided |
//! | the same, with `XX` | its connection has read the session; where that is gone, `create.lua` decides |
//! | by `create.lua` | a `SET` that may create a session |
//! | by `write.lua` | whatever else |

use std::sync::Arc;
use std::time::Duration;

use super::aftermath::{Aftermath, Awaits, Form, Second, Writing};
use super::decide::{Asking, Decision, Rewritten};
use super::deed::{Creates, Ends, Target, Tells};
use super::forbid::written;
use super::rule::{Rule, Rules};
use super::script::{Birth, Expiry, Identical, MOST_WORDS, Part, Seen, Terms, Which, differs_in_resp3};
use crate::command::{Command, Shape};
use crate::config::{OnStaleWrite, Reopen};
use crate::resp::{Protocol, encode};

/// A session a command writes, and the rule it falls under.
#[derive(Clone, Copy)]
struct Ruled<'a, 'r> {
    target: Target<'a>,
    rule: &'r Rule,
}

/// How a write is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Alone,
    WhereItIs,
    Created(Seen),
    Scripted,
}

impl Rules {
    pub(super) fn write(&self, command: &Command<'_>, targets: &[Target<'_>], asking: &Asking<'_>) -> Decision {
        let ruled = targets.iter().filter_map(|target| {
            let rule = self.of(target.key, asking.db)?;
            Some(Ruled { target: *target, rule })
        });
        let ruled: Vec<_> = ruled.collect();
        let Some(Ruled { rule: first, .. }) = ruled.first() else { return Decision::AsIs(None) };
        let millis = first.expiry.map(|expiry| expiry.as_millis().to_string());
        let given = millis.as_deref().filter(|_| takes_expiry(command));
        let words = words(command, first, given);
        let terms = terms(command, &ruled, given, asking);
        let parts = self.parts(&ruled, given.is_some(), asking);
        let way = way(command, &ruled, &parts, terms, asking);
        if words.len() > MOST_WORDS && way != Way::Alone {
            return self.repair(ruled.iter().map(|ruled| ruled.target.key), asking, None);
        }
        let (request, form) = self.carry(command, way, &parts, terms, &words);
        let writing = Writing {
            is_given: given.is_some(),
            is_reported: form.is_some(),
            second: form.map(|form| Second { scripts: Arc::clone(&self.scripts), form }),
            ..writing(command, &ruled, way, asking)
        };
        let aftermath = Aftermath::new(asking.sightings, Awaits::Writing(writing));
        let companion = parts.iter().find(|part| part.expiry == Expiry::Follows).map(|part| part.key.to_vec());
        match request {
            None => Decision::AsIs(Some(aftermath)),
            Some(request) => Decision::Rewritten(Rewritten { request, aftermath, also: companion }),
        }
    }

    /// What is sent, if it is not the request as it came; and in what case something else has to be.
    fn carry(
        &self,
        command: &Command<'_>,
        way: Way,
        parts: &[Part<'_>],
        terms: Terms,
        words: &[&[u8]],
    ) -> (Option<Vec<u8>>, Option<Form>) {
        let (request, form) = match way {
            Way::Alone if words.len() == command.request.len() => return (None, None),
            Way::Alone => (encoded(words), None),
            Way::WhereItIs => (encoded(&where_it_is(command, words)), Some(Form::Guarded(terms.on_stale_write))),
            Way::Created(seen) => {
                let request = self.scripts.create(&parts[0].key, seen, terms.on_stale_write, words);
                (request, Some(Form::SpelledOut(Which::Create)))
            }
            Way::Scripted => {
                let which = if terms.is_resp3 { Which::WriteResp3 } else { Which::Write };
                (self.scripts.write(parts, terms, words), Some(Form::SpelledOut(which)))
            }
        };
        (Some(request), form)
    }

    /// What the script is told of each session.
    fn parts<'a>(&self, ruled: &[Ruled<'a, '_>], is_given: bool, asking: &Asking<'_>) -> Vec<Part<'a>> {
        let has_lifetime = |ruled: &Ruled<'_, '_>| ruled.rule.max_lifetime.is_some();
        let moves = ruled.len() == 2 && ruled[0].target.loses && ruled.iter().all(has_lifetime);
        let mut parts = Vec::new();
        for Ruled { target, rule } in ruled {
            let can_be_endless = target.ends == Ends::Unsaid && !target.loses && !is_given;
            let is_new = target.creates == Creates::New || asking.sightings.is_gone(asking.mark(target.key));
            parts.push(Part {
                key: target.key.into(),
                expiry: rule.expiry.filter(|_| can_be_endless).map_or(Expiry::LeftAlone, Expiry::Set),
                lifetime: rule.max_lifetime,
                window: rule.stay_destroyed.filter(|_| target.loses || rule.max_lifetime.is_some()),
                seen: rule.seen(target, asking),
                birth: match moves && !target.loses {
                    true => Birth::Moves,
                    false if is_new => Birth::New,
                    false => Birth::Stays,
                },
                loses: target.loses,
            });
            if let Some(companion) = rule.companion(target.key).filter(|_| target.ends != Ends::Unsaid) {
                let own = self.of(&companion, asking.db);
                let lifetime = own.and_then(|rule| rule.max_lifetime);
                parts.push(Part {
                    key: companion.into(),
                    expiry: Expiry::Follows,
                    lifetime,
                    window: own.and_then(|rule| rule.stay_destroyed).filter(|_| lifetime.is_some()),
                    seen: Seen::Free,
                    birth: Birth::Stays,
                    loses: false,
                });
            }
        }
        parts
    }
}

impl Ruled<'_, '_> {
    /// Whether somebody has written the session since this connection read it.
    fn is_outdated(&self, asking: &Asking<'_>) -> bool {
        self.target.creates == Creates::Yes && asking.sightings.is_outdated(asking.mark(self.target.key))
    }
}

impl Rule {
    /// What the writer knows of a session that may have been destroyed.
    fn seen(&self, target: &Target<'_>, asking: &Asking<'_>) -> Seen {
        let mark = asking.mark(target.key);
        match (self.stay_destroyed, target.creates, self.reopen) {
            // On a connection many share, it may be another request that destroys it.
            (Some(_), Creates::Yes, reopen)
                if asking.sightings.is_destroying(mark) && (reopen == Reopen::Read || asking.is_alone) =>
            {
                Seen::Free
            }
            (Some(_), Creates::Yes, Reopen::Read) => asking.sightings.of(mark, asking.now),
            (Some(_), Creates::Yes, Reopen::Never) => Seen::Nothing,
            (None, ..) | (Some(_), Creates::No | Creates::New | Creates::Lock, _) => Seen::Free,
        }
    }
}

impl Part<'_> {
    /// Whether the command alone does all there is to do for it.
    fn is_plain(&self) -> bool {
        let Self { expiry, lifetime, loses, window, seen, .. } = self;
        *expiry == Expiry::LeftAlone && lifetime.is_none() && !(*loses && window.is_some()) && *seen == Seen::Free
    }
}

/// The words of a command as they are sent, by itself or by a script; `given`: the expiry it is given.
fn words<'a>(command: &Command<'a>, rule: &Rule, given: Option<&'a str>) -> Vec<&'a [u8]> {
    let request = &command.request;
    // What `PERSIST` would do, it does not, where sessions expire.
    let persists = command.is("getex") && request.is(2, "persist") && rule.ends();
    let own = request.args_from(0).take(if persists { 2 } else { request.len() });
    own.chain(given.into_iter().flat_map(|millis| [&b"PX"[..], millis.as_bytes()])).collect()
}

/// What a script is told of the command.
fn terms(command: &Command<'_>, ruled: &[Ruled<'_, '_>], given: Option<&str>, asking: &Asking<'_>) -> Terms {
    let first = ruled[0].rule;
    // What was moved is not moved back: that no success can be pretended of.
    let moves = ["rename", "renamenx", "rpoplpush", "lmove", "smove"].iter().any(|name| command.is(name));
    let most = first.max_value_size.filter(|_| command.is("append"));
    Terms {
        on_stale_write: if moves { OnStaleWrite::Refuse } else { first.on_stale_write },
        identical: identical(command, ruled, given),
        room: most.map(|most| most.saturating_sub(written(command))),
        is_resp3: asking.protocol == Protocol::Resp3 && differs_in_resp3(command),
    }
}

/// What its reply is awaited with.
fn writing(command: &Command<'_>, ruled: &[Ruled<'_, '_>], way: Way, asking: &Asking<'_>) -> Writing {
    let creates = |wanted| ruled.iter().any(|ruled| ruled.target.creates == wanted);
    Writing {
        marks: ruled.iter().map(|ruled| asking.mark(ruled.target.key)).collect(),
        value: (creates(Creates::Yes) || creates(Creates::New)).then(|| written(command)),
        // What is new for sure may be a lock, which is no session.
        creates: creates(Creates::Yes),
        is_new: creates(Creates::New) && way == Way::Alone,
        overwritten: ruled.iter().filter(|ruled| ruled.is_outdated(asking)).count() as u64,
        ends: ruled.iter().all(|ruled| ruled.target.dies),
        is_number: command.shape() == Shape::Integer,
        tells: command.is("getex").then_some(Tells::Null),
        ..Writing::default()
    }
}

/// How a write is carried out.
fn way(command: &Command<'_>, ruled: &[Ruled<'_, '_>], parts: &[Part<'_>], terms: Terms, asking: &Asking<'_>) -> Way {
    let has_more = terms.identical.is_some() || terms.room.is_some();
    if !has_more && parts.iter().all(Part::is_plain) {
        return Way::Alone;
    }
    if has_more {
        return Way::Scripted;
    }
    let ([Ruled { target, .. }], [part]) = (ruled, parts) else { return Way::Scripted };
    // What says `OK`, and nothing else if there is nothing yet.
    let is_set =
        command.is("set") && matches!(command.request.len(), 3 | 5) || command.is("setex") || command.is("psetex");
    let is_only_guarded = Part { seen: Seen::Free, ..part.clone() }.is_plain();
    let is_length = match target.ends {
        Ends::After(length) => !length.is_zero(),
        Ends::Unsaid => command.request.len() == 3,
        Ends::Set => false,
    };
    if !is_set || !is_only_guarded || !is_length {
        return Way::Scripted;
    }
    let may_try = asking.may_try && asking.sightings.is_there(asking.mark(target.key));
    if may_try { Way::WhereItIs } else { Way::Created(part.seen) }
}

fn encoded(words: &[&[u8]]) -> Vec<u8> {
    let mut request = Vec::new();
    encode::request(&mut request, words);
    request
}

/// A `SET`, `SETEX` or `PSETEX` as a `SET` of what is there.
fn where_it_is<'a>(command: &Command<'_>, words: &[&'a [u8]]) -> Vec<&'a [u8]> {
    match words {
        [_, key, length, value] if command.is("setex") => vec![b"SET", key, value, b"EX", length, b"XX"],
        [_, key, length, value] if command.is("psetex") => vec![b"SET", key, value, b"PX", length, b"XX"],
        words => [words, &[b"XX"]].concat(),
    }
}

/// Whether it is a `SET` without a time to live, that can be given one in so many words.
fn takes_expiry(command: &Command<'_>) -> bool {
    let known: [&[u8]; 3] = [b"nx", b"xx", b"get"];
    command.is("set")
        && command.request.args_from(3).all(|word| known.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// A value that may be there already, so that writing it only moves its end. `given`: the expiry it is given.
fn identical(command: &Command<'_>, ruled: &[Ruled<'_, '_>], given: Option<&str>) -> Option<Identical> {
    let [Ruled { target, rule }] = ruled else { return None };
    let request = &command.request;
    let has_length = request.len() == 5 && (request.is(3, "ex") || request.is(3, "px"));
    let is_whole = command.is("set") && (request.len() == 3 || has_length);
    if !rule.touch_identical || !is_whole && !command.is("setex") && !command.is("psetex") {
        return None;
    }
    let word = if command.is("set") { 2 } else { 3 };
    let length = match (target.ends, given.and_then(|millis| millis.parse().ok())) {
        (Ends::After(length), _) => length,
        (Ends::Unsaid, Some(millis)) => Duration::from_millis(millis),
        (Ends::Unsaid | Ends::Set, _) => return None,
    };
    (!length.is_zero()).then(|| Identical { word, length, slack: rule.slack(length) })
}
