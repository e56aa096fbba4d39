//! Filling a gap: short matches between two long ones, in the order of both streams.
//!
//! A short match found anywhere would lead the walk astray. Inside a gap that both neighbours bound it
//! cannot, so here even short ones are worth their step.

#![expect(
    clippy::indexing_slicing,
    reason = "positions are bounded by the slices they came from"
)]

use super::bytes::{match_len, match_len_back};
use super::grams::{GramTable, SHORT, TABLE_GRAMS_MAX, hash_short};
use super::walk::Match;

/// The longest gap in the run that is looked into.
const NEW_BYTES_MAX: usize = 32 * 1024;

/// The work of filling a gap, or none if it cannot be filled.
pub(super) fn cost(new_len: usize, parent_len: usize, short_min: usize) -> Option<usize> {
    let fillable = (short_min..=NEW_BYTES_MAX).contains(&new_len)
        && (SHORT..TABLE_GRAMS_MAX).contains(&parent_len);
    fillable.then_some(new_len + parent_len)
}

/// Matches of at least `short_min` bytes between the two gaps, in order; positions relative to them.
pub(super) fn matches(
    new: &[u8],
    parent: &[u8],
    short_min: usize,
    table: &mut GramTable,
) -> Vec<Match> {
    table.reset(parent.len());
    for (number, gram) in parent.array_windows::<SHORT>().enumerate().rev() {
        table.put(hash_short(gram), number);
    }
    let mut found = Vec::new();
    let (mut at, mut new_done, mut parent_done) = (0, 0, 0);
    while let Some(gram) = new.get(at..).and_then(|rest| rest.first_chunk::<SHORT>()) {
        let candidate = table
            .look_up(hash_short(gram))
            .filter(|from| *from >= parent_done);
        let Some(from) = candidate else {
            at += 1;
            continue;
        };
        let ahead = match_len(&new[at..], &parent[from..]);
        let back = match_len_back(&new[new_done..at], &parent[parent_done..from]);
        if ahead + back < short_min {
            at += 1;
            continue;
        }
        found.push(Match {
            at: at - back,
            from: from - back,
            len: back + ahead,
        });
        at += ahead;
        (new_done, parent_done) = (at, from + ahead);
    }
    found
}
