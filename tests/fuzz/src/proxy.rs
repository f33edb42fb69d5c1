//! The proxy in this process, and how it is known to be well.

use std::fmt::{Debug, Write};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::thread;

use cloakroom::config::{Flags, load};
use cloakroom::{Prepared, run};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::patience;

/// A proxy of one worker, on a Unix socket. It lives as long as the process, and so does its directory.
pub struct Proxy {
    config: PathBuf,
    socket: PathBuf,
    reloads: UnboundedSender<Prepared>,
}

impl Proxy {
    /// In front of a server's socket, with more lines of configuration. Returns when it listens.
    pub fn start(directory: &Path, server: &Path, lines: &[&str]) -> Self {
        let (config, socket) = (directory.join("cloakroom.toml"), directory.join("proxy.sock"));
        let lines = lines.join("\n");
        let (listen, admin, server) = (socket.display(), directory.join("admin.sock"), server.display());
        let text = format!(
            "listen.address = \"unix:{listen}\"\nlisten.workers = 1\nmetrics.address = \"unix:{}\"\n\
             upstream.server = \"unix:{server}\"\n{lines}\n",
            admin.display()
        );
        std::fs::write(&config, text).expect("a writable temporary directory");
        let (reloads, reloaded) = unbounded_channel();
        let proxy = Self { config, socket, reloads };
        let prepared = proxy.prepared();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let ended = runtime.block_on(run(prepared, reloaded, pending(), pending()));
            panic!("the proxy ended: {ended:?}");
        });
        patience("the proxy listens", || std::os::unix::net::UnixStream::connect(&proxy.socket).is_ok());
        proxy
    }

    /// Where clients connect.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// As `SIGHUP`: a server that was given up is tried again at once.
    pub fn reload(&self) {
        self.reloads.send(self.prepared()).expect("the proxy runs");
    }

    fn prepared(&self) -> Prepared {
        let loaded = load(Some(&self.config), &Flags::default()).expect("a valid configuration");
        Prepared::new(&loaded).expect("no files but sockets")
    }
}

/// From now on a warning of the proxy's is a finding: in front of a healthy server no client can cause one.
pub fn forbid_warnings() {
    tracing::subscriber::set_global_default(NoWarnings).expect("nobody else listens to the log");
}

struct NoWarnings;

impl Subscriber for NoWarnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut |field: &Field, value: &dyn Debug| {
            let _ = write!(text, " {field}={value:?}");
        });
        panic!("the proxy complains:{text}");
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
