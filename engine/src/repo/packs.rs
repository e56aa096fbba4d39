//! Packs as they lie in the repository: which exist, what each says of itself, one stored box.

use std::collections::BTreeMap;

use super::Repo;
use crate::backend::{ByteRange, ObjectKey, ObjectKind, PackName};
use crate::codec::FormatError;
use crate::crypto::{SessionKey, open_box};
use crate::error::{Error, Result};
use crate::index::{BoxRef, IndexedPack};
use crate::limits;
use crate::pack::format::{decode_footer, decode_trailer};

/// All packs of the repository and their sizes in bytes.
pub fn packs_that_exist(repo: &Repo) -> Result<BTreeMap<PackName, u64>> {
    let packs = repo.list(ObjectKind::Pack)?.into_iter();
    Ok(packs
        .filter_map(|stat| match stat.key {
            ObjectKey::Pack(name) => Some((name, stat.size_bytes)),
            _ => None,
        })
        .collect())
}

/// Reads the stored bytes of a box, still sealed.
pub fn read_stored_box(repo: &Repo, pack: PackName, place: &BoxRef) -> Result<Vec<u8>> {
    let key = ObjectKey::pack(pack);
    let length = u64::from(place.header.stored_len);
    let range = ByteRange::FromTo {
        offset: place.offset,
        length,
    };
    repo.backend().get(&key, range).map_err(Error::unread(&key))
}

/// Reads what a pack says of itself.
pub fn read_footer(repo: &Repo, name: PackName, size_bytes: u64) -> Result<IndexedPack> {
    const TAIL: usize = 64 * 1024;
    let key = ObjectKey::pack(name);
    let corrupt = |error: FormatError| Error::corrupt(key)(error);
    if size_bytes > limits::PACK_BYTES_MAX {
        return Err(corrupt(FormatError::new(
            "pack",
            "it is larger than packs can be",
        )));
    }
    let read = |length: usize| -> Result<Vec<u8>> {
        let length = (length as u64).min(size_bytes);
        repo.backend()
            .get(&key, ByteRange::Last(length))
            .map_err(Error::unread(&key))
    };
    let mut tail = read(TAIL)?;
    let trailer = match decode_trailer(&tail, size_bytes).map_err(corrupt)? {
        Ok(trailer) => trailer,
        Err(needed) => {
            tail = read(needed)?;
            let again = decode_trailer(&tail, size_bytes).map_err(corrupt)?;
            again.map_err(|_| corrupt(FormatError::new("pack trailer", "cannot be found")))?
        }
    };
    let footer_len = trailer.footer.stored_len as usize;
    let needed = footer_len + trailer.len;
    if tail.len() < needed {
        tail = read(needed)?;
    }
    let start = tail.len().saturating_sub(needed);
    let stored = tail
        .get(start..start + footer_len)
        .unwrap_or_default()
        .to_vec();
    let (session, wrapped) = trailer
        .keys
        .keys
        .first()
        .ok_or_else(|| corrupt(FormatError::new("pack trailer", "no session key")))?;
    let session_key =
        SessionKey::unwrap(repo.root(), repo.id(), *session, wrapped).map_err(corrupt)?;
    let raw = open_box(&session_key, repo.id(), &trailer.footer, stored).map_err(corrupt)?;
    let mut input = crate::codec::Cursor::new("pack footer", &raw);
    let footer = decode_footer(&mut input, &trailer.keys).map_err(corrupt)?;
    input.finish().map_err(corrupt)?;
    let ends = footer
        .boxes
        .last()
        .map_or(0, |place| place.offset + u64::from(place.header.stored_len));
    if ends > trailer.footer_offset {
        let problem = "boxes do not fit in the pack";
        return Err(corrupt(FormatError::new("pack footer", problem)));
    }
    Ok(IndexedPack {
        name,
        size_bytes,
        keys: trailer.keys,
        footer,
    })
}
