//! Bytes of index segments. `repo-format.md` § Index.

use super::IndexedPack;
use crate::backend::{PackClass, PackName};
use crate::codec::frame::{self, Kind};
use crate::codec::{Cursor, FormatError, put_varint};
use crate::compress::{Codec, LEVEL_WHOLE};
use crate::crypto::{BoxHeader, BoxKind, RootKey, SessionKey, open_box, seal_box};
use crate::id::{ObjectId, RepoId, SessionId};
use crate::limits;
use crate::pack::format::{decode_footer, decode_keys, encode_footer, encode_keys};

/// Seals an index segment under a session's key.
pub fn seal(key: &SessionKey, repo: RepoId, counter: u64, packs: &[IndexedPack]) -> Vec<u8> {
    let raw = encode_body(packs);
    let (header, stored) = seal_box(key, repo, BoxKind::Index, counter, LEVEL_WHOLE, &raw);
    let mut out = frame::encode(Kind::Index).to_vec();
    out.extend_from_slice(key.session().as_bytes());
    out.extend_from_slice(key.wrapped());
    out.extend_from_slice(&header.counter.to_le_bytes());
    out.push(header.codec as u8);
    out.extend_from_slice(&header.raw_len.to_le_bytes());
    out.extend_from_slice(&stored);
    out
}

/// Opens an index segment.
pub fn open(root: &RootKey, repo: RepoId, bytes: &[u8]) -> Result<Vec<IndexedPack>, FormatError> {
    let mut input = Cursor::new("index segment", bytes);
    frame::decode(&mut input, Kind::Index)?;
    let session = SessionId(input.array()?);
    let wrapped: [u8; 48] = input.array()?;
    let counter = input.u64_le()?;
    let codec = input.byte()?;
    let codec = Codec::from_byte(codec).ok_or_else(|| input.problem("unknown codec"))?;
    let raw_len = input.u32_le()?;
    if raw_len as usize > limits::BOX_RAW_BYTES_MAX {
        return Err(input.problem("index segment is too large"));
    }
    let stored = input.take(input.remaining())?.to_vec();
    let stored_len = crate::codec::len_u32(stored.len());
    let header = BoxHeader {
        kind: BoxKind::Index,
        session,
        counter,
        codec,
        raw_len,
        stored_len,
    };
    let key = SessionKey::unwrap(root, repo, session, &wrapped)?;
    decode_body(&open_box(&key, repo, &header, stored)?)
}

/// Encodes the plaintext: pack after pack.
pub fn encode_body(packs: &[IndexedPack]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, packs.len() as u64);
    for pack in packs {
        out.extend_from_slice(pack.name.session.as_bytes());
        out.extend_from_slice(pack.name.random.as_bytes());
        out.push(match pack.name.class {
            PackClass::Data => b'd',
            PackClass::Meta => b'm',
        });
        put_varint(&mut out, pack.size_bytes);
        encode_keys(&mut out, &pack.keys);
        out.extend_from_slice(&encode_footer(&pack.footer, &pack.keys));
    }
    out
}

/// Decodes the plaintext.
pub fn decode_body(bytes: &[u8]) -> Result<Vec<IndexedPack>, FormatError> {
    let mut input = Cursor::new("index segment", bytes);
    let count = input.count(limits::INDEX_PACKS_MAX, 36)?;
    let mut packs = Vec::with_capacity(count);
    for _ in 0..count {
        let session = SessionId(input.array()?);
        let random = ObjectId(input.array()?);
        let class = match input.byte()? {
            b'd' => PackClass::Data,
            b'm' => PackClass::Meta,
            _ => return Err(input.problem("unknown class of pack")),
        };
        let size_bytes = input.varint()?;
        if size_bytes > limits::PACK_BYTES_MAX {
            return Err(input.problem("pack is larger than packs can be"));
        }
        let keys = decode_keys(&mut input)?;
        let footer = decode_footer(&mut input, &keys)?;
        packs.push(IndexedPack {
            name: PackName {
                session,
                random,
                class,
            },
            size_bytes,
            keys,
            footer,
        });
    }
    input.finish()?;
    Ok(packs)
}
