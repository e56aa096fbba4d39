//! `snapshots`: lists snapshots with what each holds and what it cost.

use clap::Args;

use crate::args::FilterArgs;
use crate::keep::GroupBy;
use crate::reference::SnapshotRef;

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
