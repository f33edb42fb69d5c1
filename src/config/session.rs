//! `[[session]]`: which keys are sessions, and what holds for them; `[commands]`: what clients may ask.

use std::time::Duration;

use serde::Deserialize;

use super::value::{self, ByteSize};

/// One `[[session]]`: the first rule whose pattern takes a key holds for it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Session {
    /// A session client's own patterns and options; what else is said here is said instead of them.
    pub profile: Option<Profile>,
    /// Which keys are sessions: Redis' own patterns. What ends in `_LOCK` never is.
    pub keys: Vec<String>,
    /// In which databases; empty for all.
    pub databases: Vec<u32>,
    /// The time to live of a write that sets none; `off` to leave it alone.
    pub expiry: Option<Duration>,
    /// The longest a session lives from its first write on, however often it is used; `off` for as long as it is.
    pub max_lifetime: Option<Duration>,
    /// How long a destroyed session cannot be written back by who has not seen that it is gone; `off` for not at all.
    pub stay_destroyed: Option<Duration>,
    /// Who may create it again meanwhile: `read`, a connection that has since read it as gone; `never`, nobody.
    pub reopen: Reopen,
    /// What such a write is answered: `discard`, as if it had been done; `refuse`, an error.
    pub on_stale_write: OnStaleWrite,
    /// A longer value is refused; `off` for none.
    pub max_value_size: Option<ByteSize>,
    /// Whether values may be held in memory, as `[cache]` says.
    pub cache: bool,
    /// A touch that moves the end by less than this, and by less than a twentieth of its length, is answered here; `off`
    /// for none.
    pub touch: Option<Duration>,
    /// Whether a write of the value that is there already only moves its end.
    pub touch_identical: bool,
    /// Two beginnings of keys: touching a key of the first also touches the one of the second, if that is there.
    pub companion: Option<(String, String)>,
}

/// Who may create a destroyed session again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reopen {
    /// A connection that has since read it and been told that it is gone.
    Read,
    /// Nobody, but for who says that it is new (`NX`, or `DEL` before it in one go).
    Never,
}

/// What a stale writer is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStaleWrite {
    /// What a success would give.
    Discard,
    /// `-NOPERM session was destroyed`
    Refuse,
}

/// A session client whose patterns and options are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the clients'")]
pub enum Profile {
    Catalyst,
    Express,
    Flask,
    Django,
    Php,
    Rails,
    Spring,
    Gorilla,
    /// Identifiers without a prefix: every key of these databases is a session.
    Bare,
}

impl Profile {
    /// The keys its client uses as it comes.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Catalyst => &["session:*", "expires:*", "flash:*"],
            Self::Express => &["sess:*"],
            Self::Flask => &["session:*"],
            Self::Django => &["*:django.contrib.sessions.cache*"],
            Self::Php => &["PHPREDIS_SESSION:*"],
            Self::Rails => &["2::*", "*:2::*", "rack:session:*"],
            Self::Spring => &["spring:session:sessions:*", "spring:session:expirations:*"],
            Self::Gorilla => &["session_*"],
            Self::Bare => &["*"],
        }
    }

    fn rule(self) -> Session {
        let keys = self.keys().iter().map(|key| (*key).to_owned()).collect();
        let rule = Session { profile: Some(self), keys, ..Session::default() };
        let touch = Some(Duration::from_secs(30));
        match self {
            // It never touches the session itself: who only reads would be logged out.
            Self::Catalyst => Session { companion: Some(("expires:".to_owned(), "session:".to_owned())), ..rule },
            // A touch with each request; many requests on one connection, and never an identifier again.
            Self::Express => Session { touch, reopen: Reopen::Never, ..rule },
            Self::Php => Session { touch, ..rule },
            // The whole value with each request, changed or not.
            Self::Flask => Session { touch, touch_identical: true, reopen: Reopen::Never, ..rule },
            Self::Rails => Session { touch, touch_identical: true, ..rule },
            Self::Django | Self::Spring => Session { reopen: Reopen::Never, ..rule },
            Self::Gorilla | Self::Bare => rule,
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            profile: None,
            keys: Vec::new(),
            databases: Vec::new(),
            expiry: Some(Duration::from_secs(24 * 3600)),
            max_lifetime: None,
            stay_destroyed: Some(Duration::from_secs(60)),
            reopen: Reopen::Read,
            on_stale_write: OnStaleWrite::Discard,
            max_value_size: Some(ByteSize::mib(1)),
            cache: true,
            touch: None,
            touch_identical: false,
            companion: None,
        }
    }
}

/// A rule as the file says it: what is left out is the profile's, or the default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    profile: Option<Profile>,
    keys: Option<Vec<String>>,
    databases: Option<Vec<u32>>,
    expiry: Option<Length>,
    max_lifetime: Option<Length>,
    stay_destroyed: Option<Length>,
    reopen: Option<Reopen>,
    on_stale_write: Option<OnStaleWrite>,
    max_value_size: Option<Size>,
    cache: Option<bool>,
    touch: Option<Length>,
    touch_identical: Option<bool>,
    companion: Option<Vec<String>>,
}

/// A length of time, or `off`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Length(#[serde(deserialize_with = "value::duration_or_off")] Option<Duration>);

/// A number of bytes, or `off`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Size(#[serde(deserialize_with = "value::size_or_off")] Option<ByteSize>);

impl TryFrom<Written> for Session {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let preset = written.profile.map_or_else(Self::default, Profile::rule);
        let companion = match written.companion.as_deref() {
            None => preset.companion,
            Some([]) => None,
            Some([from, to]) if !from.is_empty() && !to.is_empty() => Some((from.clone(), to.clone())),
            Some(_) => {
                return Err(
                    "companion: expected two beginnings of keys, such as [\"expires:\", \"session:\"]".to_owned()
                );
            }
        };
        let length = |written: Option<Length>, preset| written.map_or(preset, |Length(length)| length);
        let keys = written.keys.unwrap_or(preset.keys);
        if keys.is_empty() {
            return Err("keys: say which keys are sessions, such as [\"session:*\"], or a profile".to_owned());
        }
        Ok(Self {
            profile: written.profile,
            keys,
            databases: written.databases.unwrap_or(preset.databases),
            expiry: length(written.expiry, preset.expiry),
            max_lifetime: length(written.max_lifetime, preset.max_lifetime),
            stay_destroyed: length(written.stay_destroyed, preset.stay_destroyed),
            reopen: written.reopen.unwrap_or(preset.reopen),
            on_stale_write: written.on_stale_write.unwrap_or(preset.on_stale_write),
            max_value_size: written.max_value_size.map_or(preset.max_value_size, |Size(size)| size),
            cache: written.cache.unwrap_or(preset.cache),
            touch: length(written.touch, preset.touch),
            touch_identical: written.touch_identical.unwrap_or(preset.touch_identical),
            companion,
        })
    }
}

/// `[commands]`: what clients may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandRules {
    /// Commands that are refused, and subcommands (`config|set`), as the server's own ACL would.
    #[serde(deserialize_with = "value::commands")]
    pub deny: Vec<String>,
    /// Whether keys no `[[session]]` takes are refused.
    pub confine: bool,
}
