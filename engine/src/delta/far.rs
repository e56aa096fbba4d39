//! The far search: grams of the run, looked up among the anchors of the whole window.

#![expect(clippy::indexing_slicing, reason = "positions are bounded by the run")]

use std::ops::Range;

use super::anchors::{Anchors, STRIDE};
use super::best::Best;
use super::budget::comparing;
use super::grams::WIDE;
use super::walk::Walk;

/// Bytes that are looked at without a gap, at least: a match of this and a gram is not missed in them.
const BLOCK: usize = STRIDE;
/// Where nothing matches, gaps are left, the longer the farther the last match: one part in so many …
const GAP_SHARE: usize = 8;
/// … up to this length.
const GAP_MAX: usize = 4096;

/// Looks for matches anywhere in the window and offers them to `best`. Answers the work done.
///
/// Looks at every gram up to the start of `reach`, then at fewer and fewer up to its end: what is longer than the gaps
/// is found all the same, since a match is extended to both sides.
pub(super) fn search(
    walk: &Walk<'_>,
    parent_at: u64,
    reach: Range<usize>,
    anchors: &Anchors,
    best: &mut Best,
) -> usize {
    let mut work = 0;
    let mut at = walk.at;
    while at < reach.end && !best.is_settled(at) {
        let block_end = (at + BLOCK).min(reach.end);
        let grams_end = walk.new.len().min(block_end + WIDE - 1);
        if let Some((place, from)) = anchors.first_in(&walk.new[at..grams_end], parent_at) {
            let found = walk.extend(at + place, from);
            work += place + comparing(found.len);
            at = found.end().max(at + place + 1);
            best.offer(walk, found);
        } else {
            work += block_end - at;
            at = block_end;
            if at > reach.start && best.found().is_none() {
                at += ((at - reach.start) / GAP_SHARE).min(GAP_MAX);
            }
        }
    }
    work
}
