//! Bytes of pack footers and trailers. `repo-format.md` § Pack.

use super::{BoxPlace, Footer, KeyTable};
use crate::codec::frame::{self, Kind};
use crate::codec::{Cursor, FormatError, put_varint};
use crate::compress::Codec;
use crate::crypto::{BoxHeader, BoxKind, TAG_BYTES};
use crate::id::{ChunkId, SessionId};
use crate::limits;

/// Last four bytes of a pack.
const END_MAGIC: [u8; 4] = *b"KSPK";
/// Length of what follows the key table in a trailer.
const TRAILER_FIXED: usize = 8 + 1 + 4 + 4 + 32 + 4 + 4;

/// The clear end of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// Keys of the sessions whose boxes lie in the pack; the footer is sealed by the first.
    pub keys: KeyTable,
    /// The footer's box.
    pub footer: BoxHeader,
    /// Where it begins.
    pub footer_offset: u64,
    /// BLAKE3 of everything before this hash: finds rot without a key.
    pub outer_hash: [u8; 32],
    /// Length of the trailer.
    pub len: usize,
}

/// What `encode_trailer` writes before the outer hash; the hash covers it too.
pub fn encode_trailer_head(keys: &KeyTable, footer: &BoxHeader) -> Vec<u8> {
    let mut out = Vec::new();
    encode_keys(&mut out, keys);
    out.extend_from_slice(&footer.counter.to_le_bytes());
    out.push(footer.codec as u8);
    out.extend_from_slice(&footer.raw_len.to_le_bytes());
    out.extend_from_slice(&footer.stored_len.to_le_bytes());
    out
}

/// What stands behind the head: outer hash, length of the trailer, magic.
pub fn encode_trailer_tail(head: &[u8], outer_hash: &[u8; 32]) -> Vec<u8> {
    let mut out = outer_hash.to_vec();
    let len = crate::codec::len_u32(head.len() + 40);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&END_MAGIC);
    out
}

/// Finds and decodes the trailer at the end of `tail`, the last bytes of a pack of `size` bytes.
/// None: the tail is too short to hold it; the number says how many bytes are needed.
pub fn decode_trailer(tail: &[u8], size: u64) -> Result<Result<Trailer, usize>, FormatError> {
    let end = tail
        .len()
        .checked_sub(8)
        .and_then(|at| tail.get(at..))
        .unwrap_or_default();
    let mut input = Cursor::new("pack trailer", end);
    let len = input.u32_le()? as usize;
    if input.array()? != END_MAGIC {
        return Err(input.problem("does not end with the magic bytes of a pack"));
    }
    if len > TRAILER_FIXED + limits::PACK_SESSIONS_MAX * 64 + 10 || len as u64 > size {
        return Err(input.problem("trailer is too long"));
    }
    let Some(at) = tail.len().checked_sub(len) else {
        return Ok(Err(len));
    };
    let mut input = Cursor::new("pack trailer", tail.get(at..).unwrap_or_default());
    let keys = decode_keys(&mut input)?;
    let session = keys
        .keys
        .first()
        .ok_or_else(|| input.problem("no session key"))?
        .0;
    let counter = input.u64_le()?;
    let codec = decode_codec(&mut input)?;
    let footer = BoxHeader {
        kind: BoxKind::Footer,
        session,
        counter,
        codec,
        raw_len: input.u32_le()?,
        stored_len: input.u32_le()?,
    };
    check_lengths(&input, &footer)?;
    let outer_hash = input.array()?;
    let _len_and_magic: [u8; 8] = input.array()?;
    input.finish()?;
    let footer_offset = size.checked_sub(len as u64 + u64::from(footer.stored_len));
    let footer_offset = footer_offset.filter(|offset| *offset >= frame::LENGTH as u64);
    let footer_offset = footer_offset
        .ok_or_else(|| FormatError::new("pack trailer", "footer is longer than the pack"))?;
    Ok(Ok(Trailer {
        keys,
        footer,
        footer_offset,
        outer_hash,
        len,
    }))
}

