//! A mistake is answered with file, line, key and what would be valid, on less than a screen.

use std::fs;
use std::path::Path;

use super::support::Certificates;
use super::{Said, directory, run};

/// A configuration, and what its error must say.
struct Case<'a> {
    text: &'a str,
    line: usize,
    says: &'a [&'a str],
}

#[test]
fn a_mistake_is_named_with_its_place_and_what_would_be_valid() {
    let cases = [
        Case { text: "[listen]\nadress = \"\"", line: 2, says: &["listen.adress", "`address`", "`max_clients`"] },
        Case { text: "\n[lissen]", line: 2, says: &["lissen", "`listen`", "`upstream`"] },
        Case { text: "[listen]\nworkers = \"two\"", line: 2, says: &["listen.workers"] },
        Case { text: "[listen]\nworkers = -1", line: 2, says: &["listen.workers"] },
        Case {
            text: "[listen]\naddress = \"localhost\"",
            line: 2,
            says: &["listen.address", "host:port", "unix:/path"],
        },
        Case { text: "[listen]\naddress = \"::1:80\"", line: 2, says: &["listen.address", "brackets"] },
        Case { text: "[listen]\naddress = \"a:99999\"", line: 2, says: &["listen.address", "0 to 65535"] },
        Case { text: "[listen]\nmax_clients = 0", line: 2, says: &["listen.max_clients", "at least 1"] },
        Case { text: "[listen]\n\ndrain_timeout = 10", line: 3, says: &["listen.drain_timeout"] },
        Case { text: "[limits]\nrequest = \"lots\"", line: 2, says: &["limits.request", "64MiB"] },
        Case { text: "[limits]\nqueue = \"0\"", line: 2, says: &["limits.queue"] },
        Case { text: "[upstream]\nqueue_timeout = \"soon\"", line: 2, says: &["upstream.queue_timeout", "100ms"] },
        Case { text: "[upstream]\nqueue_timeout = \"0s\"", line: 2, says: &["upstream.queue_timeout"] },
        Case {
            text: "[upstream]\nreconnect = \"never\"",
            line: 2,
            says: &["upstream.reconnect", "`off`", "`conservative`", "`eager`"],
        },
        Case { text: "[upstream]\ndb = 4294967296", line: 2, says: &["upstream.db"] },
        Case { text: "[upstream]\nname = \"two words\"", line: 2, says: &["upstream.name", "spaces"] },
        Case {
            text: "[upstream]\nusername = \"web\"",
            line: 2,
            says: &["upstream.username", "upstream.password_file"],
        },
        Case {
            text: "[upstream.tls]\nverify = \"ful\"",
            line: 2,
            says: &["upstream.tls.verify", "`full`", "`chain`", "`none`"],
        },
        Case { text: "[upstream]\ntls = true", line: 2, says: &["upstream.tls"] },
        Case { text: "[log]\nlevel = \"loud\"", line: 2, says: &["log.level", "`error`", "`trace`"] },
        Case { text: "[log]\nformat = \"xml\"", line: 2, says: &["log.format", "`text`", "`json`"] },
        Case { text: "[metrics]\naddress = \"\"", line: 2, says: &["metrics.address", "host:port"] },
        Case { text: "[listen]\naddress = \"a:1\"\n[listen]", line: 3, says: &["duplicate"] },
        Case { text: "listen", line: 1, says: &[] },
        Case { text: "[cache]\nmax_size = \"128KiB\"", line: 2, says: &["cache.max_size", "workers"] },
        Case { text: "[[session]]\nkeys = []", line: 1, says: &["session", "keys"] },
        Case { text: "[[session]]\nkeys = [\"s:*\"]\nexpiry = 5", line: 3, says: &["session.expiry"] },
        Case { text: "[commands]\ndeny = [\"a b\"]", line: 2, says: &["commands.deny", "config|set"] },
    ];
    for Case { text, line, says } in cases {
        let directory = directory(&[("bad.toml", text)]);
        for arguments in [&["--check", "--config", "bad.toml"][..], &["--config", "bad.toml"]] {
            let said = run(directory.path(), arguments);
            assert_refused(&said, text);
            assert!(said.error.contains(&format!("bad.toml, line {line}")), "{text}\n{}", said.error);
            assert!(says.iter().all(|says| said.error.contains(says)), "{text}\n{}", said.error);
        }
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_key() {
    let certificates = Certificates::new();
    let directory = directory(&[("empty", ""), ("text", "no certificate\n"), ("comments", "# none\n\n")]);
    fs::write(directory.path().join("bytes"), [0xff, 0xfe, 0]).expect("a writable directory");
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    let (ca, certificate, key) =
        (quoted(&certificates.ca), quoted(&certificates.server.certificate), quoted(&certificates.server.key));
    let tls = "[upstream.tls]\nenabled = true\n";
    let cases = [
        ("[upstream]\npassword_file = \"gone\"".to_owned(), "upstream.password_file: gone: No such file"),
        ("[upstream]\npassword_file = \"empty\"".to_owned(), "upstream.password_file: empty:"),
        ("[upstream]\npassword_file = \"bytes\"".to_owned(), "upstream.password_file: bytes:"),
        ("[upstream]\npassword_file = \".\"".to_owned(), "upstream.password_file: .:"),
        ("[listen]\npassword_file = \"gone\"".to_owned(), "listen.password_file: gone: No such file"),
        ("[listen]\npassword_file = \"comments\"".to_owned(), "listen.password_file: comments: holds no password"),
        (format!("{tls}ca_file = \"gone\""), "upstream.tls.ca_file: gone: No such file"),
        (format!("{tls}ca_file = \"text\""), "upstream.tls.ca_file: text: holds no certificate"),
        (format!("{tls}ca_file = {key}"), "holds no certificate"),
        (format!("{tls}cert_file = {certificate}"), "upstream.tls.cert_file: key_file is missing"),
        (format!("{tls}key_file = {key}"), "upstream.tls.key_file: cert_file is missing"),
        (
            format!("{tls}cert_file = {certificate}\nkey_file = \"text\""),
            "upstream.tls.key_file: text: holds no private key",
        ),
        (format!("{tls}cert_file = {certificate}\nkey_file = {ca}"), "holds no private key"),
        (format!("{tls}verify = \"none\"\nca_file = {ca}"), "upstream.tls.verify: ca_file has no meaning"),
        (format!("{tls}server_name = \"two words\""), "upstream.tls.server_name:"),
        (
            format!("[upstream]\nserver = \"unix:/s\"\n{tls}"),
            "upstream.tls.server_name: a Unix socket has no host name",
        ),
        (format!("[listen.tls]\ncert_file = \"gone\"\nkey_file = {key}"), "listen.tls.cert_file: gone: No such file"),
        (format!("[listen.tls]\nclient_ca_file = {ca}"), "listen.tls.client_ca_file: needs cert_file and key_file"),
        (
            format!("[listen.tls]\ncert_file = {certificate}\nkey_file = {key}\nclient_ca_file = \"gone\""),
            "listen.tls.client_ca_file: gone: No such file",
        ),
    ];
    for (text, says) in cases {
        fs::write(directory.path().join("bad.toml"), &text).expect("a writable directory");
        let said = run(directory.path(), &["--check", "--config", "bad.toml"]);
        assert_refused(&said, &text);
        assert!(said.error.contains("bad.toml, line ") && said.error.contains(says), "{text}\n{}", said.error);
    }
}

/// A certificate and a key that do not belong together would fail each handshake, at night.
#[test]
fn a_key_that_does_not_belong_to_its_certificate_is_refused() {
    let certificates = Certificates::new();
    let directory = directory(&[]);
    for (section, more) in [("listen.tls", ""), ("upstream.tls", "enabled = true\n")] {
        let text = format!(
            "[{section}]\n{more}cert_file = \"{}\"\nkey_file = \"{}\"",
            certificates.server.certificate.display(),
            certificates.client.key.display(),
        );
        fs::write(directory.path().join("bad.toml"), &text).expect("a writable directory");
        let said = run(directory.path(), &["--check", "--config", "bad.toml"]);
        assert_refused(&said, &text);
        assert!(said.error.contains(&format!("{section}.cert_file")), "{}", said.error);
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let directory = directory(&[]);
    fs::write(directory.path().join("bytes.toml"), [0xff, 0xfe]).expect("a writable directory");
    for path in ["gone.toml", ".", "bytes.toml"] {
        let said = run(directory.path(), &["--check", "--config", path]);
        assert_refused(&said, path);
        assert!(said.error.starts_with(&format!("cloakroom: {path}: ")), "{}", said.error);
    }
}

/// An error text is read by more people than the file (G8).
#[test]
fn a_password_is_not_repeated_in_an_error() {
    let cases = [
        "[upstream]\npassword = 471147114711",
        "[upstream]\npassword = 471147114711.5",
        "[upstream]\npassword = [\"471147114711\"]",
        "[upstream]\npassword = 471147114711 471147114711",
        "[upstream]\npassword = p471147114711",
        "[upstream]\npassword = \"471147114711",
        "[upstream]\npassword = \"471147114711\"\npassword_file = \"f\"",
        "[upstream]\npassword = \"471147114711\"\nserver = 1",
        "[upstream]\npasword = \"471147114711\"",
        "[upstream]\npassword = '''\n471147114711\n",
    ];
    for text in cases {
        let directory = directory(&[("bad.toml", text)]);
        let said = run(directory.path(), &["--check", "--config", "bad.toml"]);
        assert_refused(&said, text);
        assert!(!said.error.contains("4711"), "{text}\n{}", said.error);
    }
}

#[test]
fn listening_beyond_loopback_needs_a_password_or_certificates() {
    let certificates = Certificates::new();
    let directory = directory(&[("password", "open-sesame\n")]);
    for address in ["0.0.0.0:0", "[::]:0", "example.test:0"] {
        for arguments in [&["--check", "--listen", address][..], &["--listen", address]] {
            let said = run(directory.path(), arguments);
            assert_refused(&said, address);
            for says in ["listen.address", "listen.password_file", "listen.tls.client_ca_file", "127.0.0.1"] {
                assert!(said.error.contains(says), "{}", said.error);
            }
        }
        let server = format!(
            "[listen.tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
            certificates.server.certificate.display(),
            certificates.server.key.display(),
        );
        let certified = format!("{server}client_ca_file = \"{}\"", certificates.ca.display());
        for (text, code) in [("[listen]\npassword_file = \"password\"", 0), (&server, 1), (&certified, 0)] {
            fs::write(directory.path().join("config.toml"), text).expect("a writable directory");
            let said = run(directory.path(), &["--check", "--listen", address]);
            assert_eq!(said.code, Some(code), "{text}\n{}", said.error);
        }
        fs::remove_file(directory.path().join("config.toml")).expect("our own file");
    }
}

/// On standard error, on less than a screen, and without what only a programmer reads.
fn assert_refused(said: &Said, case: &str) {
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{case}\n{}", said.error);
    assert!(said.error.starts_with("cloakroom: "), "{case}\n{}", said.error);
    assert!(said.error.lines().count() <= 10 && said.error.len() <= 800, "{case}\n{}", said.error);
    for stranger in ["panicked", "Error {", "Some(", "RUST_BACKTRACE"] {
        assert!(!said.error.contains(stranger), "{case}\n{}", said.error);
    }
}
