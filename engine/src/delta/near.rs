//! The near search: a few grams of the parent around the walk, every gram of the run ahead of it.

use std::ops::Range;

use super::best::Best;
use super::budget::comparing;
use super::grams::{GramTable, SHORT, hash_short, is_run};
use super::walk::Walk;

/// How far one near search looks, and how closely.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Bytes ahead of the walk, in the run and in the parent.
    pub(super) ahead: usize,
    /// Bytes behind the walk in the parent.
    pub(super) behind: usize,
    /// Distance between the grams of the parent: matches of this and a gram are found.
    pub(super) stride: usize,
}

impl Reach {
    /// About the most units that such a search spends.
    pub(super) fn cost(&self) -> usize {
        (self.ahead + self.behind) / self.stride + self.ahead
    }
}

/// Looks for matches near the walk and offers them to `best`. Answers the work done.
pub(super) fn search(
    walk: &Walk<'_>,
    reach: Reach,
    table: &mut GramTable,
    best: &mut Best,
) -> usize {
    let area =
        walk.from.saturating_sub(reach.behind)..walk.parent.len().min(walk.from + reach.ahead);
    let mut work = put_grams(walk, &area, reach.stride, table);
    let end = walk.new.len().min(walk.at + reach.ahead);
    let mut at = walk.at;
    while at < end && !best.is_settled(at) {
        let Some(gram) = walk.new_gram::<SHORT>(at) else {
            break;
        };
        work += 1;
        at += match table.look_up(hash_short(gram)) {
            Some(number) => {
                let found = walk.extend(at, area.start + number * reach.stride);
                work += comparing(found.len);
                best.offer(walk, found);
                found.end().saturating_sub(at).max(1)
            }
            None => 1,
        };
    }
    work
}

/// Fills the table so that of equal grams the first one ahead of the walk wins, then the last one behind.
fn put_grams(walk: &Walk<'_>, area: &Range<usize>, stride: usize, table: &mut GramTable) -> usize {
    let gram_count = (area.len() + 1).saturating_sub(SHORT).div_ceil(stride);
    table.reset(gram_count);
    let first_ahead = (walk.from - area.start).div_ceil(stride).min(gram_count);
    for number in (0..first_ahead).chain((first_ahead..gram_count).rev()) {
        let Some(gram) = walk.parent_gram::<SHORT>(area.start + number * stride) else {
            continue;
        };
        if !is_run(gram) {
            table.put(hash_short(gram), number);
        }
    }
    gram_count
}
