//! The index: which pack holds which box, and which box makes which chunk.
//!
//! Index segments are facts about immutable packs: they can be missing or useless, never wrong. In memory it is one sorted
//! table; `repo-format.md` § Index leaves room for looking things up on disk.

pub mod format;
mod table;

pub use table::{BlockRef, BoxRef, ChunkRef, Index, IndexBuilder, Row};

use crate::backend::PackName;
use crate::pack::{Footer, KeyTable};

/// What an index segment says of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack.
    pub name: PackName,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Wrapped keys of its boxes.
    pub keys: KeyTable,
    /// What it holds.
    pub footer: Footer,
}
