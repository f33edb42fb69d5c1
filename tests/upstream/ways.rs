//! Ways to the server that work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::support::{Certificates, Proxy, RedisOptions, RedisServer, Wire};
use super::{KEY, OTHER_PASSWORD, PASSWORD, VALUE, assert_serves, assert_silent, configuration, tls};

#[test]
fn the_server_may_be_on_tcp() {
    let server = RedisServer::plain();
    assert_serves(&Proxy::start(&configuration(&at(&server))));
}

#[test]
fn the_server_may_be_on_a_unix_socket() {
    let server = RedisServer::with().unix_socket().start();
    assert!(server.address().starts_with("unix:/"));
    assert_serves(&Proxy::start(&configuration(&at(&server))));
}

#[test]
fn a_host_name_is_resolved() {
    let server = RedisServer::plain();
    assert_serves(&Proxy::start(&configuration(&format!("server = \"localhost:{}\"", server.port()))));
}

/// Of each certificate, whether it will do.
#[test]
fn tls_is_verified_as_far_as_asked() {
    let certificates = Certificates::new();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let versions = format!("tls-protocols \"{version}\"");
        let with =
            |identity| RedisServer::with().tls(&certificates).server_certificate(identity).config(&versions).start();
        let server = with(&certificates.server);
        let elsewhere = with(&certificates.wrong_name);
        let expired = with(&certificates.expired);
        for (verify, server) in [
            ("full", &server),
            ("chain", &server),
            ("none", &server),
            ("chain", &elsewhere),
            ("none", &elsewhere),
            ("none", &expired),
        ] {
            eprintln!("{version}, verify = {verify}");
            let proxy = Proxy::start(&configuration(&format!("{}{}", at(server), tls(verify, &certificates.ca))));
            proxy.allow("anyone between here and the server can read");
            assert_serves(&proxy);
        }
    }
}

#[test]
fn verify_none_is_said_to_be_dangerous_at_every_start() {
    let certificates = Certificates::new();
    let server = RedisServer::with().tls(&certificates).start();
    let proxy = Proxy::start(&configuration(&format!("{}{}", at(&server), tls("none", &certificates.ca))));
    proxy.allow("anyone between here and the server can read");
    proxy.wait_ready();
    let warnings = proxy.logs().iter().filter(|line| line.contains(r#""level":"WARN""#)).count();
    assert_eq!(warnings, 1);
}

#[test]
fn the_name_in_the_certificate_may_be_given() {
    let certificates = Certificates::new();
    let server = RedisServer::with().tls(&certificates).server_certificate(&certificates.wrong_name).start();
    let tls = tls("full", &certificates.ca);
    assert_serves(&Proxy::start(&configuration(&format!("{}{tls}server_name = \"elsewhere.test\"", at(&server)))));
}

#[test]
fn the_authorities_may_be_several() {
    let certificates = Certificates::new();
    let server = RedisServer::with().tls(&certificates).start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let bundle = directory.path().join("bundle.pem");
    let read = |path| fs::read_to_string(path).expect("a certificate");
    fs::write(&bundle, read(&certificates.other_ca) + &read(&certificates.ca)).expect("a writable directory");
    assert_serves(&Proxy::start(&configuration(&format!("{}{}", at(&server), tls("full", &bundle)))));
}

#[test]
fn a_client_certificate_is_shown_to_a_server_that_asks_for_one() {
    let certificates = Certificates::new();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let versions = format!("tls-protocols \"{version}\"");
        let server = RedisServer::with().tls(&certificates).client_certificates().config(versions).start();
        let client = format!(
            "cert_file = \"{}\"\nkey_file = \"{}\"",
            certificates.client.certificate.display(),
            certificates.client.key.display(),
        );
        let tls = tls("full", &certificates.ca);
        assert_serves(&Proxy::start(&configuration(&format!("{}{tls}{client}", at(&server)))));
    }
}

#[test]
fn the_default_user_may_have_a_password() {
    let server = RedisServer::with().password(PASSWORD).start();
    assert_serves(&Proxy::start(&configuration(&format!("{}password = \"{PASSWORD}\"", at(&server)))));
}

#[test]
fn a_user_of_the_acl_may_be_named() {
    let server = acl().start();
    assert_serves(&Proxy::start(&configuration(&format!(
        "{}username = \"web\"\npassword = \"{PASSWORD}\"",
        at(&server)
    ))));
    assert!(server.cli(&["ACL", "LOG"]).is_empty(), "nobody tried a wrong password");
}

#[test]
fn the_password_may_be_in_a_file() {
    let server = acl().start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("password");
    // As an editor leaves it, and as a secret store mounts it.
    for text in [format!("{PASSWORD}\n"), PASSWORD.to_owned()] {
        fs::write(&path, text).expect("a writable directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("our own file");
        let file = format!("username = \"web\"\npassword_file = \"{}\"", path.display());
        assert_serves(&Proxy::start(&configuration(&format!("{}{file}", at(&server)))));
        fs::remove_file(&path).expect("our own file");
    }
}

#[test]
fn the_password_may_be_in_the_environment_and_wins_there() {
    let server = acl().start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("cloakroom.toml");
    for password in ["", "password = \"open-barley-4712\"", "password_file = \"/nowhere\""] {
        fs::write(&path, configuration(&format!("{}username = \"web\"\n{password}", at(&server)))).expect("writable");
        let proxy = Proxy::start_command(
            Command::new(env!("CARGO_BIN_EXE_cloakroom"))
                .arg("--config")
                .arg(&path)
                .env("CLOAKROOM_UPSTREAM_PASSWORD", PASSWORD),
        );
        assert_serves(&proxy);
    }
}

#[test]
fn a_password_may_hold_what_urls_and_files_give_a_meaning_to() {
    let password = r"#p:a@s/s%40=w&ö\r\n{}$";
    let server = RedisServer::with().password(password).start();
    let proxy = Proxy::start(&configuration(&format!("{}password = '{password}'", at(&server))));
    assert_serves(&proxy);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("password");
    fs::write(&path, password).expect("a writable directory");
    assert_serves(&Proxy::start(&configuration(&format!("{}password_file = \"{}\"", at(&server), path.display()))));
}

#[test]
fn clients_start_in_the_configured_database() {
    let server = RedisServer::plain();
    let proxy = Proxy::start(&configuration(&format!("{}db = 5", at(&server))));
    proxy.wait_ready();
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask(&format!("SET {KEY} {VALUE}")), "+OK");
    assert_eq!(server.cli(&["-n", "5", "GET", KEY]), VALUE);
    assert_eq!(server.cli(&["-n", "0", "EXISTS", KEY]), "0");

    assert_eq!(client.ask("SELECT 0"), "+OK");
    assert_eq!(client.ask(&format!("GET {KEY}")), "$-1");
    assert_eq!(client.ask("RESET"), "+RESET");
    assert_eq!(client.ask(&format!("GET {KEY}")), VALUE, "where it began, not where Redis would");

    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask(&format!("GET {KEY}")), "+QUEUED");
    assert_eq!(client.ask("EXEC"), format!("*1 ${} {VALUE}", VALUE.len()), "pinned connections are there too");
    assert_silent(&proxy);
}

