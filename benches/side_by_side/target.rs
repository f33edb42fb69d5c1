//! What is measured: a server, and what stands before it.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;
use tempfile::TempDir;

use crate::hits::hits;
use crate::support::{Proxy, RedisServer, wait_until};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    Redis,
    Nutcracker,
    #[value(name = "cloakroom-1")]
    OneWorker,
    #[value(name = "cloakroom-2")]
    TwoWorkers,
    #[value(name = "cloakroom-cached")]
    Cached,
    #[value(name = "cloakroom-confirmed")]
    Confirmed,
}

impl Kind {
    /// As the tables call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis direct",
            Self::Nutcracker => "nutcracker",
            Self::OneWorker => "cloakroom, 1 worker",
            Self::TwoWorkers => "cloakroom, 2 workers",
            Self::Cached => "cloakroom, cached",
            Self::Confirmed => "cloakroom, confirmed",
        }
    }

    fn has_cache(self) -> bool {
        matches!(self, Self::Cached | Self::Confirmed)
    }
}

/// Processes that only wait while they are not measured. Killed when dropped.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// Dropped before the server, whose end it would complain about.
    proxy: Option<AnyProxy>,
    server: RedisServer,
}

enum AnyProxy {
    Nutcracker(Nutcracker),
    Cloakroom(Proxy),
}

impl Target {
    /// `None` if what it takes is not installed; says so.
    pub(crate) fn start(kind: Kind) -> Option<Self> {
        let server = RedisServer::plain();
        let proxy = match kind {
            Kind::Redis => None,
            Kind::Nutcracker => Some(AnyProxy::Nutcracker(Nutcracker::start(&server)?)),
            Kind::OneWorker => Some(AnyProxy::Cloakroom(cloakroom(&server, 1, FORWARDING))),
            Kind::TwoWorkers => Some(AnyProxy::Cloakroom(cloakroom(&server, 2, FORWARDING))),
            Kind::Cached => Some(AnyProxy::Cloakroom(cloakroom(&server, 1, CACHED))),
            Kind::Confirmed => Some(AnyProxy::Cloakroom(cloakroom(&server, 1, CONFIRMED))),
        };
        Some(Self { kind, proxy, server })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Requests answered from memory so far; `None` without a cache.
    pub(crate) fn hits(&self) -> Option<f64> {
        match &self.proxy {
            Some(AnyProxy::Cloakroom(proxy)) if self.kind.has_cache() => Some(hits(proxy)),
            _ => None,
        }
    }

    /// Where the load goes.
    pub(crate) fn port(&self) -> u16 {
        match &self.proxy {
            None => self.server.port(),
            Some(AnyProxy::Nutcracker(nutcracker)) => nutcracker.port,
            Some(AnyProxy::Cloakroom(proxy)) => proxy.port(),
        }
    }

    pub(crate) fn server_port(&self) -> u16 {
        self.server.port()
    }

    pub(crate) fn server_pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn proxy_pid(&self) -> Option<u32> {
        self.proxy.as_ref().map(|proxy| match proxy {
            AnyProxy::Nutcracker(nutcracker) => nutcracker.process.id(),
            AnyProxy::Cloakroom(proxy) => proxy.pid(),
        })
    }
}

/// Three ways to set `[cache]`.
pub(crate) const FORWARDING: &str = "enabled = false";
pub(crate) const CACHED: &str = "enabled = true\nstaleness = \"100ms\"";
pub(crate) const CONFIRMED: &str = "enabled = true\nstaleness = \"0\"";

fn cloakroom(server: &RedisServer, workers: u32, cache: &str) -> Proxy {
    let proxy = Proxy::start(&format!(
        r#"
        [listen]
        address = "127.0.0.1:0"
        workers = {workers}
        [upstream]
        server = "{}"
        [metrics]
        address = "127.0.0.1:0"
        [log]
        format = "json"
        [cache]
        {cache}
        "#,
        server.address()
    ));
    proxy.wait_ready();
    proxy
}

/// Twitter's proxy with the defaults of its package: one thread, one upstream connection.
struct Nutcracker {
    port: u16,
    process: Child,
    /// Holds its configuration and its log.
    _directory: TempDir,
}

impl Nutcracker {
    /// `None` if it is not installed.
    fn start(server: &RedisServer) -> Option<Self> {
        for _ in 0..5 {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let port = free_port();
            let Some(process) = spawn(directory.path(), port, server) else {
                eprintln!("left out: nutcracker is missing (Debian package: nutcracker)");
                return None;
            };
            let mut nutcracker = Self { port, process, _directory: directory };
            if nutcracker.is_up() {
                return Some(nutcracker);
            }
        }
        panic!("nutcracker does not start, five times out of five");
    }

    /// False if it ended instead, because another process was quicker to take a port.
    fn is_up(&mut self) -> bool {
        let mut has_ended = false;
        wait_until("nutcracker listens", || {
            has_ended = self.process.try_wait().expect("the state of a child process").is_some();
            has_ended || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        });
        !has_ended
    }
}

impl Drop for Nutcracker {
    fn drop(&mut self) {
        self.process.kill().expect("a child process can be killed");
        self.process.wait().expect("a killed process ends");
    }
}

fn spawn(directory: &Path, port: u16, server: &RedisServer) -> Option<Child> {
    let config = directory.join("nutcracker.yml");
    let text = format!(
        "bench:\n  listen: 127.0.0.1:{port}\n  redis: true\n  preconnect: true\n  servers:\n   - {}:1\n",
        server.address()
    );
    fs::write(&config, text).expect("a writable temporary directory");
    // Debian's lives where only the administrator's PATH leads.
    ["nutcracker", "/usr/sbin/nutcracker"].into_iter().find_map(|program| {
        let spawned = Command::new(program)
            .arg("-c")
            .arg(&config)
            .arg("-o")
            .arg(directory.join("nutcracker.log"))
            .arg("-p")
            .arg(directory.join("nutcracker.pid"))
            .args(["-a", "127.0.0.1", "-s", &free_port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match spawned {
            Ok(process) => Some(process),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{program} does not run: {error}"),
        }
    })
}

/// Below the ports given to outgoing connections, of which a benchmark makes many.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
