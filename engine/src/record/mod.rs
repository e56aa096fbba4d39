//! Chunk records: what a chunk is made of.
//!
//! A chunk is a list of extents: bytes of a segment, or a copy out of another chunk (its base). Records stand in
//! blocks, in the order in which their streams were written; the index says which block and which ordinal.
//! The bytes are specified in `repo-format.md` § Record block and made only by `format.rs`.

pub mod format;

use crate::id::ChunkId;
use crate::segment::SegmentId;

/// One piece of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Bytes of a segment.
    Stored {
        /// Which.
        segment: SegmentId,
        /// Where in its plaintext.
        offset: u32,
        /// How many bytes.
        len: u32,
    },
    /// Bytes of another chunk.
    Copy {
        /// Which.
        base: ChunkId,
        /// Where in its plaintext.
        offset: u32,
        /// How many bytes.
        len: u32,
    },
}

impl Extent {
    /// How many bytes it gives.
    pub fn len(&self) -> u32 {
        match self {
            Self::Stored { len, .. } | Self::Copy { len, .. } => *len,
        }
    }

    /// Whether it gives none, which no record holds.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One chunk: its extents in order, their lengths sum up to the chunk's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRecord {
    /// Length of the chunk in bytes.
    pub len: u32,
    /// Longest chain of bases below it; 0 without copies.
    pub depth: u8,
    /// What makes it.
    pub extents: Vec<Extent>,
}

impl ChunkRecord {
    /// A chunk that lies whole in one segment.
    pub fn whole(segment: SegmentId, offset: u32, len: u32) -> Self {
        Self {
            len,
            depth: 0,
            extents: vec![Extent::Stored {
                segment,
                offset,
                len,
            }],
        }
    }
}

/// A decoded block: extents in one run, sources by number into the block's own tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Chunks that copies name.
    pub bases: Vec<ChunkId>,
    /// Segments that extents name.
    pub segments: Vec<SegmentId>,
    pub(crate) records: Vec<Rec>,
    pub(crate) extents: Vec<Piece>,
}

/// A record inside a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rec {
    pub(crate) len: u32,
    pub(crate) depth: u8,
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// An extent inside a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where in the chunk it begins.
    pub(crate) at: u32,
    pub(crate) from: From,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// Where a piece comes from, by number into the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Segment(u32),
    Base(u32),
}

impl Block {
    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of_val(self.bases.as_slice())
            + size_of_val(self.segments.as_slice())
            + size_of_val(self.records.as_slice())
            + size_of_val(self.extents.as_slice())
    }

    /// Length of a chunk in bytes.
    pub fn chunk_len(&self, ordinal: u16) -> Option<u32> {
        self.records.get(usize::from(ordinal)).map(|rec| rec.len)
    }

    /// Depth of a chunk.
    pub fn depth(&self, ordinal: u16) -> Option<u8> {
        self.records.get(usize::from(ordinal)).map(|rec| rec.depth)
    }

    pub(crate) fn pieces(&self, ordinal: u16) -> Option<&[Piece]> {
        let rec = self.records.get(usize::from(ordinal))?;
        let first = rec.first as usize;
        self.extents.get(first..first + rec.count as usize)
    }

    pub(crate) fn piece(&self, ordinal: u16, number: usize) -> Option<Piece> {
        let rec = self.records.get(usize::from(ordinal))?;
        let is_within = number < rec.count as usize;
        let piece = self.extents.get(rec.first as usize + number);
        piece.filter(|_| is_within).copied()
    }

    /// A record with full names.
    pub fn record(&self, ordinal: u16) -> Option<ChunkRecord> {
        let rec = self.records.get(usize::from(ordinal))?;
        let extents = self
            .pieces(ordinal)?
            .iter()
            .map(|piece| self.extent(*piece));
        Some(ChunkRecord {
            len: rec.len,
            depth: rec.depth,
            extents: extents.collect::<Option<_>>()?,
        })
    }

    fn extent(&self, piece: Piece) -> Option<Extent> {
        let Piece { offset, len, .. } = piece;
        Some(match piece.from {
            From::Segment(number) => Extent::Stored {
                segment: *self.segments.get(number as usize)?,
                offset,
                len,
            },
            From::Base(number) => Extent::Copy {
                base: *self.bases.get(number as usize)?,
                offset,
                len,
            },
        })
    }
}
