//! Where the walk goes on after a difference: the order in which places are looked at, and when to stop.
//!
//! Cheap and likely first: the same line, then around the walk, then anywhere in the window. What is
//! found first is not always right: rows of one width that share a long piece agree with the wrong
//! neighbour too. So a short answer is kept while the search goes on a little for a far better one, and
//! when none comes the cheap answers are trusted for a while, each time for longer.

use super::AlignOptions;
use super::anchors::{Anchors, STRIDE};
use super::budget::Budget;
use super::grams::{GramTable, WIDE, hash_wide, is_run};
use super::near::{self, Reach};
use super::walk::{Match, Walk};

/// A match of this length is right, whatever else there may be.
const LONG: usize = 1024;
/// How far the run is searched on for something better than a strong match that is not long.
const PATIENCE: usize = 1024;
/// How far off the line of the walk a short match may lie.
const OFF_DIAGONAL_MAX: usize = 32;
/// Shortest match that is taken on the line of the walk.
const WEAK_MIN: usize = 32;

/// Around the walk, closely: a changed field, a row more or less.
const CLOSE: Reach = Reach {
    ahead: 1 << 10,
    behind: 1 << 8,
    stride: 8,
};
/// Around the walk, loosely: a few long rows more or less.
const LOOSE: Reach = Reach {
    ahead: 1 << 14,
    behind: 1 << 12,
    stride: 32,
};

/// Bytes of the run in which every difference on the line of the walk is looked at.
const DIAGONAL_CLOSE: usize = 64;
/// Where further along the line it is probed.
const DIAGONAL_PROBES: [usize; 14] = [
    96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192,
];

/// How far the anchors are asked first, once order is lost.
const ASTRAY_REACH: usize = 512;
/// How far the anchors are asked when there is a weak answer already.
const WEAK_REACH: usize = 4096;
/// Without a budget only so many bytes are looked at …
const THIN_BYTES: usize = STRIDE;
/// … out of so many.
const THIN_STEP: usize = 4096;
/// Units to put one anchor into its table.
const ANCHOR_COST: usize = 4;

const TRUST_MIN: usize = 512;
const TRUST_MAX: usize = 1 << 16;

/// The best answer so far, and how far the search still goes for a better one.
#[derive(Debug)]
pub(super) struct Best {
    found: Option<Match>,
    until: usize,
    strong_min: usize,
    patience: usize,
    /// The first answer was replaced by a far better one.
    is_replaced: bool,
}

impl Best {
    fn new(strong_min: usize, patience: usize) -> Self {
        Self {
            found: None,
            until: usize::MAX,
            strong_min,
            patience,
            is_replaced: false,
        }
    }

    /// Takes the match if it is worth following and better than what is there.
    pub(super) fn offer(&mut self, walk: &Walk<'_>, found: Match) {
        let is_strong = found.len >= self.strong_min;
        let is_weak = found.len >= WEAK_MIN && walk.off_diagonal(&found) <= OFF_DIAGONAL_MAX;
        if !is_strong && !is_weak {
            return;
        }
        match self.found {
            Some(best) if found.len <= 2 * best.len + found.at.saturating_sub(best.at) => {}
            best => {
                self.is_replaced = best.is_some();
                self.found = Some(found);
                if is_strong {
                    let patience = if found.len >= LONG { 0 } else { self.patience };
                    self.until = self.until.min(found.at + patience);
                }
            }
        }
    }

    /// Whether looking at the run from here on is no longer worth it.
    pub(super) fn is_settled(&self, at: usize) -> bool {
        at > self.until || self.is_long()
    }

    fn is_long(&self) -> bool {
        self.found.is_some_and(|found| found.len >= LONG)
    }

    fn is_strong(&self) -> bool {
        self.found.is_some_and(|found| found.len >= self.strong_min)
    }
}

