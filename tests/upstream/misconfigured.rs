//! Troubles that last until somebody changes something. The log says what, and the server is left alone:
//! attempts fill its log, and lock users out.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use super::support::{Certificates, RedisServer, Relay};
use super::trouble::Kind::{Configuration, Passing};
use super::trouble::{is_told, warnings};
use super::{OTHER_PASSWORD, PASSWORD, assert_serves, tls};

#[test]
fn a_wrong_password_is_named() {
    let server = RedisServer::with().password(PASSWORD).start();
    let relay = Relay::to(&server.address());
    let cause = "the server refused upstream.username and the password (WRONGPASS)";
    is_told(&relay, &format!("password = \"{OTHER_PASSWORD}\""), Configuration, cause);
    let log = server.cli(&["ACL", "LOG"]);
    assert!(!log.is_empty() && entries(&log) <= 2, "the server was hammered:\n{log}");
}

#[test]
fn a_wrong_user_is_named() {
    let server = RedisServer::with().user("web", PASSWORD).start();
    let relay = Relay::to(&server.address());
    let cause = "the server refused upstream.username and the password (WRONGPASS)";
    is_told(&relay, &format!("username = \"nobody\"\npassword = \"{PASSWORD}\""), Configuration, cause);
}

#[test]
fn a_missing_password_is_named() {
    let server = RedisServer::with().password(PASSWORD).start();
    let relay = Relay::to(&server.address());
    is_told(&relay, "", Configuration, "the server wants a password: set upstream.password_file");
}

#[test]
fn a_user_who_may_not_do_what_is_needed_is_named() {
    let server = RedisServer::with().config(format!("user web on >{PASSWORD} ~* &* +@all -select")).start();
    let relay = Relay::to(&server.address());
    let cause = "the server's ACL forbids SELECT to upstream.username";
    is_told(&relay, &format!("username = \"web\"\npassword = \"{PASSWORD}\""), Configuration, cause);
}

#[test]
fn a_database_that_does_not_exist_is_named() {
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    is_told(&relay, "db = 16", Configuration, "upstream.db: the server has no such database");
}

#[test]
fn an_untrusted_certificate_is_named() {
    let certificates = Certificates::new();
    let server = RedisServer::with().tls(&certificates).start();
    in_full_and_by_chain(|verify| {
        let cause = "the server's certificate is not trusted (unknown issuer): upstream.tls.ca_file must hold";
        is_told(&Relay::to(&server.address()), &tls(verify, &certificates.other_ca), Configuration, cause);
    });
}

#[test]
fn an_expired_certificate_is_named() {
    let certificates = Certificates::new();
    let server = RedisServer::with().tls(&certificates).server_certificate(&certificates.expired).start();
    in_full_and_by_chain(|verify| {
        let cause = "the server's certificate has expired";
        is_told(&Relay::to(&server.address()), &tls(verify, &certificates.ca), Configuration, cause);
    });
}

#[test]
fn a_certificate_for_another_name_is_named() {
    let certificates = Certificates::new();
    let server = RedisServer::with().tls(&certificates).server_certificate(&certificates.wrong_name).start();
    let relay = Relay::to(&server.address());
    let cause = "the server's certificate is for another name";
    is_told(&relay, &tls("full", &certificates.ca), Configuration, cause);
}

#[test]
fn a_missing_client_certificate_is_named() {
    let certificates = Certificates::new();
    let server = RedisServer::with().tls(&certificates).client_certificates().start();
    let relay = Relay::to(&server.address());
    is_told(&relay, &tls("full", &certificates.ca), Configuration, "set upstream.tls.cert_file and key_file");
}

/// TLS 1.2 knows no alert of its own for this.
#[test]
fn a_missing_client_certificate_is_named_in_tls_1_2() {
    let certificates = Certificates::new();
    let server =
        RedisServer::with().tls(&certificates).client_certificates().config("tls-protocols \"TLSv1.2\"").start();
    let relay = Relay::to(&server.address());
    is_told(&relay, &tls("full", &certificates.ca), Configuration, "it wants a client certificate");
}

#[test]
fn a_client_certificate_the_server_does_not_trust_is_named() {
    let certificates = Certificates::new();
    let server = RedisServer::with().tls(&certificates).client_certificates().start();
    let relay = Relay::to(&server.address());
    let client = format!(
        "cert_file = \"{}\"\nkey_file = \"{}\"",
        certificates.other_client.certificate.display(),
        certificates.other_client.key.display(),
    );
    let tls = tls("full", &certificates.ca);
    is_told(&relay, &format!("{tls}{client}"), Configuration, "the server refused our certificate");
}

/// Redis waits for the end of the line it takes our greeting for, so this cannot be told from a blackhole: the
/// log says what to look at, and the proxy goes on trying.
#[test]
fn a_server_without_tls_is_hinted_at() {
    let server = RedisServer::plain();
    let relay = Relay::to(&server.address());
    let certificates = Certificates::new();
    let upstream = format!("connect_timeout = \"500ms\"\n{}", tls("full", &certificates.ca));
    is_told(&relay, &upstream, Passing, "upstream.tls.enabled");
}

