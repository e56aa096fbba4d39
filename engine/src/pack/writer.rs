//! Gathers sealed boxes and finishes them into a pack.

use super::format::{encode_footer, encode_trailer_head, encode_trailer_tail, head};
use super::{BoxPlace, Footer, KeyTable};
use crate::backend::{PackClass, PackName};
use crate::codec::frame;
use crate::compress::LEVEL_WHOLE;
use crate::crypto::{BoxHeader, BoxKind, SessionKey, random, seal_box};
use crate::id::{ChunkId, ObjectId, RepoId};
use crate::limits::{PACK_BOXES_MAX, PACK_SESSIONS_MAX, PACK_TARGET_BYTES};

/// Appends boxes; keeps their bytes as they came, without copying them together.
#[derive(Debug)]
pub struct PackWriter {
    class: PackClass,
    pieces: Vec<Vec<u8>>,
    footer: Footer,
    keys: KeyTable,
    size: u64,
}

/// A pack ready to be put: its name, its bytes in pieces, and what it holds.
#[derive(Debug)]
pub struct FinishedPack {
    /// Its name; a retry after a lost answer takes a new one.
    pub name: PackName,
    /// Its bytes, one after another.
    pub pieces: Vec<Vec<u8>>,
    /// All of them together, in bytes.
    pub size_bytes: u64,
    /// What it holds.
    pub footer: Footer,
    /// The keys of its boxes.
    pub keys: KeyTable,
}

impl PackWriter {
    /// An empty pack, sealed by this session in the end.
    pub fn new(class: PackClass, key: &SessionKey) -> Self {
        let keys = KeyTable {
            keys: vec![(key.session(), *key.wrapped())],
        };
        Self {
            class,
            pieces: vec![head().to_vec()],
            footer: Footer::default(),
            keys,
            size: frame::LENGTH as u64,
        }
    }

    /// Whether it holds no box.
    pub fn is_empty(&self) -> bool {
        self.footer.boxes.is_empty()
    }

    /// Whether it should be finished before more is added.
    pub fn is_full(&self) -> bool {
        self.size >= PACK_TARGET_BYTES as u64
            || self.footer.boxes.len() >= PACK_BOXES_MAX - 1
            || self.keys.keys.len() >= PACK_SESSIONS_MAX - 1
    }

    /// Appends a box; `chunks` are the ids of its records if it is a box of records.
    pub fn add(
        &mut self,
        header: BoxHeader,
        stored: Vec<u8>,
        wrapped: &[u8; 48],
        chunks: Vec<ChunkId>,
    ) {
        self.keys.add(header.session, wrapped);
        self.footer.boxes.push(BoxPlace {
            header,
            offset: self.size,
        });
        if header.kind == BoxKind::Records {
            self.footer.chunks.push(chunks);
        }
        self.size += stored.len() as u64;
        self.pieces.push(stored);
    }

    /// Seals the footer under the next counter and names the pack.
    pub fn finish(mut self, key: &SessionKey, repo: RepoId, counter: u64) -> FinishedPack {
        let raw = encode_footer(&self.footer, &self.keys);
        let (header, stored) = seal_box(key, repo, BoxKind::Footer, counter, LEVEL_WHOLE, &raw);
        self.pieces.push(stored);
        let trailer = encode_trailer_head(&self.keys, &header);
        self.pieces.push(trailer);
        let mut hasher = blake3::Hasher::new();
        self.pieces.iter().for_each(|piece| {
            hasher.update(piece);
        });
        let head = self.pieces.last().map(Vec::as_slice).unwrap_or_default();
        let tail = encode_trailer_tail(head, hasher.finalize().as_bytes());
        self.pieces.push(tail);
        let size_bytes = self.pieces.iter().map(|piece| piece.len() as u64).sum();
        let random = ObjectId(random());
        let name = PackName {
            session: key.session(),
            random,
            class: self.class,
        };
        FinishedPack {
            name,
            pieces: self.pieces,
            size_bytes,
            footer: self.footer,
            keys: self.keys,
        }
    }
}
