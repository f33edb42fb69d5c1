//! What a server may say, and what is made of it: values no server sends, times to live without end, and the ends of limits.

use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::cache::{Answer, Ask, Asker, Cache, Lease, Link, Miss, Question, Recall, Terms};
use crate::command::Commands;
use crate::glob::Globs;
use crate::resp::encode;
use crate::resp::request::Parser;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const TRUSTING: Asker = Asker { floor: 0, is_behind: false };

/// One worker and its connection. Who waits is a number.
struct Bench {
    cache: Cache,
    link: Link<u32>,
    holds: Arc<Holds>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::with(None, true)
    }

    fn with(serve_stale_on_error: Option<Duration>, keeps_nil: bool) -> Self {
        Self::among(Holds::new(), serve_stale_on_error, keeps_nil)
    }

    fn among(holds: Arc<Holds>, serve_stale_on_error: Option<Duration>, keeps_nil: bool) -> Self {
        let now = Instant::now();
        let terms = Terms {
            keys: Globs::new(["*"]),
            max_size: 1 << 24,
            max_value_size: 1 << 19,
            staleness: SECOND,
            max_residency: 60 * SECOND,
            serve_stale_on_error,
        };
        let mut bench = Self { cache: Cache::new(terms, Arc::clone(&holds), now), link: Link::new(0), holds, now };
        bench.cache.begin(&mut bench.link, keeps_nil);
        bench
    }

    fn ask<T>(&mut self, line: &str, then: impl FnOnce(&mut Self, &Question<'_>) -> T) -> T {
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        let (mut bytes, mut parser, commands) = (Vec::new(), Parser::default(), Commands::default());
        encode::request(&mut bytes, &words);
        let command = commands.understand(parser.known(&bytes).expect("a request"));
        then(self, &Question::of(&command).expect("memory may answer it"))
    }

    fn recall(&mut self, line: &str) -> Recall {
        self.ask(line, |bench, question| bench.cache.recall(&mut bench.link, question, TRUSTING, bench.now))
    }

    /// What is answered now, in RESP3, where a fence has been answered just so.
    fn answer(&mut self, line: &str) -> String {
        self.fence(b":0\r\n");
        match self.recall(line) {
            Recall::Hit(answer) => {
                let mut out = Vec::new();
                answer.write(&mut out, crate::resp::Protocol::Resp3);
                String::from_utf8(out).expect("text").replace("\r\n", " ")
            }
            recall => format!("{recall:?}"),
        }
    }

    fn fence(&mut self, answer: &[u8]) -> (Vec<u32>, bool) {
        self.cache.wait(&mut self.link, 7);
        let fence = self.cache.fence(&mut self.link, self.now).expect("somebody waits for it");
        self.cache.hear(&mut self.link, fence, answer, self.now)
    }

    fn lease(&mut self, key: &str) -> Lease {
        let Self { cache, link, now, .. } = self;
        let _ = cache.lease(link, Some(key.as_bytes()), Miss::Absent, *now);
        cache.lease(link, Some(key.as_bytes()), Miss::Expired, *now).unwrap_or_else(|| {
            // The first was it: the key was read of late.
            link.leases.get(key.as_bytes()).expect("one of them").clone()
        })
    }

    fn fetch(&mut self, key: &str, value: &[u8], life: &[u8]) {
        let lease = self.lease(key);
        self.cache.hear(&mut self.link, Ask::Optin(lease.clone()), b"+OK\r\n", self.now);
        lease.hear(value);
        self.cache.hear(&mut self.link, Ask::Life(lease), life, self.now);
    }

    fn life(&mut self, key: &str, life: i64) {
        self.fetch(key, b"$1\r\nv\r\n", format!(":{life}\r\n").as_bytes());
    }
}

#[test]
fn what_is_held_answers_every_question_about_it() {
    let mut bench = Bench::new();
    bench.fetch("a", b"$2\r\nab\r\n", b":-1\r\n");
    bench.fetch("b", b"_\r\n", b":-2\r\n");
    for (line, expected) in [
        ("GET a", "$2 ab "),
        ("GET b", "_ "),
        ("MGET a b a", "*3 $2 ab _ $2 ab "),
        ("STRLEN a", ":2 "),
        ("STRLEN b", ":0 "),
        ("EXISTS a b a", ":2 "),
        ("TTL a", ":-1 "),
        ("PTTL b", ":-2 "),
        ("TTL b", ":-2 "),
        ("MGET a c", "Miss(Absent)"),
        ("EXISTS c", "Miss(Absent)"),
    ] {
        assert_eq!(bench.answer(line), expected, "{line}");
    }
}

