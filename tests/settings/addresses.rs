//! Where the proxy listens.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::support::{Proxy, RedisServer, Wire, stays_so, wait_until};
use super::{QUIET, directory, run};

#[test]
fn a_unix_socket_may_be_listened_on() {
    let server = RedisServer::plain();
    let directory = directory(&[]);
    let path = directory.path().join("redis.sock");
    let mut proxy = start_on(&path, &server);
    assert_eq!(proxy.address(), format!("unix:{}", path.display()));
    assert_eq!(ask(&path, &["SET", "k", "v"]), "OK");
    assert_eq!(ask(&path, &["GET", "k"]), "v");
    assert_eq!(server.cli(&["GET", "k"]), "v");
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert!(!path.exists(), "the socket is removed");
}

/// What a killed proxy leaves behind does not keep the next one from starting.
#[test]
fn a_stale_unix_socket_is_replaced() {
    let server = RedisServer::plain();
    let directory = directory(&[]);
    let path = directory.path().join("redis.sock");
    let mut first = start_on(&path, &server);
    first.signal("KILL");
    first.wait_exit();
    assert!(path.exists());
    let _second = start_on(&path, &server);
    assert_eq!(ask(&path, &["PING"]), "PONG");
}

#[test]
fn a_unix_socket_has_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let server = RedisServer::plain();
    let directory = directory(&[]);
    for (line, mode) in [("", 0o660), ("listen.unix_mode = \"0600\"", 0o600), ("listen.unix_mode = \"666\"", 0o666)] {
        let path = directory.path().join("redis.sock");
        let text = QUIET.replace("127.0.0.1:0\"\n    metrics", &format!("unix:{}\"\n    metrics", path.display()));
        assert_ne!(text, QUIET);
        let proxy = Proxy::start(&format!("{text}\nupstream.server = \"{}\"\n{line}\n", server.address()));
        proxy.wait_ready();
        let permissions = fs::symlink_metadata(&path).expect("a socket").permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{line}");
        // The clients' list says where they came in.
        assert!(ask(&path, &["CLIENT", "LIST"]).contains(&format!(" laddr={}:0 ", path.display())));
        let others = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(others, 1, "nothing else is left there");
    }
}

#[test]
fn a_unix_socket_another_process_listens_on_is_left_alone() {
    let directory = directory(&[("config.toml", QUIET)]);
    for (key, is_flag) in [("listen.address", true), ("metrics.address", false)] {
        let path = directory.path().join(key);
        let _taken = UnixListener::bind(&path).expect("a new socket");
        let address = format!("unix:{}", path.display());
        let text = QUIET.replace(&format!("{key} = \"127.0.0.1:0\""), &format!("{key} = \"{address}\""));
        assert_ne!(text, QUIET);
        fs::write(directory.path().join("config.toml"), text).expect("a writable directory");
        let flags = ["--listen", &address];
        let said = run(directory.path(), if is_flag { &flags } else { &[] });
        assert_eq!(said.code, Some(1), "{}", said.error);
        assert!(said.error.contains(key) && said.error.contains(&address), "{}", said.error);
        UnixStream::connect(&path).expect("the other process is still there");
    }
}

/// A path that was mistyped must not cost a file.
#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    for key in ["listen.address", "metrics.address"] {
        let directory = directory(&[("precious", "data")]);
        let path = directory.path().join("precious");
        let text = QUIET.replace(&format!("{key} = \"127.0.0.1:0\""), &format!("{key} = \"unix:{}\"", path.display()));
        fs::write(directory.path().join("config.toml"), text).expect("a writable directory");
        let said = run(directory.path(), &["--check"]);
        assert_eq!(said.code, Some(0), "{}", said.error);
        // With a server to be found or not, it cannot listen there.
        let said = run(directory.path(), &[]);
        assert_eq!(said.code, Some(1), "{}", said.error);
        assert!(said.error.contains(key), "{}", said.error);
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("data"), "{key}: the file is gone");
    }
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("the port of a listener").to_string();
    for key in ["listen.address", "metrics.address"] {
        let text = QUIET.replace(&format!("{key} = \"127.0.0.1:0\""), &format!("{key} = \"{address}\""));
        let directory = directory(&[("config.toml", &text)]);
        let said = run(directory.path(), &[]);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
        let line = said.error.lines().last().unwrap_or_default();
        assert!(line.starts_with(&format!("cloakroom: {key}: cannot listen on {address}: ")), "{}", said.error);
        assert!(line.contains("Address already in use"), "{}", said.error);
    }
}

