//! What is to become of each snapshot, and why.

use std::collections::{BTreeMap, BTreeSet};

use keepstone_engine::Error;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::repo::Readable;
use keepstone_engine::retention::{self, Outcome, Period, Reason, SnapshotFacts};
use keepstone_engine::snapshot::select::{Listed, only_with_prefix};

use super::ForgetArgs;
use super::rules::{ForgetRequest, RuleBook};
use crate::args::FilterArgs;
use crate::choose::refuse_unsure;
use crate::context::Context;
use crate::error::CliError;
use crate::reference::SnapshotRef;
use crate::repository::filter_of;

/// What is to become of one snapshot, in words.
pub(super) struct Verdict {
    pub(super) id: SnapshotId,
    pub(super) reasons: Vec<String>,
}

impl Verdict {
    pub(super) fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// The verdicts on what was named, or on everything that the rules are about.
pub(super) fn decide_all(
    request: &ForgetRequest,
    args: &ForgetArgs,
    found: &Readable,
    context: &Context,
) -> Result<Vec<Verdict>, CliError> {
    let set = args.filter.set.as_ref().map(ToString::to_string);
    let filter = FilterArgs {
        host: args.filter.host.clone(),
        tag: args.filter.tag.clone(),
        source: args.filter.source.clone(),
    };
    match request {
        ForgetRequest::Named(references) => {
            let (unreadable, others) = unreadable_ones(references, found)?;
            if let (Some(id), Some(set)) = (unreadable.first(), &set) {
                return Err(CliError::usage(format!(
                    "the record of snapshot {} does not open, so that nobody knows whether it is of the set {set}",
                    id.short()
                ))
                .hint("Leave out --set to forget it all the same."));
            }
            let of_set = set.map(|set| of_set(found, &others, &set)).transpose()?;
            let named = of_set.as_ref().unwrap_or(found);
            let named = context.find_snapshots_to_change(named, &others, &filter)?;
            let ids = named.into_iter().map(|listed| listed.id).chain(unreadable);
            let verdict = |id| Verdict {
                id,
                reasons: vec![],
            };
            Ok(ids.map(verdict).collect())
        }
        ForgetRequest::ByRules(book) => {
            let wanted = filter_of(&filter);
            let all = found.snapshots.iter();
            let facts = all
                .filter(|listed| wanted.accepts(&listed.snapshot))
                .filter(|listed| set.is_none() || listed.snapshot.set == set)
                .map(facts_of);
            Ok(decide_by_rules(book, facts, context))
        }
    }
}

/// What may be named with `--set`: only what is of that set is `latest`, and an id of another one is a mistake.
fn of_set(found: &Readable, references: &[SnapshotRef], set: &str) -> Result<Readable, CliError> {
    // Of which set those are whose records do not open nobody knows.
    refuse_unsure(found, references)?;
    let is_of_set = |listed: &Listed| listed.snapshot.set.as_deref() == Some(set);
    for reference in references {
        let SnapshotRef::Id(prefix) = reference else {
            continue;
        };
        let listed = only_with_prefix(&found.snapshots, |listed| listed.id, prefix, "snapshot")?;
        if !is_of_set(listed) {
            let id = listed.id.short();
            return Err(
                CliError::usage(format!("snapshot {id} is not of the set {set}"))
                    .hint("Leave out --set to forget it all the same."),
            );
        }
    }
    let all = found.snapshots.iter();
    let snapshots: Vec<_> = all.filter(|listed| is_of_set(listed)).cloned().collect();
    if snapshots.is_empty() {
        let what = format!("no snapshot is of the set {set}");
        return Err(Error::NotFound { what }.into());
    }
    Ok(Readable {
        snapshots,
        damaged: Vec::new(),
    })
}

/// Those of the named snapshots whose records do not open, and the names of the others.
fn unreadable_ones(
    references: &[SnapshotRef],
    found: &Readable,
) -> Result<(BTreeSet<SnapshotId>, Vec<SnapshotRef>), CliError> {
    let (mut ids, mut others) = (BTreeSet::new(), Vec::new());
    let damaged = found.damaged.iter().filter_map(|record| record.snapshot);
    let damaged: Vec<_> = damaged.collect();
    for reference in references {
        match reference {
            SnapshotRef::Id(prefix) if damaged.iter().any(|id| id.matches_prefix(prefix)) => {
                let listed = found.snapshots.iter().map(|listed| listed.id);
                let all = damaged.iter().copied().chain(listed);
                ids.insert(only_with_prefix(all, |id| *id, prefix, "snapshot")?);
            }
            _ => others.push(reference.clone()),
        }
    }
    Ok((ids, others))
}

/// Sets with rules of their own are judged apart from everything else.
fn decide_by_rules(
    book: &RuleBook,
    facts: impl Iterator<Item = SnapshotFacts>,
    context: &Context,
) -> Vec<Verdict> {
    let mut parts: BTreeMap<Option<String>, Vec<SnapshotFacts>> = BTreeMap::new();
    for snapshot in facts {
        let own = snapshot
            .set
            .clone()
            .filter(|set| book.of_sets.contains_key(set));
        parts.entry(own).or_default().push(snapshot);
    }
    let calendar = context.clock.calendar();
    let mut verdicts = Vec::new();
    for (set, snapshots) in parts {
        let Some(rules) = book.for_set(set.as_deref()) else {
            let reasons = vec![in_words(&Reason::NoPolicy)];
            verdicts.extend(snapshots.into_iter().map(|snapshot| Verdict {
                id: snapshot.id,
                reasons: reasons.clone(),
            }));
            continue;
        };
        for group in retention::group(snapshots, rules.grouping) {
            let now = context.clock.now_ns();
            let decisions = retention::decide(&group.snapshots, &rules.policy, now, &calendar);
            verdicts.extend(decisions.into_iter().map(|decision| Verdict {
                id: decision.id,
                reasons: match &decision.verdict {
                    retention::Verdict::Keep(reasons) => reasons.iter().map(in_words).collect(),
                    retention::Verdict::Forget => vec![],
                },
            }));
        }
    }
    verdicts
}

fn in_words(reason: &Reason) -> String {
    let of = |period: &Period| match period {
        Period::Hour => "hourly",
        Period::Day => "daily",
        Period::Week => "weekly",
        Period::Month => "monthly",
        Period::Quarter => "quarter-yearly",
        Period::Year => "yearly",
    };
    match reason {
        Reason::Last => "last".into(),
        Reason::Newest(period) => of(period).into(),
        Reason::Oldest(period) => format!("oldest {}", of(period)),
        Reason::Within => "within".into(),
        Reason::WithinNewest(period) => format!("within {}", of(period)),
        Reason::WithinOldest(period) => format!("oldest within {}", of(period)),
        Reason::Tags => "tag".into(),
        Reason::TagLast(tag) => format!("last {tag}"),
        Reason::LastGood(sources) => format!("last good {}", sources.join(", ")),
        Reason::DatedAhead => "dated ahead of its storage".into(),
        Reason::NoPolicy => "no rule".into(),
        other => format!("{other:?}"),
    }
}

/// What retention looks at.
pub(in crate::cmd) fn facts_of(listed: &Listed) -> SnapshotFacts {
    let sources = listed.snapshot.sources.iter().map(|source| {
        let outcome = if source.failure.is_none() {
            Outcome::Good
        } else {
            Outcome::Failed
        };
        (source.name.clone(), outcome)
    });
    SnapshotFacts {
        id: listed.id,
        time_ns: listed.snapshot.time_ns,
        stored_ns: listed.stored_at_ns,
        host: listed.snapshot.host.clone(),
        set: listed.snapshot.set.clone(),
        tags: listed.snapshot.tags.iter().cloned().collect(),
        sources: sources.collect(),
    }
}
