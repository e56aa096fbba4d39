//! What stands on damage: chunks that cannot be made are counted against the packs in which they lie, so that a lost
//! pack is one problem with its snapshots and not thousands of chunks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::packs::{Damage, Packs};
use super::{CheckReport, Consequence};
use crate::backend::{ObjectKey, PackName};
use crate::id::ChunkId;
use crate::limits::DELTA_DEPTH_MAX;
use crate::record::Extent;
use crate::repo::Store;

/// Snapshots that a damaged thing hits, with the first path in each.
pub(super) type Hits = BTreeMap<ChunkId, Vec<(String, String)>>;

/// What a walk over all snapshots has found.
#[derive(Debug)]
pub(super) struct Blast {
    /// What is wrong with each chunk that cannot be made.
    pub bad: HashMap<ChunkId, String>,
    /// And what stands on it.
    pub hits: Hits,
    /// Snapshots in the order in which they are told.
    pub order: Vec<String>,
    /// Damaged packs that something live lies in.
    pub stood_on: BTreeSet<PackName>,
}

/// Where a chunk lies.
#[derive(Debug, Default)]
struct Under {
    packs: BTreeSet<PackName>,
    /// Something that it needs is named by nothing.
    nowhere: bool,
}

/// Reports every damaged pack with what stands on it, and every bad chunk that none of them explains.
pub(super) fn tell(store: &Store, packs: &Packs, blast: &Blast, report: &mut CheckReport) {
    let mut by_pack: BTreeMap<PackName, BTreeMap<String, String>> = BTreeMap::new();
    for (id, hit) in &blast.hits {
        let blamed = blamed(packs, &under(store, *id, Records::Followed));
        if blamed.is_empty() {
            let what = blast.bad.get(id).cloned().unwrap_or_default();
            let consequence = Consequence::Snapshots(hit.clone());
            report.add(format!("chunk {id}"), what, consequence);
        }
        for pack in blamed {
            let snapshots = by_pack.entry(pack).or_default();
            for (snapshot, path) in hit {
                let first = snapshots
                    .entry(snapshot.clone())
                    .or_insert_with(|| path.clone());
                if path < first {
                    first.clone_from(path);
                }
            }
        }
    }
    let missing = by_pack
        .keys()
        .filter(|pack| !packs.exists.contains_key(pack));
    let missing: Vec<_> = missing.copied().collect();
    for pack in packs.damaged.keys().copied().chain(missing) {
        let damage = packs.damaged.get(&pack);
        let what = damage.map_or("is missing", |damage| damage.what.as_str());
        let consequence = match (by_pack.remove(&pack), damage) {
            (Some(mut snapshots), _) => {
                let told = blast.order.iter();
                Consequence::Snapshots(told.filter_map(|id| snapshots.remove_entry(id)).collect())
            }
            (None, Some(Damage { hurts: false, .. })) => Consequence::Healed,
            // What is live in it was read, and is whole.
            (None, _) if blast.stood_on.contains(&pack) => Consequence::Healed,
            (None, _) => Consequence::Nothing,
        };
        report.add(ObjectKey::pack(pack).to_string(), what, consequence);
    }
}

/// The damaged packs that a chunk lies in by any of its records.
pub(super) fn damage_under(store: &Store, packs: &Packs, id: ChunkId) -> BTreeSet<PackName> {
    if packs.damaged.values().any(|damage| damage.hurts) {
        let mut all = under(store, id, Records::All);
        // What an old record names may be gone, and nobody misses it.
        all.nowhere = all.nowhere && under(store, id, Records::Followed).nowhere;
        blamed(packs, &all)
    } else {
        BTreeSet::new()
    }
}

fn blamed(packs: &Packs, under: &Under) -> BTreeSet<PackName> {
    let hurts = |pack: &PackName| packs.damaged.get(pack).is_some_and(|damage| damage.hurts);
    let lost = |pack: &&PackName| hurts(pack) || !packs.exists.contains_key(pack);
    let mut blamed: BTreeSet<_> = under.packs.iter().filter(lost).copied().collect();
    if under.nowhere {
        // It may lie in any pack that cannot say what it holds.
        let silent = packs.damaged.keys().filter(|pack| hurts(pack));
        blamed.extend(silent.filter(|pack| !packs.indexed.contains_key(pack)));
    }
    blamed
}

/// Which records of a chunk are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Records {
    /// The one by which it is read.
    Followed,
    /// That one and every other that could be read in its place.
    All,
}

/// The packs of a chunk's records and of all that it is made of, as far as they can be followed.
fn under(store: &Store, id: ChunkId, records: Records) -> Under {
    let mut under = Under::default();
    let mut seen = BTreeSet::from([id]);
    let mut level = vec![id];
    for _ in 0..=DELTA_DEPTH_MAX {
        let mut below = BTreeSet::new();
        for id in level {
            below.extend(follow(store, id, records, &mut under));
        }
        level = below.into_iter().filter(|id| seen.insert(*id)).collect();
    }
    under
}

/// Notes where records and their segments lie; answers their bases.
fn follow(store: &Store, id: ChunkId, which: Records, under: &mut Under) -> Vec<ChunkId> {
    let records = store.with_index(|index| {
        let blocks = index.chunk(id).iter();
        let packs = blocks.filter_map(|(_, at)| index.pack(index.block(at.block)?.pack));
        packs.map(|pack| pack.name).collect::<Vec<_>>()
    });
    under.nowhere |= records.is_empty();
    under.packs.extend(records);
    let records = match which {
        Records::Followed => store.record_to_blame(id).into_iter().collect(),
        Records::All => store.all_records(id),
    };
    let mut bases = Vec::new();
    for extent in records.into_iter().flat_map(|record| record.extents) {
        match extent {
            Extent::Copy { base, .. } => bases.push(base),
            Extent::Stored { segment, .. } => store.with_index(|index| {
                let places = index.segment(segment);
                let packs = places.filter_map(|place| index.pack(place.pack));
                let found: BTreeSet<_> = packs.map(|pack| pack.name).collect();
                under.nowhere |= found.is_empty();
                under.packs.extend(found);
            }),
        }
    }
    bases
}