/// Appends the wrapped keys.
pub fn encode_keys(out: &mut Vec<u8>, keys: &KeyTable) {
    put_varint(out, keys.keys.len() as u64);
    for (session, wrapped) in &keys.keys {
        out.extend_from_slice(session.as_bytes());
        out.extend_from_slice(wrapped);
    }
}

/// Takes the wrapped keys.
pub fn decode_keys(input: &mut Cursor<'_>) -> Result<KeyTable, FormatError> {
    let count = input.count(limits::PACK_SESSIONS_MAX, 64)?;
    let keys = (0..count).map(|_| Ok((SessionId(input.array()?), input.array()?)));
    Ok(KeyTable {
        keys: keys.collect::<Result<_, FormatError>>()?,
    })
}

/// Encodes a footer; every session of its boxes is in `keys`.
pub fn encode_footer(footer: &Footer, keys: &KeyTable) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, footer.boxes.len() as u64);
    for place in &footer.boxes {
        let header = &place.header;
        out.push(header.kind as u8);
        out.push(header.codec as u8);
        put_varint(&mut out, keys.position(header.session).unwrap_or(0) as u64);
        put_varint(&mut out, header.counter);
        put_varint(&mut out, header.raw_len.into());
        put_varint(&mut out, header.stored_len.into());
    }
    for chunks in &footer.chunks {
        put_varint(&mut out, chunks.len() as u64);
        chunks
            .iter()
            .for_each(|chunk| out.extend_from_slice(chunk.as_bytes()));
    }
    out
}

/// Takes a footer. Boxes lie back to back behind the frame.
pub fn decode_footer(input: &mut Cursor<'_>, keys: &KeyTable) -> Result<Footer, FormatError> {
    let count = input.count(limits::PACK_BOXES_MAX, 6)?;
    let mut boxes = Vec::with_capacity(count);
    let mut offset = frame::LENGTH as u64;
    for _ in 0..count {
        let kind = BoxKind::from_byte(input.byte()?);
        let kind = kind.filter(|kind| *kind <= BoxKind::Records);
        let kind = kind.ok_or_else(|| input.problem("unknown kind of box"))?;
        let codec = decode_codec(input)?;
        let number = input.at_most(limits::PACK_SESSIONS_MAX)?;
        let session = keys
            .keys
            .get(number)
            .ok_or_else(|| input.problem("no such session"))?
            .0;
        let header = BoxHeader {
            kind,
            session,
            counter: input.varint()?,
            codec,
            raw_len: input.varint_u32()?,
            stored_len: input.varint_u32()?,
        };
        check_lengths(input, &header)?;
        boxes.push(BoxPlace { header, offset });
        offset += u64::from(header.stored_len);
    }
    let blocks = boxes
        .iter()
        .filter(|place| place.header.kind == BoxKind::Records)
        .count();
    let mut chunks = Vec::with_capacity(blocks);
    for _ in 0..blocks {
        let count = input.count(limits::BLOCK_RECORDS_MAX, 32)?;
        let ids = (0..count).map(|_| input.array().map(ChunkId));
        chunks.push(ids.collect::<Result<_, _>>()?);
    }
    Ok(Footer { boxes, chunks })
}

fn decode_codec(input: &mut Cursor<'_>) -> Result<Codec, FormatError> {
    let byte = input.byte()?;
    Codec::from_byte(byte).ok_or_else(|| input.problem(format!("unknown codec {byte}")))
}

fn check_lengths(input: &Cursor<'_>, header: &BoxHeader) -> Result<(), FormatError> {
    let max = match header.kind {
        BoxKind::Footer | BoxKind::Index => limits::BOX_RAW_BYTES_MAX,
        BoxKind::Data | BoxKind::Nodes | BoxKind::Records => limits::SEGMENT_RAW_BYTES_MAX,
    };
    let stored = header.stored_len as usize;
    if header.raw_len as usize > max || stored < TAG_BYTES || stored > max + TAG_BYTES {
        return Err(input.problem("box is longer than boxes can be"));
    }
    Ok(())
}

/// The frame at the start of a pack.
pub fn head() -> [u8; frame::LENGTH] {
    frame::encode(Kind::Pack)
}
