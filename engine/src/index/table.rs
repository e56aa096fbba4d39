//! The loaded index: one sorted table of chunks, one map of segments.

use std::collections::HashMap;

use super::IndexedPack;
use crate::backend::PackName;
use crate::crypto::{BoxHeader, BoxKind};
use crate::id::{ChunkId, SessionId};
use crate::segment::SegmentId;

/// A box of records in the loaded index.
pub type BlockRef = u32;

/// A box and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxRef {
    /// Number of its pack in the loaded index.
    pub pack: u32,
    /// Where it begins in the pack.
    pub offset: u64,
    /// What it is.
    pub header: BoxHeader,
}

/// A record: a block and an ordinal in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef {
    /// The block.
    pub block: BlockRef,
    /// The record in it.
    pub ordinal: u16,
}

/// Where the records of a chunk begin in the sorted table.
pub type Row = u32;

/// A pack in the loaded index.
#[derive(Debug, Clone)]
pub struct PackEntry {
    /// Its name.
    pub name: PackName,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Everything that the index segments say, ready for looking up.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<PackEntry>,
    keys: HashMap<SessionId, [u8; 48]>,
    blocks: Vec<BoxRef>,
    chunks: Vec<(ChunkId, ChunkRef)>,
    segments: HashMap<SegmentId, Places>,
}

/// Where a segment lies: nearly always in one place.
#[derive(Debug)]
struct Places {
    first: BoxRef,
    more: Vec<BoxRef>,
}

/// Gathers index segments.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    index: Index,
    known: HashMap<PackName, u32>,
}

impl IndexBuilder {
    /// Adds what is said of a pack; a pack that is known already adds nothing.
    pub fn add(&mut self, pack: &IndexedPack) {
        if self.known.contains_key(&pack.name) {
            return;
        }
        let index = &mut self.index;
        let number = crate::codec::len_u32(index.packs.len());
        self.known.insert(pack.name, number);
        index.packs.push(PackEntry {
            name: pack.name,
            size_bytes: pack.size_bytes,
        });
        index.keys.extend(pack.keys.keys.iter().copied());
        let mut chunks = pack.footer.chunks.iter();
        for place in &pack.footer.boxes {
            let at = BoxRef {
                pack: number,
                offset: place.offset,
                header: place.header,
            };
            if place.header.kind == BoxKind::Records {
                let block = crate::codec::len_u32(index.blocks.len());
                index.blocks.push(at);
                let ids = chunks.next().into_iter().flatten();
                index.chunks.extend(
                    ids.zip(0..)
                        .map(|(id, ordinal)| (*id, ChunkRef { block, ordinal })),
                );
            } else {
                let id = SegmentId {
                    session: place.header.session,
                    counter: place.header.counter,
                };
                index
                    .segments
                    .entry(id)
                    .and_modify(|places| places.more.push(at))
                    .or_insert(Places {
                        first: at,
                        more: vec![],
                    });
            }
        }
    }

    /// Whether a pack was added.
    pub fn knows(&self, pack: &PackName) -> bool {
        self.known.contains_key(pack)
    }

    /// Sorts what was gathered.
    pub fn finish(mut self) -> Index {
        self.index.chunks.sort_unstable();
        self.index
    }
}

impl Index {
    /// All records of a chunk, in no order that says anything.
    pub fn chunk(&self, id: ChunkId) -> &[(ChunkId, ChunkRef)] {
        let start = self.start(id);
        let rest = self.chunks.get(start..).unwrap_or_default();
        let count = rest.iter().take_while(|(known, _)| *known == id).count();
        rest.get(..count).unwrap_or_default()
    }

    /// Where the records of a chunk begin; none if it has none.
    pub fn row(&self, id: ChunkId) -> Option<Row> {
        let start = self.start(id);
        let first = self.chunks.get(start)?;
        (first.0 == id).then(|| crate::codec::len_u32(start))
    }

    fn start(&self, id: ChunkId) -> usize {
        self.chunks.partition_point(|(known, _)| *known < id)
    }

    /// All places of a segment.
    pub fn segment(&self, id: SegmentId) -> impl Iterator<Item = &BoxRef> {
        let places = self.segments.get(&id);
        places
            .into_iter()
            .flat_map(|places| std::iter::once(&places.first).chain(&places.more))
    }

    /// Where a block lies.
    pub fn block(&self, block: BlockRef) -> Option<&BoxRef> {
        self.blocks.get(block as usize)
    }

    /// A pack by number.
    pub fn pack(&self, number: u32) -> Option<&PackEntry> {
        self.packs.get(number as usize)
    }

    /// All packs.
    pub fn packs(&self) -> &[PackEntry] {
        &self.packs
    }

    /// All records, sorted by chunk.
    pub fn chunks(&self) -> &[(ChunkId, ChunkRef)] {
        &self.chunks
    }

    /// All blocks, by number.
    pub fn blocks(&self) -> &[BoxRef] {
        &self.blocks
    }

    /// All segments.
    pub fn segments(&self) -> impl Iterator<Item = (SegmentId, &BoxRef)> {
        self.segments
            .iter()
            .map(|(id, places)| (*id, &places.first))
    }

    /// All segments in all their places.
    pub fn segment_places(&self) -> impl Iterator<Item = (SegmentId, &BoxRef)> {
        self.segments.iter().flat_map(|(id, places)| {
            std::iter::once(&places.first)
                .chain(&places.more)
                .map(|place| (*id, place))
        })
    }

    /// The wrapped key of a session.
    pub fn key(&self, session: SessionId) -> Option<&[u8; 48]> {
        self.keys.get(&session)
    }
}
