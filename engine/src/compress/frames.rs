//! zstd frames: one context a thread for each direction, decompression bounded by the declared size.

use std::cell::RefCell;

use zstd::zstd_safe::{CParameter, ParamSwitch, compress_bound};

use crate::codec::FormatError;

/// How hard a frame is searched for what repeats.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effort {
    /// A level of zstd.
    Level(i32),
    /// Nothing repeats: only what is frequent gets short codes.
    Entropy,
}

/// Of zstd's negative levels, one that skips matches and leaves the literals to the entropy coder.
const LEVEL_ENTROPY: i32 = -20;
/// Shortest repetition that is looked for, in bytes. For blocks as small as ours zstd looks for shorter ones, which takes longer
/// both ways and gains nothing.
const MATCH_MIN: u32 = 5;
/// The longest that can be asked for: less than this repeats by chance among bytes of which few values are frequent.
const MATCH_MIN_ENTROPY: u32 = 7;

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
        const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { RefCell::new(None) };
}

/// Makes one frame, with `room` bytes of capacity to spare behind it.
pub(super) fn compress(effort: Effort, raw: &[u8], room: usize) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(new_compressor().ok()?),
        };
        set(compressor, effort).ok()?;
        let mut out = Vec::with_capacity(compress_bound(raw.len()) + room);
        compressor.compress_to_buffer(raw, &mut out).ok()?;
        Some(out)
    })
}

/// Undoes a frame that gives exactly `raw_len` bytes.
pub(super) fn decompress(packed: &[u8], raw_len: usize) -> Result<Vec<u8>, FormatError> {
    let raw = DECOMPRESSOR.with_borrow_mut(|slot| {
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
    })?;
    super::exactly(raw, raw_len)
}

fn new_compressor() -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(0)?;
    // The box header carries the size, and the seal is a checksum.
    compressor.include_contentsize(false)?;
    compressor.include_checksum(false)?;
    Ok(compressor)
}

fn set(compressor: &mut zstd::bulk::Compressor<'static>, effort: Effort) -> std::io::Result<()> {
    let (level, match_min, literals) = match effort {
        Effort::Level(level) => (level, MATCH_MIN, ParamSwitch::Auto),
        Effort::Entropy => (LEVEL_ENTROPY, MATCH_MIN_ENTROPY, ParamSwitch::Enable),
    };
    compressor.set_compression_level(level)?;
    compressor.set_parameter(CParameter::MinMatch(match_min))?;
    compressor.set_parameter(CParameter::LiteralCompressionMode(literals))
}
