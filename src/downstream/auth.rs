//! Who may connect: the passwords of `listen.password_file`.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// Users and their passwords. A user may have several: the old and the new one, while they change.
#[derive(Debug, Default)]
pub struct Users {
    entries: Vec<(String, SecretString)>,
}

/// The user of a client that names none.
pub(super) const DEFAULT_USER: &str = "default";

impl Users {
    /// Reads a file of one `password`, or `user:password`, a line. Empty lines and lines that begin with `#`
    /// are skipped.
    ///
    /// # Errors
    /// A sentence for the operator, without any of the passwords.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let entries: Vec<_> = lines
            .map(|line| match line.split_once(':') {
                Some((user, password)) => (user.to_owned(), SecretString::from(password)),
                None => (DEFAULT_USER.to_owned(), SecretString::from(line)),
            })
            .collect();
        if let Some(index) = entries.iter().position(|(_, password)| password.expose_secret().is_empty()) {
            return Err(format!("{}: entry {} has an empty password", path.display(), index + 1));
        }
        if entries.is_empty() {
            return Err(format!("{}: holds no password", path.display()));
        }
        Ok(Self { entries })
    }

    /// Whether clients must authenticate at all.
    pub fn is_required(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether there is a user of that name.
    pub fn knows(&self, user: &[u8]) -> bool {
        user == DEFAULT_USER.as_bytes() || self.entries.iter().any(|(name, _)| name.as_bytes() == user)
    }

    /// Whether these credentials are right. Every entry is compared, each in constant time, so that the time
    /// taken tells nothing.
    pub fn accepts(&self, user: &[u8], password: &[u8]) -> bool {
        let matches = self
            .entries
            .iter()
            .map(|(name, secret)| name.as_bytes().ct_eq(user) & secret.expose_secret().as_bytes().ct_eq(password));
        matches.fold(subtle::Choice::from(0), |any, this| any | this).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Result<Users, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("writable");
        Users::read(file.path())
    }

    #[test]
    fn a_user_may_have_several_passwords() {
        let users = users("# rotation\nold\nnew\n\nweb:a:b\n").expect("valid");
        for (user, password, is_right) in [
            ("default", "old", true),
            ("default", "new", true),
            ("web", "a:b", true),
            ("web", "old", false),
            ("default", "", false),
            ("default", "old ", false),
            ("", "old", false),
        ] {
            assert_eq!(users.accepts(user.as_bytes(), password.as_bytes()), is_right, "{user} {password}");
        }
    }

    #[test]
    fn a_file_without_a_password_is_a_mistake() {
        assert!(users("\n# none\n").is_err());
        let error = users("good\nweb:\n").expect_err("empty");
        assert!(error.contains("entry 2") && !error.contains("good"), "{error}");
    }
}
