//! `find`: searches snapshots for names.

use clap::Args;

use crate::args::FilterArgs;
use crate::reference::SnapshotRef;

const EXAMPLES: &str = "\
Examples:
  keepstone find nginx.conf
  keepstone find -i '*.ENV' '*.pem'
  keepstone find --snapshot latest --long /etc/passwd";

/// Arguments of `find`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FindArgs {
    /// Name or path with * and ?, matched as in .gitignore
    #[arg(value_name = "PATTERN", required = true)]
    pub(crate) patterns: Vec<String>,
    /// Take capitals and small letters as the same
    #[arg(short, long)]
    pub(crate) ignore_case: bool,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Search only this snapshot; may be given several times
    #[arg(short, long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: Vec<SnapshotRef>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}