#[test]
fn another_server_without_tls_is_named() {
    let certificates = Certificates::new();
    let server = answering(b"-ERR what is that\r\n");
    let cause = "the server does not speak TLS on this port: set upstream.tls.enabled = false";
    is_told(&Relay::to(&server), &tls("full", &certificates.ca), Configuration, cause);
}

/// Redis resets the connection without a word: nor can this be told from a passing trouble.
#[test]
fn a_server_with_tls_is_hinted_at() {
    let server = RedisServer::with().tls(&Certificates::new()).start();
    let relay = Relay::to(&server.address());
    is_told(&relay, "", Passing, "upstream.tls.enabled");
}

/// The alert `protocol_version`, as other servers say it.
#[test]
fn another_server_with_tls_is_named() {
    let server = answering(&[0x15, 3, 1, 0, 2, 2, 70]);
    let cause = "the server speaks TLS on this port: set upstream.tls.enabled = true";
    is_told(&Relay::to(&server), "", Configuration, cause);
}

/// A server that hangs up is asked whether it wants TLS, but not when it is spoken to in TLS.
#[test]
fn a_server_that_hangs_up_on_tls_is_not_said_to_want_it() {
    let certificates = Certificates::new();
    let server = answering(b"");
    let proxy = is_told(&Relay::to(&server), &tls("full", &certificates.ca), Passing, "closed the connection");
    let lines = warnings(&proxy);
    assert!(!lines[0].contains("does it want TLS"), "{lines:?}");
}

#[test]
fn an_http_server_is_named() {
    let server = answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    is_told(&Relay::to(&server), "", Configuration, "an HTTP server answers on this port");
}

#[test]
fn a_mail_server_is_named() {
    let server = answering(b"220 mail.test ESMTP\r\n");
    is_told(&Relay::to(&server), "", Configuration, "the server does not speak Redis' protocol");
}

#[test]
fn a_redis_that_is_too_old_is_named() {
    let server = answering(b"-ERR unknown command 'HELLO'\r\n+OK\r\n+PONG\r\n");
    is_told(&Relay::to(&server), "", Configuration, "Redis 6 or newer, or Valkey, is needed");
}

/// The file was there at the start, or the proxy would not have started.
#[test]
fn a_password_file_that_is_gone_is_named() {
    let server = RedisServer::with().password(PASSWORD).start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("password");
    fs::write(&path, PASSWORD).expect("a writable directory");
    let relay = Relay::to(&server.address());
    relay.stop();
    let proxy = super::Proxy::start(&super::configuration(&format!(
        "server = \"{}\"\nconnect_timeout = \"20s\"\npassword_file = \"{}\"",
        relay.address(),
        path.display(),
    )));
    proxy.address();
    fs::remove_file(&path).expect("our own file");
    relay.resume();
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    proxy.allow("upstream");
    let line = proxy.wait_for_log("upstream.password_file: ", super::support::DEADLINE);
    assert!(line.contains(path.to_str().expect("a path in ASCII")), "{line}");
}

/// Nobody restarts the proxy when the password has been put right: that takes half a minute to be noticed.
#[test]
fn a_password_that_is_put_right_is_tried_within_half_a_minute() {
    let server = RedisServer::with().password(PASSWORD).start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("password");
    fs::write(&path, OTHER_PASSWORD).expect("a writable directory");
    let relay = Relay::to(&server.address());
    let proxy = is_told(&relay, &format!("password_file = \"{}\"", path.display()), Configuration, "WRONGPASS");
    fs::write(&path, PASSWORD).expect("our own file");
    let written = Instant::now();
    while proxy.get("/readyz").0 != 200 {
        assert!(written.elapsed() < Duration::from_secs(35), "still not ready");
        thread::sleep(Duration::from_millis(50));
    }
    assert_serves(&proxy);
    let log = server.cli(&["ACL", "LOG"]);
    assert!(entries(&log) <= 2, "the server was hammered:\n{log}");
}

/// Both at a time: a trouble is watched for some seconds.
fn in_full_and_by_chain(check: impl Fn(&str) + Sync) {
    thread::scope(|scope| {
        scope.spawn(|| check("full"));
        scope.spawn(|| check("chain"));
    });
}

/// Attempts in the server's `ACL LOG`; equal ones are counted in one entry.
fn entries(log: &str) -> u32 {
    let lines: Vec<_> = log.lines().collect();
    let counts = lines.windows(2).filter(|pair| pair[0] == "count").map(|pair| pair[1].parse::<u32>());
    counts.map(|count| count.expect("a number")).sum()
}

/// A server that gives everybody the same answer, as soon as it is asked, and hangs up.
fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the port of a listener").to_string();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            // Whatever it has to say; one who has gone needs no answer.
            let _ = client.read(&mut [0; 4096]).and_then(|_| client.write_all(answer));
        }
    });
    address
}
