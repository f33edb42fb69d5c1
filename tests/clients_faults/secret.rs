//! The password the proxy reads from a file, and the server's user it is for.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

pub(super) struct Secret {
    directory: TempDir,
    password: String,
}

impl Secret {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut secret = Self { directory, password: String::new() };
        secret.change("a-long-password");
        secret
    }

    pub(super) fn file(&self) -> PathBuf {
        self.directory.path().join("password")
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// The server's line for its user.
    pub(super) fn user(&self) -> String {
        format!("user web on >{} ~* &* +@all", self.password)
    }

    /// Whoever reads the file finds the old password or the new one, and nothing between.
    pub(super) fn change(&mut self, password: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, password).and_then(|()| fs::rename(&new, self.file())).expect("a writable temporary directory");
        password.clone_into(&mut self.password);
    }
}
