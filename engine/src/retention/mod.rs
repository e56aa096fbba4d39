//! Retention: which snapshots of a group to keep, and why. Pure; carrying it out is `forget`.
//!
//! restic's rules, with three more. A snapshot dated ahead of its storage time takes no place, moves no other
//! decision and stays. The newest snapshot in which a source was saved well stays, for every source of the group.
//! An empty policy keeps everything.
//!
//! Calendars have time zones and leap days, which the engine does not know: a `Calendar` is passed in.

mod decide;
mod group;
#[cfg(test)]
mod tests;

pub use decide::decide;
pub use group::{Group, GroupKey, Grouping, SetKey, group};

use std::collections::{BTreeMap, BTreeSet};

use crate::id::SnapshotId;

/// How far a snapshot may be dated after its object was stored and still count.
pub const AHEAD_NS_MAX: i64 = 10 * 60 * 1_000_000_000;

/// What retention needs to know of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Its name.
    pub id: SnapshotId,
    /// The time it claims, in nanoseconds since 1970, UTC.
    pub time_ns: i64,
    /// When the backend says that its object was stored; none if the backend does not say.
    pub stored_ns: Option<i64>,
    /// Host label.
    pub host: String,
    /// Name of the set it was made from.
    pub set: Option<String>,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Its sources by name.
    pub sources: BTreeMap<String, Outcome>,
}

/// Whether a snapshot holds a good capture of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The capture was proved complete.
    Good,
    /// The source failed, and the rest was committed without it.
    Failed,
}

/// A stretch of the calendar within which one snapshot is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// An hour of the clock.
    Hour,
    /// A day.
    Day,
    /// A week from Monday.
    Week,
    /// A month.
    Month,
    /// A quarter of a year.
    Quarter,
    /// A year.
    Year,
}

impl Period {
    /// Every period, shortest first.
    pub const ALL: [Self; 6] = [
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Quarter,
        Self::Year,
    ];
}

/// How many to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many.
    AtMost(u32),
    /// All.
    Unlimited,
}

/// A length of time in calendar units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CalendarSpan {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

/// What to keep. Rules are independent: a snapshot that satisfies one of them stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The newest so many.
    pub last: Option<Count>,
    /// The newest of each of the newest so many periods that hold a snapshot.
    pub per_period: BTreeMap<Period, Count>,
    /// Everything so long before the newest.
    pub within: Option<CalendarSpan>,
    /// The newest of each period so long before the newest.
    pub within_per_period: BTreeMap<Period, CalendarSpan>,
    /// Snapshots with all tags of one of these sets; the empty set stands for snapshots without tags.
    pub tags: Vec<BTreeSet<String>>,
    /// The newest so many with a tag.
    pub tag_last: BTreeMap<String, u32>,
}

impl Policy {
    /// Whether no rule could keep anything: then nothing is removed.
    pub fn is_empty(&self) -> bool {
        let counts = self.per_period.values().chain(&self.last);
        counts.into_iter().all(|count| *count == Count::AtMost(0))
            && self.tag_last.values().all(|count| *count == 0)
            && self.within.is_none()
            && self.within_per_period.is_empty()
            && self.tags.is_empty()
    }
}

/// A moment as the calendar of a place shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Year.
    pub year: i32,
    /// Month, from 1.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, from 0.
    pub hour: u8,
    /// Offset from UTC: tells the two hours apart that a change back from summer time makes alike.
    pub offset_seconds: i32,
    /// Year that the ISO week belongs to.
    pub iso_year: i32,
    /// ISO week, from 1.
    pub iso_week: u8,
}

/// The calendar of a place.
pub trait Calendar {
    /// What the calendar shows at a moment.
    fn civil(&self, time_ns: i64) -> Civil;

    /// The moment so long before another.
    fn earlier(&self, time_ns: i64, span: CalendarSpan) -> i64;
}

/// What is to become of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub id: SnapshotId,
    /// Stay or go.
    pub verdict: Verdict,
}

impl Decision {
    /// Whether the snapshot stays.
    pub fn keeps(&self) -> bool {
        matches!(self.verdict, Verdict::Keep(_))
    }
}

/// Stay or go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for at least one reason.
    Keep(Vec<Reason>),
    /// No rule keeps it.
    Forget,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Among the newest.
    Last,
    /// The newest of its period.
    Newest(Period),
    /// The oldest of all, while a rule by period has places left.
    Oldest(Period),
    /// Young enough.
    Within,
    /// The newest of its period, and young enough.
    WithinNewest(Period),
    /// The oldest of all, and young enough for a rule by period.
    WithinOldest(Period),
    /// It has the tags.
    Tags,
    /// Among the newest with this tag.
    TagLast(String),
    /// The newest in which these sources were saved well.
    LastGood(Vec<String>),
    /// Dated after it was stored: no rule can judge it.
    DatedAhead,
    /// The policy has no rule.
    NoPolicy,
}
