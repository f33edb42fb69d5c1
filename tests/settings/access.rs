//! Who may be a client: passwords and certificates.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::directory;
use super::support::{Certificates, DEADLINE, Identity, Proxy, RedisServer, Wire};

const NOAUTH: &str = "-NOAUTH Authentication required.";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";

/// A proxy that wants a password, and the directory it is in.
fn locked(server: &RedisServer, passwords: &str) -> (Proxy, tempfile::TempDir) {
    let directory = directory(&[("passwords", passwords)]);
    let file = format!("listen.password_file = \"{}\"", directory.path().join("passwords").display());
    let trace = "log.level = \"trace\"";
    let proxy = Proxy::with(server, &[&file, trace, "log.commands = true"]);
    proxy.allow("a client's password was refused");
    (proxy, directory)
}

/// The texts are those of a Redis that wants one, but for commands Redis answers before it asks who is there.
#[test]
fn before_its_password_a_client_may_do_nothing() {
    let server = RedisServer::plain();
    let redis = RedisServer::with().password("open-sesame").start();
    let (proxy, _directory) = locked(&server, "open-sesame\n");
    let (mut client, mut direct) = (Wire::connect(proxy.port()), Wire::connect(redis.port()));
    let mut differences = Vec::new();
    for line in [
        "PING",
        "GET k",
        "SET k v",
        "ECHO e",
        "MULTI",
        "SELECT 1",
        "SUBSCRIBE c",
        "MONITOR",
        "INFO",
        "CLIENT ID",
        "CLIENT SETNAME n",
        "COMMAND",
        "CONFIG GET *",
        "EVAL x 0",
        "BLPOP q 0",
        "WATCH k",
        "CLIENT REPLY OFF",
        "HELLO 3",
        "HELLO",
        "HELLO 3 SETNAME n",
        "AUTH wrong",
        "AUTH default wrong",
        "AUTH nobody open-sesame",
        "HELLO 3 AUTH default wrong",
        "HELLO 4",
        "HELLO 3 AUTH default",
        "AUTH",
        "RESET",
    ] {
        let answer = client.ask(line);
        assert!(answer.starts_with('-') || line == "RESET", "{line} was answered {answer}");
        let expected = direct.ask(line);
        if answer != expected {
            differences.push((line, answer, expected));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    for line in ["EXEC", "DEBUG SLEEP 0", "NOSUCHCOMMAND"] {
        assert_eq!(client.ask(line), NOAUTH, "{line}");
    }
    assert_eq!(client.ask("AUTH open-sesame"), "+OK");
    assert_eq!(client.ask("PING"), "+PONG");
    assert_eq!(client.ask("GET k"), "$-1", "the server has seen nothing of all that");
}

#[test]
fn a_client_may_show_its_password_in_each_way_redis_knows() {
    let server = RedisServer::plain();
    let (proxy, _directory) = locked(&server, "# rotated\nold-one\nnew-one\nweb:of:web\n");
    for line in ["AUTH old-one", "AUTH new-one", "AUTH default new-one", "AUTH web of:web", "auth web of:web"] {
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("PING"), NOAUTH);
        assert_eq!(client.ask(line), "+OK", "{line}");
        assert_eq!(client.ask("SET k v"), "+OK");
        let user = if line.contains("web") { "web" } else { "default" };
        assert!(client.ask("CLIENT INFO").contains(&format!(" user={user} ")));
        assert_eq!(client.ask("RESET"), "+RESET");
        assert_eq!(client.ask("PING"), NOAUTH, "as if it had just connected");
    }
    for line in ["HELLO 3 AUTH web of:web", "HELLO 2 AUTH default old-one", "HELLO 3 AUTH web of:web SETNAME me"] {
        let mut client = Wire::connect(proxy.port());
        assert!(client.ask(line).contains("$5 proto"), "{line}");
        assert_eq!(client.ask("GET k"), "v");
    }
    for line in [
        "AUTH web old-one",
        "AUTH of:web",
        "AUTH default of:web",
        "AUTH old-on",
        "AUTH old-one-",
        "AUTH \"\"",
        "AUTH \"# rotated\"",
    ] {
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask(line), WRONGPASS, "{line}");
        assert_eq!(client.ask("PING"), NOAUTH);
    }
}

#[test]
fn a_wrong_password_does_not_log_out_who_is_in() {
    let server = RedisServer::plain();
    let (proxy, _directory) = locked(&server, "open-sesame\n");
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("AUTH open-sesame"), "+OK");
    assert_eq!(client.ask("AUTH wrong"), WRONGPASS);
    assert_eq!(client.ask("PING"), "+PONG");
}

