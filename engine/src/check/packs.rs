//! Packs: the index tells the truth about them, and, where they are read, every byte is as it was written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{CheckReport, Consequence, Level, Subset, damage};
use crate::backend::{Backend, ObjectKey, ObjectKind, PackName};
use crate::backup::Cancel;
use crate::crypto::{SessionKey, open_box};
use crate::error::{Error, Result};
use crate::index::{self, IndexedPack};
use crate::pack::format::decode_trailer;
use crate::progress::{Event, Observer};
use crate::repo::{Repo, packs_that_exist, read_footer, read_listed};

/// What is known of packs before anybody asks who stands on them.
#[derive(Debug, Default)]
pub(super) struct Packs {
    /// What the index says, by pack.
    pub indexed: BTreeMap<PackName, IndexedPack>,
    /// Which there are, and their bytes.
    pub exists: BTreeMap<PackName, u64>,
    /// What is wrong with them.
    pub damaged: BTreeMap<PackName, Damage>,
}

/// What is wrong with a pack.
#[derive(Debug)]
pub(super) struct Damage {
    /// In words.
    pub what: String,
    /// Whether something in it cannot be read; otherwise only what it says of itself is wrong, and the index says it too.
    pub hurts: bool,
}

/// Every index segment opens, every pack that it names has its size, and says the same of itself.
pub(super) fn check_index(repo: &Repo, report: &mut CheckReport, cancel: &Cancel) -> Result<Packs> {
    let mut indexed = BTreeMap::new();
    for stat in repo.list(ObjectKind::Index)? {
        let opened = repo.get_listed(&stat).and_then(|bytes| {
            index::format::open(repo.root(), repo.id(), &bytes).map_err(Error::corrupt(stat.key))
        });
        match opened {
            Ok(packs) => indexed.extend(packs.into_iter().map(|pack| (pack.name, pack))),
            // Merged away since it was listed.
            Err(Error::Missing { .. }) => {}
            // Packs say the same of themselves.
            Err(error) => report.add(stat.key.to_string(), damage(error)?, Consequence::Healed),
        }
    }
    let mut packs = Packs {
        indexed,
        exists: packs_that_exist(repo)?,
        damaged: BTreeMap::new(),
    };
    report.packs = packs.exists.len() as u64;
    // Swept by a prune since they were listed.
    let mut swept = Vec::new();
    for (name, size) in &packs.exists {
        cancel.check()?;
        match check_footer(repo, *name, *size, packs.indexed.get(name)) {
            Ok(None) => {}
            Ok(Some(damage)) => drop(packs.damaged.insert(*name, damage)),
            Err(Error::Missing { .. }) => swept.push(*name),
            Err(error) => return Err(error),
        }
    }
    packs.exists.retain(|name, _| !swept.contains(name));
    // What the index names and is gone: whether anybody needs it, the snapshots tell.
    Ok(packs)
}

fn check_footer(
    repo: &Repo,
    name: PackName,
    size: u64,
    said: Option<&IndexedPack>,
) -> Result<Option<Damage>> {
    if let Some(said) = said.filter(|said| said.size_bytes != size) {
        let what = format!("has {size} bytes, its index says {}", said.size_bytes);
        return Ok(Some(Damage { what, hurts: true }));
    }
    Ok(match read_footer(repo, name, size) {
        Ok(own) if said.is_none_or(|said| *said == own) => None,
        Ok(_) => Some(Damage {
            what: "its footer says otherwise than its index".into(),
            hurts: true,
        }),
        Err(error @ Error::Missing { .. }) => return Err(error),
        Err(error) => Some(Damage {
            what: damage(error)?,
            hurts: said.is_none(),
        }),
    })
}

/// How packs are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// Which packs.
    pub level: Level,
    /// By how many threads.
    pub parallel: usize,
}

impl How {
    /// Whether every box is opened. Where every chunk is made, the boxes that anything stands on are opened there, and for the
    /// others it is enough that they are as they were written.
    fn opens_boxes(self) -> bool {
        self.level != Level::Data
    }
}

