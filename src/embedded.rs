//! `--with-redis`: a private server, to try and to test.
//!
//! It listens on a Unix socket in a directory of its own, keeps nothing on disk, and ends with the proxy.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The private server. Dropping this ends it.
#[derive(Debug)]
pub struct Embedded {
    process: Child,
    dir: TempDir,
    /// `redis-server` or `valkey-server`.
    pub program: &'static str,
}

impl Embedded {
    /// Starts whichever server is installed.
    ///
    /// # Errors
    /// A sentence for the operator: none is installed, or it does not start.
    pub fn start() -> Result<Self, String> {
        let programs = ["redis-server", "valkey-server"];
        let program = programs.into_iter().find(|program| is_installed(program)).ok_or(
            "--with-redis: neither redis-server nor valkey-server is installed (on Debian: apt-get install redis-server)",
        )?;
        let dir = tempfile::Builder::new()
            .prefix("cloakroom-")
            .tempdir()
            .map_err(|error| format!("--with-redis: no temporary directory: {error}"))?;
        let mut command = match is_installed("setpriv") {
            // The kernel ends the server should the proxy be killed.
            true => {
                let mut setpriv = Command::new("setpriv");
                setpriv.args(["--pdeathsig", "TERM", program]);
                setpriv
            }
            false => Command::new(program),
        };
        let socket = dir.path().join("redis.sock");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--unixsocket").arg(&socket).args(["--unixsocketperm", "700"]);
        command.arg("--dir").arg(dir.path()).arg("--logfile").arg(dir.path().join("log"));
        let process = command
            // Ctrl-C is for the proxy, which ends the server when it has drained.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("--with-redis: {program} does not start: {error}"))?;
        let mut embedded = Self { process, dir, program };
        embedded.wait_for_socket()?;
        Ok(embedded)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    fn wait_for_socket(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_TIMEOUT;
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            let has_ended = self.process.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                return Err(format!("--with-redis: {} does not start:\n{log}", self.program));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
