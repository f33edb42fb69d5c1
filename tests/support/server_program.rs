//! The server programs there are: the system's, and what `tests/servers/setup` has fetched.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const SYSTEM_SERVER: &str = "redis-server";

/// A program that a [`RedisServer`](super::RedisServer) can run.
#[derive(Debug, Clone)]
pub struct ServerProgram {
    pub path: PathBuf,
    pub is_valkey: bool,
    /// Such as `[7, 0, 15]`.
    pub version: [u32; 3],
}

impl ServerProgram {
    pub fn system() -> Self {
        Self::at(SYSTEM_SERVER.into())
    }

    /// All of them, each version once, the oldest first.
    pub fn all() -> Vec<Self> {
        let servers = env::var_os("SERVERS_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers"), PathBuf::from);
        let mut programs = vec![Self::system()];
        if let Ok(entries) = servers.read_dir() {
            let paths = entries.map(|entry| entry.expect("a readable directory").path().join("redis-server"));
            programs.extend(paths.filter(|path| path.is_file()).map(Self::at));
            assert!(programs.len() > 1, "no server in {}", servers.display());
        }
        programs.sort_by_key(|program| (program.is_valkey, program.version));
        programs.dedup_by_key(|program| (program.is_valkey, program.version));
        programs
    }

    fn at(path: PathBuf) -> Self {
        let output = Command::new(&path).arg("--version").output();
        let output = output.unwrap_or_else(|error| panic!("{}; `make test` installs it: {error}", path.display()));
        // `Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=d81bff71cbb150e`
        let said = String::from_utf8_lossy(&output.stdout);
        let version = said.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or_default();
        let numbers: Vec<u32> = version.split('.').filter_map(|number| number.parse().ok()).collect();
        let version = numbers.try_into().unwrap_or_else(|_| panic!("{}: no version in {said}", path.display()));
        Self { is_valkey: said.starts_with("Valkey"), version, path }
    }
}

/// As people write it: `valkey 9.1.2`.
impl fmt::Display for ServerProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_valkey { "valkey" } else { "redis" };
        let [major, minor, patch] = self.version;
        write!(f, "{name} {major}.{minor}.{patch}")
    }
}
