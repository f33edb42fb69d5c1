//! Inline requests: a line of words, as a person types it.
//!
//! The words are split as Redis splits them (`sdssplitargs`): double quotes with escapes, single quotes
//! with `\'` only.

/// Splits a line, without its line end, into words.
///
/// `None`: unbalanced quotes, or a closing quote not followed by a space.
pub(super) fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let [first, tail @ ..] = rest
            && is_space(*first)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return Some(words);
        }
        let (word, tail) = word(rest)?;
        words.push(word);
        rest = tail;
    }
}

/// One word and what follows it.
fn word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        rest = match rest {
            [] => return Some((word, rest)),
            // Redis stops at a NUL, the end of a C string.
            [0, ..] => return Some((word, &[])),
            // Other space, which is skipped between words, does not end one.
            [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some((word, rest)),
            [b'"', tail @ ..] => return closed(word_in_double_quotes(&mut word, tail)?, word),
            [b'\'', tail @ ..] => return closed(word_in_single_quotes(&mut word, tail)?, word),
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

/// A closing quote must end the word.
fn closed(rest: &[u8], word: Vec<u8>) -> Option<(Vec<u8>, &[u8])> {
    match rest {
        [] => Some((word, rest)),
        [first, ..] if is_space(*first) => Some((word, rest)),
        _ => None,
    }
}

fn word_in_double_quotes<'a>(word: &mut Vec<u8>, mut rest: &'a [u8]) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) << 4 | hex(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

fn word_in_single_quotes<'a>(word: &mut Vec<u8>, mut rest: &'a [u8]) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'\'', tail @ ..] => return Some(tail),
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        };
    }
}

/// What C's `isspace` calls space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_split_as_redis_splits_them() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            ("", Some(&[])),
            ("  PING  ", Some(&["PING"])),
            ("SET a \"b c\"", Some(&["SET", "a", "b c"])),
            (r#"SET a "\x41\n\"\q""#, Some(&["SET", "a", "A\n\"q"])),
            (r"SET a 'b\'c\n'", Some(&["SET", "a", r"b'c\n"])),
            ("a\"b\"", Some(&["ab"])),
            ("\x0bSET\x0ba \x0c\"b\"\x0b c", Some(&["SET\x0ba", "b", "c"])),
            ("\"\"", Some(&[""])),
            ("\"a\"b", None),
            ("\"a", None),
            ("'a", None),
            ("\"a\\", None),
        ];
        for (line, words) in cases {
            let expected = words.map(|words| words.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>());
            assert_eq!(split(line.as_bytes()), expected, "{line}");
        }
    }
}
