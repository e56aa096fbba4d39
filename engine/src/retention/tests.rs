//! Retention against restic's documented rules, and the properties that must hold for every policy.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const HOUR_NS: i64 = 3_600 * 1_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;
/// 2026-11-20 12:00:00 UTC, a Friday.
const NOON_NS: i64 = 1_795_176_000 * 1_000_000_000;

/// UTC without leap seconds; months count for 30 days and years for 365 when looking back.
struct Utc;

impl Calendar for Utc {
    fn civil(&self, time_ns: i64) -> Civil {
        let days = time_ns.div_euclid(DAY_NS);
        let (year, month, day) = date_of(days);
        // The Thursday of a week decides which year the week belongs to.
        let thursday = days - (days + 3).rem_euclid(7) + 3;
        let iso_year = date_of(thursday).0;
        let iso_week = (thursday - first_day_of(iso_year)) / 7 + 1;
        Civil {
            year,
            month,
            day,
            hour: u8::try_from(time_ns.rem_euclid(DAY_NS) / HOUR_NS).unwrap(),
            offset_seconds: 0,
            iso_year,
            iso_week: u8::try_from(iso_week).unwrap(),
        }
    }

    fn earlier(&self, time_ns: i64, span: CalendarSpan) -> i64 {
        let days = i64::from(span.years * 365 + span.months * 30 + span.days);
        time_ns - days * DAY_NS - i64::from(span.hours) * HOUR_NS
    }
}

fn is_leap(year: i32) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn first_day_of(year: i32) -> i64 {
    (1970..year).map(|y| 365 + i64::from(is_leap(y))).sum()
}

fn date_of(days: i64) -> (i32, u8, u8) {
    let year = (1970..3000).find(|y| first_day_of(y + 1) > days).unwrap();
    let mut left = days - first_day_of(year);
    let february = 28 + i64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (month, length) in (1..).zip(lengths) {
        if left < length {
            return (year, month, u8::try_from(left + 1).unwrap());
        }
        left -= length;
    }
    unreachable!("a year has twelve months")
}

fn snapshot(number: u8, time_ns: i64) -> SnapshotFacts {
    SnapshotFacts {
        id: SnapshotId::from_bytes([number; 16]),
        time_ns,
        stored_ns: Some(time_ns + 1_000_000_000),
        host: "host".into(),
        set: None,
        tags: BTreeSet::new(),
        sources: BTreeMap::from([("files".into(), Outcome::Good)]),
    }
}

fn number(id: SnapshotId) -> u8 {
    id.as_bytes()[0]
}

/// Which snapshots stay, newest first; the clock stands at noon.
fn kept(snapshots: &[SnapshotFacts], policy: &Policy) -> Vec<u8> {
    decide(snapshots, policy, NOON_NS, &Utc)
        .into_iter()
        .filter(Decision::keeps)
        .map(|decision| number(decision.id))
        .collect()
}

fn per_period(period: Period, count: u32) -> Policy {
    Policy {
        per_period: BTreeMap::from([(period, Count::AtMost(count))]),
        ..Policy::default()
    }
}

/// One snapshot an interval, number 0 the newest, at noon.
fn series(count: u8, interval_ns: i64) -> Vec<SnapshotFacts> {
    (0..count)
        .map(|index| snapshot(index, NOON_NS - i64::from(index) * interval_ns))
        .collect()
}

#[test]
fn the_test_calendar_knows_weeks_and_leap_years() {
    let civil = Utc.civil(NOON_NS);
    assert_eq!(
        (civil.year, civil.month, civil.day, civil.hour),
        (2026, 11, 20, 12)
    );
    assert_eq!((civil.iso_year, civil.iso_week), (2026, 47));
    let new_year = Utc.civil(first_day_of(2027) * DAY_NS);
    assert_eq!((new_year.iso_year, new_year.iso_week), (2026, 53));
}

#[test]
fn keep_last_keeps_the_newest() {
    let policy = Policy {
        last: Some(Count::AtMost(3)),
        ..Policy::default()
    };
    assert_eq!(kept(&series(8, HOUR_NS), &policy), [0, 1, 2]);
    let unlimited = Policy {
        last: Some(Count::Unlimited),
        ..Policy::default()
    };
    assert_eq!(kept(&series(4, HOUR_NS), &unlimited), [0, 1, 2, 3]);
}

