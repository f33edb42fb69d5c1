//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use cloakroom::Prepared;
use cloakroom::config::{Flags, Format, Level, Log, load};
use cloakroom::embedded::Embedded;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

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
    let prepared = Prepared::new(&loaded)?;
    if arguments.check {
        println!("{}: ok", path.map_or("the built-in defaults".to_owned(), |path| path.display().to_string()));
        return Ok(());
    }
    log_to_stderr(&loaded.config.log);
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
        cloakroom::run(prepared, first.wait(), stop_now).await
    })
}

/// The signals that ask a process to end.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    warn!("SIGHUP: the configuration is read at the start; restart to apply a change");
                }
            }
        }
    }
}

fn log_to_stderr(log: &Log) {
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let to_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(to_terminal);
    match log.format {
        Format::Text => builder.init(),
        Format::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        }
    }
}
