//! Key slots: the root key wrapped by a password or by a raw key file.

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use zeroize::{Zeroize as _, Zeroizing};

use super::format::SlotHeader;
use super::keys::slot_keys;
use super::{RootKey, Secret, TAG_BYTES, random};
use crate::codec::FormatError;
use crate::codec::frame;

/// How the secret of a slot is stretched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KdfParameters {
    /// A password through argon2id.
    Argon2id {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// The bytes of a raw key file, at least 32 random ones: no stretching.
    Raw,
}

impl KdfParameters {
    /// What a new password slot gets: 64 MiB, three passes, four lanes.
    pub const PASSWORD: Self = Self::Argon2id {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 4,
    };
}

/// What people see of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotInfo {
    /// When it was made, nanoseconds since 1970.
    pub created_ns: i64,
    /// On which host.
    pub host: String,
    /// By whom.
    pub user: String,
}

/// A decoded slot, still sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub(crate) header: SlotHeader,
    pub(crate) header_bytes: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
}

impl Slot {
    /// What people see of it.
    pub fn info(&self) -> &SlotInfo {
        &self.header.info
    }

    /// Whether it takes a password (or else a raw key file).
    pub fn is_password(&self) -> bool {
        self.header.kdf != KdfParameters::Raw
    }
}

/// Wraps the root key and the hash of the config; answers the slot file's bytes.
pub fn seal_slot(
    root: &RootKey,
    config: &[u8],
    secret: &Secret,
    kdf: KdfParameters,
    info: SlotInfo,
) -> Result<Vec<u8>, FormatError> {
    let salt = random();
    let (seal_key, commitment) = slot_keys(stretch(secret, kdf, &salt)?);
    let header = SlotHeader {
        kdf,
        salt,
        commitment,
        info,
    };
    let header_bytes = header.encode();
    let mut body = [0; 64];
    body[..32].copy_from_slice(root.as_bytes());
    body[32..].copy_from_slice(blake3::hash(config).as_bytes());
    let cipher = ChaCha20Poly1305::new(&Key::from(*seal_key));
    #[expect(clippy::expect_used, reason = "64 bytes are below the cipher's limit")]
    let tag = cipher
        .encrypt_inout_detached(
            &Nonce::default(),
            &aad(&header_bytes),
            body.as_mut_slice().into(),
        )
        .expect("64 bytes are below the cipher's limit");
    let sealed = [body.as_slice(), tag.as_slice()].concat();
    Ok(super::format::encode_slot(&header_bytes, &sealed))
}

/// Unwraps the root key. None: the secret is not this slot's. An error: the slot or the config is damaged.
pub fn open_slot(
    slot: &Slot,
    config: &[u8],
    secret: &Secret,
) -> Result<Option<RootKey>, FormatError> {
    let header = &slot.header;
    let (seal_key, commitment) = slot_keys(stretch(secret, header.kdf, &header.salt)?);
    if blake3::Hash::from(commitment) != blake3::Hash::from(header.commitment) {
        return Ok(None);
    }
    let damaged = || FormatError::new("key slot", "does not authenticate");
    let (body, tag) = slot.sealed.split_at_checked(64).ok_or_else(damaged)?;
    let tag: [u8; TAG_BYTES] = tag.try_into().map_err(|_| damaged())?;
    let mut body = Zeroizing::new(body.to_vec());
    let cipher = ChaCha20Poly1305::new(&Key::from(*seal_key));
    cipher
        .decrypt_inout_detached(
            &Nonce::default(),
            &aad(&slot.header_bytes),
            body.as_mut_slice().into(),
            &Tag::from(tag),
        )
        .map_err(|_| damaged())?;
    let (root, config_hash) = body.split_at(32);
    if blake3::hash(config).as_bytes() != config_hash {
        return Err(FormatError::new(
            "config",
            "is not the one that the key slot authenticates",
        ));
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(root);
    let root = RootKey::from_bytes(bytes);
    bytes.zeroize();
    Ok(Some(root))
}

/// A slot's secret is stretched once; the nonce is zero because the key is of this salt alone.
fn stretch(secret: &Secret, kdf: KdfParameters, salt: &[u8; 16]) -> Result<[u8; 32], FormatError> {
    match kdf {
        KdfParameters::Raw => {
            let mut hasher = blake3::Hasher::new_derive_key("keepstone 1 raw key file");
            hasher.update(salt).update(secret);
            Ok(*hasher.finalize().as_bytes())
        }
        KdfParameters::Argon2id {
            memory_kib,
            passes,
            lanes,
        } => {
            let bad = |error: argon2::Error| FormatError::new("key slot", error.to_string());
            let parameters =
                argon2::Params::new(memory_kib, passes, lanes, Some(32)).map_err(bad)?;
            let argon2 = argon2::Argon2::new(
                argon2::Algorithm::Argon2id,
                argon2::Version::V0x13,
                parameters,
            );
            let mut out = [0; 32];
            argon2
                .hash_password_into(secret, salt, &mut out)
                .map_err(bad)?;
            Ok(out)
        }
    }
}

fn aad(header_bytes: &[u8]) -> Vec<u8> {
    [frame::encode(frame::Kind::Slot).as_slice(), header_bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: KdfParameters = KdfParameters::Argon2id {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };

    #[test]
    fn a_slot_opens_with_its_secret_only_and_guards_the_config() {
        let root = RootKey::from_bytes([5; 32]);
        let secret = Secret::new(b"correct horse".to_vec());
        for kdf in [CHEAP, KdfParameters::Raw] {
            let bytes = seal_slot(&root, b"config", &secret, kdf, SlotInfo::default()).unwrap();
            let slot = super::super::format::decode_slot(&bytes).unwrap();
            let opened = open_slot(&slot, b"config", &secret).unwrap().unwrap();
            assert_eq!(opened.as_bytes(), root.as_bytes());
            let wrong = Secret::new(b"wrong".to_vec());
            assert!(open_slot(&slot, b"config", &wrong).unwrap().is_none());
            assert!(open_slot(&slot, b"another", &secret).is_err());
        }
    }
}
