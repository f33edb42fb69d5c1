//! What a client knows of a session it alone writes.

use super::talker::Said;

/// Long enough for a reply to be cut in the middle.
const PADDING: usize = 1500;

pub(super) struct Session {
    name: String,
    version: u32,
    /// The version that was written last, and those of unknown outcome since. None: there is no session yet.
    may_be: Vec<u32>,
    errors: Vec<String>,
    /// Its client gives up requests that wait, and asks again: any of them may run late.
    is_hasty: bool,
}

impl Session {
    pub(super) fn new(name: &str, is_hasty: bool) -> Self {
        Self { name: name.to_owned(), version: 0, may_be: Vec::new(), errors: Vec::new(), is_hasty }
    }

    pub(super) fn next_write(&mut self) -> String {
        self.version += 1;
        format!("write {} {}={}", self.name, self.version, "x".repeat(PADDING))
    }

    pub(super) fn read(&self) -> String {
        format!("read {}", self.name)
    }

    /// # Errors
    /// What cannot be the answer to a write.
    pub(super) fn was_written(&mut self, said: &Said) -> Result<(), String> {
        match said {
            Said::Done if self.is_hasty => self.may_be.push(self.version),
            Said::Done => self.may_be = vec![self.version],
            Said::Error(text) => {
                if self.is_hasty || !text.contains("command not executed") {
                    self.may_be.push(self.version);
                }
                self.errors.push(text.clone());
            }
            other => return Err(format!("a write was answered {other:.80?}")),
        }
        Ok(())
    }

    /// # Errors
    /// What the session cannot be.
    pub(super) fn was_read(&mut self, said: &Said) -> Result<(), String> {
        match said {
            Said::Value(text) => {
                let version = text.split('=').next().and_then(|version| version.parse().ok());
                let is_whole = text.len() == version.map_or(0, |version: u32| version.to_string().len() + 1 + PADDING);
                if !is_whole || !version.is_some_and(|version| self.may_be.contains(&version)) {
                    return Err(format!("read version {version:?} ({} bytes), not {:?}", text.len(), self.may_be));
                }
            }
            Said::Nothing if self.may_be.is_empty() => {}
            Said::Error(text) => self.errors.push(text.clone()),
            other => return Err(format!("a session of version {:?} was read as {other:.80?}", self.may_be)),
        }
        Ok(())
    }

    /// What it was told since the last time.
    pub(super) fn take_errors(&mut self) -> Vec<String> {
        std::mem::take(&mut self.errors)
    }
}
