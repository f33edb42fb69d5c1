//! `config.toml` and the README say the same as the program.

use std::collections::BTreeSet;
use std::fs;

use cloakroom::config::{Config, Flags, load};
use toml::{Table, Value};

use super::{directory, root, run};

fn config_toml() -> String {
    fs::read_to_string(root().join("config.toml")).expect("config.toml at the top of the repository")
}

/// The same with the keys that are commented out: lines that begin with `#` and no space.
fn uncommented() -> String {
    let lines = config_toml()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => key.to_owned(),
            _ => line.to_owned(),
        })
        .collect::<Vec<_>>();
    lines.join("\n")
}

/// The keys of `config.toml`, with their sections, and their values.
fn keys() -> Vec<(String, Value)> {
    let text = config_toml();
    let mut keys = Vec::new();
    collect("", &text.parse::<Table>().expect("TOML"), &mut keys);
    assert!(keys.len() > 20, "only {} keys", keys.len());
    keys
}

fn collect(section: &str, table: &Table, keys: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match value {
            Value::Table(inner) => collect(&key, inner, keys),
            value => keys.push((key, value.clone())),
        }
    }
}

#[test]
fn config_toml_is_the_defaults() {
    let loaded = load(Some(&root().join("config.toml")), &Flags::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(format!("{:#?}", loaded.config), format!("{:#?}", Config::default()));
}

/// Each key alone is its default, and is understood: none is a leftover in a comment or a table.
#[test]
fn each_key_of_config_toml_is_its_default() {
    for (key, value) in keys() {
        let directory = directory(&[("one.toml", &format!("{key} = {value}"))]);
        let loaded =
            load(Some(&directory.path().join("one.toml")), &Flags::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(format!("{:#?}", loaded.config), format!("{:#?}", Config::default()), "{key}");
    }
}

/// Rules there are none of by default: what one holds that says nothing is commented out.
#[test]
fn a_session_in_config_toml_is_the_default_rule() {
    let table = uncommented().parse::<Table>().expect("TOML");
    let [shown] = table["session"].as_array().expect("rules").as_slice() else { panic!("one rule") };
    let shown = shown.as_table().expect("a rule");
    for (key, value) in shown.iter().filter(|(key, _)| *key != "keys" && *key != "profile") {
        let rule = |line: &str| {
            let text = format!("[[session]]\nkeys = [\"a\"]\n{line}");
            let directory = directory(&[("one.toml", &text)]);
            let loaded = load(Some(&directory.path().join("one.toml")), &Flags::default());
            format!("{:#?}", loaded.unwrap_or_else(|error| panic!("{error}")).config.sessions)
        };
        assert_eq!(rule(&format!("{key} = {value}")), rule(""), "{key}");
    }
    let directory = directory(&[("bad.toml", "[[session]]\nno_such_key = 1")]);
    let error = run(directory.path(), &["--check", "--config", "bad.toml"]).error;
    let (_, names) = error.split_once("expected").expect("the keys there are");
    let known: BTreeSet<_> = names.split('`').skip(1).step_by(2).collect();
    assert_eq!(known, shown.keys().map(String::as_str).collect(), "every key of a rule is shown");
}

/// A section that is asked for a key it does not have says which ones it has.
#[test]
fn config_toml_has_every_key_there_is() {
    let shown: BTreeSet<_> = keys().into_iter().map(|(key, _)| key).collect();
    let mut known = BTreeSet::new();
    let mut sections = vec![String::new()];
    while let Some(section) = sections.pop() {
        let dotted = if section.is_empty() { String::new() } else { format!("{section}.") };
        let directory = directory(&[("bad.toml", &format!("{dotted}no_such_key = 1"))]);
        let error = run(directory.path(), &["--check", "--config", "bad.toml"]).error;
        let Some((_, names)) = error.split_once("expected") else { panic!("{section}: {error}") };
        for name in names.split('`').skip(1).step_by(2) {
            let key = format!("{dotted}{name}");
            match shown.contains(&key) {
                true => known.insert(key),
                false => {
                    sections.push(key);
                    true
                }
            };
        }
    }
    let is_of_a_rule = |key: &String| key.starts_with("session");
    known.retain(|key| !is_of_a_rule(key));
    assert_eq!(known, shown);
}

#[test]
fn every_key_has_a_sentence_in_config_toml() {
    let text = config_toml();
    let lines: Vec<_> = text.lines().collect();
    for pair in lines.windows(2) {
        if pair[1].contains(" = ") && !pair[1].starts_with("# ") {
            assert!(pair[0].starts_with("# ") && pair[0].ends_with('.'), "no sentence above {}", pair[1]);
        }
    }
}

#[test]
fn every_key_is_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md at the top of the repository");
    let rows: Vec<_> = readme.lines().filter(|line| line.starts_with("| `")).collect();
    let table = uncommented().parse::<Table>().expect("TOML");
    let rule = table["session"][0].as_table().expect("a rule").clone();
    let of_a_rule = rule.into_iter().map(|(key, value)| match key.as_str() {
        // What is shown of these is an example.
        "profile" | "keys" => (format!("session.{key}"), Value::String(String::new())),
        _ => (format!("session.{key}"), value),
    });
    for (key, value) in keys().into_iter().chain(of_a_rule) {
        let (section, name) = key.rsplit_once('.').expect("a key is in a section");
        // A row may name several keys of a section: `upstream.tls.cert_file`, `key_file`.
        let is_of = |row: &&&str| {
            let names = row.split('|').nth(1).unwrap_or_default();
            let alone = names.contains(&format!("`{key}`"));
            alone || names.trim_start().starts_with(&format!("`{section}.")) && names.contains(&format!("`{name}`"))
        };
        let row = rows.iter().find(is_of).unwrap_or_else(|| panic!("{key} is in no table of README.md"));
        let default = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let shown = row.split('|').nth(2).unwrap_or_default();
        assert!(default.is_empty() || shown.contains(&format!("`{default}`")), "{key} is not {shown} but {default}");
    }
}

/// What the README shows as an error is one.
#[test]
fn the_error_in_the_readme_is_what_is_said() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md at the top of the repository");
    let line =
        readme.lines().find(|line| line.starts_with("cloakroom: config.toml, line ")).expect("an error is shown");
    let number = line.split(|letter: char| !letter.is_ascii_digit()).find(|part| !part.is_empty()).expect("its line");
    let text = "\n".repeat(number.parse::<usize>().expect("a number") - 1) + "upstream.tls.verify = \"ful\"";
    let said = run(directory(&[("config.toml", &text)]).path(), &["--check"]);
    assert_eq!(said.error.trim_end(), line);
}
