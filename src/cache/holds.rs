//! Which keys are being written through this proxy, and how often they have been.
//!
//! Each write *holds* its keys: from before its first byte leaves until before its client hears its reply. Every worker
//! sees the holds of all workers, so what one of them knows of a key is void from the moment a client of another begins
//! to write it. A key has a place among the counters, and shares it with others: then more is void than need be, which
//! is always safe.
//!
//! ```text
//! a place   [ begun 32 bits | in flight 32 bits ]     begin: +1, +1     end: 0, -1
//!
//! read      quiet() ─ GET ─ reply ───────── is_current()? ── yes ─▶ as it was when the GET was sent
//! SET a 2             │                          └ no: somebody has begun to write
//! SET a 1   begin ─ lost ───────────────▶ is_untouched()? ── yes ─▶ may be sent again (`reconnect = "eager"`)
//! ```
//!
//! | write | is held | because |
//! |---|---|---|
//! | of keys that are named | their places | |
//! | a script, `EXEC` | the places that are named, and the place of scripts | the server tells of whatever else it writes: [`Holds::scripts_ended`] |
//! | `FLUSHALL`, `SWAPDB`, a command nobody knows | the place of any key | the server may not tell what it changes |
//!
//! Writes from elsewhere leave no trace here; the server tells of them.
//!
//! # Why
//! A set of keys behind a lock would be exact, and every request would take the lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;

use crate::command::{Command, Effect, Shape, Touches};

/// Places for keys: 4 MiB. At a thousand writes a second a minute's hold a tenth of them.
const PLACES: usize = 1 << 19;

/// A hold begins: one more begun, one more in flight.
const BEGIN: u64 = 1 << 32 | 1;

/// The bits that count what is in flight.
const IN_FLIGHT: u64 = (1 << 32) - 1;

/// The holds. Workers share them.
pub struct Holds {
    keys: Box<[AtomicU64]>,
    /// Scripts and transactions.
    scripts: AtomicU64,
    /// Writes that may change any key unseen.
    any: AtomicU64,
    hasher: RandomState,
}

/// Where something is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Key(u32),
    Script,
    Any,
}

/// A write under way: it ends when this is dropped.
pub struct Hold {
    holds: Arc<Holds>,
    places: Places,
    /// The places of scripts and of any key as they were before, if nobody held them.
    around: Option<(u64, u64)>,
}

/// A held place, and its counters from then on if nobody else holds it.
type Begun = (Place, Option<u64>);

enum Places {
    One(Begun),
    Many(Box<[Begun]>),
}

impl Places {
    fn all(&self) -> &[Begun] {
        match self {
            Self::One(begun) => std::slice::from_ref(begun),
            Self::Many(all) => all,
        }
    }
}

/// A key's place at a moment when nobody was writing the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    place: u32,
    key: u64,
    any: u64,
}

/// Counts only (G8).
impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold of {} places", self.places.all().len())
    }
}

/// Counts only (G8).
impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holds in {} places", self.keys.len())
    }
}

/// The counters, if nothing is in flight.
fn quiet(counters: u64) -> Option<u64> {
    (counters & IN_FLIGHT == 0).then_some(counters)
}

