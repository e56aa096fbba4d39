//! Anchors: one gram of the parent every 128 bytes, over the whole window, to find what has moved far.
//!
//! Anchors sit at multiples of the stride of the parent *stream*, so a window that slides keeps those it
//! has and adds the new ones. An entry holds the anchor's number modulo the table's reach and a few bits
//! of its hash. What was left behind by an older window is not removed: it reads as some place of the
//! present window, and the bytes there tell.

#![expect(
    clippy::indexing_slicing,
    reason = "slots are masked by the length of the table"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers and tags are cut to the entry on purpose"
)]

use std::ops::Range;

use super::grams::{WIDE, hash_wide, is_run};

/// Distance between anchors. A match of this and a gram holds at least one.
pub(super) const STRIDE: usize = 128;
/// The farthest that a window is indexed: 2^19 anchors, a table of 4 MiB.
pub(super) const WINDOW_BYTES_MAX: usize = 1 << 26;

const SLOT_BITS_MIN: u32 = 8;

/// Where in the window a gram was seen.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    /// `tag | number modulo 2^number_bits`; twice as many slots as a window has anchors.
    slots: Vec<u32>,
    number_bits: u32,
    /// The numbers (stream offset / stride) that are surely in the table.
    held: Range<u64>,
}

impl Anchors {
    /// How many anchors `cover` would have to add for this window.
    pub(super) fn missing(&self, parent: &[u8], parent_at: u64) -> usize {
        let wanted = numbers(parent, parent_at);
        if self.is_too_small(&wanted) {
            return count(&wanted);
        }
        let (before, behind) = self.gaps(&wanted);
        count(&before) + count(&behind)
    }

    /// Makes the table answer for this window.
    pub(super) fn cover(&mut self, parent: &[u8], parent_at: u64) {
        let wanted = numbers(parent, parent_at);
        if self.is_too_small(&wanted) {
            self.number_bits = count(&wanted)
                .next_power_of_two()
                .trailing_zeros()
                .max(SLOT_BITS_MIN);
            self.slots = vec![0; 2 << self.number_bits];
            self.held = 0..0;
        }
        let (before, behind) = self.gaps(&wanted);
        for numbers in [before, behind] {
            self.add(numbers, parent, parent_at);
        }
        self.held = wanted;
    }

    /// A place in the window that may begin with a gram of this hash; the caller compares the bytes.
    #[inline]
    pub(super) fn look_up(&self, hash: u64, parent_at: u64) -> Option<usize> {
        let entry = *self.slots.get(self.slot(hash))?;
        if (entry ^ hash as u32) >> self.number_bits != 0 {
            return None;
        }
        let ahead = entry.wrapping_sub(self.held.start as u32) & self.number_mask();
        let number = self.held.start + u64::from(ahead);
        (number < self.held.end).then(|| (number * STRIDE as u64 - parent_at) as usize)
    }

    fn add(&mut self, numbers: Range<u64>, parent: &[u8], parent_at: u64) {
        if numbers.is_empty() {
            return;
        }
        let start = (numbers.start * STRIDE as u64 - parent_at) as usize;
        for (number, place) in numbers.zip(parent[start..].chunks(STRIDE)) {
            let Some(gram) = place.first_chunk::<WIDE>() else {
                break;
            };
            if !is_run(gram) {
                let hash = hash_wide(gram);
                let tag = hash as u32 & !self.number_mask();
                let slot = self.slot(hash);
                self.slots[slot] = tag | (number as u32 & self.number_mask());
            }
        }
    }

    /// The wanted numbers that are not held, in front of the held ones and behind them.
    fn gaps(&self, wanted: &Range<u64>) -> (Range<u64>, Range<u64>) {
        let held = self.held.start.max(wanted.start)..self.held.end.min(wanted.end);
        if held.is_empty() {
            (0..0, wanted.clone())
        } else {
            (wanted.start..held.start, held.end..wanted.end)
        }
    }

    fn is_too_small(&self, wanted: &Range<u64>) -> bool {
        self.slots.is_empty() || count(wanted) > 1 << self.number_bits
    }

    fn number_mask(&self) -> u32 {
        (1 << self.number_bits) - 1
    }

    #[inline]
    fn slot(&self, hash: u64) -> usize {
        (hash >> (63 - self.number_bits)) as usize
    }
}

/// The numbers of the anchors whose grams lie wholly inside the window.
fn numbers(parent: &[u8], parent_at: u64) -> Range<u64> {
    let end = (parent_at + parent.len() as u64).saturating_sub(WIDE as u64 - 1);
    let start = parent_at.div_ceil(STRIDE as u64);
    start..end.div_ceil(STRIDE as u64).max(start)
}

fn count(numbers: &Range<u64>) -> usize {
    (numbers.end.saturating_sub(numbers.start)) as usize
}
