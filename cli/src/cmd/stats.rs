//! `stats`: how much space snapshots and the repository take.

use clap::Args;

use crate::args::FilterArgs;
use crate::reference::SnapshotRef;
use keepstone_engine::backend::ObjectKind;
use serde::Serialize;

use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::repository::filter_of;
use crate::ui::format::{count, size};

const EXAMPLES: &str = "\
Examples:
  keepstone stats
  keepstone stats latest
  keepstone stats --host web1 --source postgres-app";

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatsArgs {
    /// Only these snapshots; otherwise all
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<SnapshotRef>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Serialize)]
struct Stats {
    snapshots: usize,
    bytes: u64,
    stored_by_snapshots_bytes: u64,
    packs: usize,
    pack_bytes: u64,
    index_bytes: u64,
}

/// Adds up.
pub(crate) fn run(args: &StatsArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    let all = context.snapshots(&repo)?;
    let chosen: Vec<_> = if args.snapshots.is_empty() {
        let filter = filter_of(&args.filter);
        all.snapshots
            .iter()
            .filter(|listed| filter.accepts(&listed.snapshot))
            .collect()
    } else {
        context.find_snapshots(&all, &args.snapshots, &args.filter)?
    };
    let packs = repo.list(ObjectKind::Pack)?;
    let index = repo.list(ObjectKind::Index)?;
    let stats = Stats {
        snapshots: chosen.len(),
        bytes: chosen.iter().map(|listed| listed.snapshot.bytes()).sum(),
        stored_by_snapshots_bytes: chosen.iter().map(|l| l.snapshot.stored_bytes).sum(),
        packs: packs.len(),
        pack_bytes: packs.iter().map(|stat| stat.size_bytes).sum(),
        index_bytes: index.iter().map(|stat| stat.size_bytes).sum(),
    };
    let ui = &context.ui;
    ui.object("stats", &stats)?;
    let snapshots = count(stats.snapshots as u64, "snapshot");
    let hold = if stats.snapshots == 1 {
        "holds"
    } else {
        "hold"
    };
    ui.line(&format!("{snapshots} {hold} {}", size(stats.bytes)))?;
    ui.line(&format!(
        "stored when they were made: {}",
        size(stats.stored_by_snapshots_bytes)
    ))?;
    let packs = count(stats.packs as u64, "pack");
    ui.line(&format!(
        "in the repository: {} in {packs}, {} of index",
        size(stats.pack_bytes),
        size(stats.index_bytes)
    ))?;
    Ok(ExitCode::Done)
}