impl Holds {
    /// Nothing is held.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            keys: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            scripts: AtomicU64::new(0),
            any: AtomicU64::new(0),
            hasher: RandomState::new(),
        })
    }

    /// A command is about to be sent, that writes `also` another key; `None` if it writes nothing.
    pub fn begin(self: &Arc<Self>, command: &Command<'_>, also: Option<&[u8]>) -> Option<Hold> {
        // It writes down what it has counted, into the key itself.
        let is_count = command.is("pfcount");
        if command.effect() == Effect::Read && !is_count {
            return None;
        }
        if command.is("cluster") && is_question_of_the_cluster(command) {
            return None;
        }
        // It may write what it has not declared, and the server tells of that.
        let is_script = command.shape() == Shape::Script || command.is("exec");
        Some(match command.keys() {
            Touches::These(keys) if is_script => {
                self.hold(keys.map(|key| self.place(key)).chain([Place::Script]).collect())
            }
            _ if is_script => self.hold(vec![Place::Script]),
            Touches::None => return None,
            Touches::These(mut keys) => match (keys.next(), keys.next().or(also)) {
                (Some(key), None) => self.hold_one(self.place(key)),
                (first, second) => {
                    self.hold(first.into_iter().chain(second).chain(keys).map(|key| self.place(key)).collect())
                }
            },
            Touches::Any => self.begin_any(),
        })
    }

    /// Somebody may write any key.
    pub fn begin_any(self: &Arc<Self>) -> Hold {
        self.hold_one(Place::Any)
    }

    /// The place of a key nobody is writing. What is asked of the server from now on is as it was, as long as the stamp
    /// is current.
    pub fn quiet(&self, key: &[u8]) -> Option<Stamp> {
        let place = self.number(key);
        let any = quiet(self.any.load(Ordering::SeqCst))?;
        let key = quiet(self.keys[place as usize].load(Ordering::SeqCst))?;
        Some(Stamp { place, key, any })
    }

    /// Whether nobody has begun to write the key since.
    pub fn is_current(&self, stamp: &Stamp) -> bool {
        self.keys[stamp.place as usize].load(Ordering::SeqCst) == stamp.key
            && self.any.load(Ordering::SeqCst) == stamp.any
    }

    /// How many scripts and transactions have ended. What they have written the server has told of once it answers
    /// something that was asked of it from then on.
    pub fn scripts_ended(&self) -> u32 {
        let counters = self.scripts.load(Ordering::SeqCst);
        ((counters >> 32) as u32).wrapping_sub((counters & IN_FLIGHT) as u32)
    }

    /// Whether none has begun since so many had ended.
    pub fn has_run_no_script_since(&self, ended: u32) -> bool {
        quiet(self.scripts.load(Ordering::SeqCst)).is_some_and(|counters| (counters >> 32) as u32 == ended)
    }

    fn hold_one(self: &Arc<Self>, place: Place) -> Hold {
        let around = self.around();
        Hold { places: Places::One(self.begin_at(place)), around, holds: Arc::clone(self) }
    }

    fn hold(self: &Arc<Self>, mut places: Vec<Place>) -> Hold {
        places.sort_unstable_by_key(|place| if let Place::Key(number) = place { *number } else { u32::MAX });
        places.dedup();
        let around = self.around();
        let places = places.into_iter().map(|place| self.begin_at(place)).collect();
        Hold { places: Places::Many(places), around, holds: Arc::clone(self) }
    }

    fn begin_at(&self, place: Place) -> Begun {
        let before = self.counters(place).fetch_add(BEGIN, Ordering::SeqCst);
        (place, quiet(before).map(|before| before.wrapping_add(BEGIN)))
    }

    fn around(&self) -> Option<(u64, u64)> {
        quiet(self.scripts.load(Ordering::SeqCst)).zip(quiet(self.any.load(Ordering::SeqCst)))
    }

    fn counters(&self, place: Place) -> &AtomicU64 {
        match place {
            Place::Key(number) => &self.keys[number as usize],
            Place::Script => &self.scripts,
            Place::Any => &self.any,
        }
    }

    fn place(&self, key: &[u8]) -> Place {
        Place::Key(self.number(key))
    }

    fn number(&self, key: &[u8]) -> u32 {
        (self.hasher.hash_one(key) as usize % PLACES) as u32
    }
}

/// What monitoring asks again and again.
fn is_question_of_the_cluster(command: &Command<'_>) -> bool {
    let words =
        ["info", "nodes", "slots", "shards", "links", "myid", "myshardid", "keyslot", "countkeysinslot", "help"];
    words.iter().any(|word| command.request.is(1, word))
}

