//! Key slots of a repository: list, add, remove.

use super::init::put_slot;
use super::{Repo, format};
use crate::backend::{Backend, ByteRange, ObjectKey, ObjectKind};
use crate::crypto::format::decode_slot;
use crate::crypto::{KdfParameters, Secret, Slot, SlotInfo, open_slot, random, seal_slot};
use crate::error::{Error, Result};
use crate::id::ObjectId;
use crate::limits::SLOTS_MAX;

/// Every slot that decodes, one of its two copies being enough.
pub fn slots(backend: &dyn Backend) -> Result<Vec<(ObjectId, Slot)>> {
    let listed = backend
        .list(ObjectKind::Key)
        .map_err(|source| Error::Backend {
            act: "list",
            object: format!("key slots at {}", backend.address()),
            source,
        })?;
    let mut slots: Vec<(ObjectId, Slot)> = Vec::new();
    let mut keys: Vec<_> = listed.into_iter().map(|stat| stat.key).collect();
    keys.sort_unstable();
    let mut damage = None;
    for key in keys {
        let ObjectKey::Key { slot: id, .. } = key else {
            continue;
        };
        if slots.len() >= SLOTS_MAX || slots.iter().any(|(known, _)| *known == id) {
            continue;
        }
        let bytes = backend
            .get(&key, ByteRange::All)
            .map_err(Error::backend("read", &key))?;
        match decode_slot(&bytes) {
            Ok(slot) => slots.push((id, slot)),
            Err(error) => damage = Some(Error::corrupt(key)(error)),
        }
    }
    match damage {
        Some(error) if slots.is_empty() => Err(error),
        _ => Ok(slots),
    }
}

/// Adds a slot that opens the same root key; answers its name.
pub fn add(repo: &Repo, secret: &Secret, kdf: KdfParameters, info: SlotInfo) -> Result<ObjectId> {
    let known = slots(repo.backend().as_ref())?;
    if known.len() >= SLOTS_MAX {
        return Err(Error::Refused {
            what: format!("the repository has {SLOTS_MAX} key slots already"),
        });
    }
    let config = format::encode(repo.config());
    let bytes = seal_slot(repo.root(), &config, secret, kdf, info)
        .map_err(Error::corrupt("new key slot"))?;
    let id = ObjectId(random());
    put_slot(repo.backend().as_ref(), id, &bytes)?;
    Ok(id)
}

/// Which slot this secret opens.
pub fn current(repo: &Repo, secret: &Secret) -> Result<Option<ObjectId>> {
    let config = format::encode(repo.config());
    for (id, slot) in slots(repo.backend().as_ref())? {
        if open_slot(&slot, &config, secret)
            .map_err(Error::corrupt(id))?
            .is_some()
        {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Removes a slot; the last one is never removed.
pub fn remove(repo: &Repo, id: ObjectId) -> Result<()> {
    let known = slots(repo.backend().as_ref())?;
    if !known.iter().any(|(slot, _)| *slot == id) {
        return Err(Error::NotFound {
            what: format!("there is no key slot {id}"),
        });
    }
    if known.len() == 1 {
        return Err(Error::Refused {
            what: "the last key slot is never removed".into(),
        });
    }
    for copy in [false, true] {
        let key = ObjectKey::key(id, copy);
        repo.backend()
            .delete(&key)
            .map_err(Error::backend("delete", &key))?;
    }
    Ok(())
}
