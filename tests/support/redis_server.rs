//! A real `redis-server`, which tests stop, kill, pause and start again.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use super::server_program::SYSTEM_SERVER;
use super::{Certificates, Identity, ServerProgram, signal, wait_until};

/// A server process with a directory of its own. Killed when dropped.
pub struct RedisServer {
    options: RedisOptions,
    port: u16,
    /// `None` while stopped.
    process: Option<Child>,
    directory: TempDir,
}

/// How a [`RedisServer`] is to be. By default it is plain TCP, open to everybody, and
/// forgets everything when it stops.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// `None` is the system's `redis-server`.
    program: Option<PathBuf>,
    tls: Option<Tls>,
    is_unix: bool,
    username: Option<String>,
    password: Option<String>,
    lines: Vec<String>,
}

#[derive(Debug, Clone)]
struct Tls {
    ca: PathBuf,
    server: Identity,
    client: Identity,
}

impl RedisOptions {
    /// Another server than the system's.
    pub fn program(mut self, program: &ServerProgram) -> Self {
        self.program = Some(program.path.clone());
        self
    }

    /// TLS, and no plain port beside it.
    pub fn tls(mut self, certificates: &Certificates) -> Self {
        self.tls = Some(Tls {
            ca: certificates.ca.clone(),
            server: certificates.server.clone(),
            client: certificates.client.clone(),
        });
        self.config("tls-auth-clients no")
    }

    /// What the server shows instead of [`Certificates::server`]. Call after [`Self::tls`].
    pub fn server_certificate(mut self, identity: &Identity) -> Self {
        self.tls.as_mut().expect("only a TLS server shows one").server = identity.clone();
        self
    }

    /// Refuses clients without a certificate of the authority. Call after [`Self::tls`].
    pub fn client_certificates(self) -> Self {
        self.config("tls-auth-clients yes")
    }

    /// A Unix socket, and no TCP port beside it.
    pub fn unix_socket(mut self) -> Self {
        self.is_unix = true;
        self
    }

    /// A password for the default user.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self.config(format!("requirepass {password}"))
    }

    /// A user who may do everything, while the default user may not even log in.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.username = Some(name.into());
        self.password = Some(password.into());
        self.config("user default off").config(format!("user {name} on >{password} ~* &* +@all"))
    }

    /// Every acknowledged write survives [`RedisServer::restart`], and [`RedisServer::kill`] too.
    pub fn persistent(self) -> Self {
        self.config("appendonly yes").config("appendfsync always")
    }

    /// A line of `redis.conf`; the last one of a name counts.
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Without the lines that begin so.
    pub fn without(mut self, beginning: &str) -> Self {
        self.lines.retain(|line| !line.starts_with(beginning));
        self
    }

    /// Returns when the server answers.
    pub fn start(self) -> RedisServer {
        let mut server = RedisServer {
            options: self,
            port: free_port(),
            process: None,
            directory: tempfile::tempdir().expect("a temporary directory"),
        };
        while let Err(log) = server.try_start("0") {
            assert!(log.contains("Address already in use"), "redis-server did not start:\n{log}");
            server.port = free_port();
        }
        server
    }
}

impl RedisServer {
    pub fn plain() -> Self {
        RedisOptions::default().start()
    }

    pub fn with() -> RedisOptions {
        RedisOptions::default()
    }

    /// Stays the same through every restart.
    pub fn port(&self) -> u16 {
        assert!(!self.options.is_unix, "this server listens on a Unix socket only");
        self.port
    }

    /// As the proxy's `upstream.server` takes it.
    pub fn address(&self) -> String {
        match self.options.is_unix {
            true => format!("unix:{}", self.unix_socket().display()),
            false => format!("127.0.0.1:{}", self.port),
        }
    }

