//! From a chunk to the plain bytes of segments: its record, the records of its bases, and so on down.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::store::{LoadedBlock, State, Store};
use crate::codec::FormatError;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::index::{BlockRef, ChunkRef};
use crate::limits;
use crate::record::{From, Piece};
use crate::segment::SegmentId;

/// Plain bytes of a segment: what every chunk is made of in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which segment.
    pub segment: SegmentId,
    /// Where in its plaintext.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
}

/// A part of a chunk, by its record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub id: ChunkId,
    pub at: ChunkRef,
    pub offset: u32,
    pub len: u32,
}

/// Resolves parts of chunks under one loaded index; holds the few blocks that one chunk stands on.
pub(super) struct Resolver<'a> {
    store: &'a Store,
    state: &'a State,
    blocks: Vec<(BlockRef, Arc<LoadedBlock>)>,
    /// Where the last part at each depth began: what follows in a chunk mostly follows in its base.
    last: Vec<Option<(ChunkRef, usize)>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(store: &'a Store, state: &'a State) -> Self {
        Self {
            store,
            state,
            blocks: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Appends where a part lies: plain bytes of segments, in order, neighbours joined.
    pub(super) fn resolve(&mut self, part: Part, out: &mut Vec<Span>) -> Result<()> {
        self.descend(part, 0, out)
    }

    fn descend(&mut self, part: Part, depth: u8, out: &mut Vec<Span>) -> Result<()> {
        let damaged = |problem: &str| {
            let problem = FormatError::new("record", problem);
            Error::corrupt(format!("record of chunk {}", part.id))(problem)
        };
        if depth > limits::DELTA_DEPTH_MAX {
            return Err(damaged("its bases are too deep"));
        }
        let slot = self.slot(part.at.block)?;
        let first = self.first_piece(slot, &part, depth);
        let first = first.ok_or_else(|| damaged("it is not in its block"))?;
        let end = part.offset.saturating_add(part.len);
        let mut from = part.offset;
        for number in first.. {
            if from >= end {
                break;
            }
            let loaded = self.loaded(slot);
            let piece = loaded.and_then(|loaded| loaded.block.piece(part.at.ordinal, number));
            let (Some(loaded), Some(piece)) = (loaded, piece) else {
                return Err(damaged("it is shorter than what is copied out of it"));
            };
            let skip = from - piece.at;
            let (offset, len) = (piece.offset + skip, (piece.len - skip).min(end - from));
            from += len;
            match piece.from {
                From::Segment(number) => {
                    let segment = loaded.block.segments.get(number as usize);
                    let segment = *segment.ok_or_else(|| damaged("it names no segment"))?;
                    push_span(
                        out,
                        Span {
                            segment,
                            offset,
                            len,
                        },
                    );
                    if out.len() > limits::CHUNK_EXTENTS_MAX {
                        return Err(damaged("it resolves to too many extents"));
                    }
                }
                From::Base(number) => {
                    let (id, at) = self.store.base(self.state, loaded, number)?;
                    let base = Part {
                        id,
                        at,
                        offset,
                        len,
                    };
                    self.descend(base, depth + 1, out)?;
                }
            }
        }
        Ok(())
    }

    /// The number of the piece in which a part begins; none if there is no such record.
    fn first_piece(&mut self, slot: usize, part: &Part, depth: u8) -> Option<usize> {
        let depth = usize::from(depth);
        if self.last.len() <= depth {
            self.last.resize(depth + 1, None);
        }
        let (_, loaded) = self.blocks.get(slot)?;
        let pieces = loaded.block.pieces(part.at.ordinal)?;
        let last = self.last.get_mut(depth)?;
        let hint = last.filter(|(at, _)| *at == part.at);
        let first = first_from(pieces, hint.map_or(0, |(_, number)| number), part.offset);
        *last = Some((part.at, first));
        Some(first)
    }

    /// Where a block is held: borrowed from there, because threads that count who holds it would wait for each other.
    fn slot(&mut self, number: BlockRef) -> Result<usize> {
        if let Some(slot) = self.blocks.iter().position(|(known, _)| *known == number) {
            return Ok(slot);
        }
        let block = self.store.block(self.state, number)?;
        self.blocks.push((number, block));
        Ok(self.blocks.len() - 1)
    }

    fn loaded(&self, slot: usize) -> Option<&LoadedBlock> {
        self.blocks.get(slot).map(|(_, block)| block.as_ref())
    }
}

/// What a chunk of several records stands on.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    /// Segments by the record that makes it.
    pub own: BTreeSet<SegmentId>,
    /// Segments by each other record that can be followed to segments that are there.
    pub others: Vec<BTreeSet<SegmentId>>,
    /// Another record may lead to more: it could not be read now.
    pub is_part: bool,
}

