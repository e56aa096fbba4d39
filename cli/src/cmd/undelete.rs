//! `undelete`: brings forgotten snapshots back, while their data is there.

use clap::Args;

use crate::reference::HexPrefix;

const EXAMPLES: &str = "\
Examples:
  keepstone snapshots --forgotten
  keepstone undelete 3fc2a9

The snapshot comes back under a new id. Once prune has removed data that it needs, it cannot.";

/// Arguments of `undelete`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UndeleteArgs {
    /// The forgotten snapshot: its id or the first digits of it
    #[arg(value_name = "ID", required = true)]
    pub(crate) snapshots: Vec<HexPrefix>,
}
