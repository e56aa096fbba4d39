//! Bytes of codec 2. `repo-format.md` § Float planes.

use super::floats::FloatRun;
use super::frames::{self, Effort};
use crate::codec::{Cursor, FormatError, put_varint};
use crate::limits::FLOAT_RUN_MIN;

/// Bytes of a low plane that are tried before it is taken for noise.
const SAMPLE_BYTES: usize = 32 * 1024;

/// Splits ascending runs off and encodes them; nothing if their low bytes are not noise, which a plain frame tells shorter.
pub(super) fn encode(level: i32, raw: &[u8], runs: &[FloatRun], room: usize) -> Option<Vec<u8>> {
    let floats = runs.iter().map(|run| run.floats).sum();
    let mut planes: [Vec<u8>; 4] = std::array::from_fn(|_| Vec::with_capacity(floats));
    let mut around = Vec::with_capacity(raw.len() - 4 * floats + 16);
    put_varint(&mut around, runs.len() as u64);
    let mut end = 0;
    for run in runs {
        put_varint(&mut around, (run.at - end) as u64);
        put_varint(&mut around, run.floats as u64);
        end = run.end();
        let (bytes, _) = raw.get(run.at..end)?.as_chunks::<4>();
        let [low, middle, upper, high] = &mut planes;
        low.extend(bytes.iter().map(|float| float[0]));
        middle.extend(bytes.iter().map(|float| float[1]));
        upper.extend(bytes.iter().map(|float| float[2]));
        high.extend(bytes.iter().map(|float| float[3]));
    }
    let [low @ .., high] = &planes;
    if !low.iter().all(|plane| is_noise(plane)) {
        return None;
    }
    let mut end = 0;
    for run in runs {
        around.extend_from_slice(raw.get(end..run.at)?);
        end = run.end();
    }
    around.extend_from_slice(raw.get(end..)?);
    let around_packed = frames::compress(Effort::Level(level), &around, 0)?;
    let high_packed = frames::compress(Effort::Entropy, high, 0)?;
    let body = around_packed.len() + 3 * floats + high_packed.len();
    let mut out = Vec::with_capacity(body + 16 + room);
    put_varint(&mut out, around.len() as u64);
    put_varint(&mut out, around_packed.len() as u64);
    out.extend_from_slice(&around_packed);
    low.iter().for_each(|plane| out.extend_from_slice(plane));
    out.extend_from_slice(&high_packed);
    Some(out)
}

fn is_noise(plane: &[u8]) -> bool {
    let sample = plane.get(..SAMPLE_BYTES).unwrap_or(plane);
    let packed = frames::compress(Effort::Level(1), sample, 0);
    packed.is_some_and(|packed| packed.len() + sample.len() / 16 > sample.len())
}

/// Undoes `encode`; the result is exactly `raw_len` bytes.
pub(super) fn decode(packed: &[u8], raw_len: usize) -> Result<Vec<u8>, FormatError> {
    let mut input = Cursor::new("float planes", packed);
    // A run's entry in the table is shorter than the run.
    let around_len = input.at_most(raw_len.saturating_add(8))?;
    let around_packed = input.at_most(packed.len())?;
    let around = frames::decompress(input.take(around_packed)?, around_len)?;
    let mut around = Cursor::new("float runs", &around);
    let runs = read_runs(&mut around, raw_len)?;
    let count: usize = runs.iter().map(|(_, count)| count).sum();
    if around.remaining().saturating_add(4 * count) != raw_len {
        return Err(around.problem("runs and the bytes around them are not the whole"));
    }
    let low = input.take(3 * count)?;
    let (low, second) = low.split_at(count);
    let (middle, upper) = second.split_at(count);
    let high = frames::decompress(input.take(input.remaining())?, count)?;
    let mut planes = (low, middle, upper, high.as_slice());
    let (mut out, mut spare) = (Vec::with_capacity(raw_len), Vec::new());
    for (gap, count) in runs {
        out.extend_from_slice(around.take(gap)?);
        let run = (
            take(&mut planes.0, count),
            take(&mut planes.1, count),
            take(&mut planes.2, count),
            take(&mut planes.3, count),
        );
        join(&mut out, &mut spare, run);
    }
    out.extend_from_slice(around.take(around.remaining())?);
    Ok(out)
}

/// Bytes before each run, and its floats.
fn read_runs(input: &mut Cursor<'_>, raw_len: usize) -> Result<Vec<(usize, usize)>, FormatError> {
    let count = input.count(raw_len / (4 * FLOAT_RUN_MIN), 2)?;
    let mut left = raw_len;
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        let gap = input.at_most(left)?;
        let floats = input.at_most((left - gap) / 4)?;
        if floats < FLOAT_RUN_MIN {
            return Err(input.problem(format!("a run of {floats} floats")));
        }
        left -= gap + 4 * floats;
        runs.push((gap, floats));
    }
    Ok(runs)
}

fn take<'a>(plane: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = plane.split_at(count);
    *plane = rest;
    taken
}

/// Appends floats put together from their bytes, by way of `spare`: growing `out` first would clear it for nothing.
fn join(
    out: &mut Vec<u8>,
    spare: &mut Vec<[u8; 4]>,
    (low, middle, upper, high): (&[u8], &[u8], &[u8], &[u8]),
) {
    let bytes = low.iter().zip(middle).zip(upper).zip(high);
    spare.clear();
    spare.extend(bytes.map(|(((low, middle), upper), high)| [*low, *middle, *upper, *high]));
    out.extend_from_slice(spare.as_flattened());
}
