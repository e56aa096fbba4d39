//! Carrying a plan out: copies first, all answered, and only then the tombstone.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use super::plan::{Plan, affected};
use super::{Copies, Marked, PruneOptions};
use crate::backend::ObjectKey;
use crate::backup::writer::Writer;
use crate::backup::{Builders, Cancel, Ground};
use crate::codec::FormatError;
use crate::crypto::random;
use crate::error::{Error, Result};
use crate::id::{ChunkId, ObjectId, SessionId};
use crate::record::{ChunkRecord, Extent};
use crate::repo::{Repo, Store};
use crate::segment::SegmentId;
use crate::session::TombstoneRecord;

/// A live range of a rewritten segment, and where its bytes lie now.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopiedRange {
    start: u32,
    end: u32,
    segment: SegmentId,
    offset: u32,
}

/// Copies what is live in condemned packs. Answers the bytes written; all of them were answered.
pub(super) fn apply(
    repo: &Repo,
    store: Store,
    marked: &Marked,
    plan: &Plan,
    cancel: &Cancel,
) -> Result<u64> {
    let ground = ground(repo, store, SessionId(random()));
    let mut builders = Builders::new(Arc::clone(&ground));
    let copies = rewrite_segments(&ground, &mut builders, marked, plan, cancel)?;
    move_segments(&ground, plan, cancel)?;
    write_records(&ground, &mut builders, marked, plan, &copies, cancel)?;
    builders.flush()?;
    drop(builders);
    finish(ground)
}

/// The ground for copies: rescue and repack need neither a session record nor a commit.
pub(crate) fn ground(repo: &Repo, store: Store, session: SessionId) -> Arc<Ground> {
    let uploads = if repo.backend().is_local() { 2 } else { 4 };
    Arc::new(Ground {
        store: Arc::new(store),
        writer: Writer::start(repo, session, 2, uploads, false),
        added: Mutex::new(HashMap::new()),
        rebase: false,
        start_s: 0,
    })
}

/// Puts what is left; answers the bytes written.
pub(crate) fn finish(ground: Arc<Ground>) -> Result<u64> {
    let ground = Arc::into_inner(ground).ok_or_else(|| Error::Refused {
        what: "a copy was left unfinished".into(),
    })?;
    ground.writer.finish()
}

/// Puts the tombstone.
pub(super) fn condemn(repo: &Repo, plan: &Plan, options: &PruneOptions<'_>) -> Result<()> {
    let record = TombstoneRecord {
        time_ns: options.fence.now_ns,
        host: options.fence.host.into(),
        packs: plan.condemned.iter().map(ToString::to_string).collect(),
    };
    repo.put_small(&ObjectKey::tombstone(ObjectId(random())), &record)
}

fn rewrite_segments(
    ground: &Ground,
    builders: &mut Builders,
    marked: &Marked,
    plan: &Plan,
    cancel: &Cancel,
) -> Result<Copies> {
    let mut copies = Copies::new();
    for id in &plan.rewritten {
        cancel.check()?;
        let bytes = ground.store.segment(*id)?;
        let mut ranges = Vec::new();
        for (start, end) in marked.ranges.get(id).into_iter().flatten() {
            let part = bytes.get(*start as usize..*end as usize).ok_or_else(|| {
                let problem = FormatError::new("extent", "it ends beyond its segment");
                Error::corrupt(format!("segment {id}"))(problem)
            })?;
            builders.reserve(part.len())?;
            let (segment, offset) = builders.append(part, true);
            ranges.push(CopiedRange {
                start: *start,
                end: *end,
                segment,
                offset,
            });
        }
        copies.insert(*id, ranges);
    }
    Ok(copies)
}

fn move_segments(ground: &Ground, plan: &Plan, cancel: &Cancel) -> Result<()> {
    for id in &plan.moved {
        cancel.check()?;
        let (header, stored, wrapped) = ground.store.sealed_segment(*id)?;
        ground.writer.move_box(header, stored, &wrapped)?;
    }
    Ok(())
}

