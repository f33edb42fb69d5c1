//! `config.toml`, parsed once into what the program uses.
//!
//! Every key is described where it is declared, and with the same words in `config.toml`; a test compares the
//! defaults. An error names file, line, key and what would be valid.

mod error;
mod load;
mod session;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

pub use error::{ConfigError, Place};
pub use load::{Flags, Loaded, load};
pub use session::{CommandRules, OnStaleWrite, Profile, Reopen, Session};
pub use value::{Address, ByteSize, parse_address};

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    #[allow(missing_docs)]
    pub listen: Listen,
    #[allow(missing_docs)]
    pub limits: Limits,
    #[allow(missing_docs)]
    pub upstream: Upstream,
    #[allow(missing_docs)]
    pub cache: Cache,
    /// `[[session]]`: any number; none by default.
    #[serde(rename = "session")]
    pub sessions: Vec<Session>,
    #[allow(missing_docs)]
    pub commands: CommandRules,
    #[allow(missing_docs)]
    pub metrics: Metrics,
    #[allow(missing_docs)]
    pub log: Log,
}

/// `[listen]`: where clients connect.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// `host:port`, or `unix:/path`. Port 0 takes a free one.
    #[serde(deserialize_with = "value::address")]
    pub address: Address,
    /// Threads; 0 means one per core.
    pub workers: usize,
    /// More clients are answered `-ERR max number of clients reached` and closed.
    pub max_clients: usize,
    /// Permissions of the file, in octal, where `address` is a Unix socket.
    #[serde(deserialize_with = "value::mode")]
    pub unix_mode: u32,
    /// When set, clients must `AUTH`: one password, or `user:password`, a line.
    #[serde(deserialize_with = "value::path")]
    pub password_file: Option<PathBuf>,
    /// The longest the connected clients are waited for after `SIGTERM`.
    #[serde(deserialize_with = "value::duration")]
    pub drain_timeout: Duration,
    #[allow(missing_docs)]
    pub tls: ListenTls,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: Address::tcp("127.0.0.1", 6380),
            workers: 0,
            max_clients: 10_000,
            unix_mode: 0o660,
            password_file: None,
            drain_timeout: Duration::from_secs(10),
            tls: ListenTls::default(),
        }
    }
}

impl Listen {
    /// Why clients may not be let in at `address`; `None` if they may.
    pub fn openness(&self, address: &Address) -> Option<&'static str> {
        let is_guarded = self.password_file.is_some() || self.tls.client_ca_file.is_some();
        (address.is_beyond_loopback() && !is_guarded).then_some(
            "beyond loopback anyone could read every session: set listen.password_file, or listen.tls.client_ca_file, \
             or listen on 127.0.0.1, [::1] or a unix: socket",
        )
    }
}

/// `[listen.tls]`: TLS towards the clients. On when `cert_file` is set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenTls {
    /// The certificate chain, PEM.
    #[serde(deserialize_with = "value::path")]
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(deserialize_with = "value::path")]
    pub key_file: Option<PathBuf>,
    /// When set, a client must show a certificate signed by one of these.
    #[serde(deserialize_with = "value::path")]
    pub client_ca_file: Option<PathBuf>,
}

/// `[limits]`: what one client, and one upstream connection, may take (G7).
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one argument, and of a whole request but for 1 MiB; a longer one is refused and its client closed.
    pub request: ByteSize,
    /// Arguments of one request.
    pub arguments: usize,
    /// Requests of one client that are sent and not yet answered; it is not read from while it has more.
    pub in_flight: usize,
    /// Replies one client has not read yet; its requests wait while it has more.
    pub unread_replies: ByteSize,
    /// Bytes of requests read from a client that does not take its replies; beyond it, it is not read from.
    pub read_ahead: ByteSize,
    /// A client that takes none of its replies for so long is closed.
    #[serde(deserialize_with = "value::duration")]
    pub unread_timeout: Duration,
    /// A request that has begun must be whole within this, and a second for each 64 KiB of it.
    #[serde(deserialize_with = "value::duration")]
    pub request_timeout: Duration,
    /// Where TLS or a password is wanted, a client that has not come so far within this is closed.
    #[serde(deserialize_with = "value::duration")]
    pub auth_timeout: Duration,
    /// How long the answer to a wrong password is held back.
    #[serde(deserialize_with = "value::duration")]
    pub auth_delay: Duration,
    /// Requests one upstream connection holds, waiting or in flight; beyond it clients wait.
    pub queue: ByteSize,
    /// Upstream connections held by single clients (`MULTI`, `BLPOP`, `SUBSCRIBE` ...) at a time.
    pub pinned: usize,
    /// Memory for the requests and replies of all clients together; past it, those who hold most are closed.
    pub memory: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: ByteSize::mib(512),
            arguments: 4 << 20,
            in_flight: 256,
            unread_replies: ByteSize::mib(1),
            read_ahead: ByteSize::mib(32),
            unread_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            auth_timeout: Duration::from_secs(10),
            auth_delay: Duration::from_secs(1),
            queue: ByteSize::mib(16),
            pinned: 1000,
            memory: ByteSize::mib(1024),
        }
    }
}

