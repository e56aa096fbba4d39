//! What is live: which bytes of which segments, and which records, live snapshots need.

use std::collections::{BTreeSet, HashMap};

use super::reach::{Reach, Reached};
use crate::backup::Cancel;
use crate::error::Result;
use crate::id::ChunkId;
use crate::index::ChunkRef;
use crate::record::Extent;
use crate::repo::Store;
use crate::segment::SegmentId;
use crate::snapshot::select::Listed;

/// Everything that live snapshots stand on.
#[derive(Debug, Default)]
pub struct Marked {
    /// Nodes and chunks that are reachable.
    pub reached: Vec<Reached>,
    /// Live ranges of plaintext, by segment: sorted, not touching.
    pub ranges: HashMap<SegmentId, Vec<(u32, u32)>>,
    /// Records of the reachable, and of the bases below them.
    pub records: HashMap<ChunkId, MarkedRecord>,
}

/// What a record stands on.
#[derive(Debug)]
pub struct MarkedRecord {
    /// Where it stands.
    pub at: ChunkRef,
    /// Segments that it names.
    pub segments: BTreeSet<SegmentId>,
    /// Bases that it names.
    pub bases: BTreeSet<ChunkId>,
}

/// Walks all live snapshots.
pub fn mark(store: &Store, snapshots: &[Listed], cancel: &Cancel) -> Result<Marked> {
    let mut marked = Marked::default();
    let mut reach = Reach::new(store, cancel);
    for listed in snapshots {
        reach.snapshot(&listed.snapshot, &mut |reached| {
            if let Reached::Node(id) = reached {
                // It is read anyway; a copy that cannot be is not the one that is noted then.
                store.read_node_bytes(id)?;
            }
            marked.reached.push(reached);
            marked.take_spans(store, reached.id())?;
            marked.take_records(store, reached.id())
        })?;
    }
    for ranges in marked.ranges.values_mut() {
        join(ranges);
    }
    Ok(marked)
}

impl Marked {
    fn take_spans(&mut self, store: &Store, id: ChunkId) -> Result<()> {
        let (_, record) = store.record(id)?;
        let mut spans = Vec::new();
        store.resolve(id, 0, record.len, &mut spans)?;
        for span in spans {
            let ranges = self.ranges.entry(span.segment).or_default();
            ranges.push((span.offset, span.offset + span.len));
            // Many chunks share the same bytes: what has been said a few thousand times is said once.
            if ranges.len().is_multiple_of(4096) {
                join(ranges);
            }
        }
        Ok(())
    }

    fn take_records(&mut self, store: &Store, id: ChunkId) -> Result<()> {
        let mut left = vec![id];
        while let Some(id) = left.pop() {
            if self.records.contains_key(&id) {
                continue;
            }
            let (at, record) = store.record(id)?;
            let mut marked = MarkedRecord {
                at,
                segments: BTreeSet::new(),
                bases: BTreeSet::new(),
            };
            for extent in record.extents {
                match extent {
                    Extent::Stored { segment, .. } => drop(marked.segments.insert(segment)),
                    Extent::Copy { base, .. } => drop(marked.bases.insert(base)),
                }
            }
            left.extend(marked.bases.iter().copied());
            self.records.insert(id, marked);
        }
        Ok(())
    }

    /// Live bytes of a segment's plaintext.
    pub fn live_bytes(&self, segment: SegmentId) -> u64 {
        let ranges = self.ranges.get(&segment).into_iter().flatten();
        ranges.map(|(start, end)| u64::from(end - start)).sum()
    }
}

fn join(ranges: &mut Vec<(u32, u32)>) {
    ranges.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges.drain(..) {
        match joined.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            _ => joined.push((start, end)),
        }
    }
    *ranges = joined;
}