#[test]
fn an_address_that_is_not_this_machines_is_named() {
    let directory = directory(&[("config.toml", QUIET), ("password", "p")]);
    let text = format!("{QUIET}\nlisten.password_file = \"password\"");
    fs::write(directory.path().join("config.toml"), text).expect("a writable directory");
    for (address, says) in [("192.0.2.1:0", "assign"), ("no-such-host.invalid:0", "lookup")] {
        let said = run(directory.path(), &["--listen", address]);
        assert_eq!(said.code, Some(1), "{}", said.error);
        assert!(said.error.contains(&format!("listen.address: cannot listen on {address}")), "{}", said.error);
        assert!(said.error.contains(says), "{}", said.error);
    }
}

/// A restart does not have to wait for the connections of the last run to be forgotten.
#[test]
fn an_address_that_was_just_given_up_can_be_used_again() {
    let server = RedisServer::plain();
    let mut first = Proxy::with(&server, &[]);
    let port = first.port();
    let mut client = Wire::connect(port);
    assert_eq!(client.ask("PING"), "+PONG");
    first.signal("TERM");
    first.wait_exit();
    drop(client);
    let text = QUIET.replace("127.0.0.1:0\"\n    metrics", &format!("127.0.0.1:{port}\"\n    metrics"));
    assert!(text.contains(&port.to_string()));
    let second = Proxy::start(&format!("{text}\nupstream.server = \"{}\"", server.address()));
    second.wait_ready();
    assert_eq!(second.port(), port);
    assert_eq!(Wire::connect(port).ask("PING"), "+PONG");
}

#[test]
fn a_client_too_many_is_told_so() {
    let server = RedisServer::plain();
    let proxy = Proxy::with(&server, &["listen.max_clients = 3"]);
    let mut clients: Vec<_> = (0..3).map(|_| Wire::connect(proxy.port())).collect();
    assert!(clients.iter_mut().all(|client| client.ask("PING") == "+PONG"));
    for _ in 0..3 {
        let mut fourth = Wire::connect(proxy.port());
        assert_eq!(fourth.hear(), "-ERR max number of clients reached");
        assert_eq!(fourth.rest(), Ok(Vec::new()));
    }
    assert!(clients.iter_mut().all(|client| client.ask("PING") == "+PONG"));
    clients.pop();
    wait_until("there is room again", || {
        let mut next = Wire::connect(proxy.port());
        // One that is turned away may not be able to ask any more.
        let _ = next.try_send(b"PING\r\n");
        next.try_frame().is_ok_and(|frame| frame == b"+PONG\r\n")
    });
}

/// With all of `limits.pinned` in use, others wait for one, and are told when it takes too long.
#[test]
fn connections_of_ones_own_are_bounded() {
    let server = RedisServer::plain();
    let proxy = Proxy::with(&server, &["limits.pinned = 2", "upstream.queue_timeout = \"500ms\""]);
    let mut clients: Vec<_> = (0..3).map(|_| Wire::connect(proxy.port())).collect();
    assert_eq!(clients[0].ask("MULTI"), "+OK");
    assert_eq!(clients[1].ask("SUBSCRIBE c"), "*3 $9 subscribe $1 c :1");
    assert_eq!(clients[2].ask("WATCH k"), "-LOADING no upstream connection free; command not executed");
    assert_eq!(clients[2].ask("SET k v"), "+OK", "what needs none goes on");
    clients[2].say(&["WATCH k"]);
    stays_so("it waits", Duration::from_millis(100), || clients[0].ask("GET k") == "+QUEUED");
    clients.remove(0);
    assert_eq!(clients[1].hear(), "+OK");
}

fn start_on(path: &Path, server: &RedisServer) -> Proxy {
    let text =
        QUIET.replace("listen.address = \"127.0.0.1:0\"", &format!("listen.address = \"unix:{}\"", path.display()));
    let proxy = Proxy::start(&format!("{text}\nupstream.server = \"{}\"", server.address()));
    proxy.wait_ready();
    proxy
}

fn ask(path: &Path, command: &[&str]) -> String {
    let output = Command::new("redis-cli").arg("-s").arg(path).args(command).output();
    String::from_utf8(output.expect("redis-cli is installed").stdout).expect("text").trim_end().to_owned()
}
