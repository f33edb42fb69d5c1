//! `listen.unix_mode`: who may reach a Unix socket, from its first moment.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::support::{Proxy, RedisServer, wait_until};

/// Starts a proxy that listens on a socket in `directory`, under a umask, and returns every mode its file ever had.
fn modes_of(directory: &Path, umask: &str, lines: &[&str], server: &RedisServer) -> BTreeSet<String> {
    let (path, config) = (directory.join("redis.sock"), directory.join("config.toml"));
    let text = format!(
        "listen.address = \"unix:{}\"\nmetrics.address = \"127.0.0.1:0\"\nlog.format = \"json\"\n\
         upstream.server = \"{}\"\n{}\n",
        path.display(),
        server.address(),
        lines.join("\n"),
    );
    fs::write(&config, text).expect("a writable directory");
    let (is_over, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // It looks as often as it can: a file that is narrowed once it is there would be seen wide, sooner or later.
        let watcher = scope.spawn(|| {
            let mut modes = BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                if let Ok(file) = fs::symlink_metadata(&path) {
                    modes.insert(format!("{:04o}", file.permissions().mode() & 0o7777));
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            }
            modes
        });
        let script = format!("umask {umask}; exec \"$0\" --config \"$1\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_cloakroom")]).arg(&config);
        let mut proxy = Proxy::start_command(&mut command);
        proxy.wait_ready();
        let mut client = UnixStream::connect(&path).expect("somebody listens");
        client.write_all(b"PING\r\n").expect("it is read");
        let mut answer = [0; 7];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"+PONG\r\n");
        drop(client);
        // On a machine that is busy it may not have looked yet.
        wait_until("it has looked", || looks.load(Ordering::Relaxed) > 0);
        proxy.signal("TERM");
        proxy.wait_exit();
        is_over.store(true, Ordering::Relaxed);
        watcher.join().expect("it only looks")
    })
}

#[test]
fn a_unix_socket_has_its_mode_from_the_first_moment() {
    let server = RedisServer::plain();
    for (lines, mode) in [
        (&[][..], "0660"),
        (&["listen.unix_mode = \"0660\""], "0660"),
        (&["listen.unix_mode = \"0600\""], "0600"),
        (&["listen.unix_mode = \"0666\""], "0666"),
    ] {
        // Neither wider than it says under a lax umask, nor narrower under a strict one.
        for umask in ["000", "022", "077"] {
            for _ in 0..3 {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let modes = modes_of(directory.path(), umask, lines, &server);
                assert_eq!(modes, BTreeSet::from([mode.to_owned()]), "{lines:?} under umask {umask}");
            }
        }
    }
}

#[test]
fn a_mode_that_is_none_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for mode in ["0999", "rw-rw----", "", "660660", "-1"] {
        let path = directory.path().join("config.toml");
        fs::write(&path, format!("listen.unix_mode = \"{mode}\"\n")).expect("a writable directory");
        let said = Command::new(env!("CARGO_BIN_EXE_cloakroom")).args(["--check", "--config"]).arg(&path).output();
        let said = said.expect("the proxy's binary runs");
        let error = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(1), "{mode:?}: {error}");
        assert!(error.contains("listen.unix_mode"), "{mode:?}: {error}");
    }
}
