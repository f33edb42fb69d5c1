//! Which keys a command touches.
//!
//! A row says where in a request its keys stand ([`Keys`]); [`Touches`] is what that comes to for one request, without
//! a copy. What cannot be said is *any key*, never *none*: whoever keeps something of a key may rely on it.
//!
//! - A request with a number of arguments its command does not take touches nothing: every server refuses it unread.
//! - One whose keys cannot be found, such as one with a number of keys that is none, or more than there are, touches
//!   any: the servers we know refuse it, and nothing hangs on it should one read it otherwise.
//! - What a transaction has queued is touched when `EXEC` runs it, which by itself does not tell what that is.
//! - `MOVE` and `COPY` touch a key of this name in another database, too.

use crate::resp::decimal;
use crate::resp::request::Request;

/// Where the keys of a request stand. Arguments are counted from the command's name, which is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what their fields are")]
pub enum Keys {
    /// It has none.
    None,
    /// Every `step`-th argument from `first` to `last`; a negative `last` is counted from the end, -1 is the last.
    Range { first: u8, last: i8, step: u8 },
    /// The argument at `number` says how many follow it.
    Counted { number: u8 },
    /// As many follow the argument at 2 as it says, and the argument at 1, where the result is stored, is one too.
    StoredCounted,
    /// The argument at 1, and the one behind `STORE` or `STOREDIST` among the options, which begin at `options`. With
    /// `BY` or `GET`, any.
    Storing { options: u8 },
    /// The first half of what follows `STREAMS`.
    Streams,
    /// It may touch any key: where they stand, if anywhere, is not known here.
    Unknown,
    /// It touches every key there is.
    All,
}

/// The keys a request touches.
#[derive(Debug, Clone)]
pub enum Touches<'a> {
    /// No key.
    None,
    /// These, in the order they stand in.
    These(KeyArgs<'a>),
    /// Any, or every one.
    Any,
}

/// The keys of a request, one by one; a key that stands there twice comes twice.
#[derive(Debug, Clone)]
pub struct KeyArgs<'a> {
    request: Request<'a>,
    /// A key apart from the others, before them.
    alone: Option<usize>,
    next: usize,
    end: usize,
    step: usize,
}

impl<'a> Iterator for KeyArgs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(alone) = self.alone.take() {
            return self.request.arg(alone);
        }
        let index = self.next;
        self.next += self.step;
        if index < self.end { self.request.arg(index) } else { None }
    }
}

impl Keys {
    /// Those of a server's `COMMAND`, for a command whose every key they tell of.
    pub(super) fn told(first: i64, last: i64, step: i64) -> Self {
        match (u8::try_from(first), i8::try_from(last), u8::try_from(step)) {
            (Ok(first @ 1..), Ok(last), Ok(step @ 1..)) => Self::Range { first, last, step },
            // A command that tells of none may touch what it likes, as those of a search module do.
            _ => Self::Unknown,
        }
    }

    /// The keys of a request that has as many arguments as its command takes.
    pub(super) fn of<'a>(self, request: Request<'a>) -> Touches<'a> {
        let (alone, keys) = match self {
            Self::None => (None, Some((0..0, 1))),
            Self::Range { first, last, step } => {
                let len = request.len();
                let after = if last < 0 { len + 1 } else { 1 };
                let end = after.saturating_add_signed(last.into()).min(len);
                (None, Some((usize::from(first)..end, usize::from(step))))
            }
            Self::Counted { number } => (None, counted(request, number.into())),
            Self::StoredCounted => (Some(1), counted(request, 2)),
            Self::Storing { options } => (Some(1), stored(request, options.into())),
            Self::Streams => (None, streams(request)),
            Self::Unknown | Self::All => (None, None),
        };
        match keys {
            None => Touches::Any,
            Some((range, _)) if alone.is_none() && range.is_empty() => Touches::None,
            Some((range, step)) => Touches::These(KeyArgs { request, alone, next: range.start, end: range.end, step }),
        }
    }
}

/// Arguments, and how far apart the keys among them are; `None` if that cannot be said.
type Found = Option<(std::ops::Range<usize>, usize)>;

fn counted(request: Request<'_>, number: usize) -> Found {
    let count = usize::try_from(decimal(request.arg(number)?)?).ok()?;
    let first = number + 1;
    (count <= request.len() - first).then_some((first..first + count, 1))
}

fn stored(request: Request<'_>, options: usize) -> Found {
    let mut stored = 0..0;
    let mut index = options;
    while index < request.len() {
        let is = |word| request.is(index, word);
        // It reads keys made of the values it finds.
        if is("by") || is("get") {
            return None;
        }
        if is("store") || is("storedist") {
            // Which of two counts is for the server to say.
            if !stored.is_empty() {
                return None;
            }
            index += 1;
            stored = index..index + 1;
        }
        index += 1;
    }
    Some((stored, 1))
}

