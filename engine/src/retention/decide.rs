//! The decision itself: one walk from the newest snapshot to the oldest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{
    AHEAD_NS_MAX, Calendar, CalendarSpan, Civil, Count, Decision, Outcome, Period, Policy, Reason,
    SnapshotFacts, Verdict,
};
use crate::id::SnapshotId;

/// Judges the snapshots of one group; answers newest first.
pub fn decide(
    snapshots: &[SnapshotFacts],
    policy: &Policy,
    now_ns: i64,
    calendar: &dyn Calendar,
) -> Vec<Decision> {
    let mut newest_first: Vec<_> = snapshots.iter().collect();
    newest_first.sort_by_key(|snapshot| Reverse((snapshot.time_ns, snapshot.id)));
    let (ahead, counted): (Vec<_>, Vec<_>) = newest_first
        .iter()
        .copied()
        .partition(|snapshot| is_dated_ahead(snapshot, now_ns));

    let mut reasons = if policy.is_empty() {
        every(&counted, &Reason::NoPolicy)
    } else {
        by_rules(&counted, policy, calendar)
    };
    for (id, sources) in last_good(&counted) {
        let reasons = reasons.entry(id).or_default();
        if reasons.is_empty() {
            reasons.push(Reason::LastGood(sources));
        }
    }
    reasons.extend(every(&ahead, &Reason::DatedAhead));
    newest_first
        .iter()
        .map(|snapshot| Decision {
            id: snapshot.id,
            verdict: match reasons.remove(&snapshot.id) {
                Some(reasons) if !reasons.is_empty() => Verdict::Keep(reasons),
                _ => Verdict::Forget,
            },
        })
        .collect()
}

type Reasons = BTreeMap<SnapshotId, Vec<Reason>>;

/// A false clock, or a try to push good snapshots out. Where the backend tells no time, ours has to do.
fn is_dated_ahead(snapshot: &SnapshotFacts, now_ns: i64) -> bool {
    let stored_ns = snapshot.stored_ns.unwrap_or(now_ns);
    snapshot.time_ns.saturating_sub(stored_ns) > AHEAD_NS_MAX
}

fn every(snapshots: &[&SnapshotFacts], reason: &Reason) -> Reasons {
    snapshots
        .iter()
        .map(|snapshot| (snapshot.id, vec![reason.clone()]))
        .collect()
}

fn by_rules(newest_first: &[&SnapshotFacts], policy: &Policy, calendar: &dyn Calendar) -> Reasons {
    let Some(newest) = newest_first.first() else {
        return Reasons::new();
    };
    let mut walk = Walk::start(policy, newest.time_ns, calendar);
    let oldest = newest_first.last().map(|snapshot| snapshot.id);
    newest_first
        .iter()
        .map(|snapshot| {
            let is_oldest = Some(snapshot.id) == oldest;
            (
                snapshot.id,
                walk.reasons(snapshot, is_oldest, policy, calendar),
            )
        })
        .collect()
}

/// What the rules have left to give while snapshots pass by, newest first.
struct Walk {
    last: Count,
    per_period: Vec<PeriodRule<Count>>,
    within_after_ns: Option<i64>,
    within_per_period: Vec<PeriodRule<i64>>,
    tag_last: BTreeMap<String, u32>,
}

struct PeriodRule<L> {
    period: Period,
    left: L,
    seen: Option<PeriodKey>,
}

impl Walk {
    fn start(policy: &Policy, newest_ns: i64, calendar: &dyn Calendar) -> Self {
        let rule_by_count = |(period, count): (&Period, &Count)| PeriodRule {
            period: *period,
            left: *count,
            seen: None,
        };
        let rule_within = |(period, span): (&Period, &CalendarSpan)| PeriodRule {
            period: *period,
            left: calendar.earlier(newest_ns, *span),
            seen: None,
        };
        Self {
            last: policy.last.unwrap_or(Count::AtMost(0)),
            per_period: policy.per_period.iter().map(rule_by_count).collect(),
            within_after_ns: policy.within.map(|span| calendar.earlier(newest_ns, span)),
            within_per_period: policy.within_per_period.iter().map(rule_within).collect(),
            tag_last: policy.tag_last.clone(),
        }
    }

