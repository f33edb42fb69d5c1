//! The judges themselves: what can have happened passes, what cannot is seen.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::history::{Entry, History, Moment, NEVER, Op, Reply, Subscription, Told};
use super::register::{self, BRIEFLY, Verdict};
use super::tokens::{self, Gaps, Kept};

fn at(moment: u64) -> Moment {
    Moment::from_millis(moment)
}

fn text(token: u32) -> Reply {
    Reply::Text(format!("value:0={token}"))
}

fn done(op: Op, invoked: u64, told_at: u64, reply: Reply) -> Entry {
    // One that asks nothing else.
    let client = CLIENTS.fetch_add(1, Ordering::Relaxed);
    let (invoked, told_at) = (at(invoked), at(told_at));
    Entry { client, op, invoked, told_at, told: Told::Executed(reply), settled: told_at }
}

static CLIENTS: AtomicUsize = AtomicUsize::new(0);

/// The same client asks all of these.
fn in_order(entries: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
    entries.into_iter().map(|entry| Entry { client: usize::MAX, ..entry }).collect()
}

/// Told unknown, and settled then.
fn unknown(op: Op, invoked: u64, told_at: u64) -> Entry {
    Entry { told: Told::Unknown, ..done(op, invoked, told_at, Reply::Ok) }
}

fn closed(op: Op, invoked: u64) -> Entry {
    Entry { told: Told::Closed, settled: NEVER, ..unknown(op, invoked, invoked) }
}

fn refused(op: Op, invoked: u64, told_at: u64) -> Entry {
    Entry { told: Told::NotExecuted, ..done(op, invoked, told_at, Reply::Ok) }
}

fn set(token: u32, invoked: u64, told_at: u64) -> Entry {
    done(Op::Set(0, token), invoked, told_at, Reply::Ok)
}

fn get(token: u32, invoked: u64, told_at: u64) -> Entry {
    done(Op::Get(0), invoked, told_at, text(token))
}

fn get_nothing(invoked: u64, told_at: u64) -> Entry {
    done(Op::Get(0), invoked, told_at, Reply::Null)
}

#[test]
fn what_a_variable_can_answer_passes() {
    let swap = |old, new, invoked, told_at| done(Op::Swap(0, new), invoked, told_at, text(old));
    let exec =
        |old, new, invoked| done(Op::CompareAndSet(0, Some(old), new), invoked, invoked + 2, Reply::List(vec![]));
    let cases: &[(&str, Vec<Entry>)] = &[
        ("nothing", vec![]),
        ("a write and a read", vec![set(1, 0, 1), get(1, 2, 3)]),
        ("one of several written at once", vec![done(Op::SetAll(1), 0, 1, Reply::Ok), get(1, 2, 3)]),
        ("a read beside a write, either way", vec![set(1, 0, 10), get_nothing(1, 9), get(1, 2, 8)]),
        ("two writes at once, read in one order", vec![set(1, 0, 10), set(2, 1, 9), get(2, 11, 12)]),
        ("an unknown one that did not run", vec![set(1, 0, 1), unknown(Op::Set(0, 2), 2, 3), get(1, 4, 5)]),
        ("one that ran late", vec![set(1, 0, 1), unknown(Op::Set(0, 2), 2, 3), get(1, 4, 5), get(2, 6, 7)]),
        ("one overwritten", vec![unknown(Op::Set(0, 2), 2, 3), get(2, 4, 5), set(3, 6, 7), get(3, 8, 9)]),
        ("closed, and after a later write", vec![closed(Op::Set(0, 1), 0), set(2, 2, 3), get(1, 4, 5)]),
        ("swapped", vec![set(1, 0, 1), swap(1, 2, 2, 3), get(2, 4, 5)]),
        ("unknown, then seen by a swap", vec![unknown(Op::Set(0, 1), 0, 1), swap(1, 2, 2, 3)]),
        ("compared", vec![set(1, 0, 1), exec(1, 2, 2), get(2, 5, 6)]),
        (
            "two unknown ones, the second upon the first",
            vec![unknown(Op::Set(0, 1), 0, 1), unknown(Op::CompareAndSet(0, Some(1), 2), 2, 3), get(2, 4, 5)],
        ),
        ("a deletion", vec![set(1, 0, 1), done(Op::Delete(0), 2, 3, Reply::Integer(1)), get_nothing(4, 5)]),
        ("a deletion, unknown", vec![set(1, 0, 1), unknown(Op::Delete(0), 2, 3), get_nothing(4, 5)]),
        ("several at once", in_order([get_nothing(0, 9), set(1, 0, 9), get(1, 0, 9)])),
        (
            "what nobody saw may have been there",
            vec![unknown(Op::Set(0, 1), 0, 1), done(Op::Delete(0), 2, 3, Reply::Integer(1))],
        ),
    ];
    for (what, entries) in cases {
        assert_eq!(register::judge(entries, 0), Verdict::Linearizable, "{what}");
    }
}

