//! What is not carried out at all.

use std::borrow::Cow;

use super::decide::TOO_LARGE;
use super::deed::{Creates, Deed, deed};
use super::rule::{Rule, Rules, is_ours};
use super::script::MOST_WORDS;
use crate::command::{Command, Effect, Touches};
use crate::resp::decimal;

/// In the words of the server's own ACL.
const NO_KEY: &str = "NOPERM this user has no permissions to access one of the keys used as arguments";

const UNKNOWN_KEYS: &str = "NOPERM a command whose keys are not known is refused (commands.confine)";

const TOO_MANY_WORDS: &str = "NOPERM a session is not written with more than 7000 words at a time";

const NO_SWAP: &str = "NOPERM databases cannot be swapped where sessions have other rules in another";

impl Rules {
    /// Why a request is not carried out, in the server's own words where it has some.
    pub fn refusal(&self, command: &Command<'_>, db: u32) -> Option<Cow<'static, str>> {
        self.forbids(command, db)
            .or_else(|| self.is_oversized(command, db).then_some(TOO_LARGE.into()))
            .or_else(|| self.has_too_many_words(command, db).then_some(TOO_MANY_WORDS.into()))
    }

    /// Whether a script would have to decide on it, and cannot.
    fn has_too_many_words(&self, command: &Command<'_>, db: u32) -> bool {
        if command.request.len() <= MOST_WORDS {
            return false;
        }
        let Deed::Writes(targets) = deed(command, db) else { return false };
        targets.iter().any(|target| {
            let is_guarded = |rule: &Rule| rule.stay_destroyed.is_some() && target.creates == Creates::Yes;
            self.of(target.key, db).is_some_and(|rule| rule.max_lifetime.is_some() || is_guarded(rule))
        })
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
            return Some(NO_SWAP.into());
        }
        let is_write = command.effect() == Effect::Write;
        match command.keys() {
            Touches::These(mut keys) => {
                let is_forbidden = |key: &[u8]| is_write && is_ours(key) || self.confine && !self.take(key, db);
                keys.any(is_forbidden).then_some(NO_KEY.into())
            }
            Touches::Any if stores_ours(command, db) => Some(NO_KEY.into()),
            // Whatever it touches, other keys than sessions may be among it.
            Touches::Any if self.confine && !command.is("exec") => {
                Some(command.row().map_or(UNKNOWN_KEYS.into(), |row| no_permission(row.name)))
            }
            Touches::None | Touches::Any => None,
        }
    }

    fn is_oversized(&self, command: &Command<'_>, db: u32) -> bool {
        // Nothing so short is too long, but where it says what it would come to.
        let grows = command.is("setrange") || command.is("setbit") || command.is("bitfield");
        if command.request.frame().len() <= self.least_value_size() && !grows {
            return false;
        }
        let rule = command.request.arg(1).filter(|_| command.is("bitfield")).and_then(|key| self.of(key, db));
        if let Some(most) = rule.and_then(|rule| rule.max_value_size) {
            return written(command) > most;
        }
        let Deed::Writes(targets) = deed(command, db) else { return false };
        let most = targets.iter().filter(|target| target.creates != Creates::Lock);
        let most = most.filter_map(|target| self.of(target.key, db)?.max_value_size).min();
        most.is_some_and(|most| written(command) > most)
    }
}

/// Whether it stores its result into a key of ours.
fn stores_ours(command: &Command<'_>, db: u32) -> bool {
    matches!(deed(command, db), Deed::Writes(targets) if targets.iter().any(|target| is_ours(target.key)))
}

/// Bytes of the value of a request, or of the longest of its values; of what writes into the middle, where it would end.
pub(super) fn written(command: &Command<'_>) -> usize {
    let request = &command.request;
    let number = |index| request.arg(index).and_then(decimal).and_then(|number| usize::try_from(number).ok());
    let longest = request.args_from(2).map(<[u8]>::len).max().unwrap_or_default();
    match command.row().map(|row| row.name) {
        Some("setrange") => number(2).map_or(longest, |at| at.saturating_add(request.arg(3).map_or(0, <[u8]>::len))),
        Some("setbit") => number(2).map_or(longest, |bit| bit / 8 + 1),
        Some("bitfield") => (2..request.len()).filter_map(|index| field_end(command, index)).max().unwrap_or(longest),
        _ => longest,
    }
}

/// Where the field ends that `BITFIELD` writes, if the word at this place is what does so.
fn field_end(command: &Command<'_>, index: usize) -> Option<usize> {
    let request = &command.request;
    if !request.is(index, "set") && !request.is(index, "incrby") {
        return None;
    }
    let text = |index| str::from_utf8(request.arg(index)?).ok();
    let width: usize = text(index + 1)?.get(1..)?.parse().ok()?;
    let at: usize = match text(index + 2)?.strip_prefix('#') {
        Some(number) => number.parse::<usize>().ok()?.saturating_mul(width),
        None => text(index + 2)?.parse().ok()?,
    };
    Some(at.saturating_add(width).div_ceil(8))
}

/// As the server's own ACL says it.
fn no_permission(name: &str) -> Cow<'static, str> {
    format!("NOPERM this user has no permissions to run the '{name}' command").into()
}
