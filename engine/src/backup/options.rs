//! What a run is asked to do, and what its writer remembers of earlier ones.

use crate::id::SnapshotId;
use crate::session::SessionRecord;
use crate::source::Source;

/// How the earlier capture of a stream is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bases {
    /// Not at all: chunks are still found, but none is told by another.
    None,
    /// As it is at hand: a local repository, or the cache.
    AtHand,
    /// Whatever it costs: ranged reads from a remote repository.
    Fetch,
    /// As bases, but every file is read again.
    ReadAll,
}

/// One source of a run.
pub struct SourceRun<'a> {
    /// Name, unique in the run.
    pub name: String,
    /// The source.
    pub source: &'a dyn Source,
}

/// How a run is made and what is said of it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one option with a name"
)]
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Who writes.
    pub session: SessionRecord,
    /// User, for the record.
    pub user: String,
    /// Time zone, for the record.
    pub zone: Option<String>,
    /// Free text.
    pub description: String,
    /// Type or label.
    pub label: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Set of the configuration.
    pub set: Option<String>,
    /// Commit what succeeded even if a source failed.
    pub partial: bool,
    /// How earlier captures are used.
    pub bases: Bases,
    /// Write chunks whole that are deltas.
    pub rebase: bool,
    /// Threads that compress and seal.
    pub parallel: usize,
    /// Time of the snapshot, if it is not the time of the run.
    pub time_ns: Option<i64>,
    /// Do not commit if nothing differs from the parents.
    pub skip_if_unchanged: bool,
    /// Capture, compare and report, but write nothing.
    pub dry_run: bool,
    /// How many snapshots this writer had committed, and the hash of its last end record.
    pub history: WriterHistory,
}

/// What a writer remembers of itself between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WriterHistory {
    /// Snapshots committed.
    pub counter: u64,
    /// BLAKE3 of the last end record, in hexadecimal.
    pub previous: Option<String>,
    /// The last snapshot.
    pub last: Option<SnapshotId>,
}
