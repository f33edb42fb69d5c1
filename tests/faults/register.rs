//! Whether what was seen of one key can have happened: is there an order of its operations, each somewhere between
//! its request and its reply, in which a plain variable would have answered the same (Wing and Gong, with Lowe's
//! memory of what has been tried)? Those of one client are in the order in which it asked them, also where it asked
//! several at once.
//!
//! What was told *unknown* may or may not have run. It is put in only just before an operation that needs it, so
//! that those nobody ever saw cost nothing. It may run late, but not after a write that was sent when it was
//! settled, and acknowledged: that would be undone by a ghost.

use std::collections::{HashMap, HashSet};

use super::client::REGISTERS;
use super::history::{Entry, Moment, NEVER, Op, Reply, Token};

/// Orders tried before the question is given up.
const MOST_STEPS: usize = 200_000;

/// How long a value set briefly lives.
pub(crate) const BRIEFLY: Moment = Moment::from_millis(60);

/// How much longer one may be seen: the server reads its clock now and then.
const LINGER: Moment = Moment::from_millis(30);

type State = Option<Token>;

/// What an operation does to the key, and what it says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Read(State),
    Write(State),
    Swap(State, Token),
    CompareAndSet(State, Token),
    /// It found something else than this.
    Differs(State),
    Delete {
        existed: bool,
    },
    Touch {
        existed: bool,
    },
}

impl Effect {
    /// The state it leaves behind; `None` if it cannot have seen this one.
    fn on(self, state: State) -> Option<State> {
        match self {
            Self::Read(seen) => (seen == state).then_some(state),
            Self::Write(new) => Some(new),
            Self::Swap(old, new) => (old == state).then_some(Some(new)),
            Self::CompareAndSet(old, new) => (old == state).then_some(Some(new)),
            Self::Differs(from) => (from != state).then_some(state),
            Self::Delete { existed } => (existed == state.is_some()).then_some(None),
            Self::Touch { existed } => (existed == state.is_some()).then_some(state),
        }
    }

    fn changes(self) -> bool {
        !matches!(self, Self::Read(_) | Self::Differs(_) | Self::Touch { .. })
    }

    /// Whether it is the same whatever it finds.
    fn is_blind(self) -> bool {
        matches!(self, Self::Write(_))
    }
}

/// Shown in full where something is wrong.
#[derive(Debug, Clone, Copy)]
struct Operation {
    invoked: Moment,
    /// When it was answered; of an uncertain one, since when it is settled.
    ended: Moment,
    effect: Effect,
    client: usize,
    /// Its place among all that were asked.
    place: usize,
}

