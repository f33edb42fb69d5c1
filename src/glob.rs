//! Patterns of keys, as Redis reads them in `KEYS`, `SCAN … MATCH` and its ACLs.
//!
//! | In a pattern | Takes |
//! |---|---|
//! | `*` | any bytes, or none |
//! | `?` | one byte |
//! | `[abc]`, `[a-z]`, `[z-a]` | one of these; a range may stand either way round |
//! | `[^abc]` | one that is none of these |
//! | `\x` | `x`, whatever it means otherwise, in brackets too |
//! | any other | itself |
//!
//! An operator tries a pattern with `redis-cli` and writes it into our configuration, so what is odd there is as odd
//! here (`stringmatchlen` in the server's `util.c`):
//!
//! - A bracket that nobody closes reaches to the end of the pattern.
//! - `[]` takes nothing and `[^]` anything: the first `]` closes. In `[a-]` it is the end of a range, and closes nothing.
//! - A backslash at the very end takes a backslash.
//! - Only the pattern `*` takes the empty key, which `KEYS` gives it without asking the matcher.
//!
//! Two differences remain. Where a byte past 127 is one end of a range, the server counts as its processor's `char`
//! does; we count from 0 to 255. And the server gives up a pattern of more than a thousand stars; we need not.
//!
//! # Why
//! The server's matcher calls itself at each star, which older servers paid for with exponential time. Only the last
//! star met need ever be tried again: what stands before it has been found as early as can be. So two positions are
//! enough, and the time is at most the length of the pattern times that of the key.

/// A list of patterns. Case counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Globs {
    patterns: Vec<Box<[u8]>>,
    /// One of them is `*`: there is nothing to match.
    takes_all: bool,
}

impl Globs {
    /// No pattern is wrong, and without any no key is taken.
    pub fn new(patterns: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        let patterns: Vec<_> = patterns.into_iter().map(|pattern| pattern.into().into_boxed_slice()).collect();
        let takes_all = patterns.iter().any(|pattern| **pattern == *b"*");
        Self { patterns, takes_all }
    }

    /// Whether one of the patterns takes the whole key.
    pub fn matches(&self, key: &[u8]) -> bool {
        self.takes_all || self.patterns.iter().any(|pattern| matches(pattern, key))
    }
}

fn matches(mut pattern: &[u8], mut key: &[u8]) -> bool {
    if key.is_empty() {
        return pattern.is_empty() || pattern == b"*";
    }
    // What follows the last star, and where in the key it was last tried.
    let mut star: Option<(&[u8], &[u8])> = None;
    while let [byte, after @ ..] = key {
        if let [b'*', rest @ ..] = pattern {
            if rest.is_empty() {
                return true;
            }
            star = Some((rest, key));
            pattern = rest;
        } else if let Some(rest) = rest_after(pattern, *byte) {
            (pattern, key) = (rest, after);
        } else if let Some((rest, [_, later @ ..])) = star {
            star = Some((rest, later));
            (pattern, key) = (rest, later);
        } else {
            return false;
        }
    }
    pattern.iter().all(|byte| *byte == b'*')
}

/// What stands behind the first element of `pattern`, which is no star, if that takes `byte`.
fn rest_after(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (takes, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', b'^', class @ ..] => {
            let (takes, rest) = class_takes(class, byte);
            (!takes, rest)
        }
        [b'[', class @ ..] => class_takes(class, byte),
        [b'\\', one, rest @ ..] | [one, rest @ ..] => (*one == byte, rest),
    };
    takes.then_some(rest)
}

