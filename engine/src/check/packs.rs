//! Packs: the index tells the truth about them, and, where they are read, every byte is as it was written.

use std::collections::BTreeMap;

use super::{CheckReport, Consequence, Level, Subset, damage};
use crate::backend::{Backend, ByteRange, ObjectKey, ObjectKind, PackName};
use crate::backup::Cancel;
use crate::crypto::{SessionKey, open_box};
use crate::error::{Error, Result};
use crate::index;
use crate::pack::format::decode_trailer;
use crate::progress::{Event, Observer};
use crate::repo::{Repo, packs_that_exist, read_footer};

/// Every index segment opens, every pack that it names exists with its size, and says the same of itself.
pub(super) fn check_index(repo: &Repo, report: &mut CheckReport, cancel: &Cancel) -> Result<()> {
    let mut indexed = BTreeMap::new();
    for stat in repo.list(ObjectKind::Index)? {
        let opened = repo.get(&stat.key).and_then(|bytes| {
            index::format::open(repo.root(), repo.id(), &bytes).map_err(Error::corrupt(stat.key))
        });
        match opened {
            Ok(packs) => indexed.extend(packs.into_iter().map(|pack| (pack.name, pack))),
            // Packs say the same of themselves.
            Err(error) => report.add(stat.key.to_string(), damage(error)?, Consequence::Healed),
        }
    }
    let exists = packs_that_exist(repo)?;
    report.packs = exists.len() as u64;
    for (name, size) in &exists {
        cancel.check()?;
        let key = ObjectKey::pack(*name).to_string();
        if let Some(pack) = indexed.get(name)
            && pack.size_bytes != *size
        {
            let what = format!("has {size} bytes, its index says {}", pack.size_bytes);
            report.add(key, what, Consequence::Nothing);
            continue;
        }
        match read_footer(repo, *name, *size) {
            Ok(own) if indexed.get(name).is_none_or(|said| *said == own) => {}
            Ok(_) => report.add(
                key,
                "its footer says otherwise than its index",
                Consequence::Nothing,
            ),
            Err(error) => report.add(key, damage(error)?, Consequence::Nothing),
        }
    }
    // What the index names and is gone: whether anybody needs it, the snapshots tell.
    Ok(())
}

/// Reads packs whole: outer hash, then every box.
pub(super) fn read(
    repo: &Repo,
    level: Level,
    report: &mut CheckReport,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let exists = packs_that_exist(repo)?;
    let chosen = choose(&exists, level);
    let bytes = chosen.iter().map(|(_, size)| size).sum();
    observer.event(Event::Total {
        bytes,
        items: chosen.len() as u64,
    });
    for (name, size) in chosen {
        cancel.check()?;
        let key = ObjectKey::pack(name);
        let read = repo.get(&key);
        let problem = match read {
            Ok(bytes) => check_pack(repo, name, &bytes).err(),
            Err(error) => Some(damage(error)?),
        };
        if let Some(problem) = problem {
            report.add(key.to_string(), problem, Consequence::Nothing);
        }
        report.packs_read += 1;
        report.bytes_read += size;
        observer.event(Event::BytesRead {
            source: None,
            bytes: size,
        });
        observer.event(Event::ItemFinished);
    }
    Ok(())
}

fn choose(exists: &BTreeMap<PackName, u64>, level: Level) -> Vec<(PackName, u64)> {
    let all = exists.iter().map(|(name, size)| (*name, *size));
    let random = |name: &PackName, seed: u64| {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&seed.to_le_bytes())
            .update(name.to_string().as_bytes());
        let mut first = [0; 4];
        first.copy_from_slice(hasher.finalize().as_bytes().get(..4).unwrap_or(&[0; 4]));
        u32::from_le_bytes(first)
    };
    match level {
        Level::Structure => vec![],
        Level::Data => all.collect(),
        Level::Subset(Subset::Part { number, of }) => {
            let of = of.max(1);
            all.filter(|(name, _)| random(name, 0) % of == number.saturating_sub(1) % of)
                .collect()
        }
        Level::Subset(Subset::Percent { percent, seed }) => {
            let share = percent / 100.0;
            all.filter(|(name, _)| f64::from(random(name, seed)) / f64::from(u32::MAX) <= share)
                .collect()
        }
        Level::Subset(Subset::Bytes { bytes, seed }) => {
            let mut shuffled: Vec<_> = all.collect();
            shuffled.sort_by_key(|(name, _)| random(name, seed));
            let mut left = bytes;
            shuffled
                .into_iter()
                .take_while(|(_, size)| {
                    let goes_on = left > 0;
                    left = left.saturating_sub(*size);
                    goes_on
                })
                .collect()
        }
    }
}

fn check_pack(repo: &Repo, name: PackName, bytes: &[u8]) -> std::result::Result<(), String> {
    let keys = check_outer_hash(bytes)?;
    let footer = read_footer(repo, name, bytes.len() as u64)
        .map_err(|error| crate::backup::chain(&error))?;
    for place in &footer.footer.boxes {
        let session = place.header.session;
        let wrapped = keys.keys.iter().find(|(known, _)| *known == session);
        let (_, wrapped) = wrapped.ok_or("a session key is missing")?;
        let key = SessionKey::unwrap(repo.root(), repo.id(), session, wrapped)
            .map_err(|error| error.to_string())?;
        let start = usize::try_from(place.offset).map_err(|error| error.to_string())?;
        let end = start + place.header.stored_len as usize;
        let stored = bytes
            .get(start..end)
            .ok_or("a box lies outside of it")?
            .to_vec();
        open_box(&key, repo.id(), &place.header, stored)
            .map_err(|error| format!("box {}: {error}", place.header.counter))?;
    }
    Ok(())
}

fn check_outer_hash(bytes: &[u8]) -> std::result::Result<crate::pack::KeyTable, String> {
    let trailer = decode_trailer(bytes, bytes.len() as u64).map_err(|error| error.to_string())?;
    let trailer = trailer.map_err(|_| "its trailer cannot be found")?;
    // The hash covers everything before itself: 40 bytes stand from it to the end.
    let covered = bytes.len().checked_sub(40).and_then(|end| bytes.get(..end));
    if blake3::hash(covered.unwrap_or_default()) != blake3::Hash::from(trailer.outer_hash) {
        return Err("its outer hash is wrong: bytes have changed since it was written".into());
    }
    Ok(trailer.keys)
}

/// Looks for rot without any key: packs whose outer hash is wrong, with what is wrong.
pub fn scrub(backend: &dyn Backend) -> Result<Vec<(ObjectKey, String)>> {
    let listed = backend
        .list(ObjectKind::Pack)
        .map_err(|source| Error::Backend {
            act: "list",
            object: format!("packs of {}", backend.address()),
            source,
        })?;
    let mut rotten = Vec::new();
    for stat in listed {
        let bytes = backend
            .get(&stat.key, ByteRange::All)
            .map_err(Error::backend("read", &stat.key))?;
        if let Err(problem) = check_outer_hash(&bytes) {
            rotten.push((stat.key, problem));
        }
    }
    Ok(rotten)
}
