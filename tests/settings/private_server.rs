//! `--with-redis`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use super::support::{DEADLINE, Proxy, Wire, wait_until};
use super::{QUIET, command, directory, run, run_command};

/// A proxy with a private server, and that server's process.
fn start(text: &str) -> (Proxy, String) {
    let directory = directory(&[("config.toml", text)]);
    let proxy = Proxy::start_command(&mut command(directory.path(), &["--with-redis"]));
    proxy.wait_ready();
    let pid = pid(&proxy);
    (proxy, pid)
}

fn pid(proxy: &Proxy) -> String {
    let info = Wire::connect(proxy.port()).ask("INFO server");
    let pid =
        info.split("process_id:").nth(1).and_then(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next());
    let pid = pid.expect("INFO names the process").to_owned();
    assert!(is_alive(&pid));
    pid
}

/// A process that has ended and was not waited for counts as gone.
fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    status.is_ok_and(|status| !status.rsplit(") ").next().is_some_and(|state| state.starts_with('Z')))
}

#[test]
fn the_private_server_is_used_and_ends_with_the_proxy() {
    for signal in ["TERM", "INT"] {
        let (mut proxy, server) = start(QUIET);
        let mut client = Wire::connect(proxy.port());
        assert_eq!(client.ask("SET k v"), "+OK");
        assert_eq!(client.ask("GET k"), "v");
        let info = client.ask("CONFIG GET port");
        assert_eq!(info, "*2 $4 port $1 0", "it is on no network");
        let dir = client.ask("CONFIG GET dir").rsplit(' ').next().map(str::to_owned).expect("a directory");
        assert!(Path::new(&dir).is_dir());
        proxy.signal(signal);
        assert_eq!(proxy.wait_exit().code(), Some(0));
        assert!(!is_alive(&server), "the server has ended before the proxy has");
        assert!(!Path::new(&dir).exists(), "nothing is left behind");
    }
}

#[test]
fn the_private_server_ends_with_a_proxy_that_is_killed() {
    let (mut proxy, server) = start(QUIET);
    proxy.signal("KILL");
    proxy.wait_exit();
    wait_until("the server ends", || !is_alive(&server));
}

#[test]
fn the_private_server_ends_when_the_proxy_cannot_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("the port of a listener").to_string();
    let directory = directory(&[("config.toml", QUIET)]);
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let mut command = command(directory.path(), &["--with-redis", "--listen", &address]);
    let said = run_command(command.env("TMPDIR", temporary.path()));
    assert_eq!(said.code, Some(1));
    assert!(said.error.contains("listen.address"), "{}", said.error);
    let left: Vec<_> = fs::read_dir(temporary.path()).expect("our own directory").collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(processes_in(temporary.path()).is_empty());
}

#[test]
fn a_mistake_in_the_configuration_starts_no_server() {
    let directory = directory(&[("config.toml", "nonsense")]);
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let said = run_command(command(directory.path(), &["--with-redis"]).env("TMPDIR", temporary.path()));
    assert_eq!(said.code, Some(1));
    assert!(fs::read_dir(temporary.path()).expect("our own directory").next().is_none());
    assert!(processes_in(temporary.path()).is_empty());
}

/// Ctrl-C reaches every process of the terminal: the server must not go before what is in flight is answered.
#[test]
fn ctrl_c_ends_the_proxy_first() {
    let directory = directory(&[("config.toml", QUIET)]);
    let mut proxy = Proxy::start_command(command(directory.path(), &["--with-redis"]).process_group(0));
    proxy.wait_ready();
    let server = pid(&proxy);
    let mut client = Wire::connect(proxy.port());
    client.say(&["BLPOP nothing 0.5", "SET k v", "GET k"]);
    let mut other = Wire::connect(proxy.port());
    other.say(&["EVAL \"local t = 0; for i = 1, 3e7 do t = t + i end; return 'done'\" 0", "GET k"]);
    wait_until("it is under way", || proxy.get("/metrics").1.contains("cloakroom_requests_total{command=\"eval\"} 1"));
    let group = format!("-{}", proxy.pid());
    let status = Command::new("sh").args(["-c", r#"kill -s INT -- "$0""#, &group]).status();
    assert!(status.is_ok_and(|status| status.success()));
    assert_eq!(other.hear(), "done");
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert!(!is_alive(&server));
}

#[test]
fn what_is_for_another_server_is_not_used_for_the_private_one() {
    let text = format!(
        "{QUIET}
        upstream = {{ server = \"127.0.0.1:1\", username = \"web\", password = \"open-sesame\", db = 3, tls.enabled = true }}"
    );
    let (proxy, _) = start(&text);
    assert_eq!(Wire::connect(proxy.port()).ask("SET k v"), "+OK");
}

#[test]
fn the_password_in_the_environment_is_not_used_for_the_private_one() {
    let directory = directory(&[("config.toml", QUIET)]);
    let mut command = command(directory.path(), &["--with-redis"]);
    let proxy = Proxy::start_command(command.env("CLOAKROOM_UPSTREAM_PASSWORD", "open-sesame"));
    proxy.wait_ready();
    assert_eq!(Wire::connect(proxy.port()).ask("SET k v"), "+OK");
}

#[test]
fn a_server_may_not_be_named_beside_a_private_one() {
    let said = run(directory(&[]).path(), &["--with-redis", "--upstream", "127.0.0.1:1"]);
    assert_eq!(said.code, Some(2));
    assert!(said.error.contains("--upstream"), "{}", said.error);
}

#[test]
fn where_no_server_is_installed_it_is_said_how_to() {
    let directory = directory(&[("config.toml", QUIET)]);
    let said = run_command(command(directory.path(), &["--with-redis"]).env("PATH", directory.path()));
    assert_eq!(said.code, Some(1));
    for says in ["--with-redis", "redis-server", "valkey-server", "install"] {
        assert!(said.error.contains(says), "{}", said.error);
    }
}

/// Without `setpriv` the kernel does not end it, but a proxy that ends by itself still does.
#[test]
fn without_setpriv_the_private_server_ends_with_the_proxy() {
    let directory = directory(&[("config.toml", QUIET)]);
    let bin = tempfile::tempdir().expect("a temporary directory");
    let path = env::var_os("PATH").expect("a PATH");
    let server = env::split_paths(&path).map(|dir| dir.join("redis-server")).find(|path| path.is_file());
    std::os::unix::fs::symlink(server.expect("redis-server is installed"), bin.path().join("redis-server"))
        .expect("a link");
    let mut proxy = Proxy::start_command(command(directory.path(), &["--with-redis"]).env("PATH", bin.path()));
    proxy.wait_ready();
    let server = pid(&proxy);
    let asked = Instant::now();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit().code(), Some(0));
    assert!(!is_alive(&server));
    assert!(asked.elapsed() < DEADLINE.min(Duration::from_secs(5)));
}

/// Processes whose arguments name a directory.
fn processes_in(directory: &Path) -> Vec<String> {
    let name = directory.to_str().expect("a path in ASCII");
    let processes = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let arguments = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    arguments.filter(|arguments| arguments.contains(name)).collect()
}