#[test]
fn what_a_variable_cannot_answer_is_seen() {
    let cases: &[(&str, Vec<Entry>)] = &[
        ("a lost write", vec![set(1, 0, 1), get_nothing(2, 3)]),
        ("lost with others", vec![done(Op::SetAll(1), 0, 1, Reply::Ok), get_nothing(2, 3)]),
        ("an old value", vec![set(1, 0, 1), set(2, 2, 3), get(1, 4, 5)]),
        ("back in time", vec![set(1, 0, 20), get(1, 1, 2), get_nothing(3, 4)]),
        ("from the future", vec![get(1, 0, 1), set(1, 2, 3)]),
        ("from nowhere", vec![get(9, 0, 1)]),
        ("told not executed", vec![refused(Op::Set(0, 1), 0, 1), get(1, 2, 3)]),
        ("an unknown one, twice", vec![unknown(Op::Set(0, 1), 0, 1), get(1, 2, 3), set(2, 4, 5), get(1, 6, 7)]),
        ("a ghost", vec![unknown(Op::Set(0, 1), 0, 1), set(2, 2, 3), get(1, 4, 5)]),
        (
            "compared with what it was not",
            vec![set(1, 0, 1), set(2, 2, 3), done(Op::CompareAndSet(0, Some(1), 3), 4, 5, Reply::Integer(1))],
        ),
        ("swapped twice", {
            let swap = |new, invoked| done(Op::Swap(0, new), invoked, invoked + 1, text(1));
            vec![set(1, 0, 1), swap(2, 2), swap(3, 4)]
        }),
        ("a deletion of nothing", vec![done(Op::Delete(0), 0, 1, Reply::Integer(1))]),
        ("a deletion undone", vec![set(1, 0, 1), done(Op::Delete(0), 2, 3, Reply::Integer(1)), get(1, 4, 5)]),
        ("what was asked behind it", in_order([get(1, 0, 9), set(1, 0, 9)])),
        ("what was asked behind it, unknown", in_order([get(1, 0, 9), unknown(Op::Set(0, 1), 0, 9)])),
        ("not what was asked before it", in_order([set(1, 0, 9), get_nothing(0, 9)])),
        ("touched, but not there", vec![set(1, 0, 1), done(Op::Touch(0), 2, 3, Reply::Integer(0))]),
    ];
    for (what, entries) in cases {
        assert!(matches!(register::judge(entries, 0), Verdict::Violated(_)), "{what}");
    }
}

#[test]
fn a_brief_value_is_gone_in_time_and_not_before() {
    let brief = BRIEFLY.as_millis() as u64;
    let entries = |reply: Reply, after: u64| {
        let set = done(Op::SetBriefly(0, 1), 0, 1, Reply::Ok);
        vec![set, done(Op::Get(0), after, after + 1, reply)]
    };
    assert_eq!(register::judge(&entries(text(1), 2), 0), Verdict::Linearizable);
    assert_eq!(register::judge(&entries(Reply::Null, brief), 0), Verdict::Linearizable);
    assert!(matches!(register::judge(&entries(Reply::Null, 2), 0), Verdict::Violated(_)));
    assert!(matches!(register::judge(&entries(text(1), brief * 3), 0), Verdict::Violated(_)));
}

