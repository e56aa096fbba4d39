//! Walks a new stream beside its parent: where they agree, where they part, where they meet again.

#![expect(
    clippy::indexing_slicing,
    reason = "positions are bounded by the slices they came from"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets inside a slice fit its index type"
)]

use std::ops::Range;

use super::Step;
use super::anchors::WINDOW_BYTES_MAX;
use super::fill;
use super::grams::{SHORT, WIDE};
use super::search::Search;
use super::walk::{Match, Walk};

/// What counts as a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlignOptions {
    /// Shortest match that is followed wherever it lies.
    pub strong_bytes_min: usize,
    /// Shortest match that is taken between two followed ones.
    pub short_bytes_min: usize,
}

impl Default for AlignOptions {
    fn default() -> Self {
        Self {
            strong_bytes_min: 128,
            short_bytes_min: 20,
        }
    }
}

/// Tells new bytes as copies out of a parent stream and literals. One per stream.
///
/// Memory is bounded: a table of 32 KiB, and one over the parent's window that is made when it is first
/// asked, of 10 to 20 bytes for each 128 of the window: 2.5 MiB for 32 MiB, never above 5 MiB.
#[derive(Debug)]
pub struct Aligner {
    options: AlignOptions,
    search: Search,
}

impl Aligner {
    /// Starts a stream: empty tables, a fresh budget.
    pub fn new(options: AlignOptions) -> Self {
        // Shorter ones are not found.
        let options = AlignOptions {
            strong_bytes_min: options.strong_bytes_min.max(WIDE),
            short_bytes_min: options.short_bytes_min.max(SHORT),
        };
        Self {
            options,
            search: Search::new(options),
        }
    }

    /// Appends steps that make exactly `new`, and answers where the walk now stands in the parent.
    ///
    /// `new` are the bytes of the run and `new_at` is its offset in the new stream; `parent` is a window
    /// of the parent stream that begins at its offset `parent_at`, and `from` is the place just behind
    /// the last known match. `from` may lie outside the window. All calls must show the same parent
    /// stream; the window may move and grow between them. Only 32 MiB to either side of `from` are used.
    pub fn align(
        &mut self,
        new: &[u8],
        new_at: u64,
        parent: &[u8],
        parent_at: u64,
        from: u64,
        steps: &mut Vec<Step>,
    ) -> u64 {
        let from_place = from.saturating_sub(parent_at).min(parent.len() as u64) as usize;
        let begin = from_place.saturating_sub(WINDOW_BYTES_MAX / 2);
        let end = parent.len().min(from_place + WINDOW_BYTES_MAX / 2);
        let parent_at = parent_at + begin as u64;
        let mut run = Run {
            walk: Walk {
                new,
                parent: &parent[begin..end],
                at: 0,
                from: from_place - begin,
            },
            new_at,
            parent_at,
            stands: from,
            steps,
        };
        self.search.budget.earn_for_run(new.len());
        let alike = run.walk.alike();
        if alike > 0 && (alike >= self.options.short_bytes_min || alike == new.len()) {
            self.search.budget.earn_for_match(alike);
            run.copy(Match {
                at: 0,
                from: run.walk.from,
                len: alike,
            });
        }
        while run.walk.at < new.len() {
            let Some(found) = self.search.next(&run.walk, parent_at) else {
                break;
            };
            self.bridge(&mut run, &found);
            run.copy(found);
        }
        run.literal_to(new.len());
        run.stands
    }

    /// About how many grams have been hashed and looked up: what searching has cost so far.
    pub fn work_units(&self) -> u64 {
        self.search.budget.spent()
    }

    /// Tells the gap before a match: strong matches from anywhere, and short ones in order between them.
    fn bridge(&mut self, run: &mut Run<'_>, found: &Match) {
        let Walk { new, from, .. } = run.walk;
        let gap = &new[..found.at];
        let mut between = from..found.from;
        loop {
            let stray = self.search.next_stray(
                &Walk {
                    new: gap,
                    ..run.walk
                },
                run.parent_at,
            );
            let end = stray.map_or(gap.len(), |stray| stray.at);
            self.fill(run, end, &mut between);
            let Some(stray) = stray else { break };
            run.copy(stray);
        }
    }

    /// Takes the short matches up to `end` out of the parent's side of the gap, in order.
    fn fill(&mut self, run: &mut Run<'_>, end: usize, between: &mut Range<usize>) {
        if between.start >= between.end {
            return;
        }
        let (new, parent) = (
            &run.walk.new[run.walk.at..end],
            &run.walk.parent[between.clone()],
        );
        let short_min = self.options.short_bytes_min;
        let Some(cost) = fill::cost(new.len(), parent.len(), short_min) else {
            return;
        };
        if !self.search.budget.affords(cost) {
            return;
        }
        self.search.budget.spend(cost);
        let (at, from) = (run.walk.at, between.start);
        for short in fill::matches(new, parent, short_min, &mut self.search.table) {
            run.copy(Match {
                at: at + short.at,
                from: from + short.from,
                len: short.len,
            });
            between.start = run.walk.from;
        }
    }
}

/// One call of `align`: the walk, and what it has told so far.
struct Run<'a> {
    walk: Walk<'a>,
    new_at: u64,
    parent_at: u64,
    /// Where the walk stands in the parent stream.
    stands: u64,
    steps: &'a mut Vec<Step>,
}

impl Run<'_> {
    /// Takes a match, and as literals what lies before it.
    fn copy(&mut self, found: Match) {
        self.literal_to(found.at);
        let from = self.parent_at + found.from as u64;
        for (skip, len) in pieces(found.len) {
            self.steps.push(Step::Copy {
                from: from + skip,
                len,
            });
        }
        self.walk.at = found.end();
        self.walk.from = found.from + found.len;
        self.stands = from + found.len as u64;
    }

    fn literal_to(&mut self, end: usize) {
        let at = self.new_at + self.walk.at as u64;
        for (skip, len) in pieces(end - self.walk.at) {
            self.steps.push(Step::Literal { at: at + skip, len });
        }
        self.walk.at = end;
    }
}

/// A length as lengths of steps: one, unless it is above 4 GiB; none, if it is nothing.
fn pieces(len: usize) -> impl Iterator<Item = (u64, u32)> {
    let len = len as u64;
    (0..len)
        .step_by(u32::MAX as usize)
        .map(move |skip| (skip, (len - skip).min(u64::from(u32::MAX)) as u32))
}