impl Operation {
    /// Whether the same client asked it before `other`.
    fn is_before(&self, other: &Self) -> bool {
        self.client == other.client && self.place < other.place
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    /// What stands at the point no order gets beyond.
    Violated(String),
    Undecided,
}

/// Judges what happened to key `key`, which holds nothing at first.
pub(crate) fn judge(entries: &[Entry], key: usize) -> Verdict {
    let mut certain = Vec::new();
    let mut uncertain = Vec::new();
    let mut lifetimes = HashMap::new();
    for (place, entry) in entries.iter().enumerate() {
        if let Op::SetBriefly(at, value) = entry.op
            && at == key
        {
            let last = if entry.is_uncertain() { NEVER } else { entry.told_at + BRIEFLY + LINGER };
            lifetimes.insert(value, (entry.invoked + BRIEFLY, last));
        }
        let operation =
            |effect, ended| Operation { invoked: entry.invoked, ended, effect, client: entry.client, place };
        if entry.is_uncertain() {
            uncertain.extend(wish(entry.op, key).map(|effect| operation(effect, entry.settled)));
        } else if let Some(reply) = entry.reply() {
            certain.extend(outcome(entry.op, reply, key).map(|effect| operation(effect, entry.told_at)));
        }
    }
    certain.sort_by_key(|operation| operation.invoked);
    if let Some(problem) = unwritten(&certain, &uncertain) {
        return Verdict::Violated(problem);
    }
    // Nobody saw it, and nobody asked whether there was anything.
    let asks = |effect| matches!(effect, Effect::Delete { .. } | Effect::Touch { .. } | Effect::Differs(_));
    if !certain.iter().any(|operation| asks(operation.effect)) {
        let all = certain.iter().chain(&uncertain);
        let seen: HashSet<_> = all.filter_map(|operation| sees(operation.effect)).collect();
        uncertain.retain(|operation| match operation.effect {
            Effect::Write(new) => seen.contains(&new),
            _ => true,
        });
    }
    let mut done = Done { certain: vec![false; certain.len()], uncertain: vec![false; uncertain.len()] };
    let tried = HashSet::new();
    let mut search = Search { certain, uncertain, lifetimes, tried, steps: 0, furthest: (0, Vec::new(), None) };
    match search.can_end(&mut done, 0, None, Moment::ZERO, false) {
        true => Verdict::Linearizable,
        false if search.steps > MOST_STEPS => Verdict::Undecided,
        false => Verdict::Violated(search.explain()),
    }
}

/// What an operation on `key` would do, not knowing what it found.
fn wish(op: Op, key: usize) -> Option<Effect> {
    match op {
        Op::Set(at, value) | Op::SetBriefly(at, value) | Op::Swap(at, value) if at == key => {
            Some(Effect::Write(Some(value)))
        }
        Op::SetAll(value) if key < REGISTERS => Some(Effect::Write(Some(value))),
        Op::CompareAndSet(at, old, new) if at == key => Some(Effect::CompareAndSet(old, new)),
        Op::Delete(at) if at == key => Some(Effect::Write(None)),
        _ => None,
    }
}

/// What an operation on `key` did.
fn outcome(op: Op, reply: &Reply, key: usize) -> Option<Effect> {
    let value = |reply: &Reply| match reply {
        Reply::Null => None,
        Reply::Text(text) => Some(number(text)),
        other => panic!("{op:?} was answered {other:?}"),
    };
    Some(match op {
        Op::Get(at) if at == key => Effect::Read(value(reply)),
        Op::Set(at, new) | Op::SetBriefly(at, new) if at == key => Effect::Write(Some(new)),
        Op::SetAll(new) if key < REGISTERS => Effect::Write(Some(new)),
        Op::Swap(at, new) if at == key => Effect::Swap(value(reply), new),
        Op::CompareAndSet(at, old, new) if at == key => match reply {
            Reply::Integer(0) => Effect::Differs(old),
            // Somebody else wrote, or the watch was lost.
            Reply::Null => return None,
            _ => Effect::CompareAndSet(old, new),
        },
        Op::Delete(at) if at == key && *reply == Reply::Integer(1) => Effect::Delete { existed: true },
        // A lost `DEL` is looked for: that there is nothing, it says, and not whether there was.
        Op::Delete(at) if at == key => Effect::Write(None),
        Op::Touch(at) if at == key => Effect::Touch { existed: *reply == Reply::Integer(1) },
        _ => return None,
    })
}

/// The token of a value `key=token`.
pub(crate) fn number(text: &str) -> Token {
    text.split('=').nth(1).and_then(|token| token.parse().ok()).unwrap_or_else(|| panic!("no value of ours: {text}"))
}

fn sees(effect: Effect) -> Option<State> {
    match effect {
        Effect::Read(seen) | Effect::Swap(seen, _) | Effect::CompareAndSet(seen, _) => Some(seen),
        Effect::Write(_) | Effect::Differs(_) | Effect::Delete { .. } | Effect::Touch { .. } => None,
    }
}

/// A value that was seen and that nobody can have written: never sent, or surely not executed.
fn unwritten(certain: &[Operation], uncertain: &[Operation]) -> Option<String> {
    let written = certain.iter().chain(uncertain).filter_map(|operation| match operation.effect {
        Effect::Write(new) => new,
        Effect::Swap(_, new) | Effect::CompareAndSet(_, new) => Some(new),
        Effect::Read(_) | Effect::Differs(_) | Effect::Delete { .. } | Effect::Touch { .. } => None,
    });
    let written: HashSet<Token> = written.collect();
    let ghost =
        certain.iter().find(|operation| sees(operation.effect).flatten().is_some_and(|seen| !written.contains(&seen)));
    ghost.map(|operation| format!("{operation:?} saw what was never sent, or was told not executed"))
}

/// Which operations have been put in order.
struct Done {
    certain: Vec<bool>,
    uncertain: Vec<bool>,
}

struct Search {
    /// In the order they were asked.
    certain: Vec<Operation>,
    uncertain: Vec<Operation>,
    /// Of each brief value: the earliest moment it is gone, and the latest.
    lifetimes: HashMap<Token, (Moment, Moment)>,
    tried: HashSet<(Vec<bool>, State, bool)>,
    steps: usize,
    /// The most operations in order so far, and why there were not more.
    furthest: (usize, Vec<usize>, State),
}

impl Search {
    /// Whether the rest can be put in order. `first`: everything before it is; `fixed`: when the latest write in
    /// order was asked; `must_see`: an uncertain one has just been put in, which somebody must need.
    fn can_end(&mut self, done: &mut Done, first: usize, state: State, fixed: Moment, must_see: bool) -> bool {
        let first = (first..done.certain.len()).find(|at| !done.certain[*at]).unwrap_or(done.certain.len());
        if first == done.certain.len() {
            return true;
        }
        self.steps += 1;
        let key = ([done.certain.clone(), done.uncertain.clone()].concat(), state, must_see);
        if self.steps > MOST_STEPS || !self.tried.insert(key) {
            return false;
        }
        let open: Vec<_> = self.open(done, first);
        self.remember(done, &open, state);
        for &at in &open {
            let operation = self.certain[at];
            if must_see && operation.effect.is_blind() {
                continue;
            }
            let Some(next) = self.on(operation, state) else { continue };
            let fixed_next = if operation.effect.changes() { fixed.max(operation.invoked) } else { fixed };
            done.certain[at] = true;
            if self.can_end(done, first, next, fixed_next, false) {
                return true;
            }
            done.certain[at] = false;
        }
        let horizon = open.iter().map(|at| self.certain[*at].ended).min().unwrap_or(NEVER);
        for at in 0..self.uncertain.len() {
            let operation = self.uncertain[at];
            let Operation { invoked, ended, effect, .. } = operation;
            let is_possible = !done.uncertain[at]
                && invoked <= horizon
                && fixed <= ended
                && !open.iter().any(|at| self.certain[*at].is_before(&operation));
            // One that overwrites another nobody saw makes the other needless.
            if !is_possible || must_see && effect.is_blind() {
                continue;
            }
            let Some(next) = effect.on(state).filter(|next| *next != state) else { continue };
            if !self.is_needed(done, &open, state, next) {
                continue;
            }
            done.uncertain[at] = true;
            if self.can_end(done, first, next, fixed, true) {
                return true;
            }
            done.uncertain[at] = false;
        }
        false
    }

