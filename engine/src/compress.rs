//! Compression of boxes: when, how strongly, and decompression bounded by the declared size.

use std::cell::RefCell;

use crate::codec::FormatError;

/// How a box's plaintext is encoded. `repo-format.md` § Box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As it is.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// Reads the codec byte.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            // 2 is reserved: float32 runs split into byte planes.
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

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> =
        const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { RefCell::new(None) };
}

/// Compresses into a buffer with room for a seal behind it; raw where that gains less than one in 64.
pub fn compress(level: i32, raw: &[u8], room: usize) -> (Codec, Vec<u8>) {
    let packed = with_compressor(level, |compressor| {
        let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(raw.len()) + room);
        compressor
            .compress_to_buffer(raw, &mut out)
            .ok()
            .map(|_| out)
    });
    match packed {
        Some(packed) if packed.len() + raw.len() / 64 < raw.len() => (Codec::Zstd, packed),
        _ => {
            let mut out = Vec::with_capacity(raw.len() + room);
            out.extend_from_slice(raw);
            (Codec::Raw, out)
        }
    }
}

/// Undoes `compress`; the result is exactly `raw_len` bytes, or an error.
pub fn decompress(codec: Codec, packed: Vec<u8>, raw_len: usize) -> Result<Vec<u8>, FormatError> {
    let raw = match codec {
        Codec::Raw => packed,
        Codec::Zstd => decompress_zstd(&packed, raw_len)?,
    };
    if raw.len() == raw_len {
        return Ok(raw);
    }
    Err(FormatError::new(
        "box",
        format!("holds {} bytes instead of {raw_len}", raw.len()),
    ))
}

fn decompress_zstd(packed: &[u8], raw_len: usize) -> Result<Vec<u8>, FormatError> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(
                zstd::bulk::Decompressor::new()
                    .map_err(|error| FormatError::new("box", error.to_string()))?,
            ),
        };
        decompressor
            .decompress(packed, raw_len)
            .map_err(|error| FormatError::new("box", format!("does not decompress: {error}")))
    })
}

fn with_compressor<T>(
    level: i32,
    run: impl FnOnce(&mut zstd::bulk::Compressor<'static>) -> Option<T>,
) -> Option<T> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(at, _)| *at != level) {
            let mut compressor = zstd::bulk::Compressor::new(level).ok()?;
            // The box header carries the size, and the seal is a checksum.
            compressor.include_contentsize(false).ok()?;
            compressor.include_checksum(false).ok()?;
            *slot = Some((level, compressor));
        }
        run(&mut slot.as_mut()?.1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_compress_stays_raw() {
        let noise: Vec<u8> = blake3::Hasher::new().finalize_xof().take_bytes(50_000);
        let (codec, packed) = compress(LEVEL_WHOLE, &noise, 16);
        assert_eq!(codec, Codec::Raw);
        assert_eq!(decompress(codec, packed, noise.len()).unwrap(), noise);
    }

    #[test]
    fn a_frame_that_is_larger_than_declared_is_refused() {
        let zeros = vec![0; 1 << 20];
        let (codec, packed) = compress(LEVEL_WHOLE, &zeros, 16);
        assert_eq!(codec, Codec::Zstd);
        assert!(decompress(codec, packed.clone(), 1000).is_err());
        assert!(decompress(codec, packed.clone(), (1 << 20) + 1).is_err());
        assert_eq!(decompress(codec, packed, 1 << 20).unwrap(), zeros);
    }

    trait TakeBytes {
        fn take_bytes(self, count: usize) -> Vec<u8>;
    }
    impl TakeBytes for blake3::OutputReader {
        fn take_bytes(mut self, count: usize) -> Vec<u8> {
            let mut out = vec![0; count];
            self.fill(&mut out);
            out
        }
    }
}
