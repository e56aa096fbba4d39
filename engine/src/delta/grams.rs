//! Grams: short fixed pieces of a stream, their hashes, and the small table in which they are looked up.
#![expect(
    clippy::indexing_slicing,
    reason = "a hot kernel: every slot is masked to the size of the table"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "hashes are folded on purpose"
)]

/// Length of the grams that are looked up near the walk.
pub(super) const SHORT: usize = 16;
/// Length of the grams that are looked up anywhere in the parent.
pub(super) const WIDE: usize = 32;

/// Most grams in one table: what the number part of an entry can name.
pub(super) const TABLE_GRAMS_MAX: usize = 1 << 13;
const TABLE_BITS_MAX: u32 = 13;
/// The low bits of an entry: one more than the gram's number, so that an empty slot names none.
const NUMBER_MASK: u32 = 0xffff;

const ODD_A: u64 = 0x9e37_79b9_7f4a_7c15;
const ODD_B: u64 = 0xd6e8_feb8_6659_fd93;
const ODD_C: u64 = 0xa076_1d64_78bd_642f;

/// Hash of a short gram; the high bits are the good ones.
#[inline]
pub(super) fn hash_short(gram: &[u8; SHORT]) -> u64 {
    let [a, b] = words(gram);
    (a.wrapping_mul(ODD_A) ^ b.rotate_left(29)).wrapping_mul(ODD_B)
}

/// Hash of a wide gram; the high bits are the good ones.
#[inline]
pub(super) fn hash_wide(gram: &[u8; WIDE]) -> u64 {
    let [a, b, c, d] = words(gram);
    let front = (a ^ c.rotate_left(23)).wrapping_mul(ODD_A);
    let back = (b ^ d.rotate_left(41)).wrapping_mul(ODD_C);
    front ^ back.rotate_left(5)
}

/// Whether the gram is one byte over and over: it would match anywhere in any run of that byte.
#[inline]
pub(super) fn is_run<const LEN: usize>(gram: &[u8; LEN]) -> bool {
    gram.iter().all(|byte| *byte == gram[0])
}

#[inline]
fn words<const LEN: usize, const COUNT: usize>(gram: &[u8; LEN]) -> [u64; COUNT] {
    const { assert!(LEN == COUNT * 8) };
    let mut words = [0; COUNT];
    for (word, bytes) in words.iter_mut().zip(gram.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Which gram of a small stretch has this hash. The last one put in wins its slot.
#[derive(Debug)]
pub(super) struct GramTable {
    slots: Box<[u32; 1 << TABLE_BITS_MAX]>,
    shift: u32,
}

impl GramTable {
    #[expect(
        clippy::large_stack_arrays,
        reason = "32 KiB, on their way to the heap"
    )]
    pub(super) fn new() -> Self {
        Self {
            slots: Box::new([0; 1 << TABLE_BITS_MAX]),
            shift: 64 - TABLE_BITS_MAX,
        }
    }

    /// Empties the table and makes it ready for about this many grams.
    pub(super) fn reset(&mut self, gram_count: usize) {
        let bits = (gram_count * 2)
            .next_power_of_two()
            .trailing_zeros()
            .clamp(6, TABLE_BITS_MAX);
        self.shift = 64 - bits;
        self.slots[..1 << bits].fill(0);
    }

    #[inline]
    pub(super) fn put(&mut self, hash: u64, number: usize) {
        debug_assert!(number < TABLE_GRAMS_MAX);
        self.slots[self.slot(hash)] = tag(hash) | (number as u32 + 1);
    }

    /// A gram that probably has this hash; the caller compares the bytes.
    #[inline]
    pub(super) fn look_up(&self, hash: u64) -> Option<usize> {
        let number = (self.slots[self.slot(hash)] ^ tag(hash)).wrapping_sub(1);
        (number < NUMBER_MASK).then_some(number as usize)
    }

    #[inline]
    fn slot(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize & ((1 << TABLE_BITS_MAX) - 1)
    }
}

fn tag(hash: u64) -> u32 {
    hash as u32 & !NUMBER_MASK
}
