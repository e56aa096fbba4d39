//! `prune`: frees the space that no snapshot needs.

use std::time::Duration;

use clap::Args;

use crate::time::parse_exact;

const EXAMPLES: &str = "\
Examples:
  keepstone prune --dry-run
  keepstone prune
  keepstone prune --fence-after 6h

Nobody needs to stop: backups may run on any host meanwhile. What a run that is still going on could need is
condemned now and removed by a later prune.";

/// Arguments of `prune`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PruneArgs {
    /// Show what would be removed
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) fencing: FenceArgs,
}

/// When a silent run counts as dead.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FenceArgs {
    /// Shut out a run of another host that was silent so long; it then fails instead of committing
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_exact)]
    pub(crate) fence_after: Duration,
}
