//! Anchors: one gram of the parent every 128 bytes, over the whole window, to find what has moved far.
//!
//! Anchors sit at multiples of the stride of the parent *stream*, so a window that slides keeps those it
//! has and adds the new ones. What an older window left behind is not removed: a place outside the window
//! is not answered, and for a wrong place inside it the bytes tell.

#![expect(
    clippy::indexing_slicing,
    reason = "slots are cut to the length of their tables"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers and tags are cut to the entry on purpose"
)]

use std::ops::Range;

use super::grams::{WIDE, hash_wide, is_run};

/// Distance between anchors. A match of this and a gram holds at least one.
pub(super) const STRIDE: usize = 128;
/// The farthest that a window is indexed: 2^19 anchors.
pub(super) const WINDOW_BYTES_MAX: usize = 1 << 26;

const SLOT_BITS_MIN: u32 = 6;

/// Where in the window a gram was seen. Twice as many slots as a window has anchors; the last wins.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    /// A byte of the hash in each slot. Nearly every gram that is asked for is not here, and these
    /// nearly fit a core's own cache, which the numbers do not.
    tags: Vec<u8>,
    /// The number (offset in the stream / stride), without what a window cannot mistake.
    numbers: Vec<u32>,
    slot_bits: u32,
    /// The numbers that are in the table.
    held: Range<u64>,
}

impl Anchors {
    /// How many anchors `cover` would have to put in for this window.
    pub(super) fn missing(&self, parent: &[u8], parent_at: u64) -> usize {
        let wanted = wanted(parent, parent_at);
        if self.is_too_small(&wanted) {
            return count(&wanted);
        }
        let (before, behind) = self.gaps(&wanted);
        count(&before) + count(&behind)
    }

    /// Makes the table answer for this window.
    pub(super) fn cover(&mut self, parent: &[u8], parent_at: u64) {
        let wanted = wanted(parent, parent_at);
        if self.is_too_small(&wanted) {
            let slot_count = (count(&wanted) * 2)
                .next_power_of_two()
                .max(1 << SLOT_BITS_MIN);
            self.slot_bits = slot_count.trailing_zeros();
            self.tags = vec![0; slot_count];
            self.numbers = vec![0; slot_count];
            self.held = 0..0;
        }
        let (before, behind) = self.gaps(&wanted);
        for numbers in [before, behind] {
            self.put(numbers, parent, parent_at);
        }
        self.held = wanted;
    }

    /// The first of the grams that begin in these bytes that may be an anchor: its place, and that of
    /// the anchor in the window. The caller compares the bytes.
    #[inline]
    pub(super) fn first_in(&self, bytes: &[u8], parent_at: u64) -> Option<(usize, usize)> {
        bytes
            .array_windows::<WIDE>()
            .enumerate()
            .find_map(|(place, gram)| {
                let (slot, tag) = self.slot_and_tag(gram);
                if *self.tags.get(slot)? != tag {
                    return None;
                }
                let ahead = self.numbers[slot].wrapping_sub(self.held.start as u32);
                let number = self.held.start + u64::from(ahead);
                (number < self.held.end)
                    .then(|| (place, (number * STRIDE as u64 - parent_at) as usize))
            })
    }

    fn put(&mut self, numbers: Range<u64>, parent: &[u8], parent_at: u64) {
        if numbers.is_empty() {
            return;
        }
        let start = (numbers.start * STRIDE as u64 - parent_at) as usize;
        for (number, place) in numbers.zip(parent[start..].chunks(STRIDE)) {
            let Some(gram) = place.first_chunk::<WIDE>() else {
                break;
            };
            if !is_run(gram) {
                let (slot, tag) = self.slot_and_tag(gram);
                self.tags[slot] = tag;
                self.numbers[slot] = number as u32;
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
        count(wanted) * 2 > self.tags.len()
    }

    #[inline]
    fn slot_and_tag(&self, gram: &[u8; WIDE]) -> (usize, u8) {
        let hash = hash_wide(gram) >> (56 - self.slot_bits);
        ((hash >> 8) as usize, hash as u8)
    }
}

/// The numbers of the anchors whose grams lie wholly inside the window.
fn wanted(parent: &[u8], parent_at: u64) -> Range<u64> {
    let end = (parent_at + parent.len() as u64).saturating_sub(WIDE as u64 - 1);
    let start = parent_at.div_ceil(STRIDE as u64);
    start..end.div_ceil(STRIDE as u64).max(start)
}

fn count(numbers: &Range<u64>) -> usize {
    (numbers.end.saturating_sub(numbers.start)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_le_bytes()[6]
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn anchors_are_found_in_a_window_that_slides_and_jumps() {
        let stream = noise(100_000);
        let mut anchors = Anchors::default();
        for start in [0, 10_000, 10_001, 60_000, 5000] {
            let window = &stream[start..start + 40_000];
            anchors.cover(window, start as u64);
            assert_eq!(anchors.missing(window, start as u64), 0);
            let places = wanted(window, start as u64).map(|number| number as usize * STRIDE);
            let found = |at: &usize| {
                let grams = &stream[*at..*at + WIDE];
                anchors.first_in(grams, start as u64) == Some((0, *at - start))
            };
            // A few have lost their slot to another.
            let (all, found) = (places.clone().count(), places.filter(found).count());
            assert!(
                all >= 311 && found * 4 > all * 3,
                "{found} of {all} from {start}"
            );
        }
    }

    #[test]
    fn a_window_that_slides_costs_what_is_new_in_it() {
        let stream = noise(100_000);
        let mut anchors = Anchors::default();
        anchors.cover(&stream[..64_000], 0);
        assert_eq!(anchors.missing(&stream[12_800..76_800], 12_800), 100);
        assert_eq!(anchors.missing(&stream[12_800..64_000], 12_800), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut anchors = Anchors::default();
        anchors.cover(&vec![0; WINDOW_BYTES_MAX], 77);
        let bytes = anchors.tags.capacity() + 4 * anchors.numbers.capacity();
        assert!(bytes <= 5 << 20, "{bytes} bytes");
    }
}