/// Long, with many at once, and with many that nobody knows of: judged all the same.
#[test]
fn a_long_history_is_judged() {
    let (mut entries, mut value) = (Vec::new(), 0);
    for round in 0..200 {
        let (now, old, new) = (u64::from(round) * 10, round * 2 + 1, round * 2 + 2);
        entries.push(if round % 5 == 0 {
            closed(Op::Set(0, old), now)
        } else {
            unknown(Op::Set(0, old), now, now + 3)
        });
        if round % 3 == 0 {
            value = old;
        }
        entries.extend((0..3).map(|_| get(value, now + 4, now + 9)));
        entries.push(done(Op::Delete(0), now + 4, now + 5, Reply::Integer(1)));
        entries.push(set(new, now + 6, now + 9));
        value = new;
    }
    assert_eq!(register::judge(&entries, 0), Verdict::Linearizable);
    entries.push(get(value - 2, 3000, 3001));
    assert!(matches!(register::judge(&entries, 0), Verdict::Violated(_)));
}

fn push(token: u32, invoked: u64, told_at: u64, len: u32) -> Entry {
    done(Op::Push(0, token), invoked, told_at, Reply::Integer(len))
}

fn list(elements: &[u32]) -> Reply {
    Reply::List(elements.iter().map(|token| format!("t={token}")).collect())
}

fn wrong(entries: Vec<Entry>, kept: &Kept) -> usize {
    tokens::violations(&History { entries, ..History::default() }, kept, Gaps::Seen).len()
}

#[test]
fn a_list_tells_what_ran_and_when() {
    let kept = |list: &[u32]| Kept { lists: vec![list.to_vec()], ..Kept::default() };
    let pushes = || vec![push(1, 0, 1, 1), push(2, 2, 3, 2)];
    let with = |more: Entry| [pushes(), vec![more]].concat();
    assert_eq!(wrong(pushes(), &kept(&[1, 2])), 0);
    assert_eq!(wrong(with(unknown(Op::Push(0, 3), 4, 5)), &kept(&[1, 2])), 0);
    assert_eq!(wrong(with(unknown(Op::Push(0, 3), 4, 5)), &kept(&[1, 2, 3])), 0);
    assert_eq!(wrong(with(done(Op::List(0), 2, 4, list(&[1]))), &kept(&[1, 2])), 0);
    let cases = [
        ("lost", wrong(pushes(), &kept(&[1]))),
        ("twice", wrong(pushes(), &kept(&[1, 2, 2]))),
        ("from nowhere", wrong(pushes(), &kept(&[1, 2, 9]))),
        ("told not executed", wrong(with(refused(Op::Push(0, 3), 4, 5)), &kept(&[1, 2, 3]))),
        ("a ghost", wrong(vec![unknown(Op::Push(0, 1), 0, 1), push(2, 2, 3, 1)], &kept(&[2, 1]))),
        ("in the wrong order", wrong(vec![push(1, 0, 1, 2), push(2, 2, 3, 1)], &kept(&[2, 1]))),
        ("an old list", wrong(with(done(Op::List(0), 4, 5, list(&[1]))), &kept(&[1, 2]))),
        ("another's list", wrong(with(done(Op::List(0), 4, 5, list(&[7]))), &kept(&[1, 2]))),
    ];
    for (what, count) in cases {
        assert!(count > 0, "{what}");
    }
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let both = |one: &[u32], other: &[u32]| Kept { both: [one.to_vec(), other.to_vec()], ..Kept::default() };
    let exec = || done(Op::PushBoth(1), 0, 1, Reply::List(vec!["1".into(), "1".into()]));
    assert_eq!(wrong(vec![exec()], &both(&[1], &[1])), 0);
    assert_eq!(wrong(vec![unknown(Op::PushBoth(1), 0, 1)], &both(&[], &[])), 0);
    assert!(wrong(vec![unknown(Op::PushBoth(1), 0, 1)], &both(&[1], &[])) > 0);
    assert!(wrong(vec![exec()], &both(&[], &[])) > 0);
    assert!(wrong(vec![refused(Op::PushBoth(1), 0, 1)], &both(&[1], &[1])) > 0);
    let half = done(Op::ListBoth, 0, 1, list(&[1]));
    assert!(wrong(vec![exec(), half], &both(&[1], &[1])) > 0);
}

