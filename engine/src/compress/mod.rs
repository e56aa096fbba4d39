//! Compression of boxes: when, how strongly, and decompression bounded by the declared size.

mod floats;
mod format;
mod frames;

use self::frames::Effort;
use crate::codec::FormatError;

/// How a box's plaintext is encoded. `repo-format.md` § Box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As it is.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
    /// Runs of float32 as byte planes. `repo-format.md` § Float planes.
    Planes = 2,
}

impl Codec {
    /// Reads the codec byte.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::Planes),
            _ => None,
        }
    }
}

/// For a first backup: what a run of whole chunks gets.
pub const LEVEL_WHOLE: i32 = 3;
/// For runs that are mostly deltas: literals are few, and kept for long.
pub const LEVEL_DELTA: i32 = 9;
/// For record blocks, lists and trees.
pub const LEVEL_META: i32 = 9;

/// Compresses into a buffer with room for a seal behind it; raw where that gains less than one in 64.
pub fn compress(level: i32, raw: &[u8], room: usize) -> (Codec, Vec<u8>) {
    match frames::compress(Effort::Level(level), raw, room) {
        Some(packed) if gains(&packed, raw) => (Codec::Zstd, packed),
        _ => {
            let mut out = Vec::with_capacity(raw.len() + room);
            out.extend_from_slice(raw);
            (Codec::Raw, out)
        }
    }
}

/// Compresses bytes of streams, which may hold vectors: those as byte planes where that gains, all else by `compress`.
pub fn compress_data(level: i32, raw: &[u8], room: usize) -> (Codec, Vec<u8>) {
    let runs = floats::find_runs(raw);
    let planes = (!runs.is_empty()).then(|| format::encode(level, raw, &runs, room));
    match planes.flatten() {
        Some(packed) if gains(&packed, raw) => (Codec::Planes, packed),
        _ => compress(level, raw, room),
    }
}

fn gains(packed: &[u8], raw: &[u8]) -> bool {
    packed.len() + raw.len() / 64 < raw.len()
}

/// Undoes `compress` and `compress_data`; the result is exactly `raw_len` bytes, or an error.
pub fn decompress(codec: Codec, packed: Vec<u8>, raw_len: usize) -> Result<Vec<u8>, FormatError> {
    match codec {
        Codec::Raw => exactly(packed, raw_len),
        Codec::Zstd => frames::decompress(&packed, raw_len),
        Codec::Planes => format::decode(&packed, raw_len),
    }
}

fn exactly(raw: Vec<u8>, raw_len: usize) -> Result<Vec<u8>, FormatError> {
    if raw.len() == raw_len {
        return Ok(raw);
    }
    Err(FormatError::new(
        "box",
        format!("holds {} bytes instead of {raw_len}", raw.len()),
    ))
}

#[cfg(test)]
mod tests;
