//! From a file, flags and the environment to a [`Config`].

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::{Address, Cache, Config, ConfigError, Place, Upstream, Verify, parse_address};

/// Longer than this, nobody would call a value fresh.
const LONGEST_STALENESS: Duration = Duration::from_secs(10);

/// The variable that may hold the server's password.
const PASSWORD_VARIABLE: &str = "CLOAKROOM_UPSTREAM_PASSWORD";

/// What the command line and the environment may say instead of the file.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<String>,
    /// `--upstream`
    pub upstream: Option<String>,
    /// `CLOAKROOM_UPSTREAM_PASSWORD`
    pub password: Option<SecretString>,
    /// `--with-redis`: the private server's socket. It wants no password and no TLS.
    pub private_server: Option<PathBuf>,
}

/// A configuration, and where each of its values stands.
#[derive(Debug, Clone)]
pub struct Loaded {
    #[allow(missing_docs)]
    pub config: Config,
    source: Source,
}

impl Loaded {
    /// An error about the value of `key`, at its place.
    pub fn error(&self, key: &str, problem: impl ToString) -> ConfigError {
        ConfigError { place: self.source.place(key), key: key.to_owned(), problem: problem.to_string() }
    }
}

/// The text a configuration was read from, for the lines of its keys.
#[derive(Debug, Clone, Default)]
struct Source {
    path: Option<PathBuf>,
    text: String,
    /// Keys a flag or a variable has set, with its name.
    overridden: Vec<(&'static str, Place)>,
}

/// Reads the configuration: the file if one is given, the defaults otherwise, then the flags.
///
/// # Errors
/// The first mistake, with its place.
pub fn load(path: Option<&Path>, flags: &Flags) -> Result<Loaded, ConfigError> {
    let mut source = Source { path: path.map(Path::to_owned), ..Source::default() };
    let mut config = match path {
        None => Config::default(),
        Some(path) => {
            source.text = std::fs::read_to_string(path).map_err(|error| ConfigError {
                place: Place::File { path: path.to_owned(), line: None },
                key: String::new(),
                problem: error.to_string(),
            })?;
            Config::deserialize(toml::Deserializer::parse(&source.text).map_err(|error| source.parse_error(&error))?)
                .map_err(|error| source.parse_error(&error))?
        }
    };
    apply(&mut config, flags, &mut source)?;
    let loaded = Loaded { config, source };
    check(&loaded)?;
    Ok(loaded)
}

/// Puts the flags and the environment in place of what the file says.
fn apply(config: &mut Config, flags: &Flags, source: &mut Source) -> Result<(), ConfigError> {
    let flag_error = |flag, problem| ConfigError { place: Place::Flag(flag), key: String::new(), problem };
    if let Some(listen) = &flags.listen {
        config.listen.address = parse_address(listen).map_err(|problem| flag_error("--listen", problem))?;
        source.overridden.push(("listen.address", Place::Flag("--listen")));
    }
    if let Some(url) = &flags.upstream {
        apply_upstream(config, url).map_err(|problem| flag_error("--upstream", problem))?;
        let keys = ["upstream.server", "upstream.username", "upstream.db", "upstream.tls.enabled"];
        source.overridden.extend(keys.map(|key| (key, Place::Flag("--upstream"))));
    }
    if let Some(password) = &flags.password {
        config.upstream.password = Some(password.clone());
        config.upstream.password_file = None;
        source.overridden.push(("upstream.password", Place::Variable(PASSWORD_VARIABLE)));
    }
    if let Some(socket) = &flags.private_server {
        // It wants no password and speaks no TLS, whatever the other one does.
        let Upstream { username, password, password_file, db, tls, .. } = Upstream::default();
        let server = Address::Unix(socket.clone());
        let own = std::mem::take(&mut config.upstream);
        config.upstream = Upstream { server, username, password, password_file, db, tls, ..own };
    }
    Ok(())
}

/// `redis[s]://[user@]host[:port][/db]`, `unix:/path`, or `host:port`.
fn apply_upstream(config: &mut Config, url: &str) -> Result<(), String> {
    let upstream = &mut config.upstream;
    let (tls, rest) = match url.split_once("://") {
        Some(("redis", rest)) => (false, rest),
        Some(("rediss", rest)) => (true, rest),
        Some((scheme, _)) => return Err(format!("unknown scheme \"{scheme}\", expected redis:// or rediss://")),
        None => {
            upstream.server = parse_address(url)?;
            return Ok(());
        }
    };
    let (rest, db) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = rest.rsplit_once('@').unwrap_or(("", rest));
    if user.contains(':') {
        return Err(format!(
            "a password on the command line can be read by every user of this machine; put it into {PASSWORD_VARIABLE} \
             or upstream.password_file"
        ));
    }
    let with_port = match host.strip_prefix('[') {
        Some(inner) => inner.contains("]:"),
        None => host.contains(':'),
    };
    upstream.server = parse_address(&if with_port { host.to_owned() } else { format!("{host}:6379") })?;
    upstream.tls.enabled = tls;
    if !user.is_empty() {
        upstream.username = user.to_owned();
    }
    if !db.is_empty() {
        upstream.db = db.parse().map_err(|_| format!("\"{db}\" is no database, expected a number after the last /"))?;
    }
    Ok(())
}

/// What a single value's parser cannot see.
fn check(loaded: &Loaded) -> Result<(), ConfigError> {
    let Config { listen, limits, upstream, .. } = &loaded.config;
    if upstream.password.is_some() && upstream.password_file.is_some() {
        return Err(loaded.error("upstream.password", "password_file is set as well; keep one of the two"));
    }
    if !upstream.username.is_empty() && upstream.password.is_none() && upstream.password_file.is_none() {
        let problem =
            format!("a user needs a password: upstream.password_file, upstream.password or {PASSWORD_VARIABLE}");
        return Err(loaded.error("upstream.username", problem));
    }
    if upstream.name.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(loaded.error("upstream.name", "may hold printable ASCII without spaces only, as CLIENT SETNAME"));
    }
    for (cert, key, section) in [
        (&upstream.tls.cert_file, &upstream.tls.key_file, "upstream.tls"),
        (&listen.tls.cert_file, &listen.tls.key_file, "listen.tls"),
    ] {
        match (cert, key) {
            (Some(_), None) => return Err(loaded.error(&format!("{section}.cert_file"), "key_file is missing")),
            (None, Some(_)) => return Err(loaded.error(&format!("{section}.key_file"), "cert_file is missing")),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    if listen.tls.client_ca_file.is_some() && listen.tls.cert_file.is_none() {
        return Err(loaded.error("listen.tls.client_ca_file", "needs cert_file and key_file"));
    }
    if upstream.tls.verify == Verify::None && upstream.tls.ca_file.is_some() {
        return Err(
            loaded.error("upstream.tls.verify", "ca_file has no meaning with \"none\"; use \"full\" or \"chain\"")
        );
    }
    let named = !upstream.tls.server_name.is_empty();
    if upstream.tls.enabled
        && matches!(upstream.server, Address::Unix(_))
        && !named
        && upstream.tls.verify == Verify::Full
    {
        return Err(loaded
            .error("upstream.tls.server_name", "a Unix socket has no host name: say which one the certificate bears"));
    }
    for (key, value) in [
        ("listen.max_clients", listen.max_clients),
        ("limits.arguments", limits.arguments),
        ("limits.in_flight", limits.in_flight),
        ("limits.pinned", limits.pinned),
    ] {
        if value == 0 {
            return Err(loaded.error(key, "must be at least 1"));
        }
    }
    let Cache { keys, max_size, max_value_size, staleness, own_key, .. } = &loaded.config.cache;
    if keys.is_empty() {
        return Err(loaded.error("cache.keys", "takes no key: use enabled = false"));
    }
    if own_key.is_empty() {
        return Err(loaded.error("cache.own_key", "must not be empty"));
    }
    if max_value_size.bytes() > max_size.bytes() {
        return Err(loaded.error("cache.max_value_size", "must not be larger than cache.max_size"));
    }
    if *staleness > LONGEST_STALENESS {
        return Err(loaded.error("cache.staleness", "must not be longer than 10s"));
    }
    if let Some(problem) = listen.openness(&listen.address) {
        return Err(loaded.error("listen.address", problem));
    }
    Ok(())
}

impl Source {
    /// Where the value of `key` stands.
    fn place(&self, key: &str) -> Place {
        if let Some((_, place)) = self.overridden.iter().find(|(overridden, _)| *overridden == key) {
            return place.clone();
        }
        match &self.path {
            None => Place::Default,
            Some(path) => Place::File { path: path.clone(), line: self.line_of_key(key) },
        }
    }

    /// A mistake the parser found: its line, and the key its place belongs to.
    fn parse_error(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let path = self.path.clone().unwrap_or_default();
        let key = self.key_at(&span);
        let problem = error.message().replace('\n', ", ");
        ConfigError { place: Place::File { path, line: Some(self.line_at(span.start)) }, key, problem }
    }

    fn line_at(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    fn line_of_key(&self, key: &str) -> Option<usize> {
        let document = DeTable::parse(&self.text).ok()?;
        let (mut table, mut line) = (document.get_ref(), None);
        for part in key.split('.') {
            let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else { break };
            line = Some(self.line_at(name.span().start));
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        line
    }

    /// The innermost key whose name or value covers `span`.
    fn key_at(&self, span: &Range<usize>) -> String {
        let Ok(document) = DeTable::parse(&self.text) else { return String::new() };
        let (mut table, mut key) = (document.get_ref(), String::new());
        'deeper: loop {
            for (name, value) in table {
                let here = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
                let nested = match value.get_ref() {
                    DeValue::Table(inner) => covers(inner, span),
                    DeValue::Array(items) => items.iter().any(|item| table_over(item.get_ref(), span).is_some()),
                    _ => false,
                };
                if !here(name.span()) && !here(value.span()) && !nested {
                    continue;
                }
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(name.get_ref());
                match value.get_ref() {
                    DeValue::Table(inner) if !here(name.span()) => {
                        table = inner;
                        continue 'deeper;
                    }
                    DeValue::Array(items) => match items.iter().find_map(|item| table_over(item.get_ref(), span)) {
                        Some(inner) => {
                            table = inner;
                            continue 'deeper;
                        }
                        None => return key,
                    },
                    _ => return key,
                }
            }
            return key;
        }
    }
}

/// An item of an array, if it is a table with a key or value that covers `span`.
fn table_over<'t, 's>(item: &'t DeValue<'s>, span: &Range<usize>) -> Option<&'t DeTable<'s>> {
    if let DeValue::Table(table) = item { Some(table).filter(|table| covers(table, span)) } else { None }
}

/// Whether a key or value of `table`, or of a table in it, covers `span`.
///
/// The span of a `[section]` is its header alone, so its entries must be asked.
fn covers(table: &DeTable<'_>, span: &Range<usize>) -> bool {
    table.iter().any(|(name, value)| {
        let here = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
        here(name.span())
            || here(value.span())
            || matches!(value.get_ref(), DeValue::Table(inner) if covers(inner, span))
    })
}

#[cfg(test)]
mod tests;
