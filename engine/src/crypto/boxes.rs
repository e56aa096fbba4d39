//! Boxes: the sealed units of packs and index segments.

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use zeroize::Zeroizing;

use super::{RootKey, TAG_BYTES};
use crate::codec::frame::VERSION;
use crate::codec::{FormatError, len_u32};
use crate::compress::{Codec, compress, compress_data, decompress};
use crate::id::{RepoId, SessionId};

/// What a box holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BoxKind {
    /// Bytes of streams.
    Data = 1,
    /// Nodes of lists and trees.
    Nodes = 2,
    /// Chunk records.
    Records = 3,
    /// The table of a pack.
    Footer = 4,
    /// The body of an index segment.
    Index = 5,
}

impl BoxKind {
    /// Reads the kind byte.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Data),
            2 => Some(Self::Nodes),
            3 => Some(Self::Records),
            4 => Some(Self::Footer),
            5 => Some(Self::Index),
            _ => None,
        }
    }
}

/// Everything about a box but its bytes and its place: what the seal binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BoxHeader {
    /// What it holds.
    pub kind: BoxKind,
    /// The session under whose key it is sealed.
    pub session: SessionId,
    /// The nonce, used once in the session.
    pub counter: u64,
    /// How the plaintext is encoded.
    pub codec: Codec,
    /// Bytes of plaintext.
    pub raw_len: u32,
    /// Bytes as stored, tag included.
    pub stored_len: u32,
}

/// A session's key: random, in one process only, wrapped beside every box.
pub struct SessionKey {
    session: SessionId,
    cipher: ChaCha20Poly1305,
    wrapped: [u8; 48],
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionKey({})", self.session)
    }
}

impl SessionKey {
    /// Makes the key of a new session.
    pub fn generate(root: &RootKey, repo: RepoId, session: SessionId) -> Self {
        let key = Zeroizing::new(super::random::<32>());
        let mut sealed = *key;
        let wrap = ChaCha20Poly1305::new(&Key::from(root.wrap_key(session)));
        let tag = encrypt(&wrap, 0, &wrap_aad(repo, session), &mut sealed);
        let mut wrapped = [0; 48];
        wrapped[..32].copy_from_slice(&sealed);
        wrapped[32..].copy_from_slice(&tag);
        Self {
            session,
            cipher: ChaCha20Poly1305::new(&Key::from(*key)),
            wrapped,
        }
    }

    /// Unwraps the key of a session from a pack or an index segment.
    pub fn unwrap(
        root: &RootKey,
        repo: RepoId,
        session: SessionId,
        wrapped: &[u8; 48],
    ) -> Result<Self, FormatError> {
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&wrapped[..32]);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&wrapped[32..]);
        let wrap = ChaCha20Poly1305::new(&Key::from(root.wrap_key(session)));
        decrypt(&wrap, 0, &wrap_aad(repo, session), key.as_mut_slice(), &tag)
            .ok_or_else(|| FormatError::new("session key", "does not authenticate"))?;
        Ok(Self {
            session,
            cipher: ChaCha20Poly1305::new(&Key::from(*key)),
            wrapped: *wrapped,
        })
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The wrapped key, as it stands in packs and index segments.
    pub fn wrapped(&self) -> &[u8; 48] {
        &self.wrapped
    }
}

/// Compresses and seals; answers the header and the stored bytes.
pub fn seal_box(
    key: &SessionKey,
    repo: RepoId,
    kind: BoxKind,
    counter: u64,
    level: i32,
    raw: &[u8],
) -> (BoxHeader, Vec<u8>) {
    let (codec, mut stored) = match kind {
        BoxKind::Data => compress_data(level, raw, TAG_BYTES),
        _ => compress(level, raw, TAG_BYTES),
    };
    let header = BoxHeader {
        kind,
        session: key.session,
        counter,
        codec,
        raw_len: len_u32(raw.len()),
        stored_len: len_u32(stored.len() + TAG_BYTES),
    };
    let tag = encrypt(&key.cipher, counter, &box_aad(repo, &header), &mut stored);
    stored.extend_from_slice(&tag);
    (header, stored)
}

