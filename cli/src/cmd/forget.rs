//! `forget`: removes snapshots by id or by rules.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use keepstone_engine::Error;
use keepstone_engine::forget::forget;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::repo::Readable;
use keepstone_engine::retention::{self, Grouping, Outcome, Period, Policy, Reason, SnapshotFacts};
use keepstone_engine::snapshot::select::Listed;
use serde::Serialize;

use super::prune::FenceArgs;
use crate::args::FilterArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::keep::{KeepRules, TagList};
use crate::reference::SnapshotRef;
use crate::repository::{filter_of, find_snapshots};
use crate::source_name::SourceName;
use crate::ui::Table;
use crate::ui::format::count;
use crate::ui::table::Align;

const EXAMPLES: &str = "\
Examples:
  keepstone forget 3fc2a9
  keepstone forget --keep-hourly 24 --keep-daily 7 --keep-weekly 4 --dry-run
  keepstone forget --keep-within 7d --keep-within-daily 30d --prune
  keepstone forget --keep-last 24 --keep-tag-last pre-upgrade=1
  keepstone forget                          by the rules of [retention] in keepstone.toml

Rules are applied to each group by itself: by host, and by set or the names of the sources. A snapshot that \
satisfies one rule stays. So does the last good copy of every source, and a snapshot that is dated after it was \
stored. A set with a retention of its own in keepstone.toml goes by that. Until prune has removed its data, \
undelete brings a snapshot back.";

/// Arguments of `forget`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ForgetArgs {
    /// Remove these, whatever the rules say
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<SnapshotRef>,
    /// Show what would be removed
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Free the space at once
    #[arg(long)]
    pub(crate) prune: bool,
    #[command(flatten)]
    pub(crate) fencing: FenceArgs,
    #[command(flatten)]
    pub(crate) rules: KeepRules,
    #[command(flatten)]
    pub(crate) filter: ForgetFilterArgs,
}

/// To which snapshots the rules apply. Not `FilterArgs`: `-H` is `--keep-hourly` here, as in restic.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct ForgetFilterArgs {
    /// Only snapshots of this host; may be given several times
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// Only snapshots with all these tags, separated by commas; may be given several times
    #[arg(long, value_name = "TAGS")]
    pub(crate) tag: Vec<TagList>,
    /// Only snapshots that hold this source; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Vec<SourceName>,
    /// Only snapshots of this set
    #[arg(long, value_name = "NAME")]
    pub(crate) set: Option<SourceName>,
}

/// What to remove, decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ForgetRequest {
    /// These.
    Named(Vec<SnapshotRef>),
    /// What no rule keeps.
    ByRules(RuleBook),
}

/// Rules, and for whom they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleBook {
    /// For everything that has none of its own; none: it stays.
    general: Option<Rules>,
    /// For snapshots of these sets.
    of_sets: BTreeMap<String, Rules>,
}

/// What stays, and what is judged by itself.
#[derive(Debug, PartialEq, Eq)]
struct Rules {
    policy: Policy,
    grouping: Grouping,
}

impl RuleBook {
    fn for_set(&self, set: Option<&str>) -> Option<&Rules> {
        let own = set.and_then(|set| self.of_sets.get(set));
        own.or(self.general.as_ref())
    }
}

impl Rules {
    /// Rules that keep something.
    fn of(rules: &KeepRules) -> Option<Self> {
        let policy = rules.policy();
        let grouping = rules.grouping();
        (!policy.is_empty()).then_some(Self { policy, grouping })
    }
}

/// Removes snapshots.
pub(crate) fn run(args: &ForgetArgs, context: &Context) -> Result<ExitCode, CliError> {
    let request = request(args, context)?;
    let repo = context.open_repo()?;
    let found = context.readable_snapshots(&repo)?;
    let decisions = decide_all(&request, args, &found, context)?;
    show(&decisions, &found.snapshots, context)?;
    let ids: Vec<_> = decisions
        .iter()
        .filter(|d| !d.keeps())
        .map(|decision| decision.id)
        .collect();
    if args.dry_run {
        context.ui.line(&format!(
            "dry run: {} would be forgotten",
            count(ids.len() as u64, "snapshot")
        ))?;
        return Ok(ExitCode::Done);
    }
    let reason = if matches!(request, ForgetRequest::Named(_)) {
        "named by the user"
    } else {
        "retention"
    };
    let report = forget(&repo, &ids, reason, &context.host(), context.clock.now_ns())?;
    for (id, error) in &report.failed {
        context
            .ui
            .warning(&format!("snapshot {}: {error}", id.short()));
    }
    context.ui.line(&format!(
        "{} forgotten",
        count(report.forgotten.len() as u64, "snapshot")
    ))?;
    context
        .ui
        .object("forgotten", &Forgotten::of(&report.forgotten))?;
    // Also where nothing was forgotten: what an earlier run had to leave to sessions under way may go now.
    if args.prune {
        super::prune::carry_out(&repo, false, &args.fencing, context)?;
    }
    Ok(if report.failed.is_empty() {
        ExitCode::Done
    } else {
        ExitCode::Incomplete
    })
}

