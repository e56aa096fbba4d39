//! `forget`: removes snapshots by id or by rules.

mod decide;
mod rules;

pub(super) use decide::facts_of;

use clap::Args;
use keepstone_engine::forget::{ForgetReport, forget};
use keepstone_engine::id::SnapshotId;
use keepstone_engine::snapshot::select::Listed;
use serde::Serialize;

use self::decide::{Verdict, decide_all};
use self::rules::{ForgetRequest, request};
use super::prune::FenceArgs;
use crate::context::Context;
use crate::error::{CliError, engine_advice, in_one_line};
use crate::exit::ExitCode;
use crate::keep::{KeepRules, TagList};
use crate::reference::SnapshotRef;
use crate::source_name::SourceName;
use crate::ui::Table;
use crate::ui::format::{count, printable};
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

/// Removes snapshots.
pub(crate) fn run(args: &ForgetArgs, context: &Context) -> Result<ExitCode, CliError> {
    let request = request(args, context)?;
    let repo = context.open_repo()?;
    let found = context.snapshots(&repo)?;
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
    let failed = name_failed(&report, context);
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
    Ok(if failed {
        ExitCode::Incomplete
    } else {
        ExitCode::Done
    })
}

/// Warns of each snapshot that could not be forgotten, with why and what to do; answers whether there is one.
pub(super) fn name_failed(report: &ForgetReport, context: &Context) -> bool {
    for (id, error) in &report.failed {
        let advice = engine_advice(error).map(|advice| format!(" ({advice})"));
        let (id, why) = (id.short(), in_one_line(error));
        let text = format!(
            "snapshot {id} is not forgotten: {why}{}",
            advice.unwrap_or_default()
        );
        context.ui.warning(&printable(&text));
    }
    !report.failed.is_empty()
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
