//! What to condemn, what to rewrite, what to move. Pure.

use std::collections::{BTreeSet, HashMap};

use crate::backend::PackName;
use crate::id::{ChunkId, SessionId};
use crate::index::BlockRef;
use crate::segment::SegmentId;

/// A pack as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackView {
    /// Its name.
    pub name: PackName,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its boxes.
    pub boxes: Vec<BoxView>,
}

/// A box as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoxView {
    /// A segment: stored bytes, bytes of plaintext, live bytes of plaintext.
    Segment {
        /// Its name.
        id: SegmentId,
        /// Bytes in the pack.
        stored: u64,
        /// Bytes of plaintext.
        raw: u64,
        /// Bytes of plaintext that are live.
        live: u64,
    },
    /// A block of records: stored bytes, records, live records.
    Records {
        /// Its number in the loaded index.
        block: BlockRef,
        /// Bytes in the pack.
        stored: u64,
        /// All records.
        records: u64,
        /// Records that live snapshots stand on.
        live: u64,
    },
}

/// What a prune will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Packs that go.
    pub condemned: BTreeSet<PackName>,
    /// Segments whose live bytes are copied into new ones.
    pub rewritten: BTreeSet<SegmentId>,
    /// Segments that go without a copy: nothing in them is live.
    pub dropped: BTreeSet<SegmentId>,
    /// Segments that move as they are.
    pub moved: BTreeSet<SegmentId>,
    /// Blocks whose live records are copied into new ones.
    pub reblocked: BTreeSet<BlockRef>,
    /// Bytes of the condemned packs.
    pub condemned_bytes: u64,
    /// Bytes that are written anew for them, about.
    pub written_bytes: u64,
}

/// Decides pack by pack. A pack with live bytes goes only if that frees at least twice what it writes; packs of open sessions
/// and packs that are condemned already are left alone. What a pack holds beside its boxes does not count as freed: the
/// new pack has it too, and a small pack would be written anew by every prune.
pub fn decide(
    packs: &[PackView],
    open: &BTreeSet<SessionId>,
    condemned: &BTreeSet<PackName>,
) -> Plan {
    let mut plan = Plan::default();
    for pack in packs {
        if open.contains(&pack.name.session) || condemned.contains(&pack.name) {
            continue;
        }
        let cost: u64 = pack.boxes.iter().map(cost_of).sum();
        let stored: u64 = pack.boxes.iter().map(stored_of).sum();
        if cost > 0 && stored.saturating_sub(cost) < 2 * cost {
            continue;
        }
        plan.condemned.insert(pack.name);
        plan.condemned_bytes += pack.size_bytes;
        plan.written_bytes += cost;
        for view in &pack.boxes {
            match *view {
                BoxView::Segment { id, live: 0, .. } => drop(plan.dropped.insert(id)),
                BoxView::Segment { id, raw, live, .. } if is_sparse(live, raw) => {
                    plan.rewritten.insert(id);
                }
                BoxView::Segment { id, .. } => drop(plan.moved.insert(id)),
                BoxView::Records { live: 0, .. } => {}
                BoxView::Records { block, .. } => drop(plan.reblocked.insert(block)),
            }
        }
    }
    plan
}

fn stored_of(view: &BoxView) -> u64 {
    match *view {
        BoxView::Segment { stored, .. } | BoxView::Records { stored, .. } => stored,
    }
}

/// Bytes that keeping what is live in a box would write.
fn cost_of(view: &BoxView) -> u64 {
    match *view {
        BoxView::Segment { live: 0, .. } => 0,
        BoxView::Segment {
            stored, raw, live, ..
        } if is_sparse(live, raw) => (stored * live).div_ceil(raw.max(1)),
        BoxView::Segment { stored, .. } => stored,
        BoxView::Records {
            stored,
            records,
            live,
            ..
        } => (stored * live).div_ceil(records.max(1)),
    }
}

/// Copying the live third frees twice what it writes.
fn is_sparse(live: u64, raw: u64) -> bool {
    live * 3 <= raw
}

