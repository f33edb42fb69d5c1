//! The command line, the configuration and the clients' side of it, as an operator meets them.

mod support;

#[path = "settings/access.rs"]
mod access;
#[path = "settings/addresses.rs"]
mod addresses;
#[path = "settings/command_line.rs"]
mod command_line;
#[path = "settings/documents.rs"]
mod documents;
#[path = "settings/mistakes.rs"]
mod mistakes;
#[path = "settings/private_server.rs"]
mod private_server;
#[path = "settings/supervised.rs"]
mod supervised;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::DEADLINE;
use tempfile::TempDir;

/// Ports of its own, and a log that can be read.
const QUIET: &str = r#"
    listen.address = "127.0.0.1:0"
    metrics.address = "127.0.0.1:0"
    log.format = "json"
"#;

/// A directory to work in, with files in it.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        fs::write(directory.path().join(name), text).expect("a writable directory");
    }
    directory
}

/// A command that runs the proxy in a directory.
fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    command.current_dir(directory).args(arguments).env_remove("CLOAKROOM_UPSTREAM_PASSWORD");
    command
}

/// What a command says that ends by itself.
struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

fn run(directory: &Path, arguments: &[&str]) -> Said {
    run_command(&mut command(directory, arguments))
}

fn run_command(command: &mut Command) -> Said {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the proxy's binary runs");
    let until = Instant::now() + DEADLINE;
    while child.try_wait().expect("the state of a child process").is_none() {
        if Instant::now() > until {
            child.kill().expect("a child process can be killed");
            let Output { stderr, .. } = child.wait_with_output().expect("a killed process ends");
            panic!("still running after {DEADLINE:?}:\n{}", String::from_utf8_lossy(&stderr));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it has ended");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: status.code(), out: text(stdout), error: text(stderr) }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
