//! Small records of a repository: reading, listing, putting them.

use std::collections::{BTreeMap, BTreeSet};

use super::Repo;
use crate::backend::{
    BackendError, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};
use crate::codec::frame::Kind;
use crate::crypto::{open_record, seal_record};
use crate::error::{Error, Result};
use crate::id::{ObjectId, SessionId};
use crate::session::format::{SmallRecord, decode, encode};
use crate::session::{SessionRecord, SettledRecord, TombstoneRecord};
use crate::snapshot::format::{self as end_format, End};
use crate::snapshot::select::{Listed, sort};

impl Repo {
    /// Lists one kind of object.
    pub fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>> {
        self.backend.list(kind).map_err(|source| Error::Backend {
            act: "list",
            object: format!("{kind} of {}", self.backend.address()),
            source,
        })
    }

    /// Reads a whole object.
    pub fn get(&self, key: &ObjectKey) -> Result<Vec<u8>> {
        self.backend.get(key, ByteRange::All).map_err(|error| {
            if error.kind() == BackendErrorKind::NotFound {
                Error::Missing {
                    object: key.to_string(),
                }
            } else {
                Error::backend("read", key)(error)
            }
        })
    }

    /// Reads and opens an object; a copy in the cache that does not open is dropped and the store is asked.
    pub(crate) fn past_copies<T>(
        &self,
        key: &ObjectKey,
        read: impl Fn() -> Result<T>,
    ) -> Result<T> {
        match read() {
            Err(Error::Corrupt { .. }) if self.backend.drop_copy(key) => read(),
            other => other,
        }
    }

    /// Seals the bytes of a small record.
    pub(crate) fn seal_small<T: SmallRecord>(&self, key: &ObjectKey, record: &T) -> Vec<u8> {
        seal_record(
            &self.root,
            self.id(),
            frame_kind(key),
            &key.path(),
            &encode(record),
        )
    }

    /// Puts a small record under a name that nobody else uses.
    pub(crate) fn put_small<T: SmallRecord>(&self, key: &ObjectKey, record: &T) -> Result<()> {
        let bytes = self.seal_small(key, record);
        match self.backend.put_new(key, &[&bytes]) {
            // Only this program knows the name: an answer was lost, and the write had happened.
            Err(error) if error.kind() == BackendErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(Error::backend("write", key)),
        }
    }

    /// Reads a small record.
    pub fn read_small<T: SmallRecord>(&self, key: &ObjectKey) -> Result<T> {
        decode(&self.open_small(key, &self.get(key)?)?).map_err(Error::corrupt(key))
    }

    fn open_small(&self, key: &ObjectKey, bytes: &[u8]) -> Result<Vec<u8>> {
        open_record(&self.root, self.id(), frame_kind(key), &key.path(), bytes)
            .map_err(Error::corrupt(key))
    }

    /// Seals an end record, once: a retry sends the same bytes.
    pub(crate) fn seal_end(&self, session: SessionId, end: &End) -> Vec<u8> {
        let key = ObjectKey::end(session);
        seal_record(
            &self.root,
            self.id(),
            Kind::End,
            &key.path(),
            &end_format::encode(end),
        )
    }

    /// Reads how a session ended; none while it is open.
    pub fn end(&self, session: SessionId) -> Result<Option<End>> {
        match self.read_end(&ObjectKey::end(session)) {
            Err(Error::Missing { .. }) => Ok(None),
            end => end.map(Some),
        }
    }

    fn read_end(&self, key: &ObjectKey) -> Result<End> {
        self.past_copies(key, || {
            let bytes = self.get(key)?;
            end_format::decode(&self.open_small(key, &bytes)?).map_err(Error::corrupt(key))
        })
    }

