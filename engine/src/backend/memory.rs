//! A repository in memory, for tests: as strict as a backend may be, and its contents can be taken out, put back and
//! tampered with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Backend, BackendError, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};

/// All objects of a store. A clone is cheap: bytes are shared.
pub type Contents = BTreeMap<ObjectKey, StoredObject>;

/// One object in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// What the store's clock showed when it was written.
    pub stored_at_ns: Option<i64>,
}

/// A backend in a map.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    state: Mutex<State>,
    remote: bool,
}

#[derive(Default)]
struct State {
    contents: Contents,
    now_ns: Option<i64>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} objects", self.contents.len())
    }
}

impl MemoryBackend {
    /// An empty store that says it is local.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store that says it is remote, so that caches are used.
    pub fn remote() -> Self {
        Self {
            remote: true,
            ..Self::default()
        }
    }

    /// A store with these contents.
    pub fn from_contents(contents: Contents) -> Self {
        Self {
            state: Mutex::new(State {
                contents,
                now_ns: None,
            }),
            remote: false,
        }
    }

    /// What is stored now.
    pub fn contents(&self) -> Contents {
        self.lock().contents.clone()
    }

    /// Sets the store's clock, which stamps what is written from now on. It stands still until set again.
    pub fn set_now_ns(&self, now_ns: i64) {
        self.lock().now_ns = Some(now_ns);
    }

    /// Replaces or removes an object behind the repository's back, as rot or an attacker would.
    pub fn tamper(&self, key: &ObjectKey, bytes: Option<Vec<u8>>) {
        let mut state = self.lock();
        let stored_at_ns = state.contents.remove(key).and_then(|old| old.stored_at_ns);
        if let Some(bytes) = bytes {
            let object = StoredObject {
                bytes: bytes.into(),
                stored_at_ns,
            };
            state.contents.insert(*key, object);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the map whole: each call changes it by one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stat_of(key: &ObjectKey, object: &StoredObject) -> ObjectStat {
    ObjectStat {
        key: *key,
        size_bytes: object.bytes.len() as u64,
        stored_at_ns: object.stored_at_ns,
    }
}

impl Backend for MemoryBackend {
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError> {
        let mut state = self.lock();
        if state.contents.contains_key(key) {
            return Err(BackendError::new(BackendErrorKind::AlreadyExists, "write").on(key));
        }
        let object = StoredObject {
            bytes: body.concat().into(),
            stored_at_ns: state.now_ns,
        };
        state.contents.insert(*key, object);
        Ok(())
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        let bytes = match self.lock().contents.get(key) {
            Some(object) => Arc::clone(&object.bytes),
            None => return Err(BackendError::new(BackendErrorKind::NotFound, "read").on(key)),
        };
        range
            .within(bytes.len() as u64)
            .and_then(|range| {
                let start = usize::try_from(range.start).ok()?;
                let end = usize::try_from(range.end).ok()?;
                bytes.get(start..end).map(<[u8]>::to_vec)
            })
            .ok_or_else(|| BackendError::new(BackendErrorKind::Truncated, "read").on(key))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        let state = self.lock();
        let of_kind = state.contents.iter().filter(|(key, _)| key.kind() == kind);
        Ok(of_kind.map(|(key, object)| stat_of(key, object)).collect())
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        let state = self.lock();
        Ok(state.contents.get(key).map(|object| stat_of(key, object)))
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        self.lock().contents.remove(key);
        Ok(())
    }

    fn address(&self) -> String {
        "memory:".into()
    }

    fn is_local(&self) -> bool {
        !self.remote
    }

    fn must_be_probed(&self) -> bool {
        false
    }
}