#[test]
fn four_daily_of_twelve_weekly_snapshots_are_the_last_four() {
    assert_eq!(
        kept(&series(12, 7 * DAY_NS), &per_period(Period::Day, 4)),
        [0, 1, 2, 3]
    );
}

#[test]
fn the_newest_of_each_period_stays_and_empty_periods_do_not_count() {
    // Noon, 11:00, 10:00 … back over two days: the newest of each day is noon of today and 23:00 of the others.
    let hourly = series(60, HOUR_NS);
    assert_eq!(kept(&hourly, &per_period(Period::Day, 2)), [0, 13]);
    let mut with_gap = series(3, HOUR_NS);
    with_gap.push(snapshot(3, NOON_NS - 20 * DAY_NS));
    with_gap.push(snapshot(4, NOON_NS - 20 * DAY_NS - HOUR_NS));
    assert_eq!(kept(&with_gap, &per_period(Period::Day, 2)), [0, 3]);
}

#[test]
fn the_oldest_stays_while_places_are_left() {
    let hourly = series(6, HOUR_NS);
    assert_eq!(kept(&hourly, &per_period(Period::Day, 5)), [0, 5]);
    let decisions = decide(&hourly, &per_period(Period::Day, 5), NOON_NS, &Utc);
    assert_eq!(
        decisions[5].verdict,
        Verdict::Keep(vec![Reason::Oldest(Period::Day)])
    );
}

#[test]
fn daily_for_a_hundred_weeks_thins_as_documented() {
    let daily = series(250, DAY_NS);
    let policy = Policy {
        per_period: BTreeMap::from([
            (Period::Day, Count::AtMost(7)),
            (Period::Week, Count::AtMost(5)),
            (Period::Month, Count::AtMost(4)),
        ]),
        ..Policy::default()
    };
    // Friday the 20th; Sundays are 5, 12, 19, 26 days back; month ends 20 (October), 51, 81.
    assert_eq!(
        kept(&daily, &policy),
        [0, 1, 2, 3, 4, 5, 6, 12, 19, 20, 26, 51, 81]
    );
}

#[test]
fn quarters_and_years_have_their_own_ends() {
    let daily = series(250, DAY_NS);
    // Ends of quarters: 30 September is 51 days back, 30 June 143.
    assert_eq!(kept(&daily, &per_period(Period::Quarter, 3)), [0, 51, 143]);
    assert_eq!(kept(&daily, &per_period(Period::Year, 1)), [0]);
}

#[test]
fn within_counts_back_from_the_newest_not_from_now() {
    let mut old = series(10, HOUR_NS);
    for snapshot in &mut old {
        snapshot.time_ns -= 100 * DAY_NS;
    }
    let span = CalendarSpan {
        hours: 3,
        ..CalendarSpan::default()
    };
    let policy = Policy {
        within: Some(span),
        ..Policy::default()
    };
    // Exactly three hours before the newest is no longer within, as in restic.
    assert_eq!(kept(&old, &policy), [0, 1, 2]);
}

#[test]
fn within_per_period_keeps_one_of_each() {
    let span = CalendarSpan {
        days: 2,
        ..CalendarSpan::default()
    };
    let policy = Policy {
        within_per_period: BTreeMap::from([(Period::Day, span)]),
        ..Policy::default()
    };
    assert_eq!(kept(&series(100, HOUR_NS), &policy), [0, 13, 37]);
}

#[test]
fn tags_are_all_of_a_set_and_any_set() {
    let mut snapshots = series(6, HOUR_NS);
    for (index, tags) in [(1, &["a"][..]), (2, &["a", "b"]), (3, &["b", "c"])] {
        snapshots[index].tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    }
    let sets = |sets: &[&[&str]]| Policy {
        tags: sets
            .iter()
            .map(|set| set.iter().map(|tag| (*tag).to_owned()).collect())
            .collect(),
        ..Policy::default()
    };
    // 0 is the last good one; without a rule that counts it stays nevertheless.
    assert_eq!(kept(&snapshots, &sets(&[&["a", "b"]])), [0, 2]);
    assert_eq!(kept(&snapshots, &sets(&[&["a"], &["c"]])), [0, 1, 2, 3]);
    assert_eq!(kept(&snapshots, &sets(&[&[]])), [0, 4, 5]);
}

