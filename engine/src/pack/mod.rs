//! Packs: files that hold many sealed boxes, so that the backend sees few, large writes.
//!
//! A pack is written once, front to back, and never changed; its footer says what it holds, so that an index can be
//! made anew. The bytes are specified in `repo-format.md` § Pack and made only by `format.rs`.
//!
//! This module does not know where packs lie (`backend`) or which are needed (`prune`).

pub mod format;
mod writer;

pub use writer::{FinishedPack, PackWriter};

use crate::crypto::BoxHeader;
use crate::id::{ChunkId, SessionId};

/// One box in a pack: what it is and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxPlace {
    /// What it is.
    pub header: BoxHeader,
    /// Where it begins in the pack.
    pub offset: u64,
}

/// What a pack says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footer {
    /// The boxes in the order in which they lie.
    pub boxes: Vec<BoxPlace>,
    /// For every box of records, in order: the chunks that its records make.
    pub chunks: Vec<Vec<ChunkId>>,
}

/// Sessions and their wrapped keys, as they stand in clear beside boxes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyTable {
    /// Session and wrapped key; no session twice.
    pub keys: Vec<(SessionId, [u8; 48])>,
}

impl KeyTable {
    /// Number of a session in the table.
    pub fn position(&self, session: SessionId) -> Option<usize> {
        self.keys.iter().position(|(known, _)| *known == session)
    }

    /// Adds a session unless it is there.
    pub fn add(&mut self, session: SessionId, wrapped: &[u8; 48]) {
        if self.position(session).is_none() {
            self.keys.push((session, *wrapped));
        }
    }
}
