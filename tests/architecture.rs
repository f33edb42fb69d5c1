//! The house stands as the table in `src/lib.rs` draws it.
//!
//! ```text
//! src/lib.rs   the table ──────────────────────────▶ floors ─┐
//! src/**/*.rs ─ tokens ─ without tests ─▶ paths from the root ─┴▶ only downwards
//! ```
//!
//! A path says what it imports however it is spelled: in a `use`, in the middle of an expression, with
//! `crate::` or with as many `super::` as lead out of the module. Comments, texts and tests import nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Past this a file is usually two ideas.
const LONGEST_FILE: usize = 400;

#[test]
fn imports_point_down() {
    let floors = floors();
    let mut imports = 0;
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let module = source.module();
        let importer = module.first().map_or(ROOF, String::as_str);
        // A module without a floor fails the test below.
        let Some(&floor) = floors.get(importer) else { continue };
        for (line, imported) in imports_of(&source.text, module.len()) {
            imports += 1;
            // What is no module is an item of `src/lib.rs`.
            let (imported, ground) = floors.get_key_value(&imported).unwrap_or((&imported, &floors[ROOF]));
            if imported != importer && *ground >= floor {
                let path = source.path.display();
                wrong.push(format!("{path}:{line}: {importer} (floor {floor}) imports {imported} (floor {ground})"));
            }
        }
    }
    assert!(imports >= 50, "only {imports} imports found");
    assert!(wrong.is_empty(), "upwards or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_stands_on_one_floor() {
    let floors = floors();
    let text = fs::read_to_string(src().join("lib.rs")).expect("src/lib.rs");
    let tokens = without_tests(tokens(&text));
    let modules: Vec<_> = tokens.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text).collect();
    assert!(modules.len() >= 8, "only {modules:?} found");
    for module in &modules {
        assert!(floors.contains_key(*module), "{module} has no place in the table of src/lib.rs");
    }
    for name in floors.keys().filter(|name| *name != ROOF && *name != "main") {
        assert!(modules.contains(&name.as_str()), "the table of src/lib.rs names {name}, which is no module");
    }
}

