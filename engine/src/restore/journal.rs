//! What a restore into a live system has to remember, so that the next process can finish or undo what a killed one left.
//!
//! One small JSON file for each restore in a folder of the caller, written whole or not at all.
#![expect(
    clippy::disallowed_methods,
    reason = "the journal is a folder of files that the caller names"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::crypto::random;
use crate::error::{Error, Result};
use crate::id::{ObjectId, RepoId, SnapshotId};
use crate::source::{Phase, RestorePlan};

/// Largest journal entry, in bytes.
const ENTRY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One restore of one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Its name.
    pub id: ObjectId,
    /// The repository that it reads.
    pub repository: RepoId,
    /// The snapshot that it reads.
    pub snapshot: SnapshotId,
    /// The source in that snapshot.
    pub source: String,
    /// Kind of the target.
    pub kind: String,
    /// Where it is restored to, for people.
    pub address: String,
    /// What makes the target again: address and options as the user gave them. No secrets.
    pub target: serde_json::Value,
    /// What is to be done.
    pub plan: RestorePlan,
    /// How far it came.
    pub phase: Phase,
    /// When it began: nanoseconds since 1970, UTC.
    pub time_ns: i64,
}

impl JournalEntry {
    /// The bytes of the file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Reads the bytes of a file.
    pub fn from_json(bytes: &[u8]) -> io::Result<Self> {
        serde_json::from_slice(bytes).map_err(io::Error::other)
    }
}

/// The folder of the entries.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// A journal in this folder, which exists and is private.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// A name for a new entry.
    pub fn new_id() -> ObjectId {
        ObjectId(random())
    }

    /// Writes an entry in the place of its earlier form; durable when it returns.
    pub fn write(&self, entry: &JournalEntry) -> Result<()> {
        let path = self.path(entry.id);
        let staged = path.with_extension("new");
        let json = entry.to_json();
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&staged)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::rename(&staged, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|source| local("write the journal", &path, source))
    }

    /// Removes an entry: there is nothing left to finish, undo or discard.
    pub fn remove(&self, id: ObjectId) -> Result<()> {
        let path = self.path(id);
        fs::remove_file(&path).map_err(|source| local("remove the journal", &path, source))
    }

    /// All entries, oldest first. What cannot be read is named and left alone.
    pub fn list(&self) -> Result<(Vec<JournalEntry>, Vec<String>)> {
        let failed = |source| local("list the journal", &self.folder, source);
        let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
        for found in fs::read_dir(&self.folder).map_err(failed)? {
            let path = found.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path) {
                Ok(entry) => entries.push(entry),
                Err(error) => unreadable.push(format!("{}: {error}", path.display())),
            }
        }
        entries.sort_by_key(|entry| (entry.time_ns, entry.id));
        Ok((entries, unreadable))
    }

    fn path(&self, id: ObjectId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}

fn read(path: &Path) -> io::Result<JournalEntry> {
    if fs::metadata(path)?.len() > ENTRY_BYTES_MAX {
        return Err(io::Error::other("it is too large"));
    }
    JournalEntry::from_json(&fs::read(path)?)
}

fn local(act: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Local {
        act,
        path: path.display().to_string(),
        source,
    }
}
