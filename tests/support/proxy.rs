//! The proxy as its users run it: a process, a configuration file, a log, an admin port.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{DEADLINE, RedisServer, signal, wait_until};

/// A proxy process. Killed when dropped, which fails the test if the log holds anything
/// worse than INFO that was not announced with [`Proxy::allow`].
///
/// The configuration must say `[log] format = "json"`, and should say `127.0.0.1:0` for
/// each address: [`Proxy::address`] and [`Proxy::admin_address`] read the log for the ports.
pub struct Proxy {
    process: Child,
    /// Set when the test has seen the end of the process, which is then no surprise.
    exit: Option<ExitStatus>,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    allowed: Mutex<Vec<String>>,
    directory: TempDir,
}

/// Everything the process has written to its standard error.
#[derive(Default)]
struct Log {
    /// Guards the lines and their end; `changed` tells of both.
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    has_ended: bool,
}

impl Proxy {
    /// In front of `server`, and otherwise as it is by default. Returns when it is ready.
    pub fn plain(server: &RedisServer) -> Self {
        Self::with(server, &[])
    }

    /// In front of `server`, with more lines of configuration such as `listen.workers = 1`. Returns when it is
    /// ready.
    pub fn with(server: &RedisServer, lines: &[&str]) -> Self {
        let proxy = Self::start(&format!(
            "listen.address = \"127.0.0.1:0\"\nmetrics.address = \"127.0.0.1:0\"\nlog.format = \"json\"\n\
             upstream.server = \"{}\"\n{}\n",
            server.address(),
            lines.join("\n"),
        ));
        proxy.wait_ready();
        proxy
    }

    /// Starts the binary of this build and returns at once.
    pub fn start(config: &str) -> Self {
        Self::start_binary(env!("CARGO_BIN_EXE_cloakroom"), config)
    }

    pub fn start_binary(binary: impl AsRef<Path>, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = config_path(&directory);
        fs::write(&path, config).expect("a writable temporary directory");
        Self::spawn(Command::new(binary.as_ref()).arg("--config").arg(path), directory)
    }

    /// Starts a command that runs the proxy, with arguments, variables and a working directory of its own.
    pub fn start_command(command: &mut Command) -> Self {
        Self::spawn(command, tempfile::tempdir().expect("a temporary directory"))
    }

    fn spawn(command: &mut Command, directory: TempDir) -> Self {
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the proxy's binary runs");
        let log = Arc::new(Log::default());
        let stderr = process.stderr.take().expect("a pipe was asked for");
        let reader = thread::spawn({
            let log = Arc::clone(&log);
            move || log.read(stderr)
        });
        Self { process, exit: None, log, reader: Some(reader), allowed: Mutex::default(), directory }
    }

    /// Where clients connect. Waits until the proxy listens.
    pub fn address(&self) -> String {
        field(&self.wait_for_log(r#""message":"listening""#, DEADLINE), "address")
    }

    pub fn port(&self) -> u16 {
        let address = self.address();
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("no port in {address}"))
    }

    /// Where /metrics, /livez and /readyz are. Waits until they are.
    pub fn admin_address(&self) -> String {
        field(&self.wait_for_log(r#""message":"admin listening""#, DEADLINE), "address")
    }

    pub fn config_path(&self) -> PathBuf {
        config_path(&self.directory)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// One HTTP request to the admin address: the status and the body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = self.admin_address();
        http_get(&address, path).unwrap_or_else(|error| panic!("GET {path} at {address}: {error}"))
    }

    /// Returns when the proxy calls itself ready for clients.
    pub fn wait_ready(&self) {
        wait_until("/readyz answers 200", || self.get("/readyz").0 == 200);
    }

    /// All lines so far.
    pub fn logs(&self) -> Vec<String> {
        self.log.lock().lines.clone()
    }

    /// The first line, old or new, that contains `text`.
    pub fn wait_for_log(&self, text: &str, within: Duration) -> String {
        let until = Instant::now() + within;
        let mut log = self.log.lock();
        loop {
            if let Some(line) = log.lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            if log.has_ended || left.is_zero() {
                let end = if log.has_ended { "the proxy ended" } else { "the time was over" };
                panic!("{end} without a line with {text}; it wrote:\n{}", log.lines.join("\n"));
            }
            let wait = self.log.changed.wait_timeout(log, left);
            log = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Announces lines that contain `text`: they do not fail the test, whatever their level.
    pub fn allow(&self, text: &str) {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).push(text.into());
    }

    /// Sends a signal by its name, such as `TERM` or `HUP`.
    pub fn signal(&self, name: &str) {
        signal(&self.process, name);
    }

    pub fn wait_exit(&mut self) -> ExitStatus {
        wait_until("the proxy ends", || {
            self.exit = self.process.try_wait().expect("the state of a child process");
            self.exit.is_some()
        });
        self.exit.expect("it has just been set")
    }

    /// What the test has to answer for, once the process is gone and the log is complete.
    fn complaints(&self) -> Vec<String> {
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = |line: &&String| {
            // A line of no known level is a panic's, or a stray print's.
            [r#""level":"INFO""#, r#""level":"DEBUG""#, r#""level":"TRACE""#].iter().any(|level| line.contains(level))
        };
        let is_allowed = |line: &&String| allowed.iter().any(|text| line.contains(text.as_str()));
        let lines = self.log.lock();
        let bad = lines.lines.iter().filter(|line| !is_quiet(line) && !is_allowed(line));
        bad.cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let early = self.process.try_wait().expect("the state of a child process");
        self.process.kill().expect("a child process can be killed");
        self.process.wait().expect("a killed process ends");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading a log does not panic");
        }
        if thread::panicking() {
            eprintln!("the proxy wrote:\n{}", self.logs().join("\n"));
            return;
        }
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "the proxy complained:\n{}", complaints.join("\n"));
        let ended = early.filter(|_| self.exit.is_none());
        assert_eq!(ended, None, "the proxy ended by itself");
    }
}

impl Log {
    fn read(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            self.lock().lines.push(line);
            self.changed.notify_all();
        }
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn config_path(directory: &TempDir) -> PathBuf {
    directory.path().join("cloakroom.toml")
}

/// The value of a text field in a line of flat JSON.
fn field(line: &str, name: &str) -> String {
    let value = line.split_once(&format!(r#""{name}":""#)).and_then(|(_, rest)| rest.split_once('"'));
    value.unwrap_or_else(|| panic!("no {name} in {line}")).0.to_owned()
}

fn http_get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("the end of the headers");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.expect("a status line"), body.to_owned()))
}