    /// Where it keeps its data, if it keeps any.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn unix_socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running server").id()
    }

    /// Runs one command and returns the reply as `redis-cli` prints it, errors included.
    pub fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command).expect("redis-cli reaches the server")
    }

    /// Returns when the server answers, on the port it had.
    pub fn start(&mut self) {
        self.try_start("0").unwrap_or_else(|log| panic!("redis-server did not start:\n{log}"));
    }

    /// Returns while the server is still reading its data from disk; it must have enough of it.
    pub fn start_loading(&mut self) {
        self.try_start("1").unwrap_or_else(|log| panic!("redis-server did not start:\n{log}"));
    }

    /// How it is from the next start on.
    pub fn reconfigure(&mut self, change: impl FnOnce(RedisOptions) -> RedisOptions) {
        self.options = change(std::mem::take(&mut self.options));
    }

    /// Writes all it holds to a file of its own, which is then what it loads first when it starts.
    pub fn rewrite_file(&self) {
        self.cli(&["BGREWRITEAOF"]);
        wait_until("all of it is on disk", || {
            let info = self.cli(&["INFO", "persistence"]);
            ["aof_rewrite_in_progress:0\r", "aof_rewrite_scheduled:0\r"].iter().all(|line| info.contains(line))
        });
    }

    /// Lets the server say goodbye: clients see their connections closed.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("a running server");
        signal(&process, "TERM");
        wait_until("redis-server ends", || has_exited(&mut process));
    }

    /// Gives the server no time for anything.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("a running server");
        end(&mut process);
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Freezes the server: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        signal(self.process.as_ref().expect("a running server"), "STOP");
    }

    /// Ends a [`Self::pause`]. What was sent meanwhile is answered now.
    pub fn resume(&self) {
        signal(self.process.as_ref().expect("a running server"), "CONT");
    }

    /// Until the server says `loading` of itself. The error is the log of one that ended instead of answering.
    fn try_start(&mut self, loading: &str) -> Result<(), String> {
        assert!(self.process.is_none(), "the server is running already");
        let log = self.directory.path().join("redis.log");
        let mut process = self.spawn(&log);
        let pid = format!("process_id:{}\r", process.id());
        let mut is_over = false;
        wait_until("redis-server answers", || {
            is_over = has_exited(&mut process);
            // Ours, and not another test's that was quicker to take the port.
            let is_ready = |info: String| info.contains(&pid) && info.contains(&format!("\nloading:{loading}\r"));
            is_over || self.try_cli(&["INFO"]).is_some_and(is_ready)
        });
        match is_over {
            true => Err(fs::read_to_string(log).expect("a log file")),
            false => {
                self.process = Some(process);
                Ok(())
            }
        }
    }

    fn spawn(&self, log: &Path) -> Child {
        let config = self.directory.path().join("redis.conf");
        fs::write(&config, self.config()).expect("a writable temporary directory");
        let log = File::create(log).expect("a writable temporary directory");
        Command::new(self.options.program.as_deref().unwrap_or(Path::new(SYSTEM_SERVER)))
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log)
            .spawn()
            .expect("redis-server is missing; `make test` installs it")
    }

    fn config(&self) -> String {
        let directory = self.directory.path().display();
        let mut lines =
            vec![format!("dir {directory}"), "bind 127.0.0.1".into(), "save \"\"".into(), "appendonly no".into()];
        lines.push(match (&self.options.tls, self.options.is_unix) {
            (_, true) => format!("port 0\nunixsocket {}", self.unix_socket().display()),
            (None, false) => format!("port {}", self.port),
            (Some(tls), false) => format!(
                "port 0\ntls-port {}\ntls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}",
                self.port,
                tls.ca.display(),
                tls.server.certificate.display(),
                tls.server.key.display(),
            ),
        });
        lines.extend_from_slice(&self.options.lines);
        lines.join("\n") + "\n"
    }

    /// Whoever is connected already, and stays so when nobody else is let in.
    pub fn operator(&self) -> Operator {
        let mut cli = self.cli_command();
        let process = cli.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = process.expect("redis-cli is missing; `make test` installs it");
        let replies = BufReader::new(process.stdout.take().expect("a pipe was asked for"));
        let mut operator = Operator { process, replies };
        assert_eq!(operator.ask("PING"), "PONG");
        operator
    }

    /// `None` while the server cannot be reached.
    fn try_cli(&self, command: &[&str]) -> Option<String> {
        let output = self.cli_command().args(command).output();
        let output = output.expect("redis-cli is missing; `make test` installs it");
        let reply = String::from_utf8_lossy(&output.stdout);
        output.status.success().then(|| reply.trim_end().to_owned())
    }

    fn cli_command(&self) -> Command {
        let mut cli = Command::new("redis-cli");
        match self.options.is_unix {
            true => cli.arg("-s").arg(self.unix_socket()),
            false => cli.arg("-p").arg(self.port.to_string()),
        };
        if let Some(tls) = &self.options.tls {
            // Whether the server's certificate is any good is for the proxy to find out.
            cli.args(["--tls", "--insecure", "--cert"]).arg(&tls.client.certificate);
            cli.arg("--key").arg(&tls.client.key);
        }
        if let Some(username) = &self.options.username {
            cli.arg("--user").arg(username);
        }
        if let Some(password) = &self.options.password {
            cli.env("REDISCLI_AUTH", password);
        }
        cli
    }
}

/// A connection of its own to the server.
pub struct Operator {
    process: Child,
    replies: BufReader<ChildStdout>,
}

impl Operator {
    /// One command that is answered with one line.
    pub fn ask(&mut self, line: &str) -> String {
        let requests = self.process.stdin.as_mut().expect("a pipe was asked for");
        writeln!(requests, "{line}").expect("redis-cli reads");
        let mut reply = String::new();
        self.replies.read_line(&mut reply).expect("redis-cli answers");
        reply.trim_end().to_owned()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            end(process);
        }
    }
}

fn has_exited(process: &mut Child) -> bool {
    process.try_wait().expect("the state of a child process").is_some()
}

fn end(process: &mut Child) {
    process.kill().expect("a child process can be killed");
    process.wait().expect("a killed process ends");
}

/// Below the ports given to outgoing connections: while the server is down, nobody's
/// connection can be given its port, or even, connecting to that very port, meet itself.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
