//! Noticing that a file has been written anew or replaced.
//!
//! Secrets are rotated by others: a file is renamed into place, a link is turned to another directory. All of that shows
//! in what the system says of the path; asked once a second, it costs nothing, and works on every file system.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files, and what they were when last looked at.
#[derive(Debug, Default, Clone)]
pub struct Watch {
    files: Vec<(PathBuf, Option<Stamp>)>,
}

/// What tells one content from the next, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl Watch {
    /// Watches these from now on; they need not exist.
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let stamped = |file: PathBuf| {
            let stamp = Stamp::of(&file);
            (file, stamp)
        };
        Self { files: files.into_iter().map(stamped).collect() }
    }

    /// The first of those that are others than when this was last asked. One that is gone counts when it is back.
    pub fn changed(&mut self) -> Option<&Path> {
        let mut first = None;
        for (file, stamp) in &mut self.files {
            let now = Stamp::of(file);
            if now.is_some() && now != *stamp {
                *stamp = now;
                first = first.or(Some(file.as_path()));
            }
        }
        first
    }
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let file = std::fs::metadata(file).ok()?;
        let changed = (file.ctime(), file.ctime_nsec());
        Some(Self { device: file.dev(), inode: file.ino(), len: file.len(), changed })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_is_replaced_has_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a"), "old").expect("written");
        fs::create_dir(path("1")).expect("made");
        fs::create_dir(path("2")).expect("made");
        fs::write(path("1/b"), "same").expect("written");
        fs::write(path("2/b"), "same").expect("written");
        symlink(path("1"), path("link")).expect("linked");
        let mut watch = Watch::new([path("a"), path("link/b"), path("none")]);
        assert_eq!(watch.changed(), None);
        fs::write(path("new"), "new").expect("written");
        fs::rename(path("new"), path("a")).expect("renamed");
        assert_eq!(watch.changed(), Some(path("a").as_path()));
        assert_eq!(watch.changed(), None, "told once");
        symlink(path("2"), path("other")).expect("linked");
        fs::rename(path("other"), path("link")).expect("renamed");
        assert_eq!(watch.changed(), Some(path("link/b").as_path()));
        fs::remove_file(path("a")).expect("removed");
        assert_eq!(watch.changed(), None, "there is nothing to read");
        fs::write(path("a"), "newer").expect("written");
        assert_eq!(watch.changed(), Some(path("a").as_path()));
        fs::write(path("none"), "").expect("written");
        assert_eq!(watch.changed(), Some(path("none").as_path()));
    }
}