#[test]
fn no_password_of_a_client_is_in_the_log_or_on_the_server() {
    let server = RedisServer::plain();
    let (proxy, _directory) = locked(&server, "open-sesame\n");
    let mut direct = Wire::connect(server.port());
    assert_eq!(direct.ask("MONITOR"), "+OK");
    let mut client = Wire::connect(proxy.port());
    for line in [
        "AUTH open-barley",
        "AUTH open-sesame",
        "HELLO 3 AUTH default open-sesame",
        "SET k v",
        "MULTI",
        "AUTH open-sesame",
    ] {
        client.ask(line);
    }
    client.ask("DISCARD");
    client.ask("SET the-end v");
    let mut seen = String::new();
    while !seen.contains("the-end") {
        seen = direct.hear();
        assert!(!seen.contains("open-"), "{seen}");
    }
    for line in proxy.logs() {
        assert!(!line.contains("open-sesame") && !line.contains("open-barley"), "{line}");
    }
}

/// Without passwords, `AUTH` says what Redis says; nobody is refused.
#[test]
fn without_a_password_file_everybody_may_be_a_client() {
    let server = RedisServer::plain();
    let proxy = Proxy::with(&server, &[]);
    let (mut client, mut direct) = (Wire::connect(proxy.port()), Wire::connect(server.port()));
    for line in ["AUTH open-sesame", "AUTH default open-sesame", "AUTH web open-sesame"] {
        assert_eq!(client.ask(line), direct.ask(line), "{line}");
    }
    assert_eq!(client.ask("PING"), "+PONG");
}

/// The lines of `[listen.tls]`.
fn tls(certificates: &Certificates) -> Vec<String> {
    vec![
        format!("listen.tls.cert_file = \"{}\"", certificates.server.certificate.display()),
        format!("listen.tls.key_file = \"{}\"", certificates.server.key.display()),
    ]
}

fn with_lines(server: &RedisServer, lines: &[String]) -> Proxy {
    Proxy::with(server, &lines.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Speaks TLS as a client does, shows `identity` if there is one, and sends a `PING`: the answer, if there is one.
fn ping(
    port: u16,
    certificates: &Certificates,
    version: &'static SupportedProtocolVersion,
    identity: Option<&Identity>,
) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.ca).expect("a certificate")).expect("an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version that is known")
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(Identity { certificate, key }) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate).expect("a certificate")],
                PrivateKeyDer::from_pem_file(key).expect("a key"),
            )
            .expect("a pair"),
    };
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = ClientConnection::new(Arc::new(config), name).expect("a configuration that works");
    let socket = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("not zero");
    let mut stream = StreamOwned::new(tls, socket);
    let mut answer = [0; 7];
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").ok()?;
    stream.read_exact(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).trim_end().to_owned())
}

#[test]
fn clients_may_be_spoken_to_in_tls() {
    let (server, certificates) = (RedisServer::plain(), Certificates::new());
    let proxy = with_lines(&server, &tls(&certificates));
    for version in [&TLS12, &TLS13] {
        assert_eq!(ping(proxy.port(), &certificates, version, None).as_deref(), Some("+PONG"));
        assert_eq!(ping(proxy.port(), &certificates, version, Some(&certificates.client)).as_deref(), Some("+PONG"));
    }
}

#[test]
fn a_client_may_have_to_show_a_certificate() {
    let (server, certificates) = (RedisServer::plain(), Certificates::new());
    let mut lines = tls(&certificates);
    lines.push(format!("listen.tls.client_ca_file = \"{}\"", certificates.ca.display()));
    let proxy = with_lines(&server, &lines);
    for version in [&TLS12, &TLS13] {
        let ping = |identity| ping(proxy.port(), &certificates, version, identity);
        assert_eq!(ping(Some(&certificates.client)).as_deref(), Some("+PONG"));
        assert_eq!(ping(None), None);
        assert_eq!(ping(Some(&certificates.other_client)), None);
    }
}

#[test]
fn a_client_that_does_not_speak_tls_is_closed_without_a_word() {
    let (server, certificates) = (RedisServer::plain(), Certificates::new());
    let proxy = with_lines(&server, &tls(&certificates));
    let mut client = Wire::connect(proxy.port());
    client.send(b"*1\r\n$4\r\nPING\r\n");
    let rest = client.rest().expect("the end of the connection");
    // A TLS alert may be said.
    assert!(rest.is_empty() || rest.starts_with(&[0x15]), "{}", rest.escape_ascii());
}

#[test]
fn a_client_that_never_ends_its_handshake_is_closed() {
    let (server, certificates) = (RedisServer::plain(), Certificates::new());
    let lines: Vec<_> = tls(&certificates).into_iter().chain(["limits.auth_timeout = \"1s\"".to_owned()]).collect();
    let proxy = with_lines(&server, &lines);
    let connected = Instant::now();
    assert_eq!(Wire::connect(proxy.port()).rest(), Ok(Vec::new()));
    assert!(connected.elapsed() < Duration::from_secs(10), "after {:?}", connected.elapsed());
}

#[test]
fn a_client_that_speaks_tls_to_a_plain_port_is_closed() {
    let (server, certificates) = (RedisServer::plain(), Certificates::new());
    let proxy = Proxy::with(&server, &[]);
    let asked = Instant::now();
    assert_eq!(ping(proxy.port(), &certificates, &TLS13, None), None);
    assert!(asked.elapsed() < Duration::from_secs(3), "after {:?}", asked.elapsed());
}
