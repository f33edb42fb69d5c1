//! What happened to tokens, each of which was sent once: on lists that only grow, in a queue, over a channel.
//!
//! A list remembers the order in which its pushes ran, so nothing has to be searched for.

use std::collections::{HashMap, HashSet};

use super::history::{Entry, History, Moment, Op, Reply, Token, Told};
use super::register::number;

/// What the server holds at the end.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) lists: Vec<Vec<Token>>,
    /// Of the transactions.
    pub(crate) both: [Vec<Token>; 2],
    pub(crate) queue: Vec<Token>,
    pub(crate) counter: u32,
}

/// What a subscriber has to be told of messages it did not hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// It is closed.
    Seen,
    /// Nothing: it is subscribed again by itself.
    Silent,
}

/// Everything that must not have happened.
pub(crate) fn violations(history: &History, kept: &Kept, gaps: Gaps) -> Vec<String> {
    let entries = &history.entries;
    let mut found = Vec::new();
    for (at, list) in kept.lists.iter().enumerate() {
        let pushed =
            of(entries, |op| if let Op::Push(list, token) = op { (list == at).then_some(token) } else { None });
        let reads: Vec<_> = entries.iter().filter(|entry| entry.op == Op::List(at)).collect();
        found.extend(grown(&format!("list {at}"), list, &pushed));
        found.extend(seen(&format!("list {at}"), list, &pushed, &reads));
    }
    found.extend(transactions(entries, &kept.both));
    found.extend(counted(entries, kept.counter));
    found.extend(queued(entries, &kept.queue));
    found.extend(published(history, gaps));
    found
}

/// The entries that carried a token, by it.
fn of(entries: &[Entry], token: impl Fn(Op) -> Option<Token>) -> HashMap<Token, &Entry> {
    entries.iter().filter_map(|entry| Some((token(entry.op)?, entry))).collect()
}

pub(crate) fn tokens(reply: &Reply) -> Vec<Token> {
    match reply {
        Reply::List(elements) => elements.iter().map(|element| number(element)).collect(),
        _ => Vec::new(),
    }
}

/// Nothing acknowledged is lost, nothing ran twice, nothing ran that was told not executed, and everything ran
/// between its request and its reply.
fn grown(name: &str, list: &[Token], pushed: &HashMap<Token, &Entry>) -> Vec<String> {
    let mut found = Vec::new();
    let mut places = HashMap::new();
    for (place, token) in list.iter().enumerate() {
        if let Some(before) = places.insert(*token, place) {
            found.push(format!("{name}: {token} ran twice, at {before} and {place}: {:?}", pushed.get(token)));
        }
        match pushed.get(token) {
            None => found.push(format!("{name}: {token} was never sent to it")),
            Some(Entry { told: Told::NotExecuted, .. }) => {
                found.push(format!("{name}: {token} ran, but was told not executed: {:?}", pushed[token]));
            }
            Some(_) => {}
        }
    }
    for (token, entry) in pushed {
        let Some(reply) = entry.reply() else { continue };
        match (places.get(token), reply) {
            (None, _) => found.push(format!("{name}: {token} is lost: {entry:?}")),
            (Some(place), Reply::Integer(len)) if *place + 1 != *len as usize => {
                found.push(format!("{name}: {token} is at {place}, but {entry:?}"));
            }
            (Some(_), _) => {}
        }
    }
    found.extend(ghosts(name, list.iter().filter_map(|token| pushed.get(token).copied())));
    found
}

/// What ran in an order in which it cannot have run: nothing stands behind what was sent when it was over. What is of
/// unknown outcome may stand behind others of that kind.
fn ghosts<'a>(name: &str, order: impl Iterator<Item = &'a Entry>) -> Vec<String> {
    let mut found = Vec::new();
    let (mut latest_sure, mut latest): (Option<&Entry>, Option<&Entry>) = (None, None);
    for entry in order {
        let is_sure = entry.reply().is_some();
        if let Some(before) = if is_sure { latest } else { latest_sure }
            && entry.settled < before.invoked
        {
            found.push(format!("{name}: a ghost: {entry:?} ran behind {before:?}"));
        }
        let later = |before: Option<&Entry>| before.is_none_or(|before| before.invoked < entry.invoked);
        if later(latest) {
            latest = Some(entry);
        }
        if is_sure && later(latest_sure) {
            latest_sure = Some(entry);
        }
    }
    found
}

/// Each read found the list as it was between its request and its reply.
fn seen(name: &str, list: &[Token], pushed: &HashMap<Token, &Entry>, reads: &[&Entry]) -> Vec<String> {
    let mut found = Vec::new();
    let mut lengths: Vec<(&Entry, usize)> = Vec::new();
    for read in reads {
        let Some(reply) = read.reply() else { continue };
        let elements = tokens(reply);
        if !list.starts_with(&elements) {
            found.push(format!("{name}: {read:?} is no beginning of {list:?}"));
            continue;
        }
        lengths.push((read, elements.len()));
        for (place, token) in list.iter().enumerate() {
            let Some(entry) = pushed.get(token) else { continue };
            let is_seen = place < elements.len();
            if is_seen && read.told_at < entry.invoked {
                found.push(format!("{name}: {token} was seen before it was sent: {read:?}"));
            }
            if !is_seen && entry.reply().is_some() && entry.told_at < read.invoked {
                found.push(format!("{name}: {entry:?} was not seen by {read:?}"));
            }
        }
    }
    for (earlier, long) in &lengths {
        let back = lengths.iter().find(|(later, short)| earlier.told_at < later.invoked && short < long);
        found.extend(back.map(|(later, _)| format!("{name}: back in time: {earlier:?}, then {later:?}")));
    }
    found
}