/// Chunks that stand on a segment that goes get a resolved record; records in blocks that go are copied as they are.
fn write_records(
    ground: &Ground,
    builders: &mut Builders,
    marked: &Marked,
    plan: &Plan,
    copies: &Copies,
    cancel: &Cancel,
) -> Result<()> {
    let stands_on = |id: ChunkId| {
        let record = marked.records.get(&id)?;
        let segments = record.segments.iter().copied().collect();
        Some((segments, record.bases.iter().copied().collect()))
    };
    let gone = |id: SegmentId| plan.rewritten.contains(&id) || plan.dropped.contains(&id);
    let reached = || marked.reached.iter().map(|reached| reached.id());
    let resolved = affected(reached(), &stands_on, &gone);
    for id in &resolved {
        cancel.check()?;
        builders.record(*id, resolved_record(ground, *id, copies)?)?;
    }
    for id in still_needed(marked, &resolved) {
        let in_gone_block = marked
            .records
            .get(&id)
            .is_some_and(|record| plan.reblocked.contains(&record.at.block));
        if in_gone_block {
            cancel.check()?;
            let (_, record) = ground.store.record(id)?;
            builders.record(id, record)?;
        }
    }
    Ok(())
}

/// Chunks whose own record is used from now on: the reachable that were not resolved, and the bases below them.
fn still_needed(marked: &Marked, resolved: &BTreeSet<ChunkId>) -> BTreeSet<ChunkId> {
    let reached = marked.reached.iter().map(|reached| reached.id());
    let mut left: Vec<_> = reached.filter(|id| !resolved.contains(id)).collect();
    let mut needed = BTreeSet::new();
    while let Some(id) = left.pop() {
        if needed.insert(id)
            && let Some(record) = marked.records.get(&id)
        {
            left.extend(record.bases.iter().filter(|base| !resolved.contains(base)));
        }
    }
    needed
}

fn resolved_record(ground: &Ground, id: ChunkId, copies: &Copies) -> Result<ChunkRecord> {
    let (_, record) = ground.store.record(id)?;
    let mut spans = Vec::new();
    ground.store.resolve(id, 0, record.len, &mut spans)?;
    let mut extents = Vec::with_capacity(spans.len());
    for span in spans {
        let Some(ranges) = copies.get(&span.segment) else {
            let (segment, offset, len) = (span.segment, span.offset, span.len);
            extents.push(Extent::Stored {
                segment,
                offset,
                len,
            });
            continue;
        };
        // Live ranges are joined, so that each span lies in one of them.
        let at = ranges.partition_point(|range| range.end <= span.offset);
        let lost = || Error::Missing {
            object: format!("a live range of segment {}", span.segment),
        };
        let range = ranges
            .get(at)
            .filter(|range| range.start <= span.offset)
            .ok_or_else(lost)?;
        if span.offset + span.len > range.end {
            return Err(lost());
        }
        let offset = range.offset + (span.offset - range.start);
        extents.push(Extent::Stored {
            segment: range.segment,
            offset,
            len: span.len,
        });
    }
    Ok(ChunkRecord {
        len: record.len,
        depth: 0,
        extents,
    })
}

/// Copies every reachable thing that cannot be made from usable packs. Answers how many.
pub(crate) fn rescue(
    ground: &Arc<Ground>,
    builders: &mut Builders,
    reached: super::reach::Reached,
) -> Result<bool> {
    use super::reach::Reached;
    use crate::tree::NodeSink as _;
    let store = &ground.store;
    if store.is_present(reached.id())? {
        return Ok(false);
    }
    match reached {
        Reached::Node(id) => {
            let bytes = store.read_node_bytes(id)?;
            builders.put_node(&bytes)?;
        }
        Reached::Chunk(id, len) => {
            if crate::repo::lock(&ground.added).contains_key(&id) {
                return Ok(false);
            }
            let mut bytes = Vec::new();
            store.read_chunk(id, len, &mut bytes)?;
            builders.reserve(bytes.len())?;
            let (segment, offset) = builders.append(&bytes, false);
            builders.record(id, ChunkRecord::whole(segment, offset, len))?;
        }
    }
    Ok(true)
}
