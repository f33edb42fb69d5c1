//! How the server is reached, and who we say we are.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::dial::{Dial, Network};
use super::tls::Tls;
use crate::config::Upstream;
use crate::watch::Watch;

/// Where the server's password comes from.
#[derive(Debug, Clone)]
pub enum Password {
    /// There is none.
    None,
    /// From the configuration or the environment.
    Inline(SecretString),
    /// From a file, read again for every handshake.
    File(PathBuf),
}

impl Password {
    /// Whether it can be read now.
    ///
    /// # Errors
    /// A sentence for the operator that names the file.
    pub fn check(&self) -> Result<(), String> {
        self.read().map(drop)
    }

    pub(super) fn read(&self) -> Result<Option<SecretString>, String> {
        let path = match self {
            Self::None => return Ok(None),
            Self::Inline(password) => return Ok(Some(password.clone())),
            Self::File(path) => path,
        };
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        match text.lines().next().unwrap_or_default() {
            "" => Err(format!("{}: its first line is empty", path.display())),
            password => Ok(Some(SecretString::from(password))),
        }
    }
}

/// How the server is reached and who we say we are: what a reload can replace.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Access {
    pub dial: Dial,
    pub username: String,
    pub password: Password,
    pub name: String,
    /// How long a connection lives, if not for ever.
    pub lifetime: Option<Duration>,
    /// What was read for it: it is read again when one of them changes.
    pub files: Watch,
}

impl Access {
    /// Reads the files `[upstream]` names.
    ///
    /// # Errors
    /// The key whose file or value cannot be used, and why.
    pub fn read(upstream: &Upstream) -> Result<Self, (String, String)> {
        // Before they are read: what changes meanwhile is read again.
        let files = Watch::new(files(upstream));
        let tls = match upstream.tls.enabled {
            false => None,
            true => Some(
                Tls::new(&upstream.tls, &upstream.server)
                    .map_err(|error| (format!("upstream.tls.{}", error.key), error.problem))?,
            ),
        };
        let password = match (&upstream.password, &upstream.password_file) {
            (Some(password), _) => Password::Inline(password.clone()),
            (None, Some(path)) => Password::File(path.clone()),
            (None, None) => Password::None,
        };
        password.check().map_err(|problem| ("upstream.password_file".to_owned(), problem))?;
        Ok(Self {
            dial: Dial {
                address: upstream.server.clone(),
                tls,
                timeout: upstream.connect_timeout,
                network: Network::System,
            },
            username: upstream.username.clone(),
            password,
            name: upstream.name.clone(),
            lifetime: upstream.max_lifetime,
            files,
        })
    }
}

/// The files `[upstream]` names and does not name in vain.
fn files(upstream: &Upstream) -> Vec<PathBuf> {
    let password = upstream.password_file.as_ref().filter(|_| upstream.password.is_none());
    let tls = &upstream.tls;
    let tls = [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten().filter(|_| tls.enabled);
    password.into_iter().chain(tls).cloned().collect()
}
