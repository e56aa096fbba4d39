//! `ls`: lists what a snapshot holds.

use clap::Args;

use crate::args::FilterArgs;
use crate::reference::{Address, Reference};

const EXAMPLES: &str = "\
Examples:
  keepstone ls latest
  keepstone ls latest:/etc
  keepstone ls -l 3fc2a9 /etc/app postgres-app
  keepstone ls --source redis latest~1";

/// Arguments of `ls`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LsArgs {
    /// The snapshot: an id or its first digits, latest, latest~N, or with :PATH only that
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub(crate) snapshot: Reference,
    /// Only these: /absolute/path or SOURCE/stream
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<Address>,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Show what is in folders of the folders that were named
    #[arg(long)]
    pub(crate) recursive: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}