impl Store {
    /// What a chunk of several records stands on; nothing for a chunk of one.
    pub(crate) fn ways(&self, id: ChunkId) -> Result<Ways> {
        let state = self.state();
        let records = state.index.chunk(id);
        let mut ways = Ways::default();
        if records.len() < 2 {
            return Ok(ways);
        }
        let chosen = self.find(&state, id)?;
        ways.own = self.way(&state, id, chosen)?;
        let is_there = |segment: &SegmentId| {
            let mut places = state.index.segment(*segment);
            places.any(|place| state.is_stored(place.pack))
        };
        for (_, at) in records.iter().filter(|(_, at)| *at != chosen) {
            let way = Error::unless_damaged(self.way(&state, id, *at))?;
            ways.is_part |= way.is_none();
            ways.others
                .extend(way.filter(|way| way.iter().all(is_there)));
        }
        Ok(ways)
    }

    fn way(&self, state: &State, id: ChunkId, at: ChunkRef) -> Result<BTreeSet<SegmentId>> {
        let len = self.block(state, at.block)?.block.chunk_len(at.ordinal);
        let part = Part {
            id,
            at,
            offset: 0,
            len: len.ok_or(Error::MissingChunk { chunk: id })?,
        };
        let mut spans = Vec::new();
        Resolver::new(self, state).resolve(part, &mut spans)?;
        Ok(spans.into_iter().map(|span| span.segment).collect())
    }
}

/// Pieces behind the hint that are looked at one by one.
const STEPS: usize = 4;

/// The number of the piece that holds the byte at `offset`; mostly the one at `hint` or soon after it.
fn first_from(pieces: &[Piece], hint: usize, offset: u32) -> usize {
    let ends_before = |piece: &Piece| piece.at.saturating_add(piece.len) <= offset;
    let is_behind = pieces.get(hint).is_none_or(|piece| piece.at > offset);
    let start = if is_behind { 0 } else { hint };
    let rest = pieces.get(start..).unwrap_or_default();
    let near = rest
        .iter()
        .take(STEPS)
        .position(|piece| !ends_before(piece));
    start + near.unwrap_or_else(|| rest.partition_point(ends_before))
}

/// Appends a span, joined to the one before where they touch.
fn push_span(out: &mut Vec<Span>, span: Span) {
    match out.last_mut() {
        Some(last) if last.segment == span.segment && last.offset + last.len == span.offset => {
            last.len += span.len;
        }
        _ => out.push(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_piece_is_found_from_any_hint() {
        let piece = |number: u32| Piece {
            at: 10 * number,
            from: From::Segment(0),
            offset: 0,
            len: 10,
        };
        let pieces: Vec<_> = (0..20).map(piece).collect();
        for offset in 0..=200 {
            for hint in 0..=20 {
                let found = first_from(&pieces, hint, offset);
                assert_eq!(found, offset as usize / 10, "{offset} from {hint}");
            }
        }
        assert_eq!(first_from(&[], 0, 0), 0);
    }
}
