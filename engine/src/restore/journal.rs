//! What a restore into a live system has to remember, so that the next process can finish or undo what a killed one left.
//!
//! One small JSON file for each restore in a folder of the caller, written whole or not at all.
#![expect(
    clippy::disallowed_methods,
    reason = "the journal is a folder of files that the caller names"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
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

    /// Takes an entry, which need not be written yet, for this process alone; none if another process has it. A process
    /// that is killed gives it back.
    pub fn hold(&self, id: ObjectId) -> Result<Option<HeldEntry>> {
        let path = self.lock_path(id);
        let failed = |source| local("lock the journal", &path, source);
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(&path).map_err(failed)?;
            if !try_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(failed)? {
                return Ok(None);
            }
            // Who had it before takes its name away at the end.
            if is_named(&file, &path).map_err(failed)? {
                return Ok(Some(HeldEntry { path, _file: file }));
            }
        }
    }

    /// Whether a process works on an entry.
    pub fn is_held(&self, id: ObjectId) -> Result<bool> {
        let path = self.lock_path(id);
        let failed = |source| local("look at the lock of the journal", &path, source);
        match File::open(&path) {
            // Shared: who only looks is not taken for somebody who works.
            Ok(file) => {
                let free = try_lock(&file, FlockOperation::NonBlockingLockShared);
                Ok(!free.map_err(failed)?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn lock_path(&self, id: ObjectId) -> PathBuf {
        self.folder.join(format!("{id}.lock"))
    }

    fn path(&self, id: ObjectId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}

/// An entry that no other process may work on, until this is dropped.
#[derive(Debug)]
pub struct HeldEntry {
    path: PathBuf,
    _file: File,
}

impl Drop for HeldEntry {
    fn drop(&mut self) {
        // An empty file that nobody holds says nothing: it may as well stay.
        let _best_effort = fs::remove_file(&self.path);
    }
}

fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match fs::metadata(path) {
        Ok(named) => Ok(identity(named) == identity(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
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