/// Chunks that need a record of their own, resolved: those that stand, directly or through their bases, on a segment that goes.
pub fn affected(
    reached: impl Iterator<Item = ChunkId>,
    stands_on: &dyn Fn(ChunkId) -> Option<(Vec<SegmentId>, Vec<ChunkId>)>,
    gone: &dyn Fn(SegmentId) -> bool,
) -> BTreeSet<ChunkId> {
    let mut known: HashMap<ChunkId, bool> = HashMap::new();
    reached
        .filter(|id| touches(*id, stands_on, gone, &mut known))
        .collect()
}

fn touches(
    id: ChunkId,
    stands_on: &dyn Fn(ChunkId) -> Option<(Vec<SegmentId>, Vec<ChunkId>)>,
    gone: &dyn Fn(SegmentId) -> bool,
    known: &mut HashMap<ChunkId, bool>,
) -> bool {
    if let Some(known) = known.get(&id) {
        return *known;
    }
    // A cycle cannot be resolved and is noticed elsewhere; here it must only end.
    known.insert(id, false);
    let touched = stands_on(id).is_none_or(|(segments, bases)| {
        segments.into_iter().any(gone)
            || bases
                .into_iter()
                .any(|base| touches(base, stands_on, gone, known))
    });
    known.insert(id, touched);
    touched
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::PackClass;
    use crate::id::ObjectId;

    fn segment(counter: u64) -> SegmentId {
        SegmentId {
            session: SessionId::from_bytes([1; 16]),
            counter,
        }
    }

    fn pack(number: u8, boxes: Vec<BoxView>) -> PackView {
        let random = ObjectId::from_bytes([number; 16]);
        let session = SessionId::from_bytes([1; 16]);
        let size_bytes = 100 * boxes.len() as u64;
        PackView {
            name: PackName {
                session,
                random,
                class: PackClass::Data,
            },
            size_bytes,
            boxes,
        }
    }

    fn view(counter: u64, live: u64) -> BoxView {
        BoxView::Segment {
            id: segment(counter),
            stored: 100,
            raw: 300,
            live,
        }
    }

    #[test]
    fn packs_go_only_where_that_frees_twice_what_it_writes() {
        let dead = pack(1, vec![view(1, 0), view(2, 0)]);
        let full = pack(2, vec![view(3, 300), view(4, 290)]);
        let mostly_dead = pack(3, vec![view(5, 0), view(6, 0), view(7, 0), view(8, 299)]);
        let half = pack(4, vec![view(9, 0), view(10, 300)]);
        let sparse = pack(5, vec![view(11, 60), view(12, 60)]);
        let packs = [
            dead.clone(),
            full,
            mostly_dead.clone(),
            half,
            sparse.clone(),
        ];
        let plan = decide(&packs, &BTreeSet::new(), &BTreeSet::new());
        let gone = [&dead, &mostly_dead, &sparse].map(|pack| pack.name);
        assert_eq!(plan.condemned, BTreeSet::from(gone));
        assert_eq!(plan.moved, BTreeSet::from([segment(8)]));
        assert_eq!(plan.rewritten, BTreeSet::from([segment(11), segment(12)]));
        assert!(plan.written_bytes * 2 <= plan.condemned_bytes - plan.written_bytes);
        let open = BTreeSet::from([SessionId::from_bytes([1; 16])]);
        assert_eq!(decide(&packs, &open, &BTreeSet::new()), Plan::default());
    }

    #[test]
    fn a_small_pack_that_is_all_live_stays() {
        let mut small = pack(1, vec![view(1, 300)]);
        small.size_bytes = 1000;
        let plan = decide(&[small], &BTreeSet::new(), &BTreeSet::new());
        assert_eq!(plan, Plan::default());
    }

    #[test]
    fn a_chunk_is_affected_through_its_bases() {
        let id = |n| ChunkId::from_bytes([n; 32]);
        let stands_on = |chunk: ChunkId| {
            Some(match chunk.as_bytes()[0] {
                1 => (vec![segment(1)], vec![]),
                2 => (vec![segment(2)], vec![id(1)]),
                3 => (vec![segment(3)], vec![id(2)]),
                _ => (vec![segment(4)], vec![]),
            })
        };
        let found = affected([id(3), id(4)].into_iter(), &stands_on, &|gone| {
            gone == segment(1)
        });
        assert_eq!(found, BTreeSet::from([id(3)]));
    }
}