/// Authenticates and decompresses.
pub fn open_box(
    key: &SessionKey,
    repo: RepoId,
    header: &BoxHeader,
    mut stored: Vec<u8>,
) -> Result<Vec<u8>, FormatError> {
    let body = stored.len().checked_sub(TAG_BYTES);
    let body = body.filter(|_| stored.len() == header.stored_len as usize);
    let body =
        body.ok_or_else(|| FormatError::new("box", "has another length than its header says"))?;
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(stored.get(body..).unwrap_or_default());
    stored.truncate(body);
    decrypt(
        &key.cipher,
        header.counter,
        &box_aad(repo, header),
        &mut stored,
        &tag,
    )
    .ok_or_else(|| FormatError::new("box", "does not authenticate"))?;
    decompress(header.codec, stored, header.raw_len as usize)
}

fn encrypt(cipher: &ChaCha20Poly1305, counter: u64, aad: &[u8], bytes: &mut [u8]) -> [u8; 16] {
    #[expect(
        clippy::expect_used,
        reason = "the cipher's limit is 256 GiB, a box's is 512 MiB"
    )]
    let tag = cipher
        .encrypt_inout_detached(&nonce(counter), aad, bytes.into())
        .expect("a box is far below the cipher's limit");
    tag.into()
}

fn decrypt(
    cipher: &ChaCha20Poly1305,
    counter: u64,
    aad: &[u8],
    bytes: &mut [u8],
    tag: &[u8; 16],
) -> Option<()> {
    cipher
        .decrypt_inout_detached(&nonce(counter), aad, bytes.into(), &Tag::from(*tag))
        .ok()
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&counter.to_le_bytes());
    Nonce::from(nonce)
}

fn wrap_aad(repo: RepoId, session: SessionId) -> Vec<u8> {
    [
        b"wrap".as_slice(),
        &[VERSION],
        repo.as_bytes(),
        session.as_bytes(),
    ]
    .concat()
}

/// Repository, kind, session, counter, codec, lengths, version: never the pack or the offset, so that a
/// box can move without being opened.
fn box_aad(repo: RepoId, header: &BoxHeader) -> [u8; 54] {
    let mut aad = [0; 54];
    let parts: [&[u8]; 9] = [
        b"box",
        &[VERSION],
        repo.as_bytes(),
        &[header.kind as u8],
        header.session.as_bytes(),
        &header.counter.to_le_bytes(),
        &[header.codec as u8],
        &header.raw_len.to_le_bytes(),
        &header.stored_len.to_le_bytes(),
    ];
    let mut rest = aad.as_mut_slice();
    for part in parts {
        let (head, tail) = rest.split_at_mut(part.len());
        head.copy_from_slice(part);
        rest = tail;
    }
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> (RootKey, RepoId, SessionKey) {
        let root = RootKey::from_bytes([7; 32]);
        let repo = RepoId([1; 16]);
        let key = SessionKey::generate(&root, repo, SessionId([2; 16]));
        (root, repo, key)
    }

    #[test]
    fn a_box_opens_with_the_wrapped_key_and_only_as_what_it_is() {
        let (root, repo, key) = setting();
        let (header, stored) = seal_box(&key, repo, BoxKind::Data, 9, 3, b"some bytes");
        let again = SessionKey::unwrap(&root, repo, key.session(), key.wrapped()).unwrap();
        assert_eq!(
            open_box(&again, repo, &header, stored.clone()).unwrap(),
            b"some bytes"
        );
        let lies = [
            BoxHeader {
                kind: BoxKind::Nodes,
                ..header
            },
            BoxHeader {
                counter: 10,
                ..header
            },
            BoxHeader {
                raw_len: 11,
                ..header
            },
            BoxHeader {
                codec: Codec::Zstd,
                ..header
            },
            BoxHeader {
                session: SessionId([3; 16]),
                ..header
            },
        ];
        for lie in lies {
            assert!(
                open_box(&again, repo, &lie, stored.clone()).is_err(),
                "{lie:?}"
            );
        }
        assert!(open_box(&again, RepoId([9; 16]), &header, stored.clone()).is_err());
        for at in 0..stored.len() {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            assert!(open_box(&again, repo, &header, flipped).is_err());
        }
    }

    #[test]
    fn a_wrapped_key_of_another_session_does_not_unwrap() {
        let (root, repo, key) = setting();
        assert!(SessionKey::unwrap(&root, repo, SessionId([3; 16]), key.wrapped()).is_err());
        assert!(SessionKey::unwrap(&root, RepoId([3; 16]), key.session(), key.wrapped()).is_err());
    }
}