    /// Puts how a session ended, if nothing is there yet. Answers whether these bytes are what stands there now.
    pub(crate) fn put_end(&self, session: SessionId, bytes: &[u8]) -> Result<bool> {
        let key = ObjectKey::end(session);
        let mut last = None;
        for _ in 0..3 {
            match self.backend.put_new(&key, &[bytes]) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == BackendErrorKind::AlreadyExists => {
                    return Ok(self.get(&key)? == bytes);
                }
                // No answer: ask again; the same bytes may stand there by now.
                Err(error) if is_unanswered(&error) => last = Some(error),
                Err(error) => return Err(Error::backend("write", &key)(error)),
            }
        }
        match last {
            Some(error) => Err(Error::backend("write", &key)(error)),
            None => Ok(false),
        }
    }

    /// Ids of all sessions that are settled for ever: aborted, forgotten.
    pub fn settled(&self) -> Result<SettledRecord> {
        let mut all = SettledRecord::default();
        for stat in self.list(ObjectKind::Settled)? {
            let record: SettledRecord = self.read_small(&stat.key)?;
            all.aborted.extend(record.aborted);
            all.forgotten.extend(record.forgotten);
        }
        Ok(all)
    }

    /// All open and ended session records by name.
    pub fn sessions(&self) -> Result<BTreeMap<SessionId, ObjectStat>> {
        let listed = self.list(ObjectKind::Session)?.into_iter();
        Ok(listed
            .filter_map(|stat| match stat.key {
                ObjectKey::Session(id) => Some((id, stat)),
                _ => None,
            })
            .collect())
    }

    /// One session record; none if it was tidied away meanwhile.
    pub fn session(&self, id: SessionId) -> Result<Option<SessionRecord>> {
        match self.read_small(&ObjectKey::session(id)) {
            Ok(record) => Ok(Some(record)),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ids that are forgotten: markers and settled lists together.
    pub fn forgotten(&self) -> Result<BTreeSet<SessionId>> {
        let mut ids: BTreeSet<_> = self.settled()?.forgotten.into_iter().collect();
        for stat in self.list(ObjectKind::Forgotten)? {
            if let ObjectKey::Forgotten(id) = stat.key {
                ids.insert(id);
            }
        }
        Ok(ids)
    }

    /// All tombstones.
    pub fn tombstones(&self) -> Result<BTreeMap<ObjectId, TombstoneRecord>> {
        let mut tombstones = BTreeMap::new();
        for stat in self.list(ObjectKind::Tombstone)? {
            let ObjectKey::Tombstone(id) = stat.key else {
                continue;
            };
            match self.read_small(&stat.key) {
                Ok(record) => drop(tombstones.insert(id, record)),
                // Swept between the list and the read: its packs are gone, nobody can rely on them.
                Err(Error::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tombstones)
    }

    /// Every live snapshot, oldest first.
    pub fn snapshots(&self) -> Result<Vec<Listed>> {
        self.ends(false)
    }

    /// Snapshots that are forgotten but still recorded, oldest first.
    pub fn forgotten_snapshots(&self) -> Result<Vec<Listed>> {
        self.ends(true)
    }

    /// Live snapshots whose records open, oldest first: the others are named by `check`.
    pub fn readable_snapshots(&self) -> Result<Vec<Listed>> {
        self.list_ends(false, true)
    }

    fn ends(&self, forgotten_ones: bool) -> Result<Vec<Listed>> {
        self.list_ends(forgotten_ones, false)
    }

    fn list_ends(&self, forgotten_ones: bool, skip_damaged: bool) -> Result<Vec<Listed>> {
        let ends = self.list(ObjectKind::End)?;
        let forgotten = self.forgotten()?;
        let mut listed = Vec::new();
        for stat in ends {
            let ObjectKey::End(id) = stat.key else {
                continue;
            };
            if forgotten.contains(&id) != forgotten_ones {
                continue;
            }
            let end = match self.read_end(&stat.key) {
                // Settled between the list and the read.
                Err(Error::Missing { .. }) => continue,
                Err(Error::Corrupt { .. }) if skip_damaged => continue,
                end => end?,
            };
            if let End::Committed(snapshot) = end {
                listed.push(Listed {
                    id,
                    snapshot,
                    stored_at_ns: stat.stored_at_ns,
                });
            }
        }
        sort(&mut listed);
        Ok(listed)
    }
}

fn frame_kind(key: &ObjectKey) -> Kind {
    match key.kind() {
        ObjectKind::Session => Kind::Session,
        ObjectKind::Forgotten => Kind::Forgotten,
        ObjectKind::Tombstone => Kind::Tombstone,
        ObjectKind::Settled => Kind::Settled,
        ObjectKind::Index => Kind::Index,
        ObjectKind::Pack => Kind::Pack,
        ObjectKind::Key => Kind::Slot,
        ObjectKind::Config => Kind::Config,
        ObjectKind::End => Kind::End,
    }
}

/// Whether an act may have been done without an answer.
pub(crate) fn is_unanswered(error: &BackendError) -> bool {
    matches!(
        error.kind(),
        BackendErrorKind::Unreachable | BackendErrorKind::Throttled
    )
}
