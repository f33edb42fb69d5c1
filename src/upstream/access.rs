//! How the server is reached, and who we say we are.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::dial::Dial;

/// Where the server's password comes from.
#[derive(Debug, Clone)]
pub enum Password {
    /// There is none.
    None,
    /// From the configuration or the environment.
    Inline(SecretString),
    /// From a file, read again for every handshake: a rotated password needs no restart.
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
}