#[test]
fn a_counter_counts_each_increment_once() {
    let count = |invoked, told_at, number| done(Op::Increment, invoked, told_at, Reply::Integer(number));
    let counter = |counter| Kept { counter, ..Kept::default() };
    assert_eq!(wrong(vec![count(0, 9, 2), count(0, 9, 1), unknown(Op::Increment, 0, 1)], &counter(3)), 0);
    assert!(wrong(vec![count(0, 9, 1), unknown(Op::Increment, 0, 1)], &counter(3)) > 0, "twice");
    assert!(wrong(vec![count(0, 9, 1), count(0, 9, 2)], &counter(1)) > 0, "lost");
    assert!(wrong(vec![count(0, 9, 1), count(0, 9, 1)], &counter(2)) > 0, "given twice");
    assert!(wrong(vec![count(0, 1, 2), count(2, 3, 1)], &counter(2)) > 0, "back in time");
}

#[test]
fn a_queue_gives_each_token_once() {
    let enqueued =
        || vec![done(Op::Enqueue(1), 0, 1, Reply::Integer(1)), done(Op::Enqueue(2), 2, 3, Reply::Integer(2))];
    let got = |token| done(Op::Dequeue, 4, 5, Reply::List(vec!["queue".into(), format!("t={token}")]));
    let with = |more: &[Entry]| [enqueued(), more.to_vec()].concat();
    let left = |queue: &[u32]| Kept { queue: queue.to_vec(), ..Kept::default() };
    assert_eq!(wrong(with(&[got(1)]), &left(&[2])), 0);
    assert_eq!(wrong(with(&[unknown(Op::Dequeue, 4, 5)]), &left(&[2])), 0);
    assert!(wrong(with(&[]), &left(&[2])) > 0, "lost");
    assert!(wrong(with(&[got(1), got(1)]), &left(&[2])) > 0, "given twice");
    assert!(wrong(with(&[got(1)]), &left(&[1, 2])) > 0, "given and kept");
    assert!(wrong(with(&[got(3)]), &left(&[1, 2])) > 0, "from nowhere");
    assert!(wrong(vec![refused(Op::Enqueue(1), 0, 1)], &left(&[1])) > 0, "told not executed");
}

#[test]
fn a_subscriber_hears_everything_up_to_its_close() {
    let judged = |gaps, heard: &[u32], entries: Vec<Entry>| {
        let subscription = Subscription { confirmed: at(1), heard: heard.to_vec() };
        let history = History { entries, subscriptions: vec![subscription], ..History::default() };
        tokens::violations(&history, &Kept::default(), gaps).len()
    };
    let wrong = |heard: &[u32], entries| judged(Gaps::Seen, heard, entries);
    let published = || {
        let publish = |token: u32, invoked| done(Op::Publish(token), invoked, invoked + 1, Reply::Integer(1));
        vec![publish(1, 2), publish(2, 4), publish(3, 6)]
    };
    assert_eq!(wrong(&[1, 2, 3], published()), 0);
    assert_eq!(wrong(&[1, 2], published()), 0, "closed before the last");
    assert!(wrong(&[1, 3], published()) > 0, "a gap");
    assert!(wrong(&[2, 1], published()) > 0, "out of order");
    assert!(wrong(&[1, 1], published()) > 0, "twice");
    assert!(wrong(&[1], vec![refused(Op::Publish(1), 2, 3)]) > 0, "told not executed");
    let with_gaps = |heard: &[u32]| judged(Gaps::Silent, heard, published());
    assert_eq!(with_gaps(&[1, 3]), 0, "a gap it is not told of");
    assert!(with_gaps(&[2, 1]) > 0, "out of order, with gaps");
    assert!(with_gaps(&[1, 3, 3]) > 0, "twice, with gaps");
    assert!(with_gaps(&[9]) > 0, "from nowhere, with gaps");
}
