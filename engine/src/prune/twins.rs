//! Twins: chunks that several writers stored, each for itself. One copy is enough, but not the one that has rotted: before the
//! others go, the one that stays is opened.

use super::Marked;
use super::plan::Plan;
use crate::backup::Cancel;
use crate::error::{Error, Result};
use crate::repo::Store;

/// Whether all that stays of what has copies in segments that go can be opened. If not, the store knows it from now on, and
/// what is marked and planned anew stands on the other copies.
pub(super) fn are_sound(
    store: &Store,
    marked: &Marked,
    plan: &Plan,
    cancel: &Cancel,
) -> Result<bool> {
    if plan.dropped.is_empty() {
        return Ok(true);
    }
    let mut sound = true;
    for id in marked.records.keys() {
        cancel.check()?;
        let Some(ways) = Error::unless_damaged(store.ways(*id))? else {
            continue;
        };
        let Some((own, others)) = ways.split_first() else {
            continue;
        };
        let mut of_others = others.iter().flatten();
        if !of_others.any(|segment| plan.dropped.contains(segment) && !own.contains(segment)) {
            continue;
        }
        for segment in own {
            sound &= Error::unless_damaged(store.segment(*segment))?.is_some();
        }
    }
    Ok(sound)
}
