//! Small records of a repository: reading, listing, putting them.

use std::collections::{BTreeMap, BTreeSet};

use super::Repo;
use crate::backend::{
    Backend, BackendError, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};
use crate::codec::FormatError;
use crate::codec::frame::Kind;
use crate::crypto::{open_record, seal_record};
use crate::error::{Error, Result};
use crate::id::{ObjectId, SessionId, SnapshotId};
use crate::session::format::{SmallRecord, decode, encode};
use crate::session::{SessionRecord, SettledRecord, TombstoneRecord};
use crate::snapshot::format::{self as end_format, End};
use crate::snapshot::select::{Listed, sort};

/// The snapshots whose records open.
#[derive(Debug, Default)]
pub struct Readable {
    /// Oldest first.
    pub snapshots: Vec<Listed>,
    /// What could not be read of those that were asked for.
    pub damaged: Vec<Unreadable>,
}

/// A record that does not open.
#[derive(Debug)]
pub struct Unreadable {
    /// Of which snapshot; none: of which snapshots are forgotten.
    pub snapshot: Option<SnapshotId>,
    /// What is wrong with it.
    pub why: Error,
}

impl Repo {
    /// Lists one kind of object.
    pub fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>> {
        self.backend
            .list(kind)
            .map_err(|source| match source.kind() {
                // A folder of them that was lost is not an empty one.
                BackendErrorKind::NotFound if kind == ObjectKind::End => ends_are_missing(),
                _ => Error::Backend {
                    act: "list",
                    object: format!("{kind} of {}", self.backend.address()),
                    source,
                },
            })
    }

    /// Reads a whole object.
    pub fn get(&self, key: &ObjectKey) -> Result<Vec<u8>> {
        read_whole(self.backend.as_ref(), key)
    }

    /// Reads a whole object that was listed: its length is known.
    pub fn get_listed(&self, stat: &ObjectStat) -> Result<Vec<u8>> {
        read_listed(self.backend.as_ref(), stat)
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
        self.decode_small(key, &self.get(key)?)
    }

    /// Reads a small record that was listed.
    pub fn read_small_listed<T: SmallRecord>(&self, stat: &ObjectStat) -> Result<T> {
        self.decode_small(&stat.key, &self.get_listed(stat)?)
    }

    fn decode_small<T: SmallRecord>(&self, key: &ObjectKey, bytes: &[u8]) -> Result<T> {
        decode(&self.open_small(key, bytes)?).map_err(Error::corrupt(key))
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
        let key = ObjectKey::end(session);
        match self.past_copies(&key, || self.open_end(&key, &self.get(&key)?)) {
            Err(Error::Missing { .. }) => Ok(None),
            end => end.map(Some),
        }
    }

