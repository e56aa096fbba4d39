//! Bytes of key slots. `repo-format.md` § Key slot.

use super::slot::{KdfParameters, Slot, SlotInfo};
use crate::codec::frame::{self, Kind};
use crate::codec::{Cursor, FormatError, put_bytes, put_signed, put_varint};
use crate::limits;

/// The clear part of a slot, bound by its seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotHeader {
    pub(crate) kdf: KdfParameters,
    pub(crate) salt: [u8; 16],
    pub(crate) commitment: [u8; 32],
    pub(crate) info: SlotInfo,
}

const TEXT_MAX: usize = 256;

impl SlotHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.kdf {
            KdfParameters::Raw => out.push(0),
            KdfParameters::Argon2id {
                memory_kib,
                passes,
                lanes,
            } => {
                out.push(1);
                put_varint(&mut out, memory_kib.into());
                put_varint(&mut out, passes.into());
                put_varint(&mut out, lanes.into());
            }
        }
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.commitment);
        put_signed(&mut out, self.info.created_ns);
        put_bytes(&mut out, cut(&self.info.host));
        put_bytes(&mut out, cut(&self.info.user));
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut input = Cursor::new("key slot", bytes);
        let kdf = match input.byte()? {
            0 => KdfParameters::Raw,
            1 => {
                let kdf = (
                    input.varint_u32()?,
                    input.varint_u32()?,
                    input.varint_u32()?,
                );
                let (memory_kib, passes, lanes) = kdf;
                let fits = memory_kib <= limits::ARGON2_MEMORY_KIB_MAX
                    && passes <= limits::ARGON2_PASSES_MAX
                    && lanes <= limits::ARGON2_LANES_MAX;
                if !fits {
                    return Err(input.problem("asks for more key stretching than is accepted"));
                }
                KdfParameters::Argon2id {
                    memory_kib,
                    passes,
                    lanes,
                }
            }
            other => return Err(input.problem(format!("unknown key derivation {other}"))),
        };
        let header = Self {
            kdf,
            salt: input.array()?,
            commitment: input.array()?,
            info: SlotInfo {
                created_ns: input.signed()?,
                host: input.text(TEXT_MAX)?,
                user: input.text(TEXT_MAX)?,
            },
        };
        input.finish()?;
        Ok(header)
    }
}

fn cut(text: &str) -> &[u8] {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().as_bytes()
}

pub(crate) fn encode_slot(header: &[u8], sealed: &[u8]) -> Vec<u8> {
    let mut out = frame::encode(Kind::Slot).to_vec();
    put_bytes(&mut out, header);
    put_bytes(&mut out, sealed);
    out
}

/// Decodes a slot file.
pub fn decode_slot(bytes: &[u8]) -> Result<Slot, FormatError> {
    let mut input = Cursor::new("key slot", bytes);
    frame::decode(&mut input, Kind::Slot)?;
    let header_bytes = input.bytes(limits::CONFIG_BYTES_MAX)?.to_vec();
    let sealed = input.bytes(limits::CONFIG_BYTES_MAX)?.to_vec();
    input.finish()?;
    Ok(Slot {
        header: SlotHeader::decode(&header_bytes)?,
        header_bytes,
        sealed,
    })
}