    /// Whether an operation that may come now can do so after a change from `state` to `next`, and not before.
    fn is_needed(&self, done: &Done, open: &[usize], state: State, next: State) -> bool {
        let is_enabled =
            |operation: &Operation| self.on(*operation, next).is_some() && self.on(*operation, state).is_none();
        let mut left = self.uncertain.iter().zip(&done.uncertain).filter(|(_, is_done)| !**is_done);
        open.iter().any(|at| is_enabled(&self.certain[*at]))
            || left.any(|(operation, _)| sees(operation.effect) == Some(next))
    }

    /// The operations that may come next: asked before any of those left was answered.
    fn open(&self, done: &Done, first: usize) -> Vec<usize> {
        let mut horizon = NEVER;
        let mut open = Vec::new();
        for at in first..self.certain.len() {
            let operation = self.certain[at];
            if operation.invoked > horizon {
                break;
            }
            if !done.certain[at] {
                horizon = horizon.min(operation.ended);
                open.push(at);
            }
        }
        open.retain(|at| self.certain[*at].invoked <= horizon);
        let is_first = |at: &usize| !open.iter().any(|other| self.certain[*other].is_before(&self.certain[*at]));
        open.iter().copied().filter(is_first).collect()
    }

    /// As [`Effect::on`], and a brief value may be gone, or must be.
    fn on(&self, operation: Operation, state: State) -> Option<State> {
        let lifetime = state.and_then(|value| self.lifetimes.get(&value));
        let Some((earliest, latest)) = lifetime else { return operation.effect.on(state) };
        let still = operation.effect.on(state).filter(|_| operation.effect.is_blind() || operation.invoked <= *latest);
        still.or_else(|| operation.effect.on(None).filter(|_| operation.ended >= *earliest))
    }

    fn remember(&mut self, done: &Done, open: &[usize], state: State) {
        let count = done.certain.iter().filter(|is_done| **is_done).count();
        if count >= self.furthest.0 {
            self.furthest = (count, open.to_vec(), state);
        }
    }

    fn explain(&self) -> String {
        let (count, open, state) = &self.furthest;
        let next: Vec<_> = open.iter().map(|at| self.certain[*at]).collect();
        let horizon = next.iter().map(|operation| operation.ended).min().unwrap_or(NEVER);
        let before = self.certain[..open.first().copied().unwrap_or(0)].iter().rev().take(6);
        let uncertain = self.uncertain.iter().filter(|operation| operation.invoked <= horizon);
        format!(
            "no order goes beyond {count} operations, with {state:?} held; before:{}\nnext could be:{}\nperhaps run:{}",
            lines(before),
            lines(&next),
            lines(uncertain),
        )
    }
}

fn lines<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> String {
    operations.into_iter().map(|operation| format!("\n  {operation:?}")).collect()
}
