//! `tag`: changes the tags of snapshots.

use clap::{ArgGroup, Args};

use crate::args::FilterArgs;
use crate::keep::TagList;
use crate::reference::SnapshotRef;

const EXAMPLES: &str = "\
Examples:
  keepstone tag --add pre-upgrade latest
  keepstone tag --remove pre-upgrade 3fc2a9 77aa01
  keepstone tag --set nightly,web --host web1

A snapshot whose tags change gets a new id.";

/// Arguments of `tag`.
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    group = ArgGroup::new("change").required(true).multiple(true).args(["set", "add", "remove"])
)]
pub(crate) struct TagArgs {
    /// Only these snapshots; otherwise all that pass the filters
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<SnapshotRef>,
    /// Replace all tags by these
    #[arg(long, value_name = "TAGS", conflicts_with_all = ["add", "remove"])]
    pub(crate) set: Vec<TagList>,
    /// Add these tags
    #[arg(long, value_name = "TAGS")]
    pub(crate) add: Vec<TagList>,
    /// Remove these tags
    #[arg(long, value_name = "TAGS")]
    pub(crate) remove: Vec<TagList>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}
