//! Small records: session, end, forgotten, tombstone, settled. JSON, compressed, sealed under a random nonce.

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};

use super::{RootKey, TAG_BYTES, random};
use crate::codec::frame::{self, Kind};
use crate::codec::{Cursor, FormatError};
use crate::compress::{Codec, LEVEL_META, compress, decompress};
use crate::id::RepoId;
use crate::limits::SMALL_RECORD_BYTES_MAX;

const NONCE_BYTES: usize = 24;

/// Seals one small record. `name` is the name of the object, which the seal binds.
pub fn seal_record(root: &RootKey, repo: RepoId, kind: Kind, name: &str, json: &[u8]) -> Vec<u8> {
    let (codec, mut body) = compress(LEVEL_META, json, TAG_BYTES);
    let raw_len = crate::codec::len_u32(json.len());
    let nonce: [u8; NONCE_BYTES] = random();
    let cipher = XChaCha20Poly1305::new(&Key::from(root.records_key(repo)));
    #[expect(clippy::expect_used, reason = "the cipher's limit is 256 GiB")]
    let tag = cipher
        .encrypt_inout_detached(
            &XNonce::from(nonce),
            &aad(repo, kind, name, codec, raw_len),
            body.as_mut_slice().into(),
        )
        .expect("a small record is below the cipher's limit");
    let mut out = Vec::with_capacity(frame::LENGTH + 5 + NONCE_BYTES + body.len() + TAG_BYTES);
    out.extend_from_slice(&frame::encode(kind));
    out.push(codec as u8);
    out.extend_from_slice(&raw_len.to_le_bytes());
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&body);
    out.extend_from_slice(&tag);
    out
}

/// Opens one small record; answers its JSON.
pub fn open_record(
    root: &RootKey,
    repo: RepoId,
    kind: Kind,
    name: &str,
    bytes: &[u8],
) -> Result<Vec<u8>, FormatError> {
    let mut input = Cursor::new("small record", bytes);
    frame::decode(&mut input, kind)?;
    let codec = input.byte()?;
    let codec = Codec::from_byte(codec).ok_or_else(|| input.problem("unknown codec"))?;
    let raw_len = input.u32_le()?;
    if raw_len as usize > SMALL_RECORD_BYTES_MAX {
        return Err(input.problem("record is too large"));
    }
    let nonce: [u8; NONCE_BYTES] = input.array()?;
    let length = input.remaining().checked_sub(TAG_BYTES);
    let length = length.ok_or_else(|| input.problem("is cut short"))?;
    let mut body = input.take(length)?.to_vec();
    let tag: [u8; TAG_BYTES] = input.array()?;
    let cipher = XChaCha20Poly1305::new(&Key::from(root.records_key(repo)));
    cipher
        .decrypt_inout_detached(
            &XNonce::from(nonce),
            &aad(repo, kind, name, codec, raw_len),
            body.as_mut_slice().into(),
            &Tag::from(tag),
        )
        .map_err(|_| FormatError::new("small record", "does not authenticate"))?;
    decompress(codec, body, raw_len as usize)
}

fn aad(repo: RepoId, kind: Kind, name: &str, codec: Codec, raw_len: u32) -> Vec<u8> {
    let head = [
        b"record".as_slice(),
        &[frame::VERSION],
        repo.as_bytes(),
        &[kind as u8, codec as u8],
    ];
    let mut aad = head.concat();
    aad.extend_from_slice(&raw_len.to_le_bytes());
    aad.extend_from_slice(name.as_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_only_under_its_own_name_and_kind() {
        let root = RootKey::from_bytes([7; 32]);
        let repo = RepoId([1; 16]);
        let sealed = seal_record(&root, repo, Kind::End, "end/aa", b"{\"a\":1}");
        assert_eq!(
            open_record(&root, repo, Kind::End, "end/aa", &sealed).unwrap(),
            b"{\"a\":1}"
        );
        assert!(open_record(&root, repo, Kind::End, "end/ab", &sealed).is_err());
        assert!(open_record(&root, repo, Kind::Forgotten, "end/aa", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 0x10;
            assert!(
                open_record(&root, repo, Kind::End, "end/aa", &flipped).is_err(),
                "byte {at}"
            );
        }
    }
}