#[test]
fn a_time_to_live_is_told_where_it_is_certain_and_none_is_too_long() {
    let mut bench = Bench::new();
    bench.life("short", 1999);
    assert_eq!(bench.answer("GET short"), "Miss(Unfit)", "it may be over before a fence is answered");
    bench.life("a", 60_200);
    assert_eq!(bench.answer("PTTL a"), "Miss(Inexact)");
    assert_eq!(bench.answer("TTL a"), ":60 ");
    bench.now += 59 * SECOND;
    assert_eq!(bench.answer("GET a"), "$1 v ");
    bench.now += 1200 * MILLISECOND;
    assert_eq!(bench.answer("GET a"), "Miss(Expired)");
    bench.life("a", i64::MAX);
    assert!(bench.answer("TTL a").starts_with(':') || bench.answer("TTL a") == "Miss(Inexact)");
    assert_eq!(bench.answer("GET a"), "$1 v ");
}

#[test]
fn a_fence_and_a_time_to_live_count_from_when_they_were_asked_for() {
    let mut bench = Bench::new();
    let lease = bench.lease("a");
    bench.now += 5 * SECOND;
    bench.cache.hear(&mut bench.link, Ask::Optin(lease.clone()), b"+OK\r\n", bench.now);
    lease.hear(b"$1\r\nv\r\n");
    bench.cache.hear(&mut bench.link, Ask::Life(lease), b":10000\r\n", bench.now);
    assert_eq!(bench.answer("TTL a"), "Miss(Inexact)", "it may be five as well as ten");
    bench.now += 4990 * MILLISECOND;
    assert_eq!(bench.answer("GET a"), "$1 v ");
    bench.now += 10 * MILLISECOND;
    assert_eq!(bench.answer("GET a"), "Miss(Expired)");
    bench.life("b", -1);
    bench.cache.wait(&mut bench.link, 7);
    let fence = bench.cache.fence(&mut bench.link, bench.now).expect("somebody waits for it");
    bench.now += 900 * MILLISECOND;
    bench.cache.hear(&mut bench.link, fence, b":0\r\n", bench.now);
    assert!(matches!(bench.recall("GET b"), Recall::Hit(_)));
    bench.now += 100 * MILLISECOND;
    assert_eq!(bench.recall("GET b"), Recall::Unproven);
}

#[test]
fn nothing_is_left_of_before_a_sleep() {
    let mut bench = Bench::new();
    bench.life("held", -1);
    let lease = bench.lease("fetched");
    lease.hear(b"$1\r\nv\r\n");
    bench.fence(b":0\r\n");
    let start = std::time::SystemTime::UNIX_EPOCH;
    for (wall, clock) in [(0, 0), (30, 1)] {
        let now = bench.now + clock * SECOND;
        bench.cache.look_at_clocks(now, || (now.into_std(), start + wall * SECOND, now.into_std()));
    }
    assert_eq!(bench.recall("GET held"), Recall::Miss(Miss::Absent));
    bench.cache.hear(&mut bench.link, Ask::Life(lease), b":20000\r\n", bench.now);
    assert_eq!(bench.answer("GET fetched"), "Miss(Absent)", "nobody knows how long it has lived meanwhile");
    bench.life("held", -1);
    assert_eq!(bench.answer("GET held"), "$1 v ");
}

#[test]
fn nothing_is_held_for_longer_than_it_may_be() {
    let mut bench = Bench::new();
    bench.life("a", -1);
    bench.now += 59 * SECOND;
    assert_eq!(bench.answer("GET a"), "$1 v ");
    bench.now += SECOND;
    assert_eq!(bench.answer("GET a"), "Miss(Old)");
}

