//! The cache of a repository that lies elsewhere.

use std::sync::Arc;

use keepstone_engine::Error;
use keepstone_engine::backend::Backend;
use keepstone_engine::cache::{CachePolicy, CachedBackend};
use keepstone_engine::id::RepoId;

use crate::context::Context;
use crate::error::CliError;
use crate::state::PrivateFolder;

/// One part of the free disk in so many is the cache's.
const DISK_SHARE: u64 = 10;

/// What a verb wants of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheUse {
    /// Copies are read and kept.
    Kept,
    /// Data that is read is kept too.
    Warmed,
    /// Every object is read where it lies: what is there is to be verified.
    Bypassed,
}

impl Context {
    /// Puts the cache before a repository that lies elsewhere.
    pub(crate) fn cached(
        &self,
        backend: Arc<dyn Backend>,
        repository: RepoId,
        cache: CacheUse,
    ) -> Result<Arc<dyn Backend>, CliError> {
        let Some(folder) = &self.settings.cache_dir else {
            return Ok(backend);
        };
        if backend.is_local() || cache == CacheUse::Bypassed {
            return Ok(backend);
        }
        let folder = PrivateFolder::open(folder)?.folder(&repository.to_string())?;
        let failed = |act, source| {
            CliError::from(Error::Local {
                act,
                path: folder.path().display().to_string(),
                source,
            })
        };
        let disk = rustix::fs::statvfs(folder.path())
            .map_err(|errno| failed("look at the disk of", errno.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let policy = CachePolicy {
            quota_bytes: free / DISK_SHARE,
            keep_data_reads: cache == CacheUse::Warmed,
        };
        let cached = CachedBackend::open(backend, folder.path(), policy)
            .map_err(|source| failed("use the cache in", source))?;
        Ok(Arc::new(cached))
    }
}
