//! Where the walk stands in both streams, and the matches it can meet.

#![expect(
    clippy::indexing_slicing,
    reason = "positions are bounded by the slices they came from"
)]

use super::bytes::{match_len, match_len_back};

/// A run beside a window of its parent. All positions are relative to the two slices.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk<'a> {
    pub(super) new: &'a [u8],
    pub(super) parent: &'a [u8],
    /// Everything of the run before this has its steps.
    pub(super) at: usize,
    /// The place in the parent just behind the last match.
    pub(super) from: usize,
}

/// Equal bytes in both streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) at: usize,
    pub(super) from: usize,
    pub(super) len: usize,
}

impl Match {
    pub(super) fn end(&self) -> usize {
        self.at + self.len
    }
}

impl<'a> Walk<'a> {
    /// The longest match through these two places that does not reach back before the walk.
    pub(super) fn extend(&self, at: usize, from: usize) -> Match {
        let ahead = match_len(&self.new[at..], &self.parent[from..]);
        let back = match_len_back(&self.new[self.at..at], &self.parent[..from]);
        Match {
            at: at - back,
            from: from - back,
            len: back + ahead,
        }
    }

    /// How many bytes are alike from here on without any search.
    pub(super) fn alike(&self) -> usize {
        match_len(&self.new[self.at..], &self.parent[self.from..])
    }

    /// How far a match lies off the line that the walk follows.
    pub(super) fn off_line(&self, found: &Match) -> usize {
        (found.at + self.from).abs_diff(found.from + self.at)
    }

    pub(super) fn new_gram<const LEN: usize>(&self, at: usize) -> Option<&'a [u8; LEN]> {
        self.new.get(at..)?.first_chunk()
    }

    pub(super) fn parent_gram<const LEN: usize>(&self, from: usize) -> Option<&'a [u8; LEN]> {
        self.parent.get(from..)?.first_chunk()
    }
}
