//! What happens to values held in memory, for metrics.

use std::time::Duration;

use super::link::Refusal;

/// Why a read is not answered from memory: a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Miss {
    /// Nothing is held, and it was not read of late.
    Cold,
    /// Nothing is held.
    Absent,
    /// A client of ours has written it.
    Written,
    /// It is being fetched.
    Fetching,
    /// Its time is over.
    Expired,
    /// `cache.max_residency`
    Old,
    /// The connection it was fetched on is gone, or the server has said that everything has changed.
    Lost,
    /// The server tells of no changes.
    Untracked,
    /// `cache.keys`
    Excluded,
    /// It cannot be said exactly.
    Inexact,
    /// The values together are too large to be written at once.
    TooLarge,
    /// The server has refused a fence.
    Unproven,
    /// Something the same client has asked before is not answered.
    Behind,
    /// It was fetched of late, and could not be kept.
    Unfit,
}

impl Miss {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Self; 14] = [
        Self::Cold,
        Self::Absent,
        Self::Written,
        Self::Fetching,
        Self::Expired,
        Self::Old,
        Self::Lost,
        Self::Untracked,
        Self::Excluded,
        Self::Inexact,
        Self::TooLarge,
        Self::Unproven,
        Self::Behind,
        Self::Unfit,
    ];

    #[allow(missing_docs)]
    pub fn label(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Absent => "absent",
            Self::Written => "written",
            Self::Fetching => "fetching",
            Self::Expired => "expired",
            Self::Old => "old",
            Self::Lost => "lost",
            Self::Untracked => "untracked",
            Self::Excluded => "excluded",
            Self::Inexact => "inexact",
            Self::TooLarge => "too_large",
            Self::Unproven => "unproven",
            Self::Behind => "behind",
            Self::Unfit => "unfit",
        }
    }
}

/// What has happened since it was last asked.
#[derive(Debug, Default, Clone)]
#[allow(missing_docs)]
pub struct Counts {
    pub hits: u64,
    pub waits: u64,
    pub stale: u64,
    pub misses: [u64; Miss::ALL.len()],
    pub fills: u64,
    pub refusals: [u64; Refusal::ALL.len()],
    pub fences: u64,
    pub fences_refused: u64,
    /// Keys the server has told of.
    pub told: u64,
    /// Times it has said that everything has changed.
    pub flushed: u64,
    /// Times everything was forgotten because the clocks had jumped.
    pub jumps: u64,
    pub touches: u64,
    pub evictions: u64,
    /// The age of the oldest proof that made a hit.
    pub oldest_proof: Option<Duration>,
}