#[test]
fn keep_tag_last_keeps_the_newest_of_its_kind() {
    let mut snapshots = series(6, HOUR_NS);
    for index in [2, 3, 5] {
        snapshots[index].tags.insert("pre-upgrade".into());
    }
    let policy = Policy {
        tag_last: BTreeMap::from([("pre-upgrade".into(), 2)]),
        ..Policy::default()
    };
    assert_eq!(kept(&snapshots, &policy), [0, 2, 3]);
}

#[test]
fn an_empty_policy_removes_nothing() {
    let nothing = Policy {
        last: Some(Count::AtMost(0)),
        ..Policy::default()
    };
    for policy in [Policy::default(), nothing] {
        assert!(policy.is_empty());
        assert_eq!(kept(&series(3, DAY_NS), &policy), [0, 1, 2]);
    }
}

#[test]
fn the_last_good_capture_of_each_source_stays() {
    let mut snapshots = series(9, DAY_NS);
    for snapshot in &mut snapshots {
        snapshot.sources.insert("db".into(), Outcome::Failed);
    }
    for index in [4, 6] {
        snapshots[index].sources.insert("db".into(), Outcome::Good);
    }
    let policy = Policy {
        last: Some(Count::AtMost(2)),
        ..Policy::default()
    };
    assert_eq!(kept(&snapshots, &policy), [0, 1, 4]);
    let decisions = decide(&snapshots, &policy, NOON_NS, &Utc);
    assert_eq!(
        decisions[4].verdict,
        Verdict::Keep(vec![Reason::LastGood(vec!["db".into()])])
    );
}

#[test]
fn a_snapshot_dated_ahead_takes_no_place() {
    let mut snapshots = series(5, HOUR_NS);
    let policy = Policy {
        last: Some(Count::AtMost(2)),
        ..Policy::default()
    };
    let mut forged = snapshot(77, NOON_NS + 400 * DAY_NS);
    forged.stored_ns = Some(NOON_NS);
    let mut unknown = snapshot(78, NOON_NS + AHEAD_NS_MAX + 1);
    unknown.stored_ns = None;
    let mut fine = snapshot(79, NOON_NS + AHEAD_NS_MAX);
    fine.stored_ns = None;
    snapshots.extend([forged, unknown]);
    assert_eq!(kept(&snapshots, &policy), [77, 78, 0, 1]);
    snapshots.push(fine);
    assert_eq!(kept(&snapshots, &policy), [77, 78, 79, 0]);
}

#[test]
fn groups_keep_hosts_and_sets_apart() {
    let mut snapshots = series(4, HOUR_NS);
    snapshots[1].host = "other".into();
    snapshots[2].set = Some("nightly".into());
    let counts = |by| -> Vec<usize> {
        group(snapshots.clone(), by)
            .iter()
            .map(|group| group.snapshots.len())
            .collect()
    };
    assert_eq!(counts(Grouping::default()), [1, 2, 1]);
    let together = Grouping {
        by_host: false,
        by_set: false,
        by_tags: false,
    };
    assert_eq!(counts(together), [4]);
}

fn arbitrary_snapshots() -> impl Strategy<Value = Vec<SnapshotFacts>> {
    let one = (
        0..400 * 24_i64,
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.05),
    );
    prop::collection::vec(one, 0..60).prop_map(|all| {
        (0..)
            .zip(all)
            .map(|(number, (hours, good, tagged, ahead))| {
                let mut snapshot = snapshot(number, NOON_NS - hours * HOUR_NS / 3);
                if !good {
                    snapshot.sources.insert("files".into(), Outcome::Failed);
                }
                if tagged {
                    snapshot.tags.insert("keep".into());
                }
                if ahead {
                    snapshot.time_ns += 5000 * HOUR_NS;
                }
                snapshot
            })
            .collect()
    })
}