    fn reasons(
        &mut self,
        snapshot: &SnapshotFacts,
        is_oldest: bool,
        policy: &Policy,
        calendar: &dyn Calendar,
    ) -> Vec<Reason> {
        let civil = calendar.civil(snapshot.time_ns);
        let mut reasons = Vec::new();
        if take_one(&mut self.last) {
            reasons.push(Reason::Last);
        }
        reasons.extend(self.by_count(&civil, is_oldest));
        reasons.extend(self.by_age(snapshot.time_ns, &civil, is_oldest));
        if policy
            .tags
            .iter()
            .any(|wanted| has_tags(&snapshot.tags, wanted))
        {
            reasons.push(Reason::Tags);
        }
        for tag in &snapshot.tags {
            if let Some(left) = self.tag_last.get_mut(tag).filter(|left| **left > 0) {
                *left -= 1;
                reasons.push(Reason::TagLast(tag.clone()));
            }
        }
        reasons
    }

    fn by_count(&mut self, civil: &Civil, is_oldest: bool) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for rule in &mut self.per_period {
            let key = PeriodKey::of(rule.period, civil);
            let is_new = rule.seen != Some(key);
            if (is_new || is_oldest) && take_one(&mut rule.left) {
                rule.seen = Some(key);
                reasons.push(if is_new {
                    Reason::Newest(rule.period)
                } else {
                    Reason::Oldest(rule.period)
                });
            }
        }
        reasons
    }

    fn by_age(&mut self, time_ns: i64, civil: &Civil, is_oldest: bool) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.within_after_ns.is_some_and(|after| time_ns > after) {
            reasons.push(Reason::Within);
        }
        for rule in &mut self.within_per_period {
            let key = PeriodKey::of(rule.period, civil);
            let is_new = rule.seen != Some(key);
            if (is_new || is_oldest) && time_ns > rule.left {
                rule.seen = Some(key);
                reasons.push(if is_new {
                    Reason::WithinNewest(rule.period)
                } else {
                    Reason::WithinOldest(rule.period)
                });
            }
        }
        reasons
    }
}

fn take_one(left: &mut Count) -> bool {
    match left {
        Count::Unlimited => true,
        Count::AtMost(0) => false,
        Count::AtMost(count) => {
            *count -= 1;
            true
        }
    }
}

fn has_tags(tags: &BTreeSet<String>, wanted: &BTreeSet<String>) -> bool {
    if wanted.is_empty() {
        tags.is_empty()
    } else {
        wanted.is_subset(tags)
    }
}

/// Equal for moments of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PeriodKey([i32; 5]);

impl PeriodKey {
    fn of(period: Period, civil: &Civil) -> Self {
        let month = i32::from(civil.month);
        let day = i32::from(civil.day);
        let hour = i32::from(civil.hour);
        Self(match period {
            Period::Hour => [civil.year, month, day, hour, civil.offset_seconds],
            Period::Day => [civil.year, month, day, 0, 0],
            Period::Week => [civil.iso_year, i32::from(civil.iso_week), 0, 0, 0],
            Period::Month => [civil.year, month, 0, 0, 0],
            Period::Quarter => [civil.year, (month - 1) / 3, 0, 0, 0],
            Period::Year => [civil.year, 0, 0, 0, 0],
        })
    }
}

/// The newest snapshot with a good capture of each source.
fn last_good(newest_first: &[&SnapshotFacts]) -> BTreeMap<SnapshotId, Vec<String>> {
    let mut found: BTreeMap<&str, SnapshotId> = BTreeMap::new();
    for snapshot in newest_first {
        for (source, outcome) in &snapshot.sources {
            if *outcome == Outcome::Good {
                found.entry(source).or_insert(snapshot.id);
            }
        }
    }
    let mut by_snapshot: BTreeMap<SnapshotId, Vec<String>> = BTreeMap::new();
    for (source, id) in found {
        by_snapshot.entry(id).or_default().push(source.to_owned());
    }
    by_snapshot
}
