//! A cache on this machine of a repository that lies elsewhere: a backend around a backend.
//!
//! Objects are immutable and sealed, so a copy is as good as the object as long as the object exists, and existence is
//! always asked of the store: lists, looks and writes go there. Kept are index segments, outcomes of sessions, packs of
//! metadata, and the data packs that this machine wrote: what the next run's deltas stand on. A copy proves itself where
//! it is opened, by its seal; one that does not open is dropped and the store is asked.
//!
//! What has not been used for longest goes first, and nothing that this run has used goes at all.

mod copies;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use self::copies::Copies;
use crate::backend::{
    Backend, BackendError, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, ObjectStat,
    PackClass, body_size_bytes,
};
use crate::limits::PACK_BYTES_MAX;

/// How a cache behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    /// Most bytes of copies.
    pub quota_bytes: u64,
    /// Data packs that are read are kept too, whole: for a run that is to warm the cache.
    pub keep_data_reads: bool,
}

/// A backend whose immutable objects are kept in a folder of this machine.
#[derive(Debug)]
pub struct CachedBackend {
    store: Arc<dyn Backend>,
    copies: Copies,
    policy: CachePolicy,
}

impl CachedBackend {
    /// Puts a cache in `folder`, which must be private to this user, before a store. Folders of several repositories must differ.
    pub fn open(store: Arc<dyn Backend>, folder: &Path, policy: CachePolicy) -> io::Result<Self> {
        let copies = Copies::open(folder, policy.quota_bytes)?;
        Ok(Self {
            store,
            copies,
            policy,
        })
    }

    /// Bytes of all copies.
    pub fn kept_bytes(&self) -> u64 {
        self.copies.total_bytes()
    }

    fn keeps_reads_of(&self, key: &ObjectKey) -> bool {
        match key {
            ObjectKey::Pack(name) => name.class == PackClass::Meta || self.policy.keep_data_reads,
            ObjectKey::Index(_) | ObjectKey::End(_) => true,
            _ => false,
        }
    }

    /// Fetches a whole object, keeps it, and answers the range of it. None: it is too large to be kept.
    fn fetch_whole(
        &self,
        key: &ObjectKey,
        range: ByteRange,
    ) -> Result<Option<Vec<u8>>, BackendError> {
        let Some(stat) = self.store.stat(key)? else {
            return Err(BackendError::new(BackendErrorKind::NotFound, "read").on(key));
        };
        if stat.size_bytes > PACK_BYTES_MAX || !self.copies.has_room_for(stat.size_bytes) {
            return Ok(None);
        }
        let whole = ByteRange::FromTo {
            offset: 0,
            length: stat.size_bytes,
        };
        let mut bytes = self.store.get(key, whole)?;
        self.copies.keep(key, &[&bytes]);
        let Some(part) = range.within(bytes.len() as u64) else {
            return Err(BackendError::new(BackendErrorKind::Truncated, "read").on(key));
        };
        // The range lies within a vector: both ends fit.
        let (start, end) = (
            usize::try_from(part.start).unwrap_or(usize::MAX),
            usize::try_from(part.end).unwrap_or(usize::MAX),
        );
        bytes.truncate(end);
        bytes.drain(..start);
        Ok(Some(bytes))
    }
}

/// Which objects may be kept at all: immutable, and many times read.
fn is_kept(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Pack | ObjectKind::Index | ObjectKind::End)
}

impl Backend for CachedBackend {
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError> {
        self.store.put_new(key, body)?;
        if is_kept(key.kind()) && self.copies.has_room_for(body_size_bytes(body)) {
            self.copies.keep(key, body);
        }
        Ok(())
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        if is_kept(key.kind()) {
            if let Some(bytes) = self.copies.read(key, range) {
                return Ok(bytes);
            }
            if self.keeps_reads_of(key)
                && let Some(bytes) = self.fetch_whole(key, range)?
            {
                return Ok(bytes);
            }
        }
        self.store.get(key, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        let listed = self.store.list(kind)?;
        if is_kept(kind) {
            let exist: BTreeSet<_> = listed.iter().map(|stat| stat.key).collect();
            self.copies.retain(kind, &exist);
        }
        Ok(listed)
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        self.store.stat(key)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        self.copies.drop_copy(key);
        self.store.delete(key)
    }

    fn address(&self) -> String {
        self.store.address()
    }

    fn is_local(&self) -> bool {
        self.store.is_local()
    }

    fn must_be_probed(&self) -> bool {
        self.store.must_be_probed()
    }

    fn is_at_hand(&self, key: &ObjectKey) -> bool {
        self.copies.has(key) || self.store.is_at_hand(key)
    }

    fn drop_copy(&self, key: &ObjectKey) -> bool {
        self.copies.drop_copy(key) || self.store.drop_copy(key)
    }
}
