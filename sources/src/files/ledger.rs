//! What the threads of a restore write down.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::SourceError;

/// What the threads of a restore write down.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) failed: Mutex<BTreeMap<RepoPath, String>>,
    pub(super) fatal: Mutex<Option<SourceError>>,
    pub(super) stopped: AtomicBool,
    pub(super) damaged: AtomicBool,
    pub(super) written_bytes: AtomicU64,
    pub(super) hashes: Mutex<Vec<(usize, blake3::Hash)>>,
    /// Held while a large file is written: several at once would take each other's segments away from the readers.
    pub(super) large: Mutex<()>,
}

impl Ledger {
    /// Why which paths failed.
    pub(super) fn into_failed(self) -> BTreeMap<RepoPath, String> {
        let failed = self.failed.into_inner();
        failed.unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of content that were written.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Whether something failed because it lies damaged in the repository.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