#[test]
fn no_file_is_too_long() {
    let lines = |source: &Source| source.text.lines().count();
    let long: Vec<_> = sources()
        .iter()
        .filter(|source| !source.is_test() && lines(source) > LONGEST_FILE)
        .map(|source| format!("{}: {} lines", source.path.display(), lines(source)))
        .collect();
    assert!(long.is_empty(), "longer than {LONGEST_FILE} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_unsafe_or_left_to_do() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            if ["unsafe ", "todo!", "unimplemented!"].iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", source.path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_import_is_seen_in_every_spelling() {
    let cases: &[(&str, &[&str])] = &[
        ("use crate::a::B;", &["a"]),
        ("pub(crate) use crate::{a, b::{self, C}, d::*};", &["a", "b", "d"]),
        ("use crate::*;", &["*"]),
        ("fn f() -> crate::a::B { crate::b::c(); }", &["a", "b"]),
        ("use super::inside; use super::super::a;", &["a"]),
        ("mod inline { use super::super::inside; use super::super::super::a; }", &["a"]),
        ("mod inline { use super::inside; } use super::super::a;", &["a"]),
        ("// crate::a\n/* crate::a /* crate::a */ crate::a */ use crate::b;", &["b"]),
        (r##"f("crate::a \" crate::a", r#"crate::a " crate::a"#, b'"', '\'', '"', 'x'); crate::b();"##, &["b"]),
        ("fn f<'a>(b: &'a str) { crate::a(b) }", &["a"]),
        ("#[cfg(test)]\nuse crate::a;\nuse crate::b;", &["b"]),
        ("#[cfg(test)]\n#[path = \"x\"]\nmod tests { fn f() -> [u8; 2] { crate::a() } }\nuse crate::b;", &["b"]),
        ("#[cfg(not(test))]\nuse crate::a;", &["a"]),
    ];
    for (text, expected) in cases {
        // As in a file `src/module/inside.rs`.
        let found: Vec<_> = imports_of(text, 2).into_iter().map(|(_, name)| name).collect();
        assert_eq!(found, *expected, "{text}");
    }
    assert_eq!(imports_of("\n\nuse crate::a;", 1), [(3, "a".to_owned())]);
}

/// How the table calls `src/lib.rs` itself.
const ROOF: &str = "this file";

/// The floor of each name in the table of `src/lib.rs`.
fn floors() -> BTreeMap<String, u8> {
    let text = fs::read_to_string(src().join("lib.rs")).expect("src/lib.rs");
    let mut floors = BTreeMap::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("//! |")) {
        let mut columns = row.split('|').map(str::trim);
        let Some(floor) = columns.next().and_then(|floor| floor.parse().ok()) else { continue };
        let names = columns.next().expect("a floor has modules");
        let roof = names.contains(ROOF).then_some(ROOF);
        for name in names.split('`').skip(1).step_by(2).chain(roof) {
            assert_eq!(floors.insert(name.to_owned(), floor), None, "{name} stands on two floors");
        }
    }
    assert!(floors.len() >= 10 && floors.contains_key(ROOF), "only {floors:?} found in the table of src/lib.rs");
    floors
}

struct Source {
    /// Below `src`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module's names from the root; none for `lib.rs` and `main.rs`, which are roots.
    fn module(&self) -> Vec<String> {
        let path = self.path.with_extension("");
        let names: Vec<_> = path.iter().map(|name| name.to_str().expect("UTF-8").to_owned()).collect();
        match names.last().map(String::as_str) {
            Some("lib" | "main") if names.len() == 1 => Vec::new(),
            Some("mod") => names[..names.len() - 1].to_vec(),
            _ => names,
        }
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs")
    }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let (mut sources, mut directories) = (Vec::new(), vec![src()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of sources") {
            let path = entry.expect("a directory's entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a readable source");
                sources.push(Source { path: path.strip_prefix(src()).expect("below src").to_owned(), text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() >= 10, "only {} sources found", sources.len());
    sources
}

/// The line and first name of every path that starts at the root, in a module `depth` names below it.
fn imports_of(text: &str, depth: usize) -> Vec<(usize, String)> {
    let tokens = without_tests(tokens(text));
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token: &Token<'_>| token.text == text);
    let (mut imports, mut braces, mut inline, mut at) = (Vec::new(), 0, Vec::new(), 0);
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.text {
            "{" => {
                braces += 1;
                if at > 2 && is(at - 3, "mod") {
                    inline.push(braces);
                }
            }
            "}" => {
                inline.pop_if(|opened| *opened == braces);
                braces -= 1;
            }
            "crate" if is(at, "::") => imports.extend(first_names(&tokens[at + 1..])),
            "super" => {
                let mut left = (depth + inline.len()).saturating_sub(1);
                while is(at, "::") && is(at + 1, "super") {
                    left = left.saturating_sub(1);
                    at += 2;
                }
                if left == 0 && is(at, "::") {
                    imports.extend(first_names(&tokens[at + 1..]));
                }
            }
            _ => {}
        }
    }
    imports
}

/// The first name of a path, or of each path in a group.
fn first_names(path: &[Token<'_>]) -> Vec<(usize, String)> {
    let (mut names, mut depth, mut is_first) = (Vec::new(), 0, true);
    for token in path {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," => is_first |= depth == 1,
            name if is_first => {
                names.push((token.line, name.to_owned()));
                is_first = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// A name, `::`, or any other single character.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// Leaves out every item that is only there for tests.
fn without_tests(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut rest) = (Vec::new(), tokens.as_slice());
    while let [first, tail @ ..] = rest {
        if rest.len() < MARK.len() || !rest.iter().zip(MARK).all(|(token, mark)| token.text == mark) {
            kept.push(*first);
            rest = tail;
            continue;
        }
        rest = &rest[MARK.len()..];
        let mut depth = 0;
        while let [token, tail @ ..] = rest {
            depth += match token.text {
                "(" | "[" | "{" => 1,
                ")" | "]" | "}" => -1,
                _ => 0,
            };
            // The end of what encloses the item is not part of it.
            if depth < 0 {
                break;
            }
            rest = tail;
            if depth == 0 && matches!(token.text, ";" | "}") {
                break;
            }
        }
    }
    kept
}

/// The tokens of a source, without comments, texts, characters and lifetimes.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest, mut line) = (Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let (len, is_token) = match first {
            _ if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            _ if rest.starts_with("/*") => (block_comment(rest), false),
            _ if rest.starts_with("::") => (2, true),
            '"' => (1 + closing(&rest[1..], '"'), false),
            '\'' => (character_or_lifetime(rest), false),
            _ if first.is_alphanumeric() || first == '_' => {
                let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                match raw_text(rest, name) {
                    Some(len) => (len, false),
                    None => (name, true),
                }
            }
            _ => (first.len_utf8(), !first.is_whitespace()),
        };
        let (token, tail) = rest.split_at(len);
        if is_token {
            tokens.push(Token { text: token, line });
        }
        line += token.matches('\n').count();
        rest = tail;
    }
    tokens
}

/// The length of a text's remainder, its closing quote included.
fn closing(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of `'x'`, or 1 for the quote before a lifetime's name.
fn character_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => 1 + closing(&rest[1..], '\''),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// The length of `r"…"` or `r#"…"#`, if a name of `prefix` bytes is the start of one.
fn raw_text(rest: &str, prefix: usize) -> Option<usize> {
    let (name, after) = rest.split_at(prefix);
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"').filter(|_| matches!(name, "r" | "br" | "cr"))?;
    let end = format!("\"{}", "#".repeat(hashes));
    let len = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + len)
}

/// The length of a comment, those inside it included.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut end) = (0, 0);
    while let Some(at) = rest[end..].find(['/', '*']) {
        let mark = &rest[end + at..];
        (depth, end) = match mark {
            _ if mark.starts_with("/*") => (depth + 1, end + at + 2),
            _ if mark.starts_with("*/") => (depth - 1, end + at + 2),
            _ => (depth, end + at + 1),
        };
        if depth == 0 {
            return end;
        }
    }
    rest.len()
}
