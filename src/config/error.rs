//! What is wrong with the configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file; the line where it is known.
    File {
        #[allow(missing_docs)]
        path: PathBuf,
        /// Counted from 1.
        line: Option<usize>,
    },
    /// A flag of the command line, such as `--listen`.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// The built-in default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}, line {line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::Default => f.write_str("the built-in default"),
        }
    }
}

/// One mistake: where it is, which key, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    #[allow(missing_docs)]
    pub place: Place,
    /// The key with its sections, `upstream.tls.ca_file`; empty where the mistake is not in one.
    pub key: String,
    /// A sentence for the operator, with what would be valid.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.problem),
            key => write!(f, "{}: {key}: {}", self.place, self.problem),
        }
    }
}