    /// Opens the bytes of an end record.
    pub(crate) fn open_end(&self, key: &ObjectKey, bytes: &[u8]) -> Result<End> {
        end_format::decode(&self.open_small(key, bytes)?).map_err(Error::corrupt(key))
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
            let record: SettledRecord = self.read_small_listed(&stat)?;
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

    /// Whether any snapshot was ever committed, as far as can be seen: one that is forgotten counts, and a record that cannot
    /// be read may be one.
    pub(crate) fn has_committed(&self) -> Result<bool> {
        for stat in self.list(ObjectKind::End)?.iter().rev() {
            let read = || self.open_end(&stat.key, &self.get_listed(stat)?);
            match self.past_copies(&stat.key, read) {
                Ok(End::Aborted { .. }) => {}
                Err(error) if !error.is_damage() && !error.is_unreadable() => return Err(error),
                _ => return Ok(true),
            }
        }
        Ok(!self.settled()?.forgotten.is_empty())
    }

    /// Packs and their bytes in a repository of which no snapshot is known, and none that was forgotten; none if there are
    /// no packs either.
    pub fn uncommitted(&self) -> Result<Option<(u64, u64)>> {
        let packs = self.list(ObjectKind::Pack)?;
        if packs.is_empty() || self.has_committed()? {
            return Ok(None);
        }
        let bytes = packs.iter().map(|stat| stat.size_bytes).sum();
        Ok(Some((packs.len() as u64, bytes)))
    }

    /// An error if every record of a snapshot is gone, though packs are there that only a repository with snapshots can hold:
    /// a folder that was not copied, or lost by a file system, must not look like a repository of which nothing is needed
    /// any more. How runs ended that failed since then does not change that.
    pub(crate) fn check_ends(&self) -> Result<()> {
        // In this order: a session whose record is not there any more had an end before; a copy that a prune made has
        // neither, and stands on a snapshot.
        let packs = self.list(ObjectKind::Pack)?;
        let mut explained: BTreeSet<_> = self.sessions()?.into_keys().collect();
        if self.has_committed()? {
            return Ok(());
        }
        for stat in self.list(ObjectKind::End)? {
            if let ObjectKey::End(id) = stat.key {
                explained.insert(id);
            }
        }
        // After the ends, which move from there to here.
        explained.extend(self.settled()?.aborted);
        let is_explained = |stat: &ObjectStat| match stat.key {
            ObjectKey::Pack(name) => explained.contains(&name.session),
            _ => true,
        };
        // What is forgotten was committed.
        if packs.iter().all(is_explained) && self.forgotten_markers()?.is_empty() {
            return Ok(());
        }
        Err(ends_are_missing())
    }

    /// Whether a session has ended, as things are now.
    pub(crate) fn has_ended(&self, id: SessionId) -> Result<bool> {
        let key = ObjectKey::end(id);
        let end = self.backend().stat(&key);
        if end.map_err(Error::backend("look at", &key))?.is_some() {
            return Ok(true);
        }
        self.is_settled(id)
    }

    /// Whether a list says for ever how a session ended.
    pub(crate) fn is_settled(&self, id: SessionId) -> Result<bool> {
        let settled = self.settled()?;
        Ok(settled.aborted.contains(&id) || settled.forgotten.contains(&id))
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
        let mut ids = self.forgotten_markers()?;
        ids.extend(self.settled()?.forgotten);
        Ok(ids)
    }

    fn forgotten_markers(&self) -> Result<BTreeSet<SessionId>> {
        let markers = self.list(ObjectKind::Forgotten)?.into_iter();
        let ids = markers.filter_map(|stat| match stat.key {
            ObjectKey::Forgotten(id) => Some(id),
            _ => None,
        });
        Ok(ids.collect())
    }

    /// All tombstones.
    pub fn tombstones(&self) -> Result<BTreeMap<ObjectId, TombstoneRecord>> {
        let mut tombstones = BTreeMap::new();
        for stat in self.list(ObjectKind::Tombstone)? {
            let ObjectKey::Tombstone(id) = stat.key else {
                continue;
            };
            match self.read_small_listed(&stat) {
                Ok(record) => drop(tombstones.insert(id, record)),
                // Swept between the list and the read: its packs are gone, nobody can rely on them.
                Err(Error::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tombstones)
    }

    /// Every live snapshot, oldest first; an error if one of them, or which of them are live, cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Listed>> {
        let mut found = self.readable_snapshots()?;
        match found.damaged.pop() {
            Some(unreadable) => Err(unreadable.why),
            None => Ok(found.snapshots),
        }
    }

    /// Snapshots that are forgotten but still recorded, as far as their records open.
    pub fn forgotten_snapshots(&self) -> Result<Readable> {
        self.readable(true)
    }

    /// Live snapshots as far as their records open: one that does not keeps nobody from restoring another.
    pub fn readable_snapshots(&self) -> Result<Readable> {
        self.readable(false)
    }

    fn readable(&self, forgotten_ones: bool) -> Result<Readable> {
        let mut found = Readable::default();
        // Before the markers: a prune moves names from them into lists.
        let ends = self.list(ObjectKind::End)?;
        let forgotten = match self.forgotten() {
            Err(why) if why.is_damage() => {
                found.damaged.push(Unreadable {
                    snapshot: None,
                    why,
                });
                self.forgotten_markers()
            }
            known => known,
        }?;
        for stat in ends {
            let ObjectKey::End(id) = stat.key else {
                continue;
            };
            if forgotten.contains(&id) != forgotten_ones {
                continue;
            }
            let read = || self.open_end(&stat.key, &self.get_listed(&stat)?);
            let end = match self.past_copies(&stat.key, read) {
                // Settled between the list and the read, if that is said somewhere.
                Err(Error::Missing { .. }) if self.is_settled(id)? => continue,
                Err(why) if why.is_damage() || why.is_unreadable() => {
                    let snapshot = Some(id);
                    found.damaged.push(Unreadable { snapshot, why });
                    continue;
                }
                end => end?,
            };
            if let End::Committed(snapshot) = end {
                found.snapshots.push(Listed {
                    id,
                    snapshot,
                    stored_at_ns: stat.stored_at_ns,
                });
            }
        }
        sort(&mut found.snapshots);
        Ok(found)
    }
}

/// Reads a whole object, if it is not larger than its kind can be: what lies on a backend is anybody's.
pub(super) fn read_whole(backend: &dyn Backend, key: &ObjectKey) -> Result<Vec<u8>> {
    match backend.stat(key) {
        Ok(Some(stat)) => read_listed(backend, &stat),
        Ok(None) => Err(missing(key)),
        Err(error) => Err(Error::backend("look at", key)(error)),
    }
}

/// Reads a whole object whose length was said by a list.
pub(crate) fn read_listed(backend: &dyn Backend, stat: &ObjectStat) -> Result<Vec<u8>> {
    let key = &stat.key;
    let max = key.kind().size_bytes_max();
    if stat.size_bytes > max {
        let problem = format!("has {} bytes, {max} is the most", stat.size_bytes);
        return Err(Error::corrupt(key)(FormatError::new("object", problem)));
    }
    backend.get(key, ByteRange::All).map_err(Error::unread(key))
}

fn ends_are_missing() -> Error {
    Error::Missing {
        object: "every record of a snapshot in end/".into(),
    }
}

fn missing(key: &ObjectKey) -> Error {
    Error::Missing {
        object: key.to_string(),
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
