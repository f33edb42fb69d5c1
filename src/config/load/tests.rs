use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;
use crate::config::Reconnect;

fn load_text(text: &str) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.toml");
    std::fs::write(&path, text).expect("a file");
    load(Some(&path), &Flags::default())
        .map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

fn load_flags(flags: Flags) -> Result<Config, String> {
    load(None, &flags).map(|loaded| loaded.config).map_err(|error| error.to_string())
}

#[test]
fn an_error_names_file_line_key_and_what_is_valid() {
    let cases = [
        (
            "[listen]\nadress = \"\"\n",
            "c.toml, line 2: listen.adress: unknown field `adress`, expected one of `address`",
        ),
        ("[[session]]\nkeys = []", "c.toml, line 1: session: keys: say which keys are sessions"),
        ("[[session]]\nexpiry = \"1h\"", "c.toml, line 1: session: keys: say which keys are sessions"),
        (
            "[[session]]\nkeys = [\"a\"]\n[[session]]\nkeys = [\"b\"]\nexpiry = \"soon\"",
            "c.toml, line 5: session.expiry: \"soon\" is no length of time, expected one such as \"100ms\" or \"1m 30s\", or \"off\"",
        ),
        (
            "[[session]]\nprofile = \"catalist\"",
            "c.toml, line 2: session.profile: unknown variant `catalist`, expected one of `catalyst`",
        ),
        (
            "[[session]]\nkey = [\"a\"]",
            "c.toml, line 2: session.key: unknown field `key`, expected one of `profile`, `keys`",
        ),
        (
            "[[session]]\nkeys = [\"a\"]\ncompanion = [\"a\"]",
            "c.toml, line 1: session: companion: expected two beginnings",
        ),
        (
            "[[session]]\nkeys = [\"a\"]\nreopen = \"always\"",
            "c.toml, line 3: session.reopen: unknown variant `always`",
        ),
        ("[commands]\ndeny = [\"no such\"]", "c.toml, line 2: commands.deny: \"no such\" is no command"),
        ("[limits]\nunread_timeout = 5", "c.toml, line 2: limits.unread_timeout: expected a length of time in quotes"),
        (
            "[upstream]\nserver = \"redis://a\"",
            "c.toml, line 2: upstream.server: a URL is for the flag --upstream only",
        ),
        ("[lisen]\n", "c.toml, line 1: lisen: unknown field `lisen`, expected one of `listen`"),
        (
            "[upstream]\n\nreconnect = \"maybe\"",
            "c.toml, line 3: upstream.reconnect: unknown variant `maybe`, expected",
        ),
        ("[upstream.tls]\nverify = 1", "c.toml, line 2: upstream.tls.verify:"),
        (
            "[upstream]\nqueue_timeout = \"soon\"",
            "c.toml, line 2: upstream.queue_timeout: \"soon\" is no length of time",
        ),
        ("[limits]\nrequest = \"much\"", "c.toml, line 2: limits.request: \"much\" is no size, expected one such as"),
        ("[listen]\naddress = \"here\"", "c.toml, line 2: listen.address: no port in \"here\", expected host:port"),
        ("[listen]\nworkers = -1", "c.toml, line 2: listen.workers: invalid value"),
        ("[listen\n", "c.toml, line 1: "),
        ("[listen]\n\naddress = \"0.0.0.0:1\"", "c.toml, line 3: listen.address: beyond loopback"),
        ("[upstream]\nusername = \"u\"", "c.toml, line 2: upstream.username: a user needs a password"),
        (
            "[upstream]\npassword = \"p\"\npassword_file = \"f\"",
            "c.toml, line 2: upstream.password: password_file is set",
        ),
        ("[upstream.tls]\ncert_file = \"c\"", "c.toml, line 2: upstream.tls.cert_file: key_file is missing"),
        ("[cache]\nstaleness = \"no\"", "c.toml, line 2: cache.staleness: \"no\" is no length of time"),
        ("[cache]\nstaleness = \"1m\"", "c.toml, line 2: cache.staleness: must not be longer than 10s"),
        ("[cache]\nkeys = []", "c.toml, line 2: cache.keys: takes no key"),
        ("[cache]\nown_key = \"\"", "c.toml, line 2: cache.own_key: must not be empty"),
        ("[cache]\nmax_size = \"1KiB\"", "c.toml, line 1: cache.max_value_size: must not be larger than"),
        ("[limits]\npinned = 0", "c.toml, line 2: limits.pinned: must be at least 1"),
    ];
    for (text, expected) in cases {
        let error = load_text(text).expect_err(text);
        assert!(error.starts_with(expected), "{text}\n  gave {error}\n  not  {expected}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Some(Path::new("/nowhere/c.toml")), &Flags::default()).expect_err("missing").to_string();
    assert_eq!(error, "/nowhere/c.toml: No such file or directory (os error 2)");
}

#[test]
fn a_file_changes_what_it_names_and_nothing_else() {
    let config = load_text("[upstream]\nreconnect = \"off\"\nqueue_timeout = \"1m 30s\"").expect("valid").config;
    assert_eq!(config.upstream.reconnect, Reconnect::Off);
    assert_eq!(config.upstream.queue_timeout, Duration::from_secs(90));
    assert_eq!(config.upstream.reply_timeout, Duration::from_secs(10));
}

#[test]
fn the_upstream_may_be_given_as_a_url() {
    let url = |url: &str| {
        load_flags(Flags {
            upstream: Some(url.to_owned()),
            password: Some("secret".to_owned().into()),
            ..Flags::default()
        })
    };
    let config = url("rediss://user@example.net:7000/3").expect("valid");
    assert_eq!(config.upstream.server, Address::tcp("example.net", 7000));
    assert_eq!((config.upstream.username.as_str(), config.upstream.db), ("user", 3));
    assert!(config.upstream.tls.enabled);
    assert_eq!(config.upstream.password.as_ref().map(ExposeSecret::expose_secret), Some("secret"));
    assert!(!format!("{config:?}").contains("secret"), "a password is never printed");

    let config = url("redis://[::1]").expect("valid");
    assert_eq!(config.upstream.server, Address::tcp("::1", 6379));
    assert!(!config.upstream.tls.enabled);
    assert_eq!(url("unix:/run/r").expect("valid").upstream.server, Address::Unix("/run/r".into()));

    for (bad, why) in [
        ("http://a", "unknown scheme"),
        ("redis://u:p@a", "every user of this machine"),
        ("redis://a/x", "no database"),
    ] {
        let error = url(bad).expect_err(bad);
        assert!(error.starts_with("--upstream: ") && error.contains(why), "{error}");
    }
}

#[test]
fn loopback_needs_no_password() {
    for address in ["127.0.0.2:1", "[::1]:1", "localhost:1", "unix:/run/c"] {
        let flags = Flags { listen: Some(address.to_owned()), ..Flags::default() };
        assert!(load_flags(flags).is_ok(), "{address}");
    }
    for address in ["0.0.0.0:1", "[::]:1", "example.net:1", "192.0.2.1:1"] {
        let flags = Flags { listen: Some(address.to_owned()), ..Flags::default() };
        let error = load_flags(flags).expect_err(address);
        assert!(error.starts_with("--listen: listen.address: beyond loopback"), "{error}");
    }
}