/// Whether `byte` is in the brackets whose inside `pattern` begins with, and what stands behind them.
fn class_takes(mut pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let mut takes = false;
    loop {
        let (is_this, rest) = match pattern {
            [] => return (takes, pattern),
            [b']', rest @ ..] => return (takes, rest),
            [b'\\', one, rest @ ..] => (*one == byte, rest),
            [one, b'-', other, rest @ ..] => ((*one.min(other)..=*one.max(other)).contains(&byte), rest),
            [one, rest @ ..] => (*one == byte, rest),
        };
        takes |= is_this;
        pattern = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_takes_what_redis_takes() {
        // Each with keys it takes and keys it does not; a server has been asked for every one.
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("", &[""], &["a"]),
            ("*", &["", "a", "ab", "*"], &[]),
            ("**", &["a", "ab"], &[""]),
            ("a*", &["a", "ab", "abc"], &["", "ba"]),
            ("*a", &["a", "ba", "aa"], &["ab"]),
            ("a*b*c", &["abc", "a.b.b.c.c"], &["acb", "ab"]),
            ("a**b", &["ab", "acb"], &["a", "b"]),
            ("session:*", &["session:", "session:1"], &["Session:1", "session", "xsession:1"]),
            ("?", &["a", "?"], &["", "ab"]),
            ("*?", &["a", "ab"], &[""]),
            ("[abc]x", &["ax", "cx"], &["dx", "x", "a"]),
            ("[a-c]", &["a", "b", "c"], &["d", "-"]),
            ("[c-a]", &["a", "b", "c"], &["d", "-"]),
            ("[^a-c]", &["d", "^"], &["a", "b", "c", ""]),
            ("[a^]", &["a", "^"], &["b"]),
            ("[a-]", &["a", "]", "_"], &["-", "b"]),
            ("[a-]x]", &["a", "x", "]", "_"], &["-", "ax]"]),
            ("[-a]", &["-", "a"], &["b"]),
            ("[a\\-c]", &["a", "-", "c"], &["b"]),
            ("[\\]]", &["]"], &["\\", "a"]),
            ("[]", &[], &["", "]", "[]"]),
            ("[]a]", &[], &["a", "a]"]),
            ("[^]", &["a", "]"], &["", "ab"]),
            ("[", &[], &["", "["]),
            ("[^", &["a"], &[""]),
            ("[ab", &["a", "b"], &["ab", "c"]),
            ("[a-", &["a", "-"], &["b"]),
            ("[\\", &["\\"], &["a"]),
            ("\\*", &["*"], &["a", "\\*"]),
            ("\\a", &["a"], &["\\a"]),
            ("a\\", &["a\\"], &["a"]),
            ("\\\\", &["\\"], &["\\\\"]),
            ("]", &["]"], &["a"]),
            ("é?", &["éa"], &["é"]),
        ];
        for (pattern, taken, others) in cases {
            for key in *taken {
                assert!(matches(pattern.as_bytes(), key.as_bytes()), "{pattern} takes {key:?}");
            }
            for key in *others {
                assert!(!matches(pattern.as_bytes(), key.as_bytes()), "{pattern} does not take {key:?}");
            }
        }
    }

    #[test]
    fn one_pattern_of_the_list_is_enough() {
        let globs = Globs::new(["session:*", "flash:?"]);
        assert!(globs.matches(b"session:1") && globs.matches(b"flash:1"));
        assert!(!globs.matches(b"flash:12") && !globs.matches(b""));
        assert!(!Globs::new([""; 0]).matches(b"") && Globs::new(["a", "*"]).matches(b""));
    }

    #[test]
    fn no_pattern_takes_long() {
        let start = Instant::now();
        let (pattern, key) = ("a*".repeat(500) + "b", "a".repeat(10_000));
        assert!(!matches(pattern.as_bytes(), key.as_bytes()));
        let (pattern, key) = ("*[^b]?".repeat(500) + "*b", "a".repeat(10_000));
        assert!(!matches(pattern.as_bytes(), key.as_bytes()));
        assert!(matches("*".repeat(100_000).as_bytes(), b"a"));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    /// One step of a pattern, with every byte it takes.
    enum Step {
        Star,
        One(Vec<u8>),
    }

    fn steps(pattern: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = 0;
        while at < pattern.len() {
            let is_negated = pattern[at] == b'[' && pattern.get(at + 1) == Some(&b'^');
            let mut one = Vec::new();
            match pattern[at] {
                b'*' => {
                    steps.push(Step::Star);
                    at += 1;
                    continue;
                }
                b'?' => one.extend(0..=255),
                b'[' => {
                    at += 1 + usize::from(is_negated);
                    while at < pattern.len() && pattern[at] != b']' {
                        let left = pattern.len() - at;
                        if pattern[at] == b'\\' && left > 1 {
                            one.push(pattern[at + 1]);
                            at += 2;
                        } else if left > 2 && pattern[at + 1] == b'-' {
                            one.extend(pattern[at]..=pattern[at + 2]);
                            one.extend(pattern[at + 2]..=pattern[at]);
                            at += 3;
                        } else {
                            one.push(pattern[at]);
                            at += 1;
                        }
                    }
                }
                b'\\' if at + 1 < pattern.len() => {
                    at += 1;
                    one.push(pattern[at]);
                }
                byte => one.push(byte),
            }
            at += 1;
            steps.push(Step::One((0..=255).filter(|byte| one.contains(byte) != is_negated).collect()));
        }
        steps
    }

    fn naively(steps: &[Step], key: &[u8]) -> bool {
        match steps {
            [] => key.is_empty(),
            [Step::Star, rest @ ..] => (0..=key.len()).any(|taken| naively(rest, &key[taken..])),
            [Step::One(bytes), rest @ ..] => {
                key.first().is_some_and(|byte| bytes.contains(byte)) && naively(rest, &key[1..])
            }
        }
    }

    fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
        let usual = prop::sample::select(b"****??[[]]^--\\\\aabbcc\xc3\xa9".as_slice());
        vec(prop_oneof![9 => usual, 1 => any::<u8>()], 0..longest)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]
        #[test]
        fn a_pattern_takes_what_a_naive_reading_takes(pattern in bytes(12), key in bytes(8)) {
            let expected = match key.is_empty() {
                true => pattern.is_empty() || pattern == b"*",
                false => naively(&steps(&pattern), &key),
            };
            prop_assert_eq!(matches(&pattern, &key), expected);
        }
    }
}
