//! The judge is judged: histories that may be, and others that must be found wrong.

use super::history::{ANY, Clock, Event, History, KEYS, Mark, NEVER, NIL, Read, Through, Write};
use super::judge::judge;
use super::timeline::{self, State, settled};

const A: Through = Through::Proxy(0);
const B: Through = Through::Proxy(1);

/// A hundred milliseconds.
const STALENESS: u32 = 100_000;

/// A token that was written through somebody, between two moments in milliseconds.
fn written(token: u32, through: Through, asked: u32, acknowledged: u32) -> State {
    let (earliest, latest) = (asked * 1000, acknowledged * 1000);
    let proxy = if let Through::Proxy(proxy) = through { Some((proxy, latest)) } else { None };
    State { token, expires: NEVER, earliest, latest, acknowledged: proxy, is_expiry: false }
}

fn brief(state: State, expires: u32) -> State {
    State { expires: expires * 1000, ..state }
}

fn read(token: u32, asked: u32, told: u32) -> Event {
    Event::Read(Read { key: 0, count: 1, token, invoked: asked * 1000, told_at: told * 1000 })
}

fn saw(through: Through, events: &[Event]) -> History {
    History { events: events.to_vec(), ..History::new(through) }
}

/// How many reads are wrong where the key was first absent, and then this.
fn wrong(states: &[State], histories: &[History], staleness: u32) -> usize {
    let first = State { token: NIL, expires: NEVER, earliest: 0, latest: 0, acknowledged: None, is_expiry: false };
    let timeline = settled([&[first], states].concat());
    let verdict = judge(vec![timeline], histories, staleness);
    assert_eq!(verdict.wrong > 0, !verdict.shown.is_empty());
    verdict.wrong
}

#[test]
fn a_read_through_the_same_proxy_is_not_older_than_an_acknowledgement() {
    let states = [written(1, A, 10, 20), written(2, A, 30, 40)];
    for (token, asked, through, is_wrong) in [
        (1, 39, A, 0),
        (1, 41, A, 1),
        (2, 41, A, 0),
        (1, 41, B, 0),
        (1, 139, B, 0),
        (1, 141, B, 1),
        (1, 41, Through::Direct, 1),
        (2, 29, Through::Direct, 0),
        (NIL, 41, B, 0),
        (NIL, 121, B, 1),
    ] {
        let histories = [saw(through, &[read(token, asked, asked + 5)])];
        assert_eq!(wrong(&states, &histories, STALENESS), is_wrong, "{token} at {asked} through {through:?}");
    }
}

#[test]
fn without_staleness_every_acknowledgement_counts() {
    let states = [written(1, A, 10, 20), written(2, Through::Direct, 30, 40)];
    assert_eq!(wrong(&states, &[saw(B, &[read(1, 39, 50)])], 0), 0);
    assert_eq!(wrong(&states, &[saw(B, &[read(1, 41, 50)])], 0), 1);
}

#[test]
fn without_staleness_what_one_has_seen_all_see() {
    let states = [written(1, A, 10, 20), written(2, A, 30, NEVER / 1000)];
    let histories = |asked| [saw(A, &[read(2, 50, 60)]), saw(B, &[read(1, asked, asked + 5)])];
    assert_eq!(wrong(&states, &histories(59), 0), 0);
    assert_eq!(wrong(&states, &histories(61), 0), 1);
    assert_eq!(wrong(&states, &histories(61), STALENESS), 0);
    assert_eq!(wrong(&states, &histories(161), STALENESS), 1);
}

#[test]
fn nobody_reads_what_is_not_yet_written_or_never_was() {
    let states = [written(1, A, 10, 20)];
    assert_eq!(wrong(&states, &[saw(A, &[read(1, 2, 9)])], STALENESS), 1);
    assert_eq!(wrong(&states, &[saw(A, &[read(1, 2, 11)])], STALENESS), 0);
    assert_eq!(wrong(&states, &[saw(A, &[read(7, 12, 30)])], STALENESS), 1);
}

#[test]
fn nobody_goes_back_on_one_connection() {
    let states = [written(1, B, 10, 20), written(2, B, 30, 40)];
    let back = [read(2, 45, 46), read(1, 47, 48)];
    assert_eq!(wrong(&states, &[saw(A, &back)], STALENESS), 1);
    assert_eq!(wrong(&states, &[saw(A, &[back[0], Event::Connected, back[1]])], STALENESS), 0);
    let own = [Event::Wrote(0, 2), read(1, 35, 48)];
    assert_eq!(wrong(&states, &[saw(B, &own)], STALENESS), 1, "asked together with its own write");
    assert_eq!(wrong(&states, &[saw(B, &[own[1]])], STALENESS), 0);
}

#[test]
fn a_value_is_gone_at_its_time() {
    let states = [brief(written(1, B, 10, 20), 50)];
    for (token, asked, told, is_wrong) in
        [(1, 49, 90, 0), (1, 53, 54, 1), (NIL, 53, 54, 0), (NIL, 40, 47, 0), (NIL, 125, 126, 0)]
    {
        assert_eq!(wrong(&states, &[saw(A, &[read(token, asked, told)])], STALENESS), is_wrong, "{token} at {asked}");
    }
    // Through its own proxy it is not gone before.
    assert_eq!(wrong(&states, &[saw(B, &[read(NIL, 40, 45)])], STALENESS), 1);
    assert_eq!(wrong(&states, &[saw(B, &[read(NIL, 40, 49)])], STALENESS), 0);
}