#[derive(Serialize)]
struct Forgotten {
    ids: Vec<String>,
}

impl Forgotten {
    fn of(ids: &[SnapshotId]) -> Self {
        Self {
            ids: ids.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(Serialize)]
struct DecisionObject<'a> {
    id: String,
    keep: bool,
    reasons: &'a [String],
}

/// What is to become of one snapshot, in words.
struct Verdict {
    id: SnapshotId,
    reasons: Vec<String>,
}

impl Verdict {
    fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }
}

fn decide_all(
    request: &ForgetRequest,
    args: &ForgetArgs,
    found: &Readable,
    context: &Context,
) -> Result<Vec<Verdict>, CliError> {
    let all = &found.snapshots;
    let filter = FilterArgs {
        host: args.filter.host.clone(),
        tag: args.filter.tag.clone(),
        source: args.filter.source.clone(),
    };
    match request {
        ForgetRequest::Named(references) => {
            let (unreadable, others) = unreadable_ones(references, found)?;
            let named = find_snapshots(all, &others, &filter)?;
            let ids = named.into_iter().map(|listed| listed.id).chain(unreadable);
            let verdict = |id| Verdict {
                id,
                reasons: vec![],
            };
            Ok(ids.map(verdict).collect())
        }
        ForgetRequest::ByRules(book) => {
            let wanted = filter_of(&filter);
            let set = args.filter.set.as_ref().map(ToString::to_string);
            let facts = all
                .iter()
                .filter(|listed| wanted.accepts(&listed.snapshot))
                .filter(|listed| set.is_none() || listed.snapshot.set == set)
                .map(facts_of);
            Ok(decide_by_rules(book, facts, context))
        }
    }
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
        let SnapshotRef::Id(prefix) = reference else {
            others.push(reference.clone());
            continue;
        };
        let listed = found.snapshots.iter().map(|listed| listed.id);
        let all = damaged.iter().copied().chain(listed);
        let mut meant = all.filter(|id| id.matches_prefix(prefix));
        match (meant.next().filter(|id| damaged.contains(id)), meant.next()) {
            (None, _) => others.push(reference.clone()),
            (Some(only), None) => drop(ids.insert(only)),
            (Some(_), Some(_)) => {
                let what = format!("several snapshots begin with {prefix}");
                return Err(Error::NotFound { what }.into());
            }
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
pub(super) fn facts_of(listed: &Listed) -> SnapshotFacts {
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

fn show(verdicts: &[Verdict], all: &[Listed], context: &Context) -> Result<(), CliError> {
    let columns = ["", "ID", "Time", "Host", "Why"].map(|name| (name, Align::Left));
    let mut table = Table::new(&columns);
    for verdict in verdicts {
        let listed = all.iter().find(|listed| listed.id == verdict.id);
        let (time, host) = listed.map_or_else(
            || ("unreadable".into(), String::new()),
            |listed| {
                let time = context.clock.show(listed.snapshot.time_ns);
                (time, listed.snapshot.host.clone())
            },
        );
        table.row([
            if verdict.keeps() { "keep" } else { "forget" }.into(),
            verdict.id.short(),
            time,
            host,
            verdict.reasons.join(", "),
        ]);
        let (id, keep) = (verdict.id.to_string(), verdict.keeps());
        context.ui.object(
            "decision",
            &DecisionObject {
                id,
                keep,
                reasons: &verdict.reasons,
            },
        )?;
    }
    if table.is_empty() {
        Ok(())
    } else {
        context.ui.table(table)
    }
}

/// Decides what is meant, before anything is opened.
pub(crate) fn request(args: &ForgetArgs, context: &Context) -> Result<ForgetRequest, CliError> {
    let typed = args.rules.policy();
    // Rules are typed if there is one, even one that keeps nothing.
    let has_typed = typed != Policy::default();
    if !args.snapshots.is_empty() {
        if has_typed || args.rules.names_grouping() {
            return Err(CliError::usage("snapshots and rules exclude each other"));
        }
        return Ok(ForgetRequest::Named(args.snapshots.clone()));
    }
    let book = if has_typed {
        RuleBook {
            general: Rules::of(&args.rules),
            of_sets: BTreeMap::new(),
        }
    } else {
        configured(args, context)
    };
    let set = args.filter.set.as_ref().map(ToString::to_string);
    let has_rules = match &set {
        Some(set) => book.for_set(Some(set)).is_some(),
        None => book != RuleBook::default(),
    };
    if !has_rules {
        return Err(CliError::usage("no rule says what to keep").hint(
            "Give --keep-last, --keep-daily and their likes, or [retention] in keepstone.toml, or name snapshots.",
        ));
    }
    Ok(ForgetRequest::ByRules(book))
}

/// The rules of keepstone.toml: those of sets before those of everything.
fn configured(args: &ForgetArgs, context: &Context) -> RuleBook {
    let config = &context.settings.config;
    let rules = |rules: &KeepRules| Rules::of(&rules.grouped_like(&args.rules));
    let of_sets = config.sets.iter().filter_map(|(name, set)| {
        let own = set.retention.as_ref().and_then(rules)?;
        Some((name.to_string(), own))
    });
    RuleBook {
        general: config.retention.as_ref().and_then(rules),
        of_sets: of_sets.collect(),
    }
}

#[cfg(test)]
mod tests {
    use keepstone_engine::retention::Count;

    use super::*;
    use crate::cmd::test_context;

    fn ask(config: &str, args: &[&str]) -> Result<ForgetRequest, CliError> {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Typed {
            #[command(flatten)]
            args: ForgetArgs,
        }
        let typed = Typed::try_parse_from(["forget"].iter().chain(args)).unwrap();
        request(&typed.args, &test_context(config))
    }

    fn last(request: ForgetRequest) -> Option<Count> {
        match request {
            ForgetRequest::ByRules(book) => book.general?.policy.last,
            ForgetRequest::Named(_) => None,
        }
    }

    #[test]
    fn typed_rules_replace_configured_ones() {
        let config = "[retention]\nkeep_last = 3\nkeep_daily = 7\n";
        assert_eq!(last(ask(config, &[]).unwrap()), Some(Count::AtMost(3)));
        let typed = ask(config, &["--keep-last", "1"]).unwrap();
        let ForgetRequest::ByRules(book) = typed else {
            panic!("rules were typed");
        };
        let policy = book.general.unwrap().policy;
        assert_eq!(policy.last, Some(Count::AtMost(1)));
        assert!(policy.per_period.is_empty());
    }

    #[test]
    fn a_typed_grouping_joins_configured_rules() {
        let request = ask("[retention]\nkeep_last = 3\n", &["--group-by", "host"]).unwrap();
        let ForgetRequest::ByRules(book) = request else {
            panic!("rules were configured");
        };
        let Rules { policy, grouping } = book.general.unwrap();
        assert!(grouping.by_host && !grouping.by_set);
        assert_eq!(policy.last, Some(Count::AtMost(3)));
    }

    #[test]
    fn a_set_goes_by_its_own_rules() {
        let config = "[source.a]\nurl = \"files:/a\"\n[set.x]\nsources = [\"a\"]\nretention = { keep_last = 2 }\n\
                      [set.y]\nsources = [\"a\"]\n";
        let book = |config: &str, args: &[&str]| match ask(config, args) {
            Ok(ForgetRequest::ByRules(book)) => book,
            other => panic!("{other:?}"),
        };
        let last = |rules: Option<&Rules>| rules.and_then(|rules| rules.policy.last);
        let own = book(config, &["--set", "x"]);
        assert_eq!(last(own.for_set(Some("x"))), Some(Count::AtMost(2)));
        assert_eq!(own.for_set(None), None);
        assert!(ask(config, &["--set", "y"]).is_err());
        let both = format!("{config}[retention]\nkeep_last = 9\n");
        let both = book(&both, &[]);
        assert_eq!(last(both.for_set(Some("x"))), Some(Count::AtMost(2)));
        assert_eq!(last(both.for_set(Some("y"))), Some(Count::AtMost(9)));
        let typed = book(config, &["--set", "x", "--keep-last", "5"]);
        assert_eq!(last(typed.for_set(Some("x"))), Some(Count::AtMost(5)));
    }

    #[test]
    fn rules_that_keep_nothing_are_refused() {
        for args in [&[][..], &["--keep-last", "0"]] {
            let message = ask("", args).unwrap_err().message();
            assert_eq!(message, "no rule says what to keep");
        }
        // What was typed counts, even if the file knows better.
        assert!(ask("[retention]\nkeep_last = 3\n", &["--keep-last", "0"]).is_err());
    }

    #[test]
    fn snapshots_and_rules_do_not_mix() {
        assert!(matches!(
            ask("[retention]\nkeep_last = 3\n", &["3fc2"]),
            Ok(ForgetRequest::Named(_))
        ));
        assert!(ask("", &["3fc2", "--keep-last", "1"]).is_err());
    }
}
