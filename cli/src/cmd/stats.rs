//! `stats`: how much space snapshots and the repository take.

use clap::Args;

use crate::args::FilterArgs;
use crate::reference::SnapshotRef;

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
