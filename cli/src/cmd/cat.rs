//! `cat`: shows an object of the repository as it is, opened and verified.

use clap::{Args, ValueEnum};

use crate::reference::HexPrefix;

const EXAMPLES: &str = "\
Examples:
  keepstone cat config
  keepstone cat snapshot 3fc2a9
  keepstone cat pack 77aa01";

/// Arguments of `cat`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CatArgs {
    /// What kind of object
    #[arg(value_name = "KIND")]
    pub(crate) kind: ObjectKind,
    /// Its id, or the first digits of it; all but config need one
    #[arg(value_name = "ID", required_if_eq_any = [
        ("kind", "snapshot"), ("kind", "session"), ("kind", "index"), ("kind", "pack"), ("kind", "key"),
        ("kind", "node"), ("kind", "chunk"),
    ])]
    pub(crate) id: Option<HexPrefix>,
}

/// Kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectKind {
    /// The configuration of the repository
    Config,
    /// A key slot, without what it wraps
    Key,
    /// A snapshot
    Snapshot,
    /// A session
    Session,
    /// An index
    Index,
    /// What a pack holds
    Pack,
    /// A node of a tree
    Node,
    /// The content of a chunk, as bytes
    Chunk,
}
