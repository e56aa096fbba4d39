//! `dump`: writes a file, or a source in the form of its own tools, to standard output.

use std::path::PathBuf;

use clap::Args;

use crate::args::FilterArgs;
use crate::reference::{Address, Reference};

const EXAMPLES: &str = "\
Examples:
  keepstone dump latest:/etc/hosts
  keepstone dump latest /etc/hosts
  keepstone dump latest:postgres-app | psql -v ON_ERROR_STOP=1 copy_of_app
  keepstone dump latest:redis | redis-cli --pipe
  keepstone dump latest:sqlite-app.db -t app.db";

/// Arguments of `dump`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DumpArgs {
    /// The snapshot, with :PATH or :SOURCE what to write
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) snapshot: Reference,
    /// What to write, if it does not stand after the snapshot
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<Address>,
    /// Write into this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) target: Option<PathBuf>,
    /// Write the stream as it is kept, not in the form of the source's tools
    #[arg(long)]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}