fn arbitrary_policy() -> impl Strategy<Value = Policy> {
    let count = prop_oneof![(0..6_u32).prop_map(Count::AtMost), Just(Count::Unlimited)];
    let period = prop::sample::select(Period::ALL.to_vec());
    let span = (0..3_u32, 0..40_u32, 0..30_u32).prop_map(|(months, days, hours)| CalendarSpan {
        years: 0,
        months,
        days,
        hours,
    });
    (
        prop::option::of(count.clone()),
        prop::collection::btree_map(period.clone(), count, 0..4),
        prop::option::of(span.clone()),
        prop::collection::btree_map(period, span, 0..3),
        prop::bool::ANY,
        0..3_u32,
    )
        .prop_map(
            |(last, per_period, within, within_per_period, tagged, tag_last)| Policy {
                last,
                per_period,
                within,
                within_per_period,
                tags: if tagged {
                    vec![BTreeSet::from(["keep".into()])]
                } else {
                    Vec::new()
                },
                tag_last: BTreeMap::from([("keep".into(), tag_last)]),
            },
        )
}

fn more(count: Count) -> Count {
    match count {
        Count::AtMost(count) => Count::AtMost(count + 1),
        Count::Unlimited => Count::Unlimited,
    }
}

proptest! {
    #[test]
    fn deciding_again_over_what_stayed_removes_nothing(
        snapshots in arbitrary_snapshots(),
        policy in arbitrary_policy(),
    ) {
        let first = kept(&snapshots, &policy);
        let left: Vec<_> = snapshots
            .into_iter()
            .filter(|snapshot| first.contains(&number(snapshot.id)))
            .collect();
        prop_assert_eq!(kept(&left, &policy), first);
    }

    #[test]
    fn a_more_generous_policy_never_removes_more(
        snapshots in arbitrary_snapshots(),
        policy in arbitrary_policy(),
    ) {
        let generous = Policy {
            last: policy.last.map(more),
            per_period: policy.per_period.iter().map(|(p, c)| (*p, more(*c))).collect(),
            ..policy.clone()
        };
        // An empty policy keeps everything, so it is not the less generous one.
        if !policy.is_empty() {
            let generous = kept(&snapshots, &generous);
            for id in kept(&snapshots, &policy) {
                prop_assert!(generous.contains(&id), "{} is gone", id);
            }
        }
    }

    #[test]
    fn keep_last_keeps_exactly_the_newest(count in 1..20_u32, total in 0..40_u8) {
        let policy = Policy { last: Some(Count::AtMost(count)), ..Policy::default() };
        let kept = kept(&series(total, HOUR_NS), &policy);
        let expected: Vec<u8> = (0..total).take(count as usize).collect();
        prop_assert_eq!(kept, expected);
    }

    #[test]
    fn a_snapshot_dated_ahead_changes_no_other_decision(
        snapshots in arbitrary_snapshots(),
        policy in arbitrary_policy(),
        ahead_hours in 1..10_000_i64,
    ) {
        let without = kept(&snapshots, &policy);
        let mut forged = snapshot(255, NOON_NS + ahead_hours * HOUR_NS);
        forged.stored_ns = Some(NOON_NS);
        let mut snapshots = snapshots;
        snapshots.push(forged);
        let with: Vec<_> = kept(&snapshots, &policy).into_iter().filter(|id| *id != 255).collect();
        prop_assert_eq!(with, without);
    }

    #[test]
    fn every_snapshot_is_judged_once_and_one_good_one_stays(
        snapshots in arbitrary_snapshots(),
        policy in arbitrary_policy(),
    ) {
        let decisions = decide(&snapshots, &policy, NOON_NS, &Utc);
        prop_assert_eq!(decisions.len(), snapshots.len());
        let good = |id| snapshots.iter().any(|s| s.id == id && s.sources["files"] == Outcome::Good);
        if snapshots.iter().any(|s| s.sources["files"] == Outcome::Good) {
            prop_assert!(decisions.iter().any(|d| d.keeps() && good(d.id)));
        }
    }
}
