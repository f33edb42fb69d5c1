//! Flags, and where the configuration is looked for.

use std::fmt::Write as _;

use super::support::{Proxy, RedisServer, Wire};
use super::{QUIET, command, directory, run};

#[test]
fn help_names_every_flag() {
    let said = run(directory(&[]).path(), &["--help"]);
    assert_eq!((said.code, said.error.as_str()), (Some(0), ""));
    for flag in ["--config", "--check", "--listen", "--upstream", "--with-redis", "--help", "--version"] {
        assert!(said.out.contains(flag), "{flag} is not in:\n{}", said.out);
    }
    assert!(said.out.contains("./config.toml"), "{}", said.out);
}

#[test]
fn version_is_that_of_the_package() {
    let said = run(directory(&[]).path(), &["--version"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), concat!("cloakroom ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn an_unknown_flag_is_refused() {
    let said = run(directory(&[]).path(), &["--frobnicate"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    assert!(said.error.contains("--frobnicate") && said.error.contains("Usage:"), "{}", said.error);
}

#[test]
fn check_accepts_a_good_file_and_starts_nothing() {
    let directory = directory(&[("good.toml", QUIET)]);
    let said = run(directory.path(), &["--check", "--config", "good.toml"]);
    assert_eq!((said.code, said.error.as_str()), (Some(0), ""));
    assert_eq!(said.out, "good.toml: ok\n");
}

#[test]
fn check_without_a_file_says_that_there_is_none() {
    let said = run(directory(&[]).path(), &["--check"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "the built-in defaults: ok\n"));
}

#[test]
fn check_reads_the_file_in_the_working_directory() {
    let said = run(directory(&[("config.toml", "")]).path(), &["--check"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "config.toml: ok\n"));
    let said = run(directory(&[("config.toml", "[listen]\nport = 1")]).path(), &["--check"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error.contains("config.toml, line 2"), "{}", said.error);
}

/// It neither starts the private server nor takes the port.
#[test]
fn check_starts_no_private_server() {
    let said = run(directory(&[]).path(), &["--check", "--with-redis"]);
    assert_eq!(said.code, Some(0), "{}", said.error);
}

#[test]
fn check_reads_flags_and_variables_too() {
    let directory = directory(&[("config.toml", "[upstream]\nusername = \"web\"")]);
    let said = run(directory.path(), &["--check"]);
    assert_eq!(said.code, Some(1), "a user needs a password");
    let said = super::run_command(command(directory.path(), &["--check"]).env("CLOAKROOM_UPSTREAM_PASSWORD", "p"));
    assert_eq!(said.code, Some(0), "{}", said.error);
    let said = run(directory.path(), &["--check", "--listen", "nowhere"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error.contains("--listen: no port in \"nowhere\", expected host:port"), "{}", said.error);
}

#[test]
fn the_file_in_the_working_directory_is_used() {
    let server = RedisServer::plain();
    let text = format!("{QUIET}\nupstream.server = \"{}\"", server.address());
    let directory = directory(&[("config.toml", &text)]);
    assert_serves(&server, &Proxy::start_command(&mut command(directory.path(), &[])));
}

#[test]
fn a_file_that_is_named_wins_over_the_one_in_the_working_directory() {
    let server = RedisServer::plain();
    let text = format!("{QUIET}\nupstream.server = \"{}\"", server.address());
    let directory = directory(&[("config.toml", "no configuration"), ("mine.toml", &text)]);
    let proxy = Proxy::start_command(&mut command(directory.path(), &["--config", "mine.toml"]));
    assert_serves(&server, &proxy);
}

#[test]
fn flags_win_over_the_file() {
    let server = RedisServer::plain();
    let mut text = QUIET.to_owned();
    writeln!(text, "upstream.server = \"127.0.0.1:1\"\nupstream.db = 9").expect("memory");
    let text = text.replace("listen.address = \"127.0.0.1:0\"", "listen.address = \"127.0.0.1:1\"");
    let directory = directory(&[("config.toml", &text)]);
    let address = server.address();
    for upstream in [format!("redis://{address}/0"), format!("redis://{address}"), address.clone()] {
        let arguments = ["--listen", "127.0.0.1:0", "--upstream", &upstream];
        let proxy = Proxy::start_command(&mut command(directory.path(), &arguments));
        proxy.wait_ready();
        let db = if upstream.ends_with("/0") { "0" } else { "9" };
        assert_eq!(Wire::connect(proxy.port()).ask(&format!("SET in-{db} v")), "+OK");
        assert_eq!(server.cli(&["-n", db, "GET", &format!("in-{db}")]), "v", "{upstream}");
    }
}

#[test]
fn a_url_may_name_a_user_and_a_database() {
    let server = RedisServer::with().user("web", "open-sesame").start();
    let directory = directory(&[("config.toml", QUIET)]);
    let upstream = format!("redis://web@{}/3", server.address());
    let mut command = command(directory.path(), &["--upstream", &upstream]);
    let proxy = Proxy::start_command(command.env("CLOAKROOM_UPSTREAM_PASSWORD", "open-sesame"));
    proxy.wait_ready();
    assert_eq!(Wire::connect(proxy.port()).ask("SET k v"), "+OK");
    assert_eq!(server.cli(&["-n", "3", "GET", "k"]), "v");
}

#[test]
fn a_url_may_ask_for_tls() {
    let certificates = super::support::Certificates::new();
    let server = RedisServer::with().tls(&certificates).start();
    let text = format!("{QUIET}\nupstream.tls.ca_file = \"{}\"", certificates.ca.display());
    let directory = directory(&[("config.toml", &text)]);
    let upstream = format!("rediss://{}", server.address());
    assert_serves(&server, &Proxy::start_command(&mut command(directory.path(), &["--upstream", &upstream])));
}

#[test]
fn a_unix_socket_may_be_given_as_a_flag() {
    let server = RedisServer::with().unix_socket().start();
    let directory = directory(&[("config.toml", QUIET)]);
    let proxy = Proxy::start_command(&mut command(directory.path(), &["--upstream", &server.address()]));
    assert_serves(&server, &proxy);
}

/// Everybody can read the arguments of a process.
#[test]
fn a_password_on_the_command_line_is_refused_and_not_repeated() {
    let said = run(directory(&[]).path(), &["--check", "--upstream", "redis://web:open-sesame@localhost"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error.contains("CLOAKROOM_UPSTREAM_PASSWORD"), "{}", said.error);
    assert!(!said.error.contains("open-sesame"), "{}", said.error);
}

fn assert_serves(server: &RedisServer, proxy: &Proxy) {
    proxy.wait_ready();
    assert_eq!(Wire::connect(proxy.port()).ask("SET k v"), "+OK");
    assert_eq!(server.cli(&["GET", "k"]), "v");
}