/// Finds where the streams meet again. Keeps its tables, its budget and what it has learnt of the stream.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) table: GramTable,
    pub(super) budget: Budget,
    anchors: Anchors,
    strong_min: usize,
    /// The last match was found far from where the walk stood.
    is_astray: bool,
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
            trusted: 0,
            trust_next: TRUST_MIN,
        }
    }

    /// The next match after the walk, or none in the rest of the run.
    pub(super) fn next(&mut self, walk: &Walk<'_>, parent_at: u64) -> Option<Match> {
        let patience = if self.trusted > 0 { 0 } else { PATIENCE };
        let mut best = Best::new(self.strong_min, patience);
        if self.is_astray && self.cover(walk, parent_at) {
            let end = walk.at + ASTRAY_REACH;
            self.far(walk, parent_at, end, &mut best);
            if best.is_strong() {
                return self.settle(walk, &best);
            }
        }
        self.on_the_line(walk, &mut best);
        if best.is_long() || self.trusted > 0 && best.found.is_some() {
            return self.settle(walk, &best);
        }
        for reach in [CLOSE, LOOSE] {
            if !best.is_strong() && self.budget.affords(reach.cost()) {
                let work = near::search(walk, reach, &mut self.table, &mut best);
                self.budget.spend(work);
            }
        }
        self.is_astray = false;
        if !best.is_strong() && self.cover(walk, parent_at) {
            let end = if best.found.is_some() {
                walk.at + WEAK_REACH
            } else {
                walk.new.len()
            };
            self.far(walk, parent_at, end, &mut best);
            self.is_astray = best.is_strong();
        }
        self.settle(walk, &best)
    }

    /// Learns from the outcome and pays for the match.
    fn settle(&mut self, walk: &Walk<'_>, best: &Best) -> Option<Match> {
        let found = best.found?;
        self.budget.earn_for_match(found.len);
        if best.is_replaced || best.is_long() {
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

    /// Looks straight ahead: bytes were changed in place.
    fn on_the_line(&mut self, walk: &Walk<'_>, best: &mut Best) {
        let mut step = 1;
        while step <= DIAGONAL_CLOSE {
            let (at, from) = (walk.at + step, walk.from + step);
            if at >= walk.new.len() || from >= walk.parent.len() {
                return;
            }
            let line = Walk { at, from, ..*walk };
            let alike = line.alike();
            if alike >= WEAK_MIN
                && walk
                    .new_gram::<WEAK_MIN>(at)
                    .is_some_and(|gram| !is_run(gram))
            {
                best.offer(
                    walk,
                    Match {
                        at,
                        from,
                        len: alike,
                    },
                );
                return;
            }
            step += alike + 1;
        }
        for step in DIAGONAL_PROBES {
            let (at, from) = (walk.at + step, walk.from + step);
            let (Some(a), Some(b)) = (walk.new_gram::<WIDE>(at), walk.parent_gram::<WIDE>(from))
            else {
                return;
            };
            if a == b && !is_run(a) {
                let found = walk.extend(at, from);
                if found.len >= self.strong_min {
                    best.offer(walk, found);
                    return;
                }
            }
        }
    }

    /// Brings the anchors up to the window, if the budget allows.
    fn cover(&mut self, walk: &Walk<'_>, parent_at: u64) -> bool {
        let cost = self.anchors.missing(walk.parent, parent_at) * ANCHOR_COST;
        let is_affordable = self.budget.affords(cost);
        if is_affordable {
            self.budget.spend(cost);
            self.anchors.cover(walk.parent, parent_at);
        }
        is_affordable
    }

    /// Asks the anchors: every gram while the budget lasts, then a few out of many.
    fn far(&mut self, walk: &Walk<'_>, parent_at: u64, end: usize, best: &mut Best) {
        let end = end.min(walk.new.len());
        let dense = self.budget.units().min(end - walk.at);
        let dense_end = walk.at + dense;
        let mut work = 0;
        let mut at = walk.at;
        self.scan(walk, parent_at, &mut at, dense_end, best, &mut work);
        while at < end && !best.is_settled(at) {
            at += THIN_STEP - THIN_BYTES;
            let block_end = (at + THIN_BYTES).min(end);
            self.scan(walk, parent_at, &mut at, block_end, best, &mut work);
        }
        self.budget.spend(work);
    }

    fn scan(
        &self,
        walk: &Walk<'_>,
        parent_at: u64,
        at: &mut usize,
        end: usize,
        best: &mut Best,
        work: &mut usize,
    ) {
        let begin = *at;
        while *at < end && !best.is_settled(*at) {
            let Some(gram) = walk.new_gram::<WIDE>(*at) else {
                break;
            };
            *at += match self.anchors.look_up(hash_wide(gram), parent_at) {
                Some(from) => {
                    let found = walk.extend(*at, from);
                    *work += 8 + found.len / 32;
                    best.offer(walk, found);
                    found.end().saturating_sub(*at).max(1)
                }
                None => 1,
            };
        }
        *work += at.saturating_sub(begin);
    }
}