#[test]
fn what_could_not_be_kept_is_not_fetched_again_until_it_changes() {
    let mut bench = Bench::new();
    let fetches = |bench: &mut Bench| {
        let Recall::Miss(miss) = bench.recall("GET a") else { return false };
        bench.cache.lease(&mut bench.link, Some(b"a"), miss, bench.now).is_some()
    };
    bench.life("a", 40);
    assert!(!fetches(&mut bench), "it could not be kept");
    bench.cache.told(&mut bench.link, b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n");
    assert!(fetches(&mut bench), "it has changed");
    let mut bench = Bench::new();
    bench.life("a", 40);
    bench.now += 10 * SECOND;
    assert!(fetches(&mut bench), "it has been a while");
}

#[test]
fn what_is_not_there_is_held_where_its_creation_is_told_of() {
    let mut bench = Bench::with(None, false);
    bench.fetch("a", b"_\r\n", b":-2\r\n");
    assert_eq!(bench.answer("GET a"), "Miss(Unfit)");
}

#[test]
fn what_is_no_value_or_too_long_or_gone_is_not_held() {
    for (value, life) in [
        ("-WRONGTYPE no\r\n", ":-1\r\n"),
        ("$-1\r\n", ":-1\r\n"),
        ("*0\r\n", ":-1\r\n"),
        ("=5\r\ntxt:a\r\n", ":-1\r\n"),
        ("$1\r\nv\r\n", ":-2\r\n"),
        ("$1\r\nv\r\n", ":-3\r\n"),
        ("$1\r\nv\r\n", ":\r\n"),
        ("$1\r\nv\r\n", "-ERR no\r\n"),
        ("$1\r\nv\r\n", ":9223372036854775808\r\n"),
        ("_\r\n", ":-1\r\n"),
        ("_\r\n", ":5000\r\n"),
    ] {
        let mut bench = Bench::new();
        bench.fetch("a", value.as_bytes(), life.as_bytes());
        assert!(["Miss(Absent)", "Miss(Unfit)"].contains(&&*bench.answer("GET a")), "{value:?} {life:?}");
    }
    for (len, is_held) in [(1 << 19, true), ((1 << 19) + 1, false)] {
        for is_whole in [true, false] {
            let (mut bench, mut value) = (Bench::new(), Vec::new());
            encode::bulk(&mut value, &vec![b'v'; len]);
            let lease = bench.lease("a");
            match is_whole {
                true => lease.hear(&value),
                false => value.chunks(50_000).for_each(|piece| {
                    lease.hear_piece(piece, piece.as_ptr_range().end == value.as_ptr_range().end);
                }),
            }
            bench.cache.hear(&mut bench.link, Ask::Life(lease), b":-1\r\n", bench.now);
            assert_eq!(bench.answer("STRLEN a").starts_with(':'), is_held, "{len} {is_whole}");
            // Three of them are more than is answered at once.
            assert_eq!(bench.answer("MGET a a a"), if is_held { "Miss(TooLarge)" } else { "Miss(Unfit)" });
        }
    }
}

#[test]
fn a_server_that_refuses_fences_is_not_asked_again_at_once() {
    let mut bench = Bench::new();
    bench.life("a", -1);
    assert_eq!(bench.recall("GET a"), Recall::Unproven);
    assert_eq!(bench.fence(b"-MISCONF no\r\n"), (vec![7], false));
    assert_eq!(bench.recall("GET a"), Recall::Miss(Miss::Unproven));
    bench.now += SECOND;
    assert_eq!(bench.recall("GET a"), Recall::Unproven);
    assert_eq!(bench.answer("GET a"), "$1 v ");
}

#[test]
fn the_server_is_told_now_and_then_what_is_in_use() {
    let mut bench = Bench::new();
    bench.life("a", -1);
    for (after, touches) in [(0, 0), (29, 0), (1, 1), (20, 0)] {
        bench.now += after * SECOND;
        assert_eq!(bench.answer("GET a"), "$1 v ");
        assert_eq!(bench.link.take_touches().len(), touches, "{after}");
    }
}

#[test]
fn without_a_server_what_was_right_is_told_where_that_is_wanted() {
    let recall = |bench: &mut Bench, line: &str| {
        let now = bench.now;
        bench.ask(line, |bench, question| bench.cache.recall_stale(&bench.link, question, 0, now))
    };
    let lost = |wanted: Option<Duration>| {
        let mut bench = Bench::with(wanted, true);
        bench.life("a", 20_000);
        bench.fetch("b", b"_\r\n", b":-2\r\n");
        assert_eq!(bench.answer("GET a"), "$1 v ");
        bench.cache.end(&mut bench.link);
        assert_eq!(bench.recall("GET a"), Recall::Miss(Miss::Untracked));
        bench
    };
    let right = Some(Answer::Value(Some(Bytes::from_static(b"$1\r\nv\r\n"))));
    assert_eq!(recall(&mut lost(None), "GET a"), None);
    let mut bench = lost(Some(30 * SECOND));
    assert_eq!(recall(&mut bench, "GET a"), right);
    for line in ["GET b", "MGET a", "STRLEN a", "EXISTS a", "TTL a"] {
        assert_eq!(recall(&mut bench, line), None, "{line}");
    }
    bench.now += 19 * SECOND;
    assert_eq!(recall(&mut bench, "GET a"), right);
    bench.now += SECOND;
    assert_eq!(recall(&mut bench, "GET a"), None, "its time is over");
    let mut bench = lost(Some(5 * SECOND));
    bench.now += 5 * SECOND + MILLISECOND;
    assert_eq!(recall(&mut bench, "GET a"), None, "it was right too long ago");
    let mut bench = lost(Some(30 * SECOND));
    drop(bench.holds.begin_any());
    assert_eq!(recall(&mut bench, "GET a"), None, "somebody has written");
    let mut bench = lost(Some(30 * SECOND));
    bench.cache.begin(&mut bench.link, true);
    bench.cache.end(&mut bench.link);
    assert_eq!(recall(&mut bench, "GET a"), None, "there was another connection");
}

#[test]
fn no_key_and_no_value_is_shown() {
    let mut bench = Bench::new();
    bench.fetch("secret", b"$6\r\nsecret\r\n", b":-1\r\n");
    let lease = bench.lease("secret-too");
    bench.now += 31 * SECOND;
    bench.fence(b":0\r\n");
    let recall = bench.recall("MGET secret");
    let mut shown = format!("{:?} {:?} {:?} {lease:?} {recall:?}", bench.cache, bench.link, bench.holds);
    write!(shown, "{:?}", Ask::Life(lease)).expect("a string takes it");
    assert!(!shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
}

/// Nobody writes.
static HOLDS: LazyLock<Arc<Holds>> = LazyLock::new(Holds::new);

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a server says: what is not understood is not held, and nothing of it ends us.
    #[test]
    fn no_words_of_a_server_do_any_harm(
        pushes in prop::collection::vec("(>[0-9]{1,2}\r\n)?(\\$10\r\ninvalidate\r\n)?(\\*[0-9]\r\n)?(\\$1\r\na\r\n){0,2}.{0,9}\r\n", 0..4),
        value in "[$_:=*-]([0-9]{1,3}|-1)?\r\n.{0,9}\r\n",
        pieces in prop::collection::vec(any::<Vec<u8>>(), 0..4),
        life in ":?-?[0-9]{0,20}\r\n|.{1,9}\r\n",
        fence in "[:+-][a-z0-9]{0,9}\r\n",
    ) {
        let mut bench = Bench::among(Arc::clone(&HOLDS), None, true);
        bench.life("a", -1);
        let lease = bench.lease("b");
        lease.hear(value.as_bytes());
        bench.cache.hear(&mut bench.link, Ask::Optin(lease.clone()), b"+OK\r\n", bench.now);
        for (n, piece) in pieces.iter().enumerate() {
            lease.hear_piece(piece, n + 1 == pieces.len());
        }
        for push in &pushes {
            let is_understood = bench.cache.told(&mut bench.link, push.as_bytes());
            bench.fence(fence.as_bytes());
            prop_assert!(is_understood || bench.recall("GET a") == Recall::Miss(Miss::Absent), "{push:?}");
        }
        bench.cache.hear(&mut bench.link, Ask::Life(lease), life.as_bytes(), bench.now);
        for line in ["GET b", "STRLEN b", "TTL b", "PTTL b", "EXISTS b", "MGET b a"] {
            bench.answer(line);
        }
    }
}
