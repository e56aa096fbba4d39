//! Key slots of a repository: list, add, remove.

use std::collections::BTreeSet;

use super::init::put_slot;
use super::small::read_listed;
use super::{Repo, format};
use crate::backend::{Backend, ObjectKey, ObjectKind};
use crate::crypto::format::decode_slot;
use crate::crypto::{KdfParameters, Secret, Slot, SlotInfo, open_slot, random, seal_slot};
use crate::error::{Error, Result};
use crate::id::ObjectId;
use crate::limits::SLOTS_MAX;

/// Fewer bytes are no raw key: it is not stretched, so that it must be beyond guessing by itself.
const RAW_KEY_BYTES_MIN: usize = 32;

/// Refuses to seal a root key with a raw key that anybody can guess, such as an empty file. One that an earlier version
/// took still opens.
pub fn refuse_weak(secret: &Secret, kdf: KdfParameters) -> Result<()> {
    let bytes = secret.len();
    if kdf == KdfParameters::Raw && bytes < RAW_KEY_BYTES_MIN {
        return Err(Error::Refused {
            what: format!(
                "a raw key of {bytes} bytes can be guessed: it needs at least {RAW_KEY_BYTES_MIN} random bytes"
            ),
        });
    }
    Ok(())
}

/// Every slot that decodes, one of its two copies being enough.
pub fn slots(backend: &dyn Backend) -> Result<Vec<(ObjectId, Slot)>> {
    let mut slots = slot_copies(backend)?;
    slots.dedup_by_key(|(id, _)| *id);
    Ok(slots)
}

/// Every slot that decodes, sorted by name. One whose copies differ is there twice: only a secret tells which is good.
pub(super) fn slot_copies(backend: &dyn Backend) -> Result<Vec<(ObjectId, Slot)>> {
    let listed = backend
        .list(ObjectKind::Key)
        .map_err(|source| Error::Backend {
            act: "list",
            object: format!("key slots at {}", backend.address()),
            source,
        })?;
    let mut slots: Vec<(ObjectId, Slot)> = Vec::new();
    let mut ids = BTreeSet::new();
    let mut damage = None;
    for stat in listed {
        let ObjectKey::Key { slot: id, .. } = stat.key else {
            continue;
        };
        if ids.len() >= SLOTS_MAX && !ids.contains(&id) {
            continue;
        }
        ids.insert(id);
        let slot = read_listed(backend, &stat)
            .and_then(|bytes| decode_slot(&bytes).map_err(Error::corrupt(stat.key)));
        match slot {
            // Sorted by name, so that a copy comes directly behind what it copies.
            Ok(slot)
                if slots
                    .last()
                    .is_some_and(|(known, last)| (*known, last) == (id, &slot)) => {}
            Ok(slot) => slots.push((id, slot)),
            Err(error @ (Error::Corrupt { .. } | Error::Missing { .. })) => damage = Some(error),
            Err(error) => return Err(error),
        }
    }
    match damage {
        Some(error) if slots.is_empty() => Err(error),
        _ => Ok(slots),
    }
}

/// Adds a slot that opens the same root key; answers its name.
pub fn add(repo: &Repo, secret: &Secret, kdf: KdfParameters, info: SlotInfo) -> Result<ObjectId> {
    refuse_weak(secret, kdf)?;
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
    let mut damage = None;
    for (id, slot) in slot_copies(repo.backend().as_ref())? {
        match open_slot(&slot, &config, secret) {
            Ok(Some(_)) => return Ok(Some(id)),
            Ok(None) => {}
            Err(error) => damage = Some(Error::corrupt(format!("key slot {id}"))(error)),
        }
    }
    damage.map_or(Ok(None), Err)
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
