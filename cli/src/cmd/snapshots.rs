//! `snapshots`: lists snapshots with what each holds and what it cost.

use clap::Args;

use crate::args::FilterArgs;
use crate::keep::GroupBy;
use crate::reference::SnapshotRef;
use keepstone_engine::snapshot::select::Listed;

use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::report::SnapshotObject;
use crate::repository::filter_of;
use crate::ui::Table;
use crate::ui::format::size;
use crate::ui::table::Align;

const EXAMPLES: &str = "\
Examples:
  keepstone snapshots
  keepstone snapshots --host web1 --tag nightly --latest 5
  keepstone snapshots latest~2
  keepstone snapshots --json";

/// Arguments of `snapshots`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SnapshotsArgs {
    /// Only these: an id or its first digits, latest, latest~N
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<SnapshotRef>,
    /// Only the newest N of each group
    #[arg(long, value_name = "N")]
    pub(crate) latest: Option<usize>,
    /// Show groups: host, set, tags, separated by commas
    #[arg(short, long, value_name = "GROUP")]
    pub(crate) group_by: Option<GroupBy>,
    /// Show forgotten ones that can still be brought back
    #[arg(long)]
    pub(crate) forgotten: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// Lists snapshots, oldest first.
pub(crate) fn run(args: &SnapshotsArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    let mut listed = if args.forgotten {
        repo.forgotten_snapshots()?
    } else {
        context.snapshots(&repo)?
    };
    let filter = filter_of(&args.filter);
    listed.retain(|listed| filter.accepts(&listed.snapshot));
    if let Some(latest) = args.latest {
        let first = listed.len().saturating_sub(latest);
        listed.drain(..first);
    }
    for listed in &listed {
        context
            .ui
            .object("snapshot", &SnapshotObject::of(listed.id, &listed.snapshot))?;
    }
    if listed.is_empty() {
        context.ui.status("no snapshots");
    } else {
        context.ui.table(table(&listed, context))?;
        let stored = listed
            .iter()
            .map(|listed| listed.snapshot.stored_bytes)
            .sum();
        let count = crate::ui::format::count(listed.len() as u64, "snapshot");
        context
            .ui
            .line(&format!("{count}, {} stored by them", size(stored)))?;
    }
    Ok(ExitCode::Done)
}

fn table(listed: &[Listed], context: &Context) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("Host", Align::Left),
        ("Sources", Align::Left),
        ("Tags", Align::Left),
        ("Holds", Align::Right),
        ("Cost", Align::Right),
    ]);
    for Listed { id, snapshot, .. } in listed {
        let names = snapshot.sources.iter().map(|source| match source.failure {
            None => source.name.clone(),
            Some(_) => format!("{} (failed)", source.name),
        });
        table.row([
            id.short(),
            context.clock.show(snapshot.time_ns),
            snapshot.host.clone(),
            names.collect::<Vec<_>>().join(", "),
            snapshot.tags.join(", "),
            size(snapshot.bytes()),
            size(snapshot.stored_bytes),
        ]);
    }
    table
}