/// By `SWAPDB`: the server had not yet deleted it.
#[test]
fn a_value_may_come_when_its_time_is_over() {
    let states = [brief(written(1, A, 100, 110), 50)];
    assert_eq!(wrong(&states, &[saw(A, &[read(NIL, 60, 61), read(NIL, 105, 107), read(NIL, 300, 301)])], 0), 0);
    assert_eq!(wrong(&states, &[saw(A, &[read(1, 105, 107)])], 0), 1);
}

#[test]
fn a_value_that_is_gone_does_not_come_back() {
    let states = [brief(written(1, B, 10, 20), 50)];
    assert_eq!(wrong(&states, &[saw(A, &[read(1, 22, 23), read(NIL, 48, 49), read(1, 49, 51)])], STALENESS), 1);
}

#[test]
fn a_longer_life_is_known_in_time() {
    let states = [brief(written(1, B, 10, 20), 50), brief(written(1, B, 30, 40), 500)];
    assert_eq!(wrong(&states, &[saw(B, &[read(1, 60, 61)])], STALENESS), 0);
    assert_eq!(wrong(&states, &[saw(B, &[read(NIL, 60, 61)])], STALENESS), 1);
    assert_eq!(wrong(&states, &[saw(A, &[read(NIL, 60, 61)])], STALENESS), 0, "it knows the old end only");
    assert_eq!(wrong(&states, &[saw(A, &[read(NIL, 141, 142)])], STALENESS), 1);
}

#[test]
fn a_logout_counts_as_any_write() {
    let states = [written(1, A, 10, 20), written(NIL, A, 30, 40)];
    assert_eq!(wrong(&states, &[saw(A, &[read(1, 41, 42)])], STALENESS), 1);
    assert_eq!(wrong(&states, &[saw(B, &[read(1, 139, 141)])], STALENESS), 0);
    assert_eq!(wrong(&states, &[saw(B, &[read(1, 141, 142)])], STALENESS), 1);
    assert_eq!(wrong(&states, &[saw(B, &[read(ANY, 141, 142)])], STALENESS), 1, "EXISTS");
}

#[test]
fn the_same_value_may_be_there_twice() {
    let states = [written(1, A, 10, 20), written(NIL, A, 30, 40), written(1, A, 50, 60)];
    assert_eq!(wrong(&states, &[saw(A, &[read(1, 45, 49)])], STALENESS), 1);
    assert_eq!(wrong(&states, &[saw(A, &[read(1, 45, 51)])], STALENESS), 0);
}

/// The server's log, as text, with what clients asked and ticks at 1000, 2000 ...
fn told(log: &str, through: Through, writes: &[(Mark, u32, u32)]) -> Vec<Vec<State>> {
    let log: Vec<Vec<String>> = log.split(", ").map(|line| line.split(' ').map(ToOwned::to_owned).collect()).collect();
    let write = |(mark, invoked, acknowledged): &(Mark, u32, u32)| Write {
        mark: mark.clone(),
        invoked: *invoked,
        acknowledged: *acknowledged,
    };
    let history = History { writes: writes.iter().map(write).collect(), ..History::new(through) };
    let ticks: Vec<_> = (1..5).map(|at| write(&(Mark::Token(at), at * 1000, at * 1000 + 100))).collect();
    timeline::timelines(&log, &[history], &ticks, &Clock::new())
}

fn tokens(timeline: &[State]) -> Vec<u32> {
    timeline.iter().map(|state| state.token).collect()
}

#[test]
fn the_log_tells_what_every_key_held() {
    let keys = told(
        "SELECT 0, SET s:0 t1;, SET s:1 ppt2; PXAT 1, APPEND s:0 t3;, SELECT 1, SET s:0 t4;, SWAPDB 0 1, \
         MOVE s:0 0, MULTI, SET s:2 t5;, SET s:2 t6;, EXEC, COPY s:2 s:3 REPLACE, RENAME s:2 s:4, FLUSHDB, \
         UNLINK s:5 x:t9;",
        A,
        &[],
    );
    assert_eq!(tokens(&keys[0]), [NIL, 1, 3, 4, 3]);
    assert_eq!(tokens(&keys[KEYS]), [NIL, 4, 3, NIL, NIL]);
    assert_eq!(tokens(&keys[KEYS + 2]), [NIL, NIL, 6, NIL, NIL]);
    assert_eq!(tokens(&keys[KEYS + 3]), [NIL, NIL, 6, NIL]);
    assert_eq!(tokens(&keys[KEYS + 4]), [NIL, NIL, 6, NIL]);
    // What swapped away has expired at once.
    assert_eq!(tokens(&keys[1]), [NIL, 2, NIL, NIL]);
}

#[test]
fn the_time_of_a_write_comes_from_its_client_or_from_ticks() {
    let log = "SELECT 0, SET tick t1;, SET s:0 t7;, DEL s:0, SET tick t2;, DEL s:0, SET tick t3;";
    let writes = [(Mark::Token(7), 1200, 1400), (Mark::Command("0 DEL s:0".into()), 1500, 1600)];
    let states = &told(log, B, &writes)[0];
    assert_eq!((states[1].earliest, states[1].latest, states[1].acknowledged), (1200, 1400, Some((1, 1400))));
    assert_eq!((states[2].earliest, states[2].latest, states[2].acknowledged), (1500, 1600, Some((1, 1600))));
    assert_eq!((states[3].earliest, states[3].latest, states[3].acknowledged), (2000, 3100, None));
}

#[test]
fn a_write_that_could_be_either_of_two_is_neither() {
    let log = "SELECT 0, SET tick t1;, SET s:0 t7;, DEL s:0, SET s:0 t8;, DEL s:0, SET tick t2;";
    let states = &told(log, B, &[(Mark::Command("0 DEL s:0".into()), 1500, 1600)])[0];
    assert!(states.iter().all(|state| state.acknowledged.is_none()), "{states:?}");
}
