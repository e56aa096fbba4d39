//! The best of the matches that a search has met, and how long it is worth going on.

use super::walk::{Match, Walk};

/// A match of this length is right, whatever else there may be.
const LONG: usize = 1024;
/// How far off the line of the walk a short match may lie.
const OFF_LINE_MAX: usize = 32;
/// Shortest match that is taken on the line of the walk.
pub(super) const WEAK_MIN: usize = 32;

/// The best answer so far, and how far the run is searched for a better one.
#[derive(Debug)]
pub(super) struct Best {
    found: Option<Match>,
    strong_min: usize,
    patience: usize,
    until: usize,
    /// The first answer gave way to a far better one.
    is_replaced: bool,
}

impl Best {
    /// After a strong match the run is searched for `patience` bytes more.
    pub(super) fn new(strong_min: usize, patience: usize) -> Self {
        Self {
            found: None,
            strong_min,
            patience,
            until: usize::MAX,
            is_replaced: false,
        }
    }

    /// Takes the match if it is worth following, and far better than what there is.
    pub(super) fn offer(&mut self, walk: &Walk<'_>, found: Match) {
        let is_strong = found.len >= self.strong_min;
        let is_weak = found.len >= WEAK_MIN && walk.off_line(&found) <= OFF_LINE_MAX;
        if !is_strong && !is_weak {
            return;
        }
        if let Some(best) = self.found {
            let skipped = found.at.saturating_sub(best.at);
            if found.len <= 2 * best.len + skipped {
                return;
            }
            self.is_replaced = true;
        }
        self.found = Some(found);
        if is_strong {
            self.until = self.until.min(found.at + self.patience);
        }
    }

    pub(super) fn found(&self) -> Option<Match> {
        self.found
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.is_replaced
    }

    /// Whether the run is no longer worth searching at this place.
    pub(super) fn is_settled(&self, at: usize) -> bool {
        at > self.until || self.is_long()
    }

    pub(super) fn is_long(&self) -> bool {
        self.found.is_some_and(|found| found.len >= LONG)
    }

    pub(super) fn is_strong(&self) -> bool {
        self.found.is_some_and(|found| found.len >= self.strong_min)
    }
}
