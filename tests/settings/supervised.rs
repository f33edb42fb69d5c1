//! Under a service manager: what it is told, and the socket it hands over.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use super::support::{DEADLINE, Proxy, RedisServer, Wire, wait_until};
use super::{QUIET, command, directory, root, run_command};

/// Where a service manager listens.
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = directory(&[]);
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a new socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("not zero");
        Self { socket, directory }
    }

    fn hears(&self) -> String {
        let mut word = [0; 1024];
        let len = self.socket.recv(&mut word).expect("a word");
        String::from_utf8_lossy(&word[..len]).trim_end().to_owned()
    }
}

fn configuration(server: &RedisServer) -> String {
    format!("{QUIET}\nupstream.server = \"{}\"\n", server.address())
}

#[test]
fn a_service_manager_is_told_what_happens() {
    let (server, manager) = (RedisServer::plain(), Manager::new());
    let place = directory(&[("config.toml", &configuration(&server))]);
    let mut command = command(place.path(), &[]);
    let mut proxy = Proxy::start_command(command.env("NOTIFY_SOCKET", manager.directory.path().join("notify")));
    assert_eq!(manager.hears(), "READY=1");
    // It could be connected to before that was said.
    assert_eq!(Wire::connect(proxy.port()).ask("PING"), "+PONG");
    proxy.signal("HUP");
    let reloading = manager.hears();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.hears(), "READY=1");
    proxy.signal("TERM");
    assert_eq!(manager.hears(), "STOPPING=1");
    assert_eq!(proxy.wait_exit().code(), Some(0));
}

/// Starts the proxy as systemd would, with its first client.
fn activated(listen: &str, place: &Path) -> Command {
    let mut command = Command::new("systemd-socket-activate");
    command.current_dir(place).args(["--listen", listen]).arg(env!("CARGO_BIN_EXE_cloakroom"));
    command
}

#[test]
fn a_socket_handed_over_is_listened_on() {
    let server = RedisServer::plain();
    let place = directory(&[("config.toml", &configuration(&server))]);
    let path = place.path().join("redis.sock");
    let proxy = Proxy::start_command(&mut activated(&path.display().to_string(), place.path()));
    // Its own word is no JSON.
    proxy.allow("Listening on");
    proxy.allow("Communication attempt");
    proxy.allow("Execing");
    proxy.allow("Connection from");
    wait_until("somebody listens", || path.exists());
    let cli = |words: &[&str]| {
        let output = Command::new("redis-cli").arg("-s").arg(&path).args(words).output().expect("redis-cli is there");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    };
    assert_eq!(cli(&["SET", "k", "v"]), "OK");
    assert_eq!(proxy.address(), format!("unix:{}", path.display()));
    assert_eq!(server.cli(&["GET", "k"]), "v");
    drop(proxy);
    assert!(path.exists(), "the socket is the service manager's");
}

/// What `listen.address` would refuse is refused there, too.
#[test]
fn a_socket_handed_over_that_is_open_to_everybody_is_refused() {
    let server = RedisServer::plain();
    let place = directory(&[("config.toml", &configuration(&server))]);
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let mut command = activated(&format!("0.0.0.0:{port}"), place.path());
    let knocking = std::thread::spawn(move || {
        let address = ("127.0.0.1", port);
        wait_until("somebody listens", || std::net::TcpStream::connect(address).is_ok());
    });
    let said = run_command(&mut command);
    knocking.join().expect("somebody listened");
    assert_eq!(said.code, Some(1), "{}", said.error);
    assert!(said.error.contains("beyond loopback"), "{}", said.error);
}

#[test]
fn the_unit_files_are_understood() {
    let place = directory(&[]);
    let unit = std::fs::read_to_string(root().join("packaging/cloakroom.service")).expect("the unit file");
    let here = unit.replace("/usr/bin/cloakroom", env!("CARGO_BIN_EXE_cloakroom"));
    assert_ne!(here, unit);
    std::fs::write(place.path().join("cloakroom.service"), here).expect("a writable directory");
    std::fs::copy(root().join("packaging/cloakroom.socket"), place.path().join("cloakroom.socket"))
        .expect("the socket");
    let said = run_command(Command::new("systemd-analyze").current_dir(place.path()).args([
        "verify",
        "./cloakroom.service",
        "./cloakroom.socket",
    ]));
    assert_eq!((said.code, said.error.as_str()), (Some(0), ""));
    let exposed = run_command(Command::new("systemd-analyze").current_dir(place.path()).args([
        "security",
        "--offline=true",
        "--threshold=15",
        "./cloakroom.service",
    ]));
    assert_eq!(exposed.code, Some(0), "{}", exposed.out);
}