impl Hold {
    /// Whether no other write has touched its keys since it began, or was just touching them then. Never, if it may
    /// itself have written any.
    pub fn is_untouched(&self) -> bool {
        let is_alone = |(place, then): &Begun| {
            matches!(place, Place::Key(_)) && *then == Some(self.holds.counters(*place).load(Ordering::SeqCst))
        };
        self.around.is_some() && self.around == self.holds.around() && self.places.all().iter().all(is_alone)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        for (place, _) in self.places.all() {
            self.holds.counters(*place).fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Commands;
    use crate::resp::encode;
    use crate::resp::request::Parser;

    fn begin(holds: &Arc<Holds>, line: &str) -> Option<Hold> {
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        let (mut bytes, mut parser) = (Vec::new(), Parser::default());
        encode::request(&mut bytes, &words);
        holds.begin(&Commands::default().understand(parser.known(&bytes).expect("a request")), None)
    }

    #[test]
    fn a_write_alone_is_untouched() {
        let holds = Holds::new();
        let a = begin(&holds, "MSET a 1 b 2 a 3").expect("a write");
        let _other = begin(&holds, "SET c 1");
        assert!(a.is_untouched());
        drop(a);
        assert!(begin(&holds, "DEL a").expect("a write").is_untouched(), "the other has ended");
    }

    #[test]
    fn another_write_of_a_key_touches_it() {
        let holds = Holds::new();
        let first = begin(&holds, "SET a 1").expect("a write");
        let second = begin(&holds, "DEL b a").expect("a write");
        assert!(!first.is_untouched(), "the second began");
        assert!(!second.is_untouched(), "the first was under way");
        drop((first, second));
        let third = begin(&holds, "SET a 2").expect("a write");
        drop(begin(&holds, "EXPIRE a 5"));
        assert!(!third.is_untouched(), "another one began and ended");
    }

    /// Of two writes that begin at once, at most one takes itself for the only one.
    #[test]
    fn two_writes_at_once_touch_each_other() {
        let holds = Holds::new();
        for _ in 0..2000 {
            let barrier = std::sync::Barrier::new(2);
            let run = || {
                barrier.wait();
                begin(&holds, "SET a 1").expect("a write")
            };
            let (one, other) = std::thread::scope(|scope| {
                let (one, other) = (scope.spawn(run), scope.spawn(run));
                (one.join().expect("no panic"), other.join().expect("no panic"))
            });
            assert!(!one.is_untouched() && !other.is_untouched());
        }
    }

    #[test]
    fn a_write_of_any_key_touches_all() {
        for line in ["FLUSHALL", "EVAL script 0", "EVAL script 1 b", "EXEC"] {
            let holds = Holds::new();
            let any = begin(&holds, line).expect("a write");
            let a = begin(&holds, "SET a 1").expect("a write");
            assert!(!a.is_untouched() && !any.is_untouched(), "{line}");
            drop((a, any));
            let b = begin(&holds, "SET b 1").expect("a write");
            assert!(b.is_untouched(), "{line}");
            drop(begin(&holds, line));
            assert!(!b.is_untouched(), "{line}");
        }
    }

    #[test]
    fn a_stamp_is_current_until_its_key_is_written() {
        for (line, ends) in [
            ("SET a 1", true),
            ("RENAME b a", true),
            ("PFCOUNT a", true),
            ("EVAL script 1 a", true),
            ("SWAPDB 0 1", true),
            ("FLUSHDB", true),
            ("NEVERHEARD", true),
            ("GET a", false),
            ("SET b 1", false),
            ("EVAL script 0", false),
            ("EXEC", false),
            ("PUBLISH a b", false),
            ("CLUSTER INFO", false),
            ("CLUSTER RESET", true),
        ] {
            let holds = Holds::new();
            let stamp = holds.quiet(b"a").expect("nobody writes");
            let hold = begin(&holds, line);
            assert_eq!(holds.is_current(&stamp), !ends, "{line}");
            assert_eq!(holds.quiet(b"a").is_none(), ends, "{line}: under way");
            drop(hold);
            assert_eq!(holds.is_current(&stamp), !ends, "{line}: ended");
            assert!(holds.quiet(b"a").is_some(), "{line}: over");
        }
    }

    #[test]
    fn scripts_count_when_they_end() {
        let holds = Holds::new();
        let (script, exec) = (begin(&holds, "EVALSHA sha 1 a"), begin(&holds, "EXEC"));
        assert!(!holds.has_run_no_script_since(0), "they are under way");
        assert_eq!(holds.scripts_ended(), 0);
        drop(exec);
        assert_eq!(holds.scripts_ended(), 1);
        assert!(!holds.has_run_no_script_since(1), "one is under way");
        drop((script, begin(&holds, "EVAL_RO script 0")));
        assert_eq!(holds.scripts_ended(), 2, "one of them reads only");
        assert!(holds.has_run_no_script_since(2) && !holds.has_run_no_script_since(1));
    }
}
