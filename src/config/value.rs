//! The values of the configuration: addresses, sizes, lengths of time.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, Error};

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host name or IP address, and a port.
    Tcp {
        /// Without the brackets of an IPv6 address.
        host: String,
        #[allow(missing_docs)]
        port: u16,
    },
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl Address {
    /// A TCP address.
    pub fn tcp(host: &str, port: u16) -> Self {
        Self::Tcp { host: host.to_owned(), port }
    }

    /// Whether others than this machine can reach it.
    pub fn is_beyond_loopback(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp { host, .. } if host == "localhost" => false,
            Self::Tcp { host, .. } => !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Parses `host:port`, `[ipv6]:port` or `unix:/path`.
///
/// # Errors
/// A sentence that says what would be valid.
pub fn parse_address(text: &str) -> Result<Address, String> {
    const VALID: &str = "expected host:port, [ipv6]:port or unix:/path";
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => Err(format!("no path after unix:, {VALID}")),
            path => Ok(Address::Unix(PathBuf::from(path))),
        };
    }
    if text.contains("://") {
        return Err(format!("a URL is for the flag --upstream only, {VALID} here"));
    }
    if text.contains('@') {
        return Err(format!("an address has no user (what stands before @ is not repeated here), {VALID}"));
    }
    let (host, port) = text.rsplit_once(':').ok_or(format!("no port in \"{text}\", {VALID}"))?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or(format!("unclosed [ in \"{text}\", {VALID}"))?,
        None if host.contains(':') => return Err(format!("an IPv6 address needs brackets, {VALID}")),
        None => host,
    };
    if host.is_empty() {
        return Err(format!("no host in \"{text}\", {VALID}"));
    }
    let port = port.parse().map_err(|_| format!("\"{port}\" is no port (0 to 65535), {VALID}"))?;
    Ok(Address::tcp(host, port))
}

pub(super) fn address<'de, D: Deserializer<'de>>(source: D) -> Result<Address, D::Error> {
    parse_address(&String::deserialize(source)?).map_err(D::Error::custom)
}

/// A number of bytes: `"64MiB"`, `"1MB"`, `"4096"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(usize);

impl ByteSize {
    /// So many MiB.
    pub const fn mib(n: usize) -> Self {
        Self(n << 20)
    }

    /// So many KiB.
    pub const fn kib(n: usize) -> Self {
        Self(n << 10)
    }

    /// In bytes.
    pub const fn bytes(self) -> usize {
        self.0
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let bad = "expected a size in quotes, such as \"64MiB\" or \"4096\"";
        let text = String::deserialize(source).map_err(|_| D::Error::custom(bad))?;
        size(&text).map_err(D::Error::custom)
    }
}

fn size(text: &str) -> Result<ByteSize, String> {
    let size = text.parse::<bytesize::ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok());
    let size = size.filter(|bytes| *bytes > 0).map(ByteSize);
    size.ok_or_else(|| format!("\"{text}\" is no size, expected one such as \"64MiB\" or \"4096\""))
}

/// A number of bytes, or `"off"`.
pub(super) fn size_or_off<'de, D: Deserializer<'de>>(source: D) -> Result<Option<ByteSize>, D::Error> {
    let text = String::deserialize(source).map_err(|_| D::Error::custom("expected a size or \"off\", in quotes"))?;
    match text.as_str() {
        "off" => Ok(None),
        text => size(text).map(Some).map_err(|problem| D::Error::custom(format!("{problem}, or \"off\""))),
    }
}

/// Names of commands, `name` or `name|subcommand`, in lower case.
pub(super) fn commands<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let names = Vec::<String>::deserialize(source)?;
    match names.iter().find(|name| name.split('|').count() > 2 || !name.split('|').all(is_name)) {
        None => Ok(names.iter().map(|name| name.to_ascii_lowercase()).collect()),
        Some(name) => {
            let problem = "is no command, expected a name such as \"keys\" or \"config|set\"";
            Err(D::Error::custom(format!("\"{name}\" {problem}")))
        }
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    let bad = "expected a length of time in quotes, such as \"100ms\" or \"1m 30s\"";
    let text = String::deserialize(source).map_err(|_| D::Error::custom(bad))?;
    length(&text).map_err(D::Error::custom)
}

fn length(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).ok().filter(|length| !length.is_zero());
    length.ok_or_else(|| format!("\"{text}\" is no length of time, expected one such as \"100ms\" or \"1m 30s\""))
}

/// A length of time, or `"0"`.
pub(super) fn duration_or_zero<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    let text =
        String::deserialize(source).map_err(|_| D::Error::custom("expected a length of time or \"0\", in quotes"))?;
    match text.as_str() {
        "0" => Ok(Duration::ZERO),
        text => length(text).map_err(|problem| D::Error::custom(format!("{problem}, or \"0\""))),
    }
}

/// A length of time, or `"off"`.
pub(super) fn duration_or_off<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    let text =
        String::deserialize(source).map_err(|_| D::Error::custom("expected a length of time or \"off\", in quotes"))?;
    match text.as_str() {
        "off" => Ok(None),
        text => length(text).map(Some).map_err(|problem| D::Error::custom(format!("{problem}, or \"off\""))),
    }
}

/// Permissions of a file, in octal: `"0660"`.
pub(super) fn mode<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    let bad = "expected permissions in octal and in quotes, such as \"0660\"";
    let text = String::deserialize(source).map_err(|_| D::Error::custom(bad))?;
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| D::Error::custom(format!("\"{text}\" are no permissions, {bad}")))
}

/// An empty string is no path.
pub(super) fn path<'de, D: Deserializer<'de>>(source: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(source)?;
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

/// An empty string is no secret.
pub(super) fn secret<'de, D: Deserializer<'de>>(source: D) -> Result<Option<SecretString>, D::Error> {
    // The parser's own message would repeat what stands there.
    let text = String::deserialize(source).map_err(|_| D::Error::custom("expected a string in quotes"))?;
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_tcp_or_unix() {
        assert_eq!(parse_address("a.b:1"), Ok(Address::tcp("a.b", 1)));
        assert_eq!(parse_address("[::1]:6379"), Ok(Address::tcp("::1", 6379)));
        assert_eq!(parse_address("unix:/run/r"), Ok(Address::Unix("/run/r".into())));
        assert_eq!(parse_address("[::1]:6379").expect("valid").to_string(), "[::1]:6379");
        for bad in ["", "host", "host:", "host:99999", ":1", "::1:6379", "[::1:6379", "unix:"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
