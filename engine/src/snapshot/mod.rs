//! Snapshots: the record of one run over one or more sources, committed as one.
//!
//! A snapshot is complete in itself: nothing in it names another snapshot's content. What it remembers of its writer's
//! previous one only serves to notice that a backend has removed or rolled back something.

pub mod format;
pub mod select;

use serde::{Deserialize, Serialize};

use crate::id::{ChunkId, SnapshotId, WriterId};
use crate::source::{CaptureReport, Consistency, OpenFacts};

/// One run, as it is recorded in `end/<session>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the run began: nanoseconds since 1970, UTC.
    pub time_ns: i64,
    /// When everything was stored.
    pub end_ns: i64,
    /// Name of the time zone of the host, for showing the time as it was lived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Label of the host.
    pub host: String,
    /// User that ran it.
    #[serde(default)]
    pub user: String,
    /// Program and version that wrote it.
    pub program: String,
    /// The writer: one state folder of one host.
    pub writer: WriterId,
    /// How many snapshots this writer had committed before.
    pub counter: u64,
    /// BLAKE3 of the writer's previous end record, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Free text of the user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Type or label of the run, such as hourly or pre-upgrade.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Set of the configuration that was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// What was captured, by name.
    pub sources: Vec<SnapshotSource>,
    /// Bytes written to the repository by this run, all objects together, as far as known at the commit.
    #[serde(default)]
    pub stored_bytes: u64,
    /// The snapshot that this one is a copy of: after `undelete` or `tag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<SnapshotId>,
}

/// What was captured of one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotSource {
    /// Name, unique in the snapshot.
    pub name: String,
    /// Kind: the URL scheme.
    pub kind: String,
    /// Address without secrets.
    pub address: String,
    /// What a restore guarantees.
    pub consistency: Consistency,
    /// Why it is not there, when `--partial` let the others through. Such a source has no root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Root node of its tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<ChunkId>,
    /// Node that holds `SourceDetails` as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<ChunkId>,
    /// When its instant was pinned.
    pub opened_ns: i64,
    /// When its end was proved.
    pub finished_ns: i64,
    /// What it holds and what it added.
    pub counts: SourceCounts,
    /// Snapshot whose capture it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotId>,
}

/// Sizes of one capture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceCounts {
    /// Files or streams.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Other entries.
    pub others: u64,
    /// Bytes of all content.
    pub bytes: u64,
    /// Bytes of content that had to be read (the rest was taken from the parent unread).
    pub read_bytes: u64,
    /// Bytes of content in chunks that were not in the repository.
    pub changed_bytes: u64,
    /// Bytes of these that had to be kept as they are: the rest is copies out of older chunks.
    pub literal_bytes: u64,
    /// Bytes that its segments and records took in packs.
    pub stored_bytes: u64,
    /// Files that are new.
    pub files_new: u64,
    /// Files that changed.
    pub files_changed: u64,
    /// Files that are as they were.
    pub files_unmodified: u64,
    /// Entries that could not be saved as they should have been.
    pub skipped: u64,
    /// The parent's bytes were not at hand: changed chunks were stored whole.
    pub cold_cache: bool,
}

/// What is too long for the snapshot record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceDetails {
    /// What was learned on opening.
    pub open: OpenFacts,
    /// What the capture said.
    pub report: CaptureReport,
}

impl Snapshot {
    /// The source of this name, if it was captured.
    pub fn source(&self, name: &str) -> Option<&SnapshotSource> {
        self.sources
            .iter()
            .find(|source| source.name == name && source.failure.is_none())
    }

    /// The last consistent point: when every stream of every source was pinned, or read for fuzzy ones.
    pub fn consistent_ns(&self) -> i64 {
        let points = self
            .sources
            .iter()
            .filter(|source| source.failure.is_none())
            .map(|source| {
                if source.consistency == Consistency::PointInTime {
                    source.opened_ns
                } else {
                    source.finished_ns
                }
            });
        points.max().unwrap_or(self.time_ns)
    }

    /// Bytes of all content.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.counts.bytes).sum()
    }

    /// Whether a source failed and the others were let through.
    pub fn is_partial(&self) -> bool {
        self.sources.iter().any(|source| source.failure.is_some())
    }
}
