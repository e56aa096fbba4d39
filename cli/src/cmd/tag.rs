//! `tag`: changes the tags of snapshots.

use clap::{ArgGroup, Args};

use crate::args::FilterArgs;
use crate::keep::TagList;
use crate::reference::SnapshotRef;
use std::collections::BTreeSet;

use keepstone_engine::forget::forget;
use keepstone_engine::undelete::recommit;
use serde::Serialize;

use super::forget::name_failed;
use crate::cancel::cancel;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::repository::{WriterState, filter_of};

const EXAMPLES: &str = "\
Examples:
  keepstone tag --add pre-upgrade latest
  keepstone tag --remove pre-upgrade 3fc2a9 77aa01
  keepstone tag --set nightly,web --host web1

A snapshot whose tags change gets a new id.";

/// Arguments of `tag`.
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    group = ArgGroup::new("change").required(true).multiple(true).args(["set", "add", "remove"])
)]
pub(crate) struct TagArgs {
    /// Only these snapshots; otherwise all that pass the filters
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<SnapshotRef>,
    /// Replace all tags by these
    #[arg(long, value_name = "TAGS", conflicts_with_all = ["add", "remove"])]
    pub(crate) set: Vec<TagList>,
    /// Add these tags
    #[arg(long, value_name = "TAGS")]
    pub(crate) add: Vec<TagList>,
    /// Remove these tags
    #[arg(long, value_name = "TAGS")]
    pub(crate) remove: Vec<TagList>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Serialize)]
struct Tagged {
    original: String,
    snapshot_id: String,
    tags: Vec<String>,
}

/// Changes tags: a snapshot is never rewritten, so that it is committed anew and the old one forgotten.
pub(crate) fn run(args: &TagArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    let state = WriterState::lock(context.repo_state(&repo)?)?;
    let all = context.snapshots(&repo)?;
    let chosen: Vec<_> = if args.snapshots.is_empty() {
        let filter = filter_of(&args.filter);
        all.snapshots
            .iter()
            .filter(|listed| filter.accepts(&listed.snapshot))
            .collect()
    } else {
        context.find_snapshots_to_change(&all, &args.snapshots, &args.filter)?
    };
    let listed = all.snapshots.iter();
    let mut history = state.history(&repo, context.writer_id()?, listed)?;
    let (mut changes, mut failed) = (0_u64, false);
    for listed in chosen {
        let tags = changed(args, listed.snapshot.tags.iter().cloned().collect());
        if tags == listed.snapshot.tags {
            continue;
        }
        changes += 1;
        let mut snapshot = listed.snapshot.clone();
        snapshot.tags.clone_from(&tags);
        let record = context.session_record(&context.host())?;
        let (id, now) = recommit(&repo, listed.id, snapshot, &record, &history, &cancel())?;
        history = now;
        let forgotten = forget(
            &repo,
            &[listed.id],
            "tags changed",
            &context.host(),
            context.clock.now_ns(),
        );
        state.remember_or_warn(&history, &context.ui);
        let shown = tags.join(", ");
        context.ui.line(&format!(
            "snapshot {} is now {}: {shown}",
            listed.id.short(),
            id.short()
        ))?;
        let (original, snapshot_id) = (listed.id.to_string(), id.to_string());
        context.ui.object(
            "tagged",
            &Tagged {
                original,
                snapshot_id,
                tags,
            },
        )?;
        // Told behind what was committed: both are listed, where this failed.
        failed |= name_failed(&forgotten?, context);
    }
    if changes == 0 {
        context.ui.status("no snapshot's tags change");
    }
    Ok(if failed {
        ExitCode::Incomplete
    } else {
        ExitCode::Done
    })
}

fn changed(args: &TagArgs, mut tags: BTreeSet<String>) -> Vec<String> {
    if !args.set.is_empty() {
        tags = args.set.iter().flat_map(|list| list.0.clone()).collect();
    }
    tags.extend(args.add.iter().flat_map(|list| list.0.clone()));
    for tag in args.remove.iter().flat_map(|list| &list.0) {
        tags.remove(tag);
    }
    tags.into_iter().collect()
}