/// `[upstream]`: the Redis or Valkey behind.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// `host:port`, or `unix:/path`.
    #[serde(deserialize_with = "value::address")]
    pub server: Address,
    /// The ACL user; empty for the default user.
    pub username: String,
    /// The password. Better in `password_file`, or in the variable `CLOAKROOM_UPSTREAM_PASSWORD`.
    #[serde(deserialize_with = "value::secret")]
    pub password: Option<SecretString>,
    /// A file that holds the password and nothing else.
    #[serde(deserialize_with = "value::path")]
    pub password_file: Option<PathBuf>,
    /// The name of our connections (`CLIENT SETNAME`); empty for none.
    pub name: String,
    /// The database clients start in.
    pub db: u32,
    /// The longest one attempt to connect takes, handshake included.
    #[serde(deserialize_with = "value::duration")]
    pub connect_timeout: Duration,
    /// The longest a request waits to be sent while the server is away.
    #[serde(deserialize_with = "value::duration")]
    pub queue_timeout: Duration,
    /// The longest it then waits for its reply. A command that blocks may take the time it says besides, or for ever.
    #[serde(deserialize_with = "value::duration")]
    pub reply_timeout: Duration,
    /// What happens when the server is lost: `off` closes the clients, `conservative` keeps them, `eager` also sends
    /// lost overwrites again, and subscribes subscribers again without telling them that they may have missed messages.
    pub reconnect: Reconnect,
    /// A connection that has lived so long, give or take a tenth, is replaced by a new one; `off` for never.
    #[serde(deserialize_with = "value::duration_or_off")]
    pub max_lifetime: Option<Duration>,
    #[allow(missing_docs)]
    pub tls: UpstreamTls,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            server: Address::tcp("127.0.0.1", 6379),
            username: String::new(),
            password: None,
            password_file: None,
            name: "cloakroom".to_owned(),
            db: 0,
            connect_timeout: Duration::from_secs(1),
            queue_timeout: Duration::from_secs(2),
            reply_timeout: Duration::from_secs(10),
            reconnect: Reconnect::Conservative,
            max_lifetime: Some(Duration::from_secs(3600)),
            tls: UpstreamTls::default(),
        }
    }
}

/// `upstream.reconnect`: what a lost upstream connection means to the clients on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reconnect {
    /// Their connections close, as Redis' own would.
    Off,
    /// They stay; what may have been executed is never sent again (G3).
    Conservative,
    /// As conservative; in addition, overwrites that can be proven harmless are sent again, and subscriptions are made
    /// again.
    Eager,
}

/// `[upstream.tls]`: TLS towards the server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// Whether to speak TLS.
    pub enabled: bool,
    /// What is checked of the server's certificate: `full`, `chain` or `none`.
    pub verify: Verify,
    /// The authorities to trust, PEM; empty for the system's.
    #[serde(deserialize_with = "value::path")]
    pub ca_file: Option<PathBuf>,
    /// The name the certificate must bear; empty for the host in `server`.
    pub server_name: String,
    /// Our certificate, PEM, where the server asks for one.
    #[serde(deserialize_with = "value::path")]
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(deserialize_with = "value::path")]
    pub key_file: Option<PathBuf>,
}

/// `upstream.tls.verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// The chain of signatures, the dates and the host name.
    #[default]
    Full,
    /// The chain and the dates, not the name.
    Chain,
    /// Nothing: anyone in between can read and change every session.
    None,
}

/// `[cache]`: hot sessions, answered from memory (G4).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Whether values are held in memory. A server that cannot tell of changes is asked for each all the same.
    pub enabled: bool,
    /// Keys whose values may be held: Redis' own patterns.
    pub keys: Vec<String>,
    /// Memory for the values, of all workers together.
    pub max_size: ByteSize,
    /// A longer value is not held.
    pub max_value_size: ByteSize,
    /// How old a value from memory may be for writes made elsewhere, whatever happens to the network or the server; one
    /// written through this proxy is never old. `"0"`: each read is confirmed by the server, in a round trip many share.
    #[serde(deserialize_with = "value::duration_or_zero")]
    pub staleness: Duration,
    /// The longest a value is held without being fetched again.
    #[serde(deserialize_with = "value::duration")]
    pub max_residency: Duration,
    /// A key nobody else uses: it is deleted to prove that values are fresh. What begins with it and `:probe:` is ours too.
    pub own_key: String,
    /// While the server is away, reads are answered with values that were right so long ago: a session that was ended
    /// meanwhile still lives then. `off` for never.
    #[serde(deserialize_with = "value::duration_or_off")]
    pub serve_stale_on_error: Option<Duration>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            enabled: true,
            keys: vec!["*".to_owned()],
            max_size: ByteSize::mib(64),
            max_value_size: ByteSize::kib(64),
            staleness: Duration::from_millis(100),
            max_residency: Duration::from_secs(60),
            own_key: "cloakroom:cache".to_owned(),
            serve_stale_on_error: None,
        }
    }
}

/// `[metrics]`: the operator's HTTP port.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where `/metrics`, `/livez` and `/readyz` are served; port 0 takes a free one.
    #[serde(deserialize_with = "value::address")]
    pub address: Address,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { address: Address::tcp("127.0.0.1", 9797) }
    }
}

/// `[log]`: to standard error; never a key, a value or a password (G8).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Level,
    /// `text`, or `json`: one object a line.
    pub format: Format,
    /// Whether to log each command: its name, size and time.
    pub commands: bool,
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}