fn streams(request: Request<'_>) -> Found {
    let mut index = 1;
    loop {
        let is = |word| request.is(index, word);
        index += if is("streams") {
            break;
        } else if is("noack") {
            1
        } else if is("count") || is("block") {
            2
        } else if is("group") {
            3
        } else {
            return None;
        };
    }
    let first = index + 1;
    let names = request.len() - first;
    (names > 0 && names.is_multiple_of(2)).then_some((first..first + names / 2, 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{Catalogue, Commands};
    use crate::resp::encode;
    use crate::resp::request::Parser;

    /// The keys as the server shows arguments; `?` is any.
    fn keys(words: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut bytes, mut parser) = (Vec::new(), Parser::default());
        encode::request(&mut bytes, words);
        let command = Commands::default().understand(parser.known(&bytes).expect("a request"));
        match command.learned_from(&catalogue()).keys() {
            Touches::None => Vec::new(),
            Touches::These(keys) => keys.map(<[u8]>::to_vec).collect(),
            Touches::Any => vec![b"?".to_vec()],
        }
    }

    fn keys_of(line: &str) -> String {
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8(keys(&words).join(&b' ')).expect("text went in")
    }

    /// Of a server with two commands we have no row for, and one of them has more keys than its range tells.
    fn catalogue() -> Catalogue {
        Catalogue::read(
            b"*3\r\n*6\r\n$6\r\nmsetex\r\n:-4\r\n*1\r\n+write\r\n:1\r\n:-2\r\n:2\r\n\
              *6\r\n$8\r\nft.alter\r\n:-4\r\n*1\r\n+write\r\n:0\r\n:0\r\n:0\r\n\
              *6\r\n$6\r\ndelifs\r\n:-4\r\n*2\r\n+write\r\n+movablekeys\r\n:1\r\n:1\r\n:1\r\n",
        )
    }

    #[test]
    fn a_request_touches_the_keys_it_names() {
        for (line, expected) in [
            ("PING", ""),
            ("set k v EX 5", "k"),
            ("RENAME a b", "a b"),
            ("DEL a b a", "a b a"),
            ("MSET a 1 b 2", "a b"),
            ("BLPOP a b 0", "a b"),
            ("EVAL script 2 a b c", "a b"),
            ("EVAL script 0 a b c", ""),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "d a b"),
            ("SORT k LIMIT 0 1 STORE d", "k d"),
            ("XREADGROUP GROUP streams STREAMS NOACK COUNT 1 STREAMS s t > >", "s t"),
            ("GEORADIUS store 1 2 3 km STOREDIST store DESC", "store store"),
            ("PFMERGE k", "k"),
            ("OBJECT ENCODING k", "k"),
            ("OBJECT HELP", ""),
            ("XGROUP CREATE s g 0", "s"),
            ("FLUSHALL", "?"),
            ("SORT k BY w_* GET #", "?"),
        ] {
            assert_eq!(keys_of(line), expected, "{line}");
        }
    }

    #[test]
    fn what_no_server_runs_touches_nothing_or_anything() {
        for line in ["GET", "GET a b", "DEL", "MSET a", "XREAD STREAMS s", "EVAL script"] {
            assert_eq!(keys_of(line), "", "{line}: refused unread");
        }
        for line in [
            "EVAL script x a",
            "EVAL script -1 a",
            "EVAL script 2 a",
            "EVAL script 9223372036854775807 a",
            "ZUNIONSTORE d 3 a b",
            "XREAD COUNT 1 BLOCK",
            "XREAD STREAMS s t 0",
            "GEORADIUS k 1 2 3 km STORE a STORE b",
        ] {
            assert_eq!(keys_of(line), "?", "{line}: not understood");
        }
        assert_eq!(keys_of("SORT k STORE"), "k");
    }

    #[test]
    fn a_command_without_a_row_touches_what_the_server_tells_or_anything() {
        assert_eq!(keys_of("MSETEX a 1 b 2 5"), "a b");
        assert_eq!(keys_of("MSETEX"), "");
        for line in ["FT.ALTER index", "DELIFS a b", "NEVERHEARD a"] {
            assert_eq!(keys_of(line), "?", "{line}");
        }
        for (first, last, step) in [(0, 0, 0), (1, -1, 0), (1, 1, -1), (-1, 1, 1), (1, -129, 1), (256, 1, 1)] {
            assert_eq!(Keys::told(first, last, step), Keys::Unknown, "{first} {last} {step}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_its_keys_are_among_its_arguments(
            number in 0..Commands::rows().len(),
            args in prop::collection::vec(
                prop_oneof![
                    "store|by|streams|count|group|noack|limit|[0-9]|-1|99999999999999999999|9223372036854775807",
                    "\\PC{0,4}",
                ],
                0..9,
            ),
        ) {
            let name = Commands::rows()[number].name;
            let args = args.iter().map(String::as_str);
            let words: Vec<_> = std::iter::once(name).chain(args).map(str::as_bytes).collect();
            let found = keys(&words);
            prop_assert!(found.len() < words.len() || found == [b"?"]);
            prop_assert!(found.iter().all(|key| key == b"?" || words[1..].contains(&&key[..])));
        }
    }
}
