//! zstd frames: one context a thread for each direction, decompression bounded by the declared size.

use std::cell::RefCell;

use zstd::zstd_safe::{CParameter, ParamSwitch, compress_bound};

use crate::codec::FormatError;

/// How hard a frame is searched for what repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// A level of zstd.
    Level(i32),
    /// Nothing repeats: only what is frequent gets short codes.
    Entropy,
}

/// Of zstd's negative levels, one that skips matches and leaves the literals to the entropy coder.
const LEVEL_ENTROPY: i32 = -20;

thread_local! {
    static COMPRESSOR: RefCell<Option<(Effort, zstd::bulk::Compressor<'static>)>> =
        const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { RefCell::new(None) };
}

/// The most bytes that a frame of `len` bytes takes.
pub(super) fn bound(len: usize) -> usize {
    compress_bound(len)
}

/// Makes one frame, with `room` bytes of capacity to spare behind it.
pub(super) fn compress(effort: Effort, raw: &[u8], room: usize) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some((effort, compressor(effort).ok()?));
        }
        let (at, compressor) = slot.as_mut()?;
        if *at != effort {
            set(compressor, effort).ok()?;
            *at = effort;
        }
        let mut out = Vec::with_capacity(bound(raw.len()) + room);
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

fn compressor(effort: Effort) -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(0)?;
    // The box header carries the size, and the seal is a checksum.
    compressor.include_contentsize(false)?;
    compressor.include_checksum(false)?;
    set(&mut compressor, effort)?;
    Ok(compressor)
}

fn set(compressor: &mut zstd::bulk::Compressor<'static>, effort: Effort) -> std::io::Result<()> {
    let (level, literals) = match effort {
        Effort::Level(level) => (level, ParamSwitch::Auto),
        Effort::Entropy => (LEVEL_ENTROPY, ParamSwitch::Enable),
    };
    compressor.set_compression_level(level)?;
    compressor.set_parameter(CParameter::LiteralCompressionMode(literals))
}
