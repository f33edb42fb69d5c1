//! The rules, and which of them holds for a key.

use std::sync::Arc;
use std::time::Duration;

use super::script::Scripts;
use crate::config::{self, OnStaleWrite, Reopen};
use crate::glob::Globs;

/// What ends so is a lock: no rule touches it (`research/session-clients.md`, section 8).
const LOCK: &[u8] = b"_LOCK";

/// Keys of our own, beside the sessions.
pub(super) const TOMBSTONE: &[u8] = b"cloakroom:gone:";
pub(super) const BIRTH: &[u8] = b"cloakroom:born:";

/// Of a touch's length, the part its end may be early at most.
const TOUCH_PART: u32 = 20;

/// All rules, in their order, and what is refused.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    pub(super) deny: Vec<String>,
    pub(super) confine: bool,
    least_value_size: usize,
    pub(super) scripts: Arc<Scripts>,
}

/// One `[[session]]`.
#[derive(Debug)]
pub struct Rule {
    keys: Globs,
    databases: Vec<u32>,
    pub(super) expiry: Option<Duration>,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) stay_destroyed: Option<Duration>,
    pub(super) reopen: Reopen,
    pub(super) on_stale_write: OnStaleWrite,
    pub(super) max_value_size: Option<usize>,
    pub(super) cache: bool,
    pub(super) touch: Option<Duration>,
    pub(super) touch_identical: bool,
    companion: Option<Companion>,
}

/// Two beginnings of keys: who touches the first touches the second, too.
#[derive(Debug)]
struct Companion {
    from: Box<[u8]>,
    to: Box<[u8]>,
}

/// A touch that may be answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch<'a> {
    #[allow(missing_docs)]
    pub key: &'a [u8],
    /// From now on the session is to live for so long.
    pub length: Duration,
    /// Its end may be early by as much.
    pub slack: Duration,
}

impl Rules {
    /// `None` if the configuration has none.
    pub fn new(sessions: &[config::Session], commands: &config::CommandRules) -> Option<Self> {
        let sizes = sessions.iter().filter_map(|session| session.max_value_size);
        let least = sizes.map(config::ByteSize::bytes).min();
        let has_any = !sessions.is_empty() || !commands.deny.is_empty() || commands.confine;
        has_any.then(|| Self {
            rules: sessions.iter().map(Rule::new).collect(),
            deny: commands.deny.clone(),
            confine: commands.confine,
            least_value_size: least.unwrap_or(usize::MAX),
            scripts: Arc::default(),
        })
    }

    /// The rule for a key of a database, if it is a session's.
    pub fn of(&self, key: &[u8], db: u32) -> Option<&Rule> {
        let rule = self.rules.iter().find(|rule| rule.takes(key, db))?;
        let is_apart = key.ends_with(LOCK) || is_ours(key);
        (!is_apart).then_some(rule)
    }

    /// Whether a rule takes the key, be it a lock.
    pub(super) fn take(&self, key: &[u8], db: u32) -> bool {
        self.rules.iter().any(|rule| rule.takes(key, db))
    }

    /// Bytes no rule minds in a value.
    pub(super) fn least_value_size(&self) -> usize {
        self.least_value_size
    }

    /// Whether some rule holds in some databases only: then these cannot be swapped under it.
    pub(super) fn tell_databases_apart(&self) -> bool {
        self.rules.iter().any(|rule| !rule.databases.is_empty())
    }
}

impl Rule {
    fn new(session: &config::Session) -> Self {
        let bytes = |text: &String| text.clone().into_bytes().into_boxed_slice();
        Self {
            keys: Globs::new(session.keys.iter().map(String::as_str)),
            databases: session.databases.clone(),
            expiry: session.expiry,
            max_lifetime: session.max_lifetime,
            stay_destroyed: session.stay_destroyed,
            reopen: session.reopen,
            on_stale_write: session.on_stale_write,
            max_value_size: session.max_value_size.map(config::ByteSize::bytes),
            cache: session.cache,
            touch: session.touch,
            touch_identical: session.touch_identical,
            companion: session.companion.as_ref().map(|(from, to)| Companion { from: bytes(from), to: bytes(to) }),
        }
    }

    fn takes(&self, key: &[u8], db: u32) -> bool {
        (self.databases.is_empty() || self.databases.contains(&db)) && self.keys.matches(key)
    }

    /// Whether its sessions end, whatever their clients say.
    pub(super) fn ends(&self) -> bool {
        self.expiry.is_some() || self.max_lifetime.is_some()
    }

    /// The key that is touched with this one.
    pub(super) fn companion(&self, key: &[u8]) -> Option<Vec<u8>> {
        let Companion { from, to } = self.companion.as_ref()?;
        Some([to, key.strip_prefix(&**from)?].concat())
    }

    /// How early a touch's end may be.
    pub(super) fn slack(&self, length: Duration) -> Duration {
        self.touch.map_or(Duration::ZERO, |touch| touch.min(length / TOUCH_PART))
    }
}

/// Whether a key is one of those.
pub(super) fn is_ours(key: &[u8]) -> bool {
    key.starts_with(TOMBSTONE) || key.starts_with(BIRTH)
}

/// A key of ours beside a session's, in the same slot of a cluster.
pub(super) fn beside(what: &[u8], key: &[u8]) -> Vec<u8> {
    let open = key.iter().position(|byte| *byte == b'{');
    let has_tag =
        open.is_some_and(|open| key[open + 1..].iter().position(|byte| *byte == b'}').is_some_and(|end| end > 0));
    if has_tag { [what, key].concat() } else { [what, b"{", key, b"}"].concat() }
}