/// Reads packs whole: outer hash, then the boxes.
pub(super) fn read(
    repo: &Repo,
    how: How,
    packs: &mut Packs,
    report: &mut CheckReport,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let chosen = choose(&packs.exists, how.level);
    let bytes = chosen.iter().map(|(_, size)| size).sum();
    observer.event(Event::Total {
        bytes,
        items: chosen.len() as u64,
    });
    let next = AtomicUsize::new(0);
    let indexed = &packs.indexed;
    let work = || -> Result<Vec<(PackName, Damage)>> {
        let mut found = Vec::new();
        while let Some((name, size)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            cancel.check()?;
            if let Some(damage) = read_pack(repo, how, *name, indexed.get(name))? {
                found.push((*name, damage));
            }
            observer.event(Event::BytesRead {
                source: None,
                bytes: *size,
            });
            observer.event(Event::ItemFinished);
        }
        Ok(found)
    };
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..how.parallel.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect::<Result<Vec<_>>>()
    })?;
    for (name, found) in found.into_iter().flatten() {
        // What was said of it before says more of the cause, this more of the effect.
        let known = packs.damaged.entry(name).or_insert(Damage {
            what: found.what,
            hurts: false,
        });
        known.hurts |= found.hurts;
    }
    report.packs_read += chosen.len() as u64;
    report.bytes_read += bytes;
    Ok(())
}

fn read_pack(
    repo: &Repo,
    how: How,
    name: PackName,
    said: Option<&IndexedPack>,
) -> Result<Option<Damage>> {
    match repo.get(&ObjectKey::pack(name)) {
        Ok(bytes) => Ok(check_pack(repo, how, name, &bytes, said)),
        // Swept by a prune since it was listed. If something stands on it, the walk over the snapshots tells.
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Ok(Some(Damage {
            what: damage(error)?,
            hurts: true,
        })),
    }
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

fn check_pack(
    repo: &Repo,
    how: How,
    name: PackName,
    bytes: &[u8],
    said: Option<&IndexedPack>,
) -> Option<Damage> {
    let outer = check_outer_hash(bytes).err();
    let own = read_footer(repo, name, bytes.len() as u64);
    if matches!(own, Err(Error::Missing { .. })) {
        // Swept by a prune since it was read.
        return None;
    }
    if outer.is_none() && own.is_ok() && !how.opens_boxes() {
        return None;
    }
    let boxes = match (&own, said) {
        (Ok(pack), _) | (Err(_), Some(pack)) => check_boxes(repo, pack, bytes),
        (Err(error), None) => Err(crate::backup::chain(error)),
    };
    let hurts = boxes.is_err();
    let what = outer
        .or(boxes.err())
        .or(own.err().map(|error| crate::backup::chain(&error)));
    what.map(|what| Damage { what, hurts })
}

fn check_boxes(repo: &Repo, pack: &IndexedPack, bytes: &[u8]) -> std::result::Result<(), String> {
    for place in &pack.footer.boxes {
        let session = place.header.session;
        let wrapped = pack.keys.keys.iter().find(|(known, _)| *known == session);
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

fn check_outer_hash(bytes: &[u8]) -> std::result::Result<(), String> {
    let trailer = decode_trailer(bytes, bytes.len() as u64).map_err(|error| error.to_string())?;
    let trailer = trailer.map_err(|_| "its trailer cannot be found")?;
    // The hash covers everything before itself: 40 bytes stand from it to the end.
    let covered = bytes.len().checked_sub(40).and_then(|end| bytes.get(..end));
    if blake3::hash(covered.unwrap_or_default()) != blake3::Hash::from(trailer.outer_hash) {
        return Err("its outer hash is wrong: bytes have changed since it was written".into());
    }
    Ok(())
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
        let bytes = match read_listed(backend, &stat) {
            Ok(bytes) => bytes,
            Err(error) => {
                rotten.push((stat.key, damage(error)?));
                continue;
            }
        };
        if let Err(problem) = check_outer_hash(&bytes) {
            rotten.push((stat.key, problem));
        }
    }
    Ok(rotten)
}