/// All or nothing, in the same order on both lists; and both are read at one moment.
fn transactions(entries: &[Entry], both: &[Vec<Token>; 2]) -> Vec<String> {
    let mut found = Vec::new();
    if both[0] != both[1] {
        found.push(format!("a transaction ran in part: {both:?}"));
    }
    let pushed = of(entries, |op| if let Op::PushBoth(token) = op { Some(token) } else { None });
    found.extend(grown("transactions", &both[0], &pushed));
    for entry in entries.iter().filter(|entry| entry.op == Op::ListBoth) {
        let elements = entry.reply().map(tokens).unwrap_or_default();
        let (one, other) = elements.split_at(elements.len() / 2);
        if one != other || !both[0].starts_with(one) {
            found.push(format!("transactions: seen in part: {entry:?}"));
        }
    }
    found
}

/// The counter ran as often as it was told, and each number was given once.
fn counted(entries: &[Entry], counter: u32) -> Vec<String> {
    let increments: Vec<_> = entries.iter().filter(|entry| entry.op == Op::Increment).collect();
    let sure = increments.iter().filter(|entry| entry.reply().is_some()).count();
    let unsure = increments.iter().filter(|entry| entry.is_uncertain()).count();
    let mut found = Vec::new();
    if !(sure..=sure + unsure).contains(&(counter as usize)) {
        found.push(format!("the counter is {counter}, after {sure} increments, and perhaps {unsure} more"));
    }
    let mut numbers: Vec<(u32, &Entry)> = Vec::new();
    for entry in increments {
        if let Some(Reply::Integer(number)) = entry.reply() {
            numbers.push((*number, entry));
        }
    }
    numbers.sort_by_key(|(number, _)| *number);
    let mut latest = Moment::ZERO;
    for pair in numbers.windows(2) {
        if pair[0].0 == pair[1].0 {
            found.push(format!("counted twice: {pair:?}"));
        }
    }
    for (number, entry) in numbers {
        if entry.told_at < latest {
            found.push(format!("counted back in time: {number}, {entry:?}"));
        }
        latest = latest.max(entry.invoked);
    }
    found
}

/// Nobody gets what another got, or what was never enqueued; and what is gone, somebody may have got.
fn queued(entries: &[Entry], left: &[Token]) -> Vec<String> {
    let enqueued = of(entries, |op| if let Op::Enqueue(token) = op { Some(token) } else { None });
    let mut found = Vec::new();
    let mut gone = HashSet::new();
    let dequeues: Vec<_> = entries.iter().filter(|entry| entry.op == Op::Dequeue).collect();
    for entry in &dequeues {
        // A list of the queue's name and the element.
        let Some(token) = entry.reply().and_then(dequeued) else { continue };
        if !gone.insert(token) {
            let got = |other: &&&Entry| other.reply().is_some_and(|reply| dequeued(reply) == Some(token));
            let all: Vec<_> = dequeues.iter().filter(got).collect();
            found.push(format!("queue: {:?} was given twice: {all:?}", enqueued.get(&token)));
        }
        if enqueued.get(&token).is_none_or(|sent| sent.told == Told::NotExecuted || entry.told_at < sent.invoked) {
            found.push(format!("queue: {entry:?} got {:?}", enqueued.get(&token)));
        }
    }
    for (place, token) in left.iter().enumerate() {
        let is_nobodys = enqueued.get(token).is_none_or(|sent| sent.told == Told::NotExecuted);
        if is_nobodys || gone.contains(token) || left[..place].contains(token) {
            found.push(format!(
                "queue: {token} is left; it was given: {}; {:?}",
                gone.contains(token),
                enqueued.get(token)
            ));
        }
    }
    let is_lost =
        |(token, entry): &(&Token, &&Entry)| entry.reply().is_some() && !gone.contains(token) && !left.contains(token);
    let lost: Vec<_> = enqueued.iter().filter(is_lost).collect();
    let unsure = dequeues.iter().filter(|entry| entry.is_uncertain()).count();
    if lost.len() > unsure {
        found.push(format!("queue: {} are lost, and only {unsure} may have got one: {lost:?}", lost.len()));
    }
    found
}

/// The element in a list of the queue's name and itself.
fn dequeued(reply: &Reply) -> Option<Token> {
    if let Reply::List(elements) = reply { Some(number(&elements[1])) } else { None }
}

/// A subscriber hears what was published while it was subscribed once, in order, and all of it up to its close; or,
/// where gaps are silent, some of it.
fn published(history: &History, gaps: Gaps) -> Vec<String> {
    let sent = of(&history.entries, |op| if let Op::Publish(token) = op { Some(token) } else { None });
    let mut in_order: Vec<_> = sent.iter().collect();
    in_order.sort_by_key(|(_, entry)| entry.invoked);
    let mut found = Vec::new();
    for subscription in &history.subscriptions {
        let heard = &subscription.heard;
        let mut last = Moment::ZERO;
        for token in heard {
            match sent.get(token) {
                None | Some(Entry { told: Told::NotExecuted, .. }) => {
                    found.push(format!("channel: {token} was heard: {:?}", sent.get(token)));
                }
                Some(entry) => last = last.max(entry.invoked),
            }
        }
        found.extend(ghosts("channel", heard.iter().filter_map(|token| sent.get(token).copied())));
        let is_double = heard.iter().collect::<HashSet<_>>().len() < heard.len();
        if is_double {
            found.push(format!("channel: heard twice: {heard:?}"));
        }
        for (token, entry) in &in_order {
            let is_due = subscription.confirmed < entry.invoked && entry.told_at < last && entry.reply().is_some();
            if gaps == Gaps::Seen && is_due && !heard.contains(token) {
                found.push(format!("channel: a silent gap: {entry:?} was not heard, but {:?}", heard.last()));
            }
        }
    }
    found
}