#[test]
fn our_connections_bear_our_name_on_the_server() {
    let server = RedisServer::plain();
    let proxy = Proxy::start(&configuration(&format!("{}name = \"web-1\"", at(&server))));
    proxy.wait_ready();
    let mut client = Wire::connect(proxy.port());
    assert_eq!(client.ask("CLIENT SETNAME of-the-client"), "+OK");
    assert_eq!(client.ask("SUBSCRIBE channel"), "*3 $9 subscribe $7 channel :1");

    let list = server.cli(&["CLIENT", "LIST"]);
    let ours = list.lines().filter(|line| line.contains(" name=web-1 ")).count();
    let pinned = list.lines().filter(|line| line.contains(" name=web-1 ") && line.contains(" sub=1 ")).count();
    assert_eq!((ours, pinned), (5, 1), "one connection for each worker, one for the subscriber:\n{list}");
    assert!(!list.contains("of-the-client"), "clients are unknown there:\n{list}");
}

#[test]
fn without_a_name_our_connections_bear_none() {
    let server = RedisServer::plain();
    let proxy = Proxy::start(&configuration(&format!("{}name = \"\"", at(&server))));
    assert_serves(&proxy);
    let list = server.cli(&["CLIENT", "LIST"]);
    assert!(list.lines().all(|line| line.contains(" name= ")), "{list}");
}

/// The password of a server changes, and the file with it: connections that are open stay, new ones use the
/// new one.
#[test]
fn a_rotated_password_needs_no_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("password");
    fs::write(&path, PASSWORD).expect("a writable directory");
    let server = acl().start();
    let file = format!("username = \"web\"\npassword_file = \"{}\"", path.display());
    let proxy = Proxy::start(&configuration(&format!("{}{file}", at(&server))));
    assert_serves(&proxy);

    // While both are valid, as during a rotation, `redis-cli` of this test keeps the old one.
    server.cli(&["ACL", "SETUSER", "web", &format!(">{OTHER_PASSWORD}")]);
    fs::write(&path, OTHER_PASSWORD).expect("our own file");
    proxy.allow("upstream connection lost");
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert_serves(&proxy);
    assert!(server.cli(&["ACL", "LOG"]).is_empty(), "nobody tried a wrong password");
}

fn acl() -> RedisOptions {
    RedisServer::with().user("web", PASSWORD)
}

fn at(server: &RedisServer) -> String {
    format!("server = \"{}\"\n", server.address())
}
