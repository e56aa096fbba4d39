//! Twins: chunks that several writers stored, each for itself. One copy is enough, but not the one that has rotted: before the
//! others go, the one that stays is opened.

use std::collections::BTreeSet;

use super::Marked;
use super::plan::Plan;
use crate::backup::Cancel;
use crate::error::{Error, Result};
use crate::repo::Store;
use crate::segment::SegmentId;

/// Whether all that stays of what has copies in segments that go can be opened. If not, the store knows it from now on, and
/// what is marked and planned anew stands on the other copies.
pub(super) fn are_sound(
    store: &Store,
    marked: &Marked,
    plan: &Plan,
    cancel: &Cancel,
) -> Result<bool> {
    if plan.dropped.is_empty() && plan.rewritten.is_empty() {
        return Ok(true);
    }
    let mut sound = true;
    for segment in that_stay(store, marked, plan, cancel)? {
        cancel.check()?;
        sound &= Error::unless_damaged(store.segment(segment))?.is_some();
    }
    Ok(sound)
}

/// Segments that stay of chunks that have others in segments that go: each once, in the order of their sessions.
fn that_stay(
    store: &Store,
    marked: &Marked,
    plan: &Plan,
    cancel: &Cancel,
) -> Result<BTreeSet<SegmentId>> {
    // Of a segment that is rewritten only what is live is copied.
    let goes = |id: &SegmentId| plan.dropped.contains(id) || plan.rewritten.contains(id);
    let records = marked.records.iter();
    let mut records: Vec<_> = records.map(|(id, record)| (record.at, *id)).collect();
    // Neighbours stand on the same blocks.
    records.sort_unstable_by_key(|(at, _)| *at);
    let mut stay = BTreeSet::new();
    for (_, id) in records {
        cancel.check()?;
        let Some(ways) = Error::unless_damaged(store.ways(id))? else {
            continue;
        };
        let mut of_others = ways.others.iter().flatten();
        let go = |segment| goes(segment) && !ways.own.contains(segment);
        // What a record says that cannot be read now may go all the same.
        if ways.is_part || of_others.any(go) {
            stay.extend(ways.own);
        }
    }
    Ok(stay)
}
