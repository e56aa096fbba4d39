//! `diff`: what differs between two snapshots.

use clap::Args;

use crate::reference::Reference;
use crate::source_name::SourceName;

const EXAMPLES: &str = "\
Examples:
  keepstone diff latest~1 latest
  keepstone diff --metadata 3fc2a9:/etc 77aa01:/etc
  keepstone diff --source postgres-app latest~24 latest

Each line begins with + (added), - (removed), M (content), U (metadata) or T (kind).";

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DiffArgs {
    /// The earlier snapshot
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) from: Reference,
    /// The later snapshot
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) to: Reference,
    /// Show entries of which only owner, mode or times differ
    #[arg(long)]
    pub(crate) metadata: bool,
    /// Only this source; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Vec<SourceName>,
}
