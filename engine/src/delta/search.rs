//! Where the walk goes on after a difference: the order in which places are looked at, and when to stop.
//!
//! Cheap and likely first: the same line, then around the walk, then anywhere in the window. What is
//! found first is not always right: rows of one width that share a long piece agree with the wrong
//! neighbour too. So a short answer is kept while the search goes on a little for a far better one, and
//! when none comes the cheap answers are trusted for a while, each time for longer.

use super::AlignOptions;
use super::anchors::Anchors;
use super::best::Best;
use super::budget::Budget;
use super::far;
use super::grams::{GramTable, WIDE};
use super::line;
use super::near::{self, Reach};
use super::walk::{Match, Walk};

/// How far the run is searched on for something better than a strong match that is not long.
const PATIENCE: usize = 1024;

/// Around the walk, wider and looser each time: a changed field, a row, a few long rows more or less.
const REACHES: [Reach; 3] = [
    Reach {
        ahead: 1 << 8,
        behind: 1 << 6,
        stride: 4,
    },
    Reach {
        ahead: 1 << 11,
        behind: 1 << 9,
        stride: 16,
    },
    Reach {
        ahead: 1 << 14,
        behind: 1 << 12,
        stride: 32,
    },
];

/// A match this far off the line means that the order of the streams is lost.
const ASTRAY_MIN: usize = 4096;
/// How far the anchors are asked first, once order is lost.
const ASTRAY_REACH: usize = 1024;
/// How far the anchors are asked when there is a weak answer already.
const WEAK_REACH: usize = 4096;
/// How far behind the walk every gram is looked up among the anchors, if the budget allows.
const FAR_DENSE: usize = 8 * 1024;
/// Shortest match that is taken from anywhere into a gap: it pays for its step, and leads nowhere.
const STRAY_MIN: usize = 64;
/// Units to put one anchor into its table.
const ANCHOR_COST: usize = 4;

const TRUST_MIN: usize = 512;
const TRUST_MAX: usize = 1 << 16;

/// Finds where the streams meet again. Keeps its tables, its budget and what it has learnt of the stream.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) table: GramTable,
    pub(super) budget: Budget,
    anchors: Anchors,
    strong_min: usize,
    /// The last match was found far from where the walk stood.
    is_astray: bool,
    /// The last search has already found that the gap before its match has nothing from afar.
    gap_is_searched: bool,
    /// Bytes for which the first answer is taken.
    trusted: usize,
    trust_next: usize,
}

impl Search {
    pub(super) fn new(options: AlignOptions) -> Self {
        Self {
            table: GramTable::new(),
            budget: Budget::new(),
            anchors: Anchors::default(),
            strong_min: options.strong_bytes_min,
            is_astray: false,
            gap_is_searched: false,
            trusted: 0,
            trust_next: TRUST_MIN,
        }
    }

    /// The next match after the walk, or none in the rest of the run.
    pub(super) fn next(&mut self, walk: &Walk<'_>, parent_at: u64) -> Option<Match> {
        if walk.parent.len() < WIDE {
            return None;
        }
        let is_trusting = self.trusted > 0;
        let mut best = Best::new(self.strong_min, if is_trusting { 0 } else { PATIENCE });
        if self.is_astray {
            self.far(walk, parent_at, walk.at + ASTRAY_REACH, &mut best);
            if best.is_strong() {
                return self.settle(walk, &best);
            }
        }
        line::search(walk, &mut best);
        for reach in REACHES {
            let is_enough = best.is_long() || is_trusting && best.found().is_some();
            if !is_enough && self.budget.affords(reach.cost()) {
                let work = near::search(walk, reach, &mut self.table, &mut best);
                self.budget.spend(work);
            }
        }
        self.is_astray = false;
        let is_enough = best.is_strong() || is_trusting && best.found().is_some();
        if !is_enough {
            let end = if best.found().is_some() {
                walk.at + WEAK_REACH
            } else {
                walk.new.len()
            };
            self.far(walk, parent_at, end, &mut best);
            self.is_astray = best.is_strong();
        }
        self.settle(walk, &best)
    }

    /// The next strong match inside the gap before a match, wherever in the window it comes from.
    pub(super) fn next_stray(&mut self, gap: &Walk<'_>, parent_at: u64) -> Option<Match> {
        if self.gap_is_searched || gap.new.len() - gap.at < STRAY_MIN {
            return None;
        }
        let mut best = Best::new(STRAY_MIN, 0);
        self.far(gap, parent_at, gap.new.len(), &mut best);
        best.found()
    }

    /// Learns from the outcome and pays for the match.
    fn settle(&mut self, walk: &Walk<'_>, best: &Best) -> Option<Match> {
        let found = best.found()?;
        self.budget.earn_for_match(found.len);
        self.gap_is_searched = self.is_astray && !best.is_replaced();
        self.is_astray &= walk.off_line(&found) > ASTRAY_MIN;
        if best.is_replaced() || best.is_long() {
            self.trusted = 0;
            self.trust_next = TRUST_MIN;
        } else if self.trusted == 0 {
            self.trusted = self.trust_next;
            self.trust_next = (self.trust_next * 2).min(TRUST_MAX);
        } else {
            self.trusted = self.trusted.saturating_sub(found.end() - walk.at);
        }
        Some(found)
    }

    /// Asks the anchors, after bringing them up to the window if the budget allows.
    fn far(&mut self, walk: &Walk<'_>, parent_at: u64, end: usize, best: &mut Best) {
        let cost = self.anchors.missing(walk.parent, parent_at) * ANCHOR_COST;
        if !self.budget.affords(cost) {
            return;
        }
        self.anchors.cover(walk.parent, parent_at);
        let end = end.min(walk.new.len());
        let dense = if self.budget.affords(cost + FAR_DENSE) {
            FAR_DENSE
        } else {
            FAR_DENSE / 8
        };
        let reach = end.min(walk.at + dense)..end;
        let work = far::search(walk, parent_at, reach, &self.anchors, best);
        self.budget.spend(cost + work);
    }
}
