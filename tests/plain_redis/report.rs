//! What differs between a server and a proxy in front of it, and where.

use std::collections::BTreeMap;
use std::fmt;

/// The bytes that came, or how the stream ended instead.
pub type Answer = Result<Vec<u8>, String>;

/// A request that is answered otherwise through the proxy.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    pub case: &'static str,
    pub request: &'static str,
    pub redis: Answer,
    pub cloakroom: Answer,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 600;
        // What both have said before is of no interest: from the line that differs, and some before it.
        let same = match (&self.redis, &self.cloakroom) {
            (Ok(redis), Ok(cloakroom)) => redis.iter().zip(cloakroom).take_while(|(one, other)| one == other).count(),
            (Ok(_) | Err(_), _) => 0,
        };
        let text = |answer: &Answer| match answer {
            Ok(bytes) => {
                let before = &bytes[..same.saturating_sub(40)];
                let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let start = start.max(same.saturating_sub(SHOWN / 2));
                let end = bytes.len().min(start + SHOWN);
                format!("{}{}", if start > 0 { "... " } else { "" }, bytes[start..end].escape_ascii())
            }
            Err(end) => end.clone(),
        };
        let Self { case, request, redis, cloakroom } = self;
        write!(f, "\n{case}: {request}\n  Redis:     {}\n  cloakroom: {}", text(redis), text(cloakroom))
    }
}

/// Each difference, and where it shows.
#[derive(Default)]
pub struct Differences(BTreeMap<Difference, Vec<String>>);

impl Differences {
    pub fn add(&mut self, difference: Difference, place: String) {
        self.0.entry(difference).or_default().push(place);
    }

    /// Leaves out what is not to be complained of.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&Difference) -> bool) {
        self.0.retain(|difference, _| is_kept(difference));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn expect_none(&self) {
        assert!(self.0.is_empty(), "{self}");
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} differences:", self.0.len())?;
        self.0.iter().try_for_each(|(difference, places)| write!(f, "\n{difference}\n  in {}", places.join(", ")))
    }
}
