//! The root key and what is derived from it, each usable for one thing only.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::id::{ChunkId, RepoId, SessionId};

/// A password or the bytes of a key file: zeroed when dropped, never printed.
pub type Secret = Zeroizing<Vec<u8>>;

/// The one random key of a repository. No `Debug`, no `Clone`: it lives in one place.
#[derive(ZeroizeOnDrop)]
pub struct RootKey {
    root: [u8; 32],
    chunk: [u8; 32],
    node: [u8; 32],
    wrap: [u8; 32],
    records: [u8; 32],
    #[zeroize(skip)]
    chunker_seed: u64,
}

impl RootKey {
    /// Makes a new random root key.
    pub fn generate() -> Self {
        Self::from_bytes(super::random())
    }

    /// Takes an unwrapped root key.
    pub fn from_bytes(root: [u8; 32]) -> Self {
        let derive = |purpose: &str| blake3::derive_key(purpose, &root);
        let derived = derive("keepstone 1 chunker seed");
        let mut seed = [0; 8];
        seed.copy_from_slice(&derived[..8]);
        Self {
            chunk: derive("keepstone 1 chunk id"),
            node: derive("keepstone 1 node id"),
            wrap: derive("keepstone 1 session key wrap"),
            records: derive("keepstone 1 small records"),
            chunker_seed: u64::from_le_bytes(seed),
            root,
        }
    }

    /// The bytes, for wrapping only.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.root
    }

    /// Names a piece of a stream.
    pub fn chunk_id(&self, bytes: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.chunk, bytes).as_bytes())
    }

    /// Names a node of a list or tree; never equal to the name of a piece of a stream.
    pub fn node_id(&self, bytes: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.node, bytes).as_bytes())
    }

    /// Masks the chunker's table: obfuscation, not secrecy.
    pub fn chunker_seed(&self) -> u64 {
        self.chunker_seed
    }

    /// A short public name of the key, for pinning.
    pub fn fingerprint(&self) -> String {
        let hash = blake3::derive_key("keepstone 1 fingerprint", &self.root);
        ChunkId(hash).to_string().chars().take(32).collect()
    }

    /// Wraps session keys: one wrapping key for each session, so that a fixed nonce is used once.
    pub(crate) fn wrap_key(&self, session: SessionId) -> [u8; 32] {
        *blake3::keyed_hash(&self.wrap, session.as_bytes()).as_bytes()
    }

    /// Seals small records of this repository.
    pub(crate) fn records_key(&self, repo: RepoId) -> [u8; 32] {
        *blake3::keyed_hash(&self.records, repo.as_bytes()).as_bytes()
    }
}

/// Hashes what a password or a raw key file gives into the two keys of a slot: for sealing, for committing.
pub(crate) fn slot_keys(mut stretched: [u8; 32]) -> (Zeroizing<[u8; 32]>, [u8; 32]) {
    let seal = Zeroizing::new(blake3::derive_key("keepstone 1 slot seal", &stretched));
    let commitment = blake3::derive_key("keepstone 1 slot commitment", &stretched);
    stretched.zeroize();
    (seal, commitment)
}
