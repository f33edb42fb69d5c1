//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use cloakroom::Prepared;
use cloakroom::config::{Flags, Format, Level, Log, load};
use cloakroom::embedded::Embedded;
use cloakroom::supervisor;
#[cfg(feature = "jemalloc")]
use tikv_jemallocator::Jemalloc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::unbounded_channel;
use tracing::{error, info};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// Three hundred MB of replies nobody read must not stay after those who asked for them have gone (G7).
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// A Redis proxy for web sessions.
///
/// Without --config it reads ./config.toml if there is one, else it uses the built-in defaults.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the configuration and every file it names, say what is wrong, and exit.
    #[arg(long)]
    check: bool,
    /// Where clients connect: host:port or unix:/path.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The server: redis://[user@]host[:port][/db], rediss:// for TLS, host:port or unix:/path.
    #[arg(long, value_name = "URL", conflicts_with = "with_redis")]
    upstream: Option<String>,
    /// Also start a private redis-server or valkey-server and use it: to try, to test.
    #[arg(long)]
    with_redis: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cloakroom: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    // Before any thread is started: it takes variables out of the environment.
    let inherited = supervisor::inherited()?;
    let default = Path::new("config.toml");
    let path = arguments.config.as_deref().or(default.exists().then_some(default));
    let embedded = match arguments.with_redis && !arguments.check {
        true => Some(Embedded::start().map_err(anyhow::Error::msg)?),
        false => None,
    };
    let flags = Flags {
        listen: arguments.listen,
        upstream: arguments.upstream,
        password: std::env::var("CLOAKROOM_UPSTREAM_PASSWORD").ok().filter(|text| !text.is_empty()).map(Into::into),
        private_server: embedded.as_ref().map(Embedded::socket),
    };
    let loaded = load(path, &flags)?;
    let mut prepared = Prepared::new(&loaded)?;
    if arguments.check {
        println!("{}: ok", path.map_or("the built-in defaults".to_owned(), |path| path.display().to_string()));
        return Ok(());
    }
    if let Some(inherited) = inherited {
        prepared.listen_on(inherited);
    }
    let log_levels = log_to_stderr(prepared.log());
    if let Some(embedded) = &embedded {
        info!(program = embedded.program, "private server started; what it holds is gone when the proxy ends");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut first, mut second) = (Stop::new()?, Stop::new()?);
        let stop_now = async {
            // Each hears every signal: the first one is the other's.
            second.wait().await;
            second.wait().await;
        };
        let (reloaded, reloads) = unbounded_channel();
        let mut hang_up = signal(SignalKind::hangup())?;
        let reloading = async {
            while hang_up.recv().await.is_some() {
                supervisor::reloading();
                match load(path, &flags).and_then(|loaded| Prepared::new(&loaded)) {
                    Ok(prepared) => {
                        let _ = log_levels.reload(levels(prepared.log()));
                        let _ = reloaded.send(prepared);
                    }
                    Err(error) => error!(%error, "reload refused; the present configuration stays in force"),
                }
                supervisor::ready();
            }
        };
        tokio::select! {
            ended = cloakroom::run(prepared, reloads, first.wait(), stop_now) => ended,
            () = reloading => Ok(()),
        }
    })
}

/// The signals that ask a process to end.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts the log; what is returned changes its level.
fn log_to_stderr(log: &Log) -> reload::Handle<Targets, Registry> {
    let (filter, handle) = reload::Layer::new(levels(log));
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(std::io::stderr);
    let lines = match log.format {
        Format::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    handle
}

/// The libraries' own chatter is left out: a TLS handshake is ten lines of it.
fn levels(log: &Log) -> Targets {
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_target("cloakroom", level).with_default(level.min(LevelFilter::WARN))
}
