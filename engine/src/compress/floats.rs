//! Finding runs of float32 in bytes of unknown layout.
//!
//! In vectors of embeddings neighbours are of like size: of four bytes the highest (sign and most of the exponent) varies
//! little, and the other three are noise, which no compressor shortens and every one searches in vain.

use crate::limits::FLOAT_RUN_MIN;

/// Floats one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FloatRun {
    /// Where the first begins, in bytes.
    pub(super) at: usize,
    /// How many.
    pub(super) floats: usize,
}

impl FloatRun {
    /// Where the last ends, in bytes.
    pub(super) fn end(&self) -> usize {
        self.at + 4 * self.floats
    }
}

/// Bytes that are looked at as one: what tells floats from anything else.
const WINDOW: usize = 4 * FLOAT_RUN_MIN;
/// How far exponents of one run lie apart, in steps of the highest byte: factors of four.
const EXPONENT_SPREAD: u32 = 8;
/// The three low bytes of floats in a window range at least as widely, lowest first.
const LOW_SPREADS: [u8; 3] = [100, 100, 48];
/// One byte in so many has to lie in a run; else the runs are left alone.
const SHARE_MIN: usize = 8;
/// A run goes on behind so many floats that look otherwise, less one.
const MISSES: usize = 4;
/// Places that are probed before everything is searched.
const PROBES: usize = 256;

/// The runs in ascending order, each of at least `FLOAT_RUN_MIN`; none where they are a small part.
pub(super) fn find_runs(raw: &[u8]) -> Vec<FloatRun> {
    if !probe(raw) {
        return vec![];
    }
    let mut runs: Vec<FloatRun> = vec![];
    let (mut at, mut free) = (0, 0);
    while at + WINDOW <= raw.len() {
        let Some((start, lowest)) = (at..at + 4).find_map(|at| Some((at, window(raw, at)?))) else {
            at += WINDOW / 2;
            continue;
        };
        let run = extend(raw, free, start, lowest);
        (at, free) = (run.end(), run.end());
        runs.push(run);
    }
    let found: usize = runs.iter().map(|run| 4 * run.floats).sum();
    if found * SHARE_MIN < raw.len() {
        runs.clear();
    }
    runs
}

/// Whether any of some places looks like floats: most bytes are text, and need not be searched.
fn probe(raw: &[u8]) -> bool {
    let stride = (raw.len() / PROBES).max(1);
    // By an odd step within each stride, so that records of one size do not hide what they hold.
    let mut places = (0..PROBES).map(|turn| turn * stride + turn * 0x9e37 % stride);
    places.any(|place| (place..place + 4).any(|at| window(raw, at).is_some()))
}

/// If the bytes from `at` look like floats: the lowest exponent (in steps of the highest byte) that goes with them.
fn window(raw: &[u8], at: usize) -> Option<u32> {
    let (floats, _) = raw.get(at..at + WINDOW)?.as_chunks::<4>();
    let [first, second, ..] = floats else {
        return None;
    };
    if u32::from((first[3] & 0x7f).abs_diff(second[3] & 0x7f)) > EXPONENT_SPREAD {
        return None;
    }
    let (low, high) = range(floats, |float| float[3] & 0x7f);
    let narrow = u32::from(high - low) <= EXPONENT_SPREAD;
    let bytes: [fn(&[u8; 4]) -> u8; 3] = [|float| float[0], |float| float[1], |float| float[2]];
    let mut bytes = bytes.into_iter().zip(LOW_SPREADS);
    let noise = |(byte, spread): (fn(&[u8; 4]) -> u8, u8)| {
        let (low, high) = range(floats, byte);
        high - low >= spread
    };
    let middle = u32::midpoint(low.into(), high.into());
    (narrow && bytes.all(noise)).then(|| middle.saturating_sub(EXPONENT_SPREAD))
}

/// The least and the greatest of one byte of each.
fn range(floats: &[[u8; 4]], byte: impl Fn(&[u8; 4]) -> u8) -> (u8, u8) {
    let ends = |(low, high): (u8, u8), byte: u8| (low.min(byte), high.max(byte));
    floats.iter().map(byte).fold((u8::MAX, 0), ends)
}

/// The run around a window, from `free` at the earliest.
fn extend(raw: &[u8], free: usize, start: usize, lowest: u32) -> FloatRun {
    let before = raw.get(free..start).unwrap_or_default();
    let (_, before) = before.as_rchunks::<4>();
    let led = before
        .iter()
        .rev()
        .take_while(|float| fits(**float, lowest));
    let at = start - 4 * led.count();
    let (after, _) = raw.get(start..).unwrap_or_default().as_chunks::<4>();
    let floats = (start - at) / 4 + FLOAT_RUN_MIN;
    FloatRun {
        at,
        floats: floats + follow(after.get(FLOAT_RUN_MIN..).unwrap_or_default(), lowest),
    }
}

/// How many floats from the first on belong to a run; the last of them fits.
fn follow(floats: &[[u8; 4]], lowest: u32) -> usize {
    let mut last = 0;
    let mut misses = 0;
    for (turn, block) in floats.chunks(FLOAT_RUN_MIN).enumerate() {
        // The usual case, without a branch a float.
        let odd = block.iter().filter(|float| !fits(**float, lowest)).count();
        if odd < MISSES && block.last().is_some_and(|float| fits(*float, lowest)) && misses == 0 {
            last = turn * FLOAT_RUN_MIN + block.len();
            continue;
        }
        for (place, float) in block.iter().enumerate() {
            if fits(*float, lowest) {
                (last, misses) = (turn * FLOAT_RUN_MIN + place + 1, 0);
            } else {
                misses += 1;
            }
            if misses == MISSES {
                return last;
            }
        }
    }
    last
}

/// Whether four bytes are a float of the run's size, and not four printable characters.
fn fits(float: [u8; 4], lowest: u32) -> bool {
    let bits = u32::from_le_bytes(float);
    let near = ((bits >> 24) & 0x7f).wrapping_sub(lowest) <= 2 * EXPONENT_SPREAD;
    let ascii = bits & 0x8080_8080 == 0;
    // Not below a space: bit 5 or 6 of every byte.
    let printable = (bits | bits << 1) & 0x4040_4040 == 0x4040_4040;
    near && !(ascii && printable)
}
